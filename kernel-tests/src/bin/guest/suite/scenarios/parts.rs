//! Policies that a host can hold only in part: a program that does not exist, a link that names no program, processes
//! that ran before. What always holds: the rest is enforced, and what is missing is reported.

use std::fs;
use std::os::unix::fs::{chown, lchown, symlink};
use std::process::{Child, Command, Stdio};

use bfp_kernel_tests::entries::User;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use super::names::{bundle, is_a_stranger, is_the_program, says};
use crate::destination::Destination;
use crate::enforcer::{self, ENFORCER, PINS};
use crate::listeners::Expected;
use crate::programs::{Programs, Running, become_user};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a program that is not there takes no other rule with it", missing_program),
    ("a program that is gone at the next start takes no other rule with it", missing_at_boot),
    ("a program that comes later is the program without a further step", installed_later),
    ("a link that a user may change names nobody, and is told", link_of_a_user),
    ("a signer older than the policy has no grant until it starts again", first_contact),
    ("a signer older than the policy has its grant where that is asked for", adopted),
    ("nobody traces who holds a grant under `default deny`", holder_under_default_deny),
];

/// Enforced, but less than the policy says.
const LESS: i32 = 1;
const GONE: &str = "/opt/gone/bin/gone";

/// The rules about the signer hold, and no program reaches the missing program's exclusive destination.
fn holds_without_it(host: &Host) -> Result<(), String> {
    is_the_program(host, SIGNER)?;
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.refused(THIEF, &to("tcp", OUTSIDE_V4))?;
    let status = enforcer::status_of(&bundle("missing"))?;
    status.expect_code(LESS)?;
    says(&status, &["degraded", GONE])
}

fn missing_program(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::try_apply(&bundle("missing"))?;
    let tried = ended.expect_code(LESS).and_then(|()| says(&ended, &[GONE])).and_then(|()| holds_without_it(host));
    tried.and(enforcer::remove())
}

/// As after a restart: the kernel's state is gone, and the disk's is not.
fn missing_at_boot(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let gone = Programs::install([GONE])?;
    let policy = bundle("missing");
    enforcer::apply(&policy)?;
    is_the_program(host, SIGNER)?;
    drop(gone);
    fs::remove_dir_all(PINS).map_err(|error| format!("{PINS}: {error}"))?;
    let mut arguments = enforcer::applying(&policy);
    if let Some(first) = arguments.first_mut() {
        *first = "boot".to_owned();
    }
    let ended = enforcer::end(Command::new(ENFORCER).args(arguments))?;
    let tried = ended.expect_code(LESS).and_then(|()| says(&ended, &[GONE])).and_then(|()| holds_without_it(host));
    tried.and(enforcer::remove())
}

fn installed_later(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::try_apply(&bundle("missing"))?;
    let tried = ended.expect_code(LESS).and_then(|()| {
        let _gone = Programs::install([GONE])?;
        host.reaches(GONE, &to("tcp", OUTSIDE_V4), Destination::tcp(OUTSIDE_V4, PORT))?;
        host.refused(GONE, &to("tcp", KMS_V4))?;
        host.refused(THIEF, &to("tcp", OUTSIDE_V4))?;
        enforcer::status_of(&bundle("missing"))?.expect_code(0)
    });
    tried.and(enforcer::remove())
}

/// A user's folder, with a link in it to a public program.
fn link_of_a_user(host: &Host) -> Result<(), String> {
    const USER: Option<u32> = Some(1000);
    const HOME: &str = "/home/somebody";
    let link = format!("{HOME}/bin/agent");
    host.unenforced()?;
    let made = fs::create_dir_all(format!("{HOME}/bin"))
        .and_then(|()| symlink(THIEF, &link))
        .and_then(|()| chown(HOME, USER, USER))
        .and_then(|()| chown(format!("{HOME}/bin"), USER, USER))
        .and_then(|()| lchown(&link, USER, USER));
    made.map_err(|error| format!("{HOME}: {error}"))?;
    let ended = enforcer::try_apply(&bundle("home"))?;
    let tried = ended.expect_code(LESS).and_then(|()| {
        says(&ended, &[link.as_str()])?;
        is_a_stranger(host, THIEF)
    });
    tried.and(enforcer::remove()).and(fs::remove_dir_all(HOME).map_err(|error| error.to_string()))
}

