//! An ordinary week of a host: links are switched, packages are installed and removed, folders are replaced, an overlay
//! is evicted, the disk is full, and the machine loses power, while programs try forbidden requests without a pause.
//!
//! What always holds: no attempt gets through while the policy is in force, except by a release that a link leads to
//! and that has not been applied yet. Those are counted separately.

use std::io::{self, Write};
use std::process::Command;

use bfp_kernel_tests::Guest;
use bfp_kernel_tests::command::{call, say};

use crate::units::with_units;

/// The probers: the program that each plays, where the policy looks for it.
pub(crate) const PROGRAMS: [&str; 10] = [
    "/opt/app/r1/bin/app",
    "/opt/app/r2/bin/app",
    "/opt/app/r3/bin/app",
    "/opt/rel/r1/bin/app",
    "/opt/rel/r2/bin/app",
    "/usr/bin/week-agent",
    "/opt/folder/bin/agent",
    "/opt/layer/lower/bin/agent",
    "/opt/thief",
    "/usr/bin/probe",
];

/// The releases that links lead to first.
pub(crate) const LINKS: [(&str, &str); 2] = [("opt/app/current", "r1"), ("opt/rel/current", "r1")];

pub(crate) const POLICY: &str = r#"policy week

program app = "/opt/app/current/bin/app"
program release = "/opt/rel/*/bin/app"
program agent = "/usr/bin/week-agent"
program folder = "/opt/folder/bin/agent"
program layers = { "/opt/merged/lower/bin/agent", "/opt/merged/upper/bin/agent" }

{ app, release, agent, folder, layers } -> only { 127.0.0.8, 127.0.0.9:443 }
accept check::path_grant because "the test replaces its files"
only { app, agent } -> 127.0.0.9:443
deny * -> raw
default allow
"#;

/// The files in /opt/week.
pub(crate) const SCRIPTS: [(&str, &str); 5] = [
    ("fill.sh", include_str!("week/fill.sh")),
    ("mounts.sh", include_str!("week/mounts.sh")),
    ("since_before.sh", include_str!("week/since_before.sh")),
    ("anew.sh", include_str!("week/anew.sh")),
    ("table.awk", include_str!("week/table.awk")),
];

const SCRIPT: &str = include_str!("week/week.sh");

const MOUNTS: &str = "[Unit]
Description=An overlay, and room for the state
DefaultDependencies=no
After=systemd-remount-fs.service
Before=local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash /opt/week/mounts.sh
";

const SINCE_BEFORE: &str = "[Unit]
Description=Probers that run since before the policy
DefaultDependencies=no
After=week-mounts.service
Before=bfp-enforcer.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/bash /opt/week/since_before.sh
";

/// Like any service, it starts after the policy.
const ANEW: &str = "[Unit]
Description=Probers that are started anew
[Service]
ExecStart=/bin/bash /opt/week/anew.sh
";

/// The days, between which the machine loses power.
const DAYS: [&str; 4] = ["monday", "tuesday", "wednesday", "thursday"];

pub(crate) fn run(guest: &Guest<'_>) -> Result<bool, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    // A filesystem for the state, as small as possible. The system in the guest has no tool to create one.
    let state = folder.path().join("state");
    call(
        Command::new("/usr/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-b", "1024", "-m", "0", "-O", "^has_journal"])
            .arg(&state)
            .arg("4M"),
    )?;
    let guest = with_units(guest, |name| !["bfp-events.service", "bfp-hosts.service"].contains(&name))
        .unit("week-mounts.service", "local-fs.target", MOUNTS)
        .unit("week-since-before.service", "sysinit.target", SINCE_BEFORE)
        .unit("week-anew.service", "basic.target", ANEW)
        // With two, a guest died under QEMU 7.2 while a policy was applied: a prober ran into a breakpoint in
        // `bpf_lsm_socket_sendmsg`, where the kernel had put its call already.
        .cpus(1)
        .file(&state, "/var/bfp.disk")
        .disk(folder.path().join("disk"));
    let (mut rows, mut all_well) = (Vec::new(), true);
    for day in DAYS {
        say(&format!("== {day}"));
        let mut live = io::stdout().lock();
        let outcome = guest.run_into(&format!("STAGE={day}\n{SCRIPT}"), &mut live);
        let outcome = outcome.map_err(|failure| format!("{day}: {failure}"))?;
        let flushed = live.flush();
        flushed.map_err(|error| error.to_string())?;
        drop(live);
        all_well &= outcome.status == 0;
        rows.extend(outcome.text().lines().filter_map(|line| line.strip_prefix("row ")).map(str::to_owned));
    }
    let names = ["running", "anew", "thief", "control", "through", "moment", "pause ms"];
    let [running, anew, thief, control, through, moment, pause] = names;
    say(&format!(
        "\n{:44} {running:>9} {anew:>7} {thief:>7} {control:>7} {through:>9} {moment:>8} {pause:>7}",
        "what happens, and tries meanwhile"
    ));
    rows.iter().for_each(|row| say(row));
    say(if all_well { "ok  week: nothing was let through" } else { "FAIL week" });
    Ok(all_well)
}
