//! Grants to programs in a unit that runs what others give it: the unit says nothing of who asks then.

use super::concern::Concern;
use super::stand_ins;
use crate::policy::{Program, Rule};

/// Units that start the programs of users, of jobs or of containers, without `@…` and their kind.
const SHARED: [&str; 22] = [
    "actions-runner",
    "anacron",
    "atd",
    "buildkite-agent",
    "container-getty",
    "containerd",
    "cron",
    "crond",
    "cronie",
    "docker",
    "gdm",
    "getty",
    "gitlab-runner",
    "jenkins",
    "kubelet",
    "lightdm",
    "podman",
    "sddm",
    "serial-getty",
    "ssh",
    "sshd",
    "user",
];

/// Why others decide what is started in a unit; `None` where its own file does.
fn runs(unit: &str) -> Option<&'static str> {
    let (name, kind) = unit.rsplit_once('.')?;
    let name = name.split('@').next().unwrap_or(name);
    if kind == "scope" && name.starts_with("session-") {
        return Some("is a login");
    }
    (kind == "service" && SHARED.binary_search(&name).is_ok()).then_some("starts what its users give it")
}

/// The concern about the first of these programs that is in such a unit.
pub(super) fn concern<'a>(mut programs: impl Iterator<Item = &'a Program>, rule: &Rule) -> Option<Concern> {
    programs.find_map(|program| {
        let unit = program.unit()?;
        let why = runs(unit)?;
        Some(Concern::SharedUnit {
            unit: unit.to_owned(),
            why,
            rule: rule.subjects_span,
            program_span: stand_ins::elsewhere(program, rule),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{SHARED, runs};

    #[test]
    fn units_that_run_what_others_give_them_are_known() {
        assert!(SHARED.is_sorted());
        for unit in ["cron.service", "user@1000.service", "session-4.scope", "sshd@7.service", "getty@tty1.service"] {
            assert!(runs(unit).is_some(), "{unit}");
        }
        for unit in ["backup.service", "cron-report.service", "batch@.service", "session.service", "init.scope"] {
            assert!(runs(unit).is_none(), "{unit}");
        }
    }
}
