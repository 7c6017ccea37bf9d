//! The order of events: processes and connections that are older than the policy, an enforcer that is gone, a policy
//! that is applied again.

use std::fs;
use std::io::Read;

use bfp_kernel_tests::objects::Objects;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use crate::destination::Destination;
use crate::enforcer::{self, PINS};
use crate::listeners::Expected;
use crate::programs::Running;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a signer older than the policy is confined", older_signer_is_confined),
    ("a thief older than the policy is refused", older_thief_is_refused),
    ("a thief's connection older than the policy is refused its next send", older_connection_is_refused),
    ("a signer's connection older than the policy is judged too", older_connections_of_the_signer),
    ("enforcement outlives the enforcer", enforcement_outlives_the_enforcer),
    ("applying again leaves no moment unprotected", applying_again),
    ("a label that nothing kept true is worth nothing", stale_label),
];

fn older_signer_is_confined(host: &Host) -> Result<(), String> {
    for prefix in ["", "thread ", "fork "] {
        let arguments = format!("{prefix}wait-then {}", to("tcp", OUTSIDE_V4));
        waits_through_apply(host, SIGNER, &arguments, Expected::Refused)?;
    }
    // What it starts under the policy is confined like the process itself.
    let child = format!("wait-then spawn {THIEF} {}", to("tcp", OUTSIDE_V4));
    waits_through_apply(host, SIGNER, &child, Expected::Refused)
}

fn older_thief_is_refused(host: &Host) -> Result<(), String> {
    for way in ["tcp", "sendto", "fastopen"] {
        let arguments = format!("wait-then {}", to(way, KMS_V4));
        waits_through_apply(host, THIEF, &arguments, Expected::Refused)?;
    }
    Ok(())
}

/// Starts a program, applies the policy, and only then lets the program act.
fn waits_through_apply(host: &Host, program: &str, arguments: &str, expected: Expected) -> Result<(), String> {
    host.unenforced()?;
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let mut running = Running::start_until(program, &words, "ready")?;
    host.enforced()?;
    host.goes_on(&mut running, expected).map_err(|difference| format!("{program} {arguments}: {difference}"))
}

fn older_connection_is_refused(host: &Host) -> Result<(), String> {
    let kms = Destination::tcp(KMS_V4, PORT);
    sends_through_apply(host, THIEF, kms, "EPERM")
}

fn older_connections_of_the_signer(host: &Host) -> Result<(), String> {
    sends_through_apply(host, SIGNER, Destination::tcp(OUTSIDE_V4, PORT), "EPERM")?;
    // A program that ran before holds its grants once it is restarted.
    sends_through_apply(host, SIGNER, Destination::tcp(KMS_V4, PORT), "EPERM")
}

/// Opens a connection, sends a byte, applies the policy, and tries a second byte.
fn sends_through_apply(host: &Host, program: &str, at: Destination, expected: &str) -> Result<(), String> {
    host.unenforced()?;
    host.listeners.clear();
    let words = ["hold-tcp".to_owned(), at.address.to_string(), at.port.to_string()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut running = Running::start_until(program, &words, "ok")?;
    let mut connection = host.listeners.take_connection(at)?;
    let before = running.go_on()?;
    let mut buffer = [0; 8];
    let received_before = connection.read(&mut buffer).unwrap_or(0);
    if (before.as_str(), received_before) != ("ok", 1) {
        return Err(format!("expected `ok` and 1 byte before the policy, seen `{before}` and {received_before}"));
    }
    host.enforced()?;
    let after = running.go_on()?;
    // An error here is the socket's way to report that nothing arrived.
    let received = connection.read(&mut buffer).unwrap_or(0);
    let wanted = usize::from(expected == "ok");
    if after == expected && received == wanted {
        Ok(())
    } else {
        Err(format!("{program} to {at}: expected `{expected}` and {wanted} bytes, seen `{after}` and {received} bytes"))
    }
}

fn enforcement_outlives_the_enforcer(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for process in fs::read_dir("/proc").map_err(|error| error.to_string())?.flatten() {
        // Kernel threads and processes that just ended have no executable.
        let executable = fs::read_link(process.path().join("exe")).unwrap_or_default();
        if executable.to_string_lossy().contains("bfp-enforcer") {
            return Err(format!("expected no enforcer, seen process {}", process.file_name().display()));
        }
    }
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.reaches(SIGNER, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))
}

fn applying_again(host: &Host) -> Result<(), String> {
    host.enforced()?;
    host.listeners.clear();
    let hammer = |program: &str, address: &str| Running::start_until(program, &["hammer", address, "443"], "ready");
    let mut thief = hammer(THIEF, "127.0.0.10")?;
    let mut signer = hammer(SIGNER, "198.51.100.7")?;
    for _ in 0..3 {
        enforcer::apply_again(&host.bundle)?;
    }
    for (name, running) in [("thief", &mut thief), ("signer", &mut signer)] {
        let answer = running.go_on()?;
        if !answer.starts_with("all refused") {
            return Err(format!("expected every try of the {name} refused, seen `{answer}`"));
        }
    }
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.reaches(SIGNER, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))
}

/// What an enforcer that is killed in its first `apply`, or in `remove`, can leave: labels, without the hooks that
/// follow a process to another program.
fn stale_label(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    host.enforced()?;
    let arguments = format!("wait-then exec {THIEF} wait-then {}", to("tcp", KMS_V4));
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let mut running = Running::start_until(SIGNER, &words, "ready")?;
    let names = fs::read_dir(PINS).map_err(|error| format!("{PINS}: {error}"))?;
    for folder in names.flatten().map(|name| name.path()).filter(|path| path.is_dir()) {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // The kernel detaches in the background.
    before.are_all_that_decide()?;
    let became = running.go_on()?;
    if became != "ready" {
        return Err(format!("expected the signer to become the thief, seen `{became}`"));
    }
    enforcer::apply(&host.bundle)?;
    host.goes_on(&mut running, Expected::Refused)
}
