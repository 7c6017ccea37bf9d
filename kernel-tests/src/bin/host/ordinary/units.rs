//! The units of packaging/systemd, in a whole Debian system: the policy is in force before the network, a bundle that
//! is put in place is applied, a bad one changes nothing, and a host that boots with a bad one is protected by the last
//! good one.

use std::io;

use bfp_kernel_tests::Guest;

const UNITS: [(&str, &str); 7] = [
    ("bfp-enforcer.service", include_str!("../../../../../packaging/systemd/bfp-enforcer.service")),
    ("bfp-enforcer.timer", include_str!("../../../../../packaging/systemd/bfp-enforcer.timer")),
    ("bfp-apply.path", include_str!("../../../../../packaging/systemd/bfp-apply.path")),
    ("bfp-apply.service", include_str!("../../../../../packaging/systemd/bfp-apply.service")),
    ("bfp-events.service", include_str!("../../../../../packaging/systemd/bfp-events.service")),
    ("bfp-links.service", include_str!("../../../../../packaging/systemd/bfp-links.service")),
    ("bfp-hosts.service", include_str!("../../../../../packaging/systemd/bfp-hosts.service")),
];

const SCRIPT: &str = include_str!("units.sh");

pub(crate) fn run(guest: &Guest<'_>) -> Result<bool, String> {
    let guest = with_units(guest, |_| true);
    let outcome = guest.run_into(SCRIPT, &mut io::stdout().lock()).map_err(|failure| failure.to_string())?;
    Ok(outcome.status == 0)
}

/// The guest with the selected units, enabled as they say.
pub(crate) fn with_units<'a>(guest: &Guest<'a>, wanted: impl Fn(&str) -> bool) -> Guest<'a> {
    let mut guest = guest.clone();
    for (name, text) in UNITS.into_iter().filter(|(name, _)| wanted(name)) {
        let mut wanted_by: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("WantedBy=")).collect();
        // A unit without an [Install] section is started by another one; the target that it is linked to here starts
        // nothing.
        if wanted_by.is_empty() {
            wanted_by.push("never.target");
        }
        for wanted_by in wanted_by {
            guest = guest.unit(name, wanted_by, text);
        }
    }
    guest
}
