//! What the enforcer tells of refusals.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, SIGNER, THIEF, to};
use crate::enforcer::{self, ENFORCER};
use crate::programs::answer_of;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a refusal is an event, which is read once", is_read_once),
    ("what is allowed is no event", allowed_is_no_event),
    ("a name that cannot be judged is an event of the program that asked", unjudged),
    ("a reader of events that follows goes on with the next policy", follows),
    ("events that nobody reads are counted as lost, and refused all the same", lost),
    ("there are no events where nothing is enforced", nothing_enforced),
];

/// The exit status of a finding.
const FINDING: i32 = 1;

fn read_all() -> Result<(), String> {
    enforcer::events().map(drop)
}

fn has(event: &str, members: &[&str]) -> Result<(), String> {
    match members.iter().find(|member| !event.contains(**member)) {
        Some(missing) => Err(format!("no `{missing}` in `{event}`")),
        None => Ok(()),
    }
}

fn is_read_once(host: &Host) -> Result<(), String> {
    host.enforced()?;
    read_all()?;
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.refused(THIEF, &to("sendto", KMS_V6))?;
    let events = enforcer::events()?;
    let [first, second] = events.as_slice() else { return Err(format!("expected two events, seen {events:?}")) };
    let common = ["\"version\":1,", "\"kind\":\"request\"", "\"thread\":\"thief\"", "\"reason\":\"exclusive\""];
    has(first, &common)?;
    has(first, &["\"address\":\"127.0.0.10\",\"port\":443,\"protocol\":\"tcp\"", "\"proven\":true"])?;
    has(second, &common)?;
    has(second, &["\"address\":\"fd00:bf::10\",\"port\":443,\"protocol\":\"udp\"", "\"rule\":"])?;
    let again = enforcer::events()?;
    if again.is_empty() { Ok(()) } else { Err(format!("read twice: {again:?}")) }
}

fn allowed_is_no_event(host: &Host) -> Result<(), String> {
    host.enforced()?;
    read_all()?;
    answer_of(SIGNER, &["tcp", "127.0.0.10", "443"])?;
    let events = enforcer::events()?;
    if events.is_empty() { Ok(()) } else { Err(format!("{events:?}")) }
}

fn unjudged(host: &Host) -> Result<(), String> {
    host.enforced()?;
    read_all()?;
    host.refused(SIGNER, &to("unspec-sendto", KMS_V4))?;
    let events = enforcer::events()?;
    let [event] = events.as_slice() else { return Err(format!("expected one event, seen {events:?}")) };
    has(event, &["\"kind\":\"unjudged\"", "\"thread\":\"signer\"", "\"proven\":true"])
}

fn follows(host: &Host) -> Result<(), String> {
    host.enforced()?;
    read_all()?;
    let mut reader = Command::new(ENFORCER)
        .args(["events", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {ENFORCER}: {error}"))?;
    let tried = reader.stdout.take().ok_or_else(|| "no output".to_owned()).and_then(|output| {
        let mut lines = BufReader::new(output).lines();
        let mut next = || lines.next().ok_or("the reader ended")?.map_err(|error| error.to_string());
        host.refused(THIEF, &to("tcp", KMS_V4))?;
        has(&next()?, &["thief (process ", "refused 127.0.0.10:443/tcp: only other programs may (rule "])?;
        enforcer::apply(Path::new(BUNDLE))?;
        // It looks for a newer policy twice a second.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        host.refused(THIEF, &to("tcp", KMS_V6))?;
        has(&next()?, &["refused [fd00:bf::10]:443/tcp"])
    });
    let ended = reader.kill().and_then(|()| reader.wait()).map_err(|error| error.to_string());
    tried.and(ended.map(drop))
}

/// The policy that the host enforces.
const BUNDLE: &str = "/bundles/signer-kms/policy.bfpb";

fn lost(host: &Host) -> Result<(), String> {
    host.enforced()?;
    read_all()?;
    let before = enforcer::counted("lost")?;
    let answer = answer_of(THIEF, &["times", "6000", "sendto", "127.0.0.10", "443"])?;
    if answer != "EPERM" {
        return Err(format!("expected `EPERM`, seen `{answer}`"));
    }
    let lost = enforcer::counted("lost")? - before;
    let kept = enforcer::events()?.len() as u64;
    if lost > 0 && kept + lost == 6000 { Ok(()) } else { Err(format!("{kept} kept and {lost} lost of 6000")) }
}

fn nothing_enforced(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::try_events()?;
    ended.expect_code(FINDING)?;
    has(&ended.stderr, &["nothing is enforced"])
}