/// A signer that waits for a line, and then sends to the given address.
fn waiting_signer(address: std::net::IpAddr) -> Result<Running, String> {
    let arguments = format!("wait-then {}", to("tcp", address));
    Running::start_until(SIGNER, &arguments.split_whitespace().collect::<Vec<_>>(), "ready")
}

fn first_contact(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let mut to_the_kms = waiting_signer(KMS_V4)?;
    let mut elsewhere = waiting_signer(OUTSIDE_V4)?;
    let ended = enforcer::try_apply(&host.bundle)?;
    let tried = ended.expect_code(0).and_then(|()| {
        says(&ended, &[SIGNER, &to_the_kms.process().to_string(), &elsewhere.process().to_string()])?;
        host.goes_on(&mut to_the_kms, Expected::Refused)?;
        host.goes_on(&mut elsewhere, Expected::Refused)?;
        is_the_program(host, SIGNER)
    });
    tried.and(enforcer::remove())
}

fn adopted(host: &Host) -> Result<(), String> {
    let adopting = || {
        let mut command = Command::new(ENFORCER);
        command.args(enforcer::applying(&host.bundle)).arg("--adopt-running");
        enforcer::end(&mut command)
    };
    host.unenforced()?;
    let mut to_the_kms = waiting_signer(KMS_V4)?;
    let mut elsewhere = waiting_signer(OUTSIDE_V4)?;
    let ended = adopting()?;
    let tried = ended.expect_code(0).and_then(|()| {
        host.goes_on(&mut to_the_kms, Expected::Reaches(Destination::tcp(KMS_V4, PORT)))?;
        host.goes_on(&mut elsewhere, Expected::Refused)?;
        says(&enforcer::status()?, &["adopted"])
    });
    tried.and(enforcer::remove())
}

/// A process that is killed when its owner is dropped.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn holder_under_default_deny(host: &Host) -> Result<(), String> {
    const HOLDER: &str = "/usr/bin/holder";
    /// The attacker, by a name that no rule names.
    const ATTACKER: &str = "/bin/attacker";
    host.unenforced()?;
    let _program = Programs::install([HOLDER])?;
    enforcer::apply(&bundle("closed"))?;
    let reach_into = |user: User, technique: &str, refusal: &str| {
        let mut command = Command::new(HOLDER);
        command.args(["wait-then", "tcp", "127.0.0.10", "443"]).stdin(Stdio::piped()).stdout(Stdio::null());
        become_user(&mut command, user);
        let holder = Holder(command.spawn().map_err(|error| format!("{HOLDER}: {error}"))?);
        let mut command = Command::new(ATTACKER);
        command.args([technique, "tcp", "127.0.0.10:443", "198.51.100.7:443"]);
        command.env("BFP_VICTIM", holder.0.id().to_string());
        become_user(&mut command, user);
        let ended = enforcer::end(&mut command)?;
        if ended.stdout.trim().ends_with(refusal) {
            Ok(())
        } else {
            Err(format!("{technique} as {user}: expected {refusal}, seen `{}`", ended.stdout.trim()))
        }
    };
    let tried = [User::Root, User::Somebody].into_iter().try_for_each(|user| {
        reach_into(user, "inject-into-a-stranger", "EPERM")?;
        reach_into(user, "seize-the-signer", "EPERM")?;
        reach_into(user, "write-the-signers-memory", "EPERM")?;
        reach_into(user, "write-the-signers-memory-by-proc", "EACCES")
    });
    tried.and(enforcer::remove())
}
