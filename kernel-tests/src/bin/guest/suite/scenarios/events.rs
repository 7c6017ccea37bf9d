//! The enforcer's reports of denials.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, OUTSIDE_V4, SIGNER, THIEF, to};
use crate::enforcer::{self, ENFORCER};
use crate::programs::answer_of;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a refusal is an event, which is read once", is_read_once),
    ("what is allowed is no event", allowed_is_no_event),
    ("a name that cannot be judged is an event of the program that asked", unjudged),
    ("a reader of events that follows goes on with the next policy", follows),
    ("a flood does not hide what others are refused, and is told as a sum", flood),
    ("a scan is a flood of its process", scan),
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
        // It checks for a newer policy twice a second.
        std::thread::sleep(Duration::from_millis(1500));
        host.refused(THIEF, &to("tcp", KMS_V6))?;
        has(&next()?, &["refused [fd00:bf::10]:443/tcp"])
    });
    let ended = reader.kill().and_then(|()| reader.wait()).map_err(|error| error.to_string());
    tried.and(ended.map(drop))
}

/// The policy that the host enforces.
const BUNDLE: &str = "/bundles/signer-kms/policy.bfpb";

/// A request that a program repeats, and that is denied.
fn is_refused(program: &str, words: &[&str]) -> Result<(), String> {
    match answer_of(program, words)?.as_str() {
        "EPERM" => Ok(()),
        answer => Err(format!("expected `EPERM`, seen `{answer}`")),
    }
}

/// How many events were suppressed before this one, according to it.
fn held(event: &str) -> u64 {
    let told = event.split_once("\"held\":").and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok());
    told.unwrap_or_default()
}

/// How many events these represent.
fn told<'e>(events: impl IntoIterator<Item = &'e String>) -> u64 {
    events.into_iter().map(|event| 1 + held(event)).sum()
}

/// After this a new period has begun: a second, by enforcer-ebpf/src/decision/flood.rs.
fn wait_for_a_period() {
    std::thread::sleep(Duration::from_millis(1100));
}

fn flood(host: &Host) -> Result<(), String> {
    const SENT: u64 = 6000;
    host.enforced()?;
    wait_for_a_period();
    read_all()?;
    let (lost_before, held_before) = (enforcer::counted("lost")?, enforcer::counted("held")?);
    is_refused(THIEF, &["times", &SENT.to_string(), "sendto", "127.0.0.10", "443"])?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    wait_for_a_period();
    host.refused(THIEF, &to("sendto", KMS_V4))?;
    let events = enforcer::events()?;
    let of = |name: &'static str| events.iter().filter(move |event| event.contains(name));
    if of("\"thread\":\"signer\"").count() != 1 {
        return Err(format!("what the signer was refused is not told among {} events", events.len()));
    }
    let stood_for = told(of("\"thread\":\"thief\""));
    let (lost, held) = (enforcer::counted("lost")? - lost_before, enforcer::counted("held")? - held_before);
    let is_sum = stood_for == SENT + 1 && held + events.len() as u64 == SENT + 2;
    if is_sum && lost == 0 && held > SENT / 2 {
        Ok(())
    } else {
        Err(format!("{} events stand for {stood_for} of {}, {held} held, {lost} lost", events.len(), SENT + 1))
    }
}

fn scan(host: &Host) -> Result<(), String> {
    const SENT: u64 = 3000;
    host.enforced()?;
    wait_for_a_period();
    read_all()?;
    let held_before = enforcer::counted("held")?;
    is_refused(SIGNER, &["sweep", &SENT.to_string(), "sendto", "198.51.100.0", "443"])?;
    let kept = enforcer::events()?.len() as u64;
    let held = enforcer::counted("held")? - held_before;
    if held > 0 && kept + held == SENT { Ok(()) } else { Err(format!("{kept} kept and {held} held of {SENT}")) }
}

/// Many processes with many destinations: the rate limit does not suppress them, and the ring buffer is full.
fn lost(host: &Host) -> Result<(), String> {
    host.enforced()?;
    wait_for_a_period();
    read_all()?;
    let (lost_before, held_before) = (enforcer::counted("lost")?, enforcer::counted("held")?);
    for process in 0..14 {
        is_refused(SIGNER, &["sweep", "250", "sendto", &format!("198.51.{process}.0"), "443"])?;
    }
    let (lost, held) = (enforcer::counted("lost")? - lost_before, enforcer::counted("held")? - held_before);
    let kept = enforcer::events()?.len() as u64;
    if lost > 0 && held == 0 && kept + lost == 14 * 250 {
        Ok(())
    } else {
        Err(format!("{kept} kept, {held} held and {lost} lost of {}", 14 * 250))
    }
}

fn nothing_enforced(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::try_events()?;
    ended.expect_code(FINDING)?;
    has(&ended.stderr, &["nothing is enforced"])
}
