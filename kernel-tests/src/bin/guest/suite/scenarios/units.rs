//! Programs in a unit of systemd, told by the names of cgroups, which these scenarios make by hand as systemd would:
//! what is the unit, and what only looks like it. The policy is fixtures/identity/unit.bfp.

use std::fs;
use std::path::Path;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, THIEF, to};
use super::names::{bundle, says};
use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::Expected;
use crate::programs::{Programs, Running};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a policy that names units is refused where systemd is not the first process", without_systemd),
    ("a program is told by the unit that it is started in", told_by_unit),
    ("a cgroup that only looks like a unit is not that unit", look_alikes),
    ("every instance of a template is a unit of it, and so is what leaves it", instances),
    ("what runs in a unit when a policy is applied is restricted at once", ran_before),
];

const APP: &str = "/opt/unit/app";
const ENTER: &str = "/opt/unit/enter";
const ROOT: &str = "/sys/fs/cgroup";
/// The exit code for a host that lacks something.
const LACKING: i32 = 4;

const BACKUP: &str = "system.slice/backup.service";
const BATCH: &str = "system.slice/system-batch.slice/batch@blue.service";

/// The cgroups of a made-up systemd.
struct Cgroups {
    made: Vec<&'static str>,
    _programs: Programs,
}

impl Cgroups {
    const ALL: [&'static str; 9] = [
        BACKUP,
        BATCH,
        "system.slice/backup.service/.control",
        "payments.slice/payments-api.slice/backup.service",
        "system.slice/deleg.service/system.slice/backup.service",
        "user.slice/user-1000.slice/user@1000.service/app.slice/backup.service",
        "system.slice/x-backup.service",
        "system.slice/backup.service.scope",
        "a.slice/b.slice/c.slice/d.slice/e.slice/f.slice/g.slice/h.slice/i.slice/j.slice/backup.service",
    ];

    /// Makes them, and puts the first process where systemd puts itself.
    fn make() -> Result<Cgroups, String> {
        let script = "#!/bin/busybox sh\necho 0 > /sys/fs/cgroup/$1/cgroup.procs || exit 9\nshift\nexec \"$@\"\n";
        let programs = Programs::install([APP])?;
        fs::write(ENTER, script).map_err(|error| format!("{ENTER}: {error}"))?;
        let cgroups = Cgroups { made: Cgroups::ALL.to_vec(), _programs: programs };
        for cgroup in cgroups.made.iter().chain(&["init.scope"]) {
            let path = format!("{ROOT}/{cgroup}");
            fs::create_dir_all(&path).map_err(|error| format!("{path}: {error}"))?;
        }
        move_first_process("init.scope")?;
        Ok(cgroups)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _moved = move_first_process("");
        for cgroup in self.made.iter().chain(&["init.scope"]) {
            // Each folder of the path that is empty by then.
            let mut path = Path::new(cgroup);
            while !path.as_os_str().is_empty() {
                let _busy = fs::remove_dir(Path::new(ROOT).join(path));
                path = path.parent().unwrap_or(Path::new(""));
            }
        }
        let _gone = fs::remove_file(ENTER);
    }
}

fn move_first_process(cgroup: &str) -> Result<(), String> {
    let path = Path::new(ROOT).join(cgroup).join("cgroup.procs");
    fs::write(&path, "1").map_err(|error| format!("{}: {error}", path.display()))
}

/// The arguments with which busybox enters a cgroup and executes a program there.
fn within(cgroup: &str, program: &str, way: &str) -> String {
    format!("sh {ENTER} {cgroup} {program} {way}")
}

fn kms() -> Destination {
    Destination::tcp(KMS_V4, PORT)
}

fn outside() -> Destination {
    Destination::tcp(OUTSIDE_V4, PORT)
}

/// Enforces the policy while `then` runs, in the cgroups of a made-up systemd.
fn under(host: &Host, then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    let _cgroups = Cgroups::make()?;
    enforcer::apply(&bundle("unit"))?;
    then().and(enforcer::remove())
}

fn is_backup(host: &Host, cgroup: &str) -> Result<(), String> {
    host.reaches("busybox", &within(cgroup, APP, &to("tcp", KMS_V4)), kms())?;
    host.refused("busybox", &within(cgroup, APP, &to("tcp", OUTSIDE_V4)))
}

fn is_a_stranger(host: &Host, cgroup: &str, program: &str) -> Result<(), String> {
    host.refused("busybox", &within(cgroup, program, &to("tcp", KMS_V4)))?;
    host.reaches("busybox", &within(cgroup, program, &to("tcp", OUTSIDE_V4)), outside())
}

fn without_systemd(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::try_apply(&bundle("unit"))?;
    ended.expect_code(LACKING)?;
    says(&ended, &["names units of systemd", "0::/init.scope"])?;
    host.reaches(THIEF, &to("tcp", KMS_V4), kms())
}

fn told_by_unit(host: &Host) -> Result<(), String> {
    under(host, || {
        is_backup(host, BACKUP)?;
        is_backup(host, "system.slice/backup.service/.control")?;
        is_backup(host, "payments.slice/payments-api.slice/backup.service")?;
        // The same file elsewhere, and another file there.
        is_a_stranger(host, "init.scope", APP)?;
        is_a_stranger(host, ".", APP)?;
        is_a_stranger(host, BACKUP, THIEF)?;
        // What the program starts is confined, wherever it goes.
        host.refused("busybox", &within(BACKUP, APP, &format!("exec {THIEF} {}", to("tcp", OUTSIDE_V4))))
    })
}

fn look_alikes(host: &Host) -> Result<(), String> {
    under(host, || {
        for cgroup in [
            "system.slice/deleg.service/system.slice/backup.service",
            "user.slice/user-1000.slice/user@1000.service/app.slice/backup.service",
            "system.slice/x-backup.service",
            "system.slice/backup.service.scope",
            "a.slice/b.slice/c.slice/d.slice/e.slice/f.slice/g.slice/h.slice/i.slice/j.slice/backup.service",
        ] {
            is_a_stranger(host, cgroup, APP).map_err(|error| format!("{cgroup}: {error}"))?;
        }
        Ok(())
    })
}

fn instances(host: &Host) -> Result<(), String> {
    under(host, || {
        host.refused("busybox", &within(BATCH, THIEF, &to("tcp", OUTSIDE_V4)))?;
        host.refused("busybox", &within(BATCH, APP, &to("tcp", OUTSIDE_V4)))?;
        host.refused("busybox", &within(BATCH, APP, &to("tcp", KMS_V4)))?;
        // Its restrictions stay with a process that leaves.
        let leaves = format!("busybox {}", within(".", THIEF, &to("tcp", OUTSIDE_V4)));
        host.refused("busybox", &within(BATCH, &leaves, ""))?;
        is_a_stranger(host, ".", THIEF)
    })
}

fn ran_before(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let _cgroups = Cgroups::make()?;
    let words = within(BATCH, THIEF, &format!("wait-then {}", to("tcp", OUTSIDE_V4)));
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut running = Running::start_until("busybox", &words, "ready")?;
    enforcer::apply(&bundle("unit"))?;
    host.goes_on(&mut running, Expected::Refused).and(enforcer::remove())
}
