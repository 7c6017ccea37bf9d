//! Events: denials that the programs report, read from a ring buffer and printed as lines of text or JSON.
//!
//! Only one reader at a time gets each event. Reading holds no lock, so a policy can be applied meanwhile; the reader
//! continues with the ring buffer of the new one.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aya::maps::{Map, MapData, MapError, RingBuf};
use bfp_bundle::decide::Reason;
use bfp_bundle::event::{Event, Kind};
use bfp_bundle::label::Label;
use bfp_bundle::record::NO_RULE;
use bfp_bundle::verify::refusal::Utc;

use crate::failure::{Actionable, Exit, Failure};
use crate::host::syscall;
use crate::kernel::about::About;
use crate::kernel::pins::{Pins, PinsError};
use crate::report::json::quote;
use crate::report::notes::{self, Notes};
use crate::report::shown::shown;
use crate::report::status::{REASONS, hex};

/// Why there are no events.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum EventsError {
    #[error("nothing is enforced")]
    NothingEnforced,
    /// A record is shorter than any release writes.
    #[error("another release of the enforcer applied the policy, and its events have another layout")]
    OtherRelease,
    #[error("the events cannot be read: {0}")]
    Ring(#[from] MapError),
    /// Waiting for the ring buffer, or reading the clock, failed.
    #[error("the events cannot be waited for: {0}")]
    Wait(io::Error),
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
}

impl Actionable for EventsError {
    fn help(&self) -> &'static str {
        match self {
            EventsError::NothingEnforced => "apply a policy first",
            EventsError::OtherRelease => {
                "apply the policy again with this enforcer, or read its events with the one that applied it"
            }
            EventsError::Output(_) => "check where standard output goes",
            EventsError::Ring(_) | EventsError::Wait(_) => "check that this process runs as root",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            EventsError::NothingEnforced => Exit::Finding,
            _ => Exit::CannotEnforce,
        }
    }
}

/// How often a waiting reader checks whether another policy was applied.
const LOOK: Duration = Duration::from_millis(500);

/// The policy that the events belong to: a rule's number means nothing without it.
pub struct Enforced {
    /// Its name.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of the manifest.
    pub manifest_digest: [u8; 32],
    /// What the authors of its rules wrote about them.
    pub notes: Notes,
}

/// Held while events are read, so that two readers notice each other.
pub struct Reader(Option<File>);

impl Reader {
    /// Becomes the reader, if there is none.
    pub fn begin() -> Reader {
        // This file exists wherever an enforcer runs, even if no file can be written.
        let held = File::open("/proc/self/exe").ok();
        Reader(held.filter(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock))))
    }

    /// Whether there is no other reader.
    pub fn is_alone(&self) -> bool {
        self.0.is_some()
    }
}

/// Writes the unread events. With `follow`, also those to come, until it is stopped. `notes` finds those of a policy.
pub fn read(
    output: &mut impl Write,
    format: impl Fn(&Event, &Enforced, u64) -> String,
    notes: impl Fn(&About) -> Notes,
    follow: bool,
) -> Result<(), Failure> {
    let mut place = match newest()? {
        Some(place) => place,
        None if follow => wait_for_policy()?,
        None => return Err(EventsError::NothingEnforced.into()),
    };
    loop {
        let mut ring = open(&place)?;
        let about = About::read(&place.with_file_name("about"))?;
        let of = Enforced {
            notes: notes(&about),
            policy: about.policy,
            revision: about.revision,
            manifest_digest: about.manifest_digest,
        };
        loop {
            let booted = booted_at().map_err(EventsError::Wait)?;
            while let Some(record) = ring.next() {
                let event = decode(&record)?;
                output.write_all(format(&event, &of, booted).as_bytes()).map_err(EventsError::Output)?;
            }
            output.flush().map_err(EventsError::Output)?;
            if !follow {
                return Ok(());
            }
            syscall::wait_readable(ring.as_fd(), LOOK).map_err(EventsError::Wait)?;
            match newest()? {
                Some(now) if now != place => {
                    place = now;
                    break;
                }
                // Nothing is enforced for now, or the same policy as before.
                _ => {}
            }
        }
    }
}

fn open(pin: &Path) -> Result<RingBuf<MapData>, EventsError> {
    Ok(RingBuf::try_from(Map::from_map_data(MapData::from_pin(pin)?)?)?)
}

/// Waits until a policy is enforced: before the first one, or until a failed start is repaired.
fn wait_for_policy() -> Result<PathBuf, PinsError> {
    loop {
        std::thread::sleep(LOOK);
        if let Some(place) = newest()? {
            return Ok(place);
        }
    }
}

/// The path of the pinned ring buffer of the enforced policy.
fn newest() -> Result<Option<PathBuf>, PinsError> {
    let Some(pins) = Pins::find()? else { return Ok(None) };
    Ok(pins.newest()?.map(|folder| folder.join("events")))
}

/// The time of boot, in nanoseconds since 1970-01-01 UTC.
fn booted_at() -> io::Result<u64> {
    let since_boot = syscall::since_boot()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_sub(since_boot))
}

/// Decodes a record of this release or of an earlier or later one.
///
/// # Errors
/// [`EventsError::OtherRelease`]: the record is too short.
fn decode(record: &[u8]) -> Result<Event, EventsError> {
    Event::of_any_release(record).ok_or(EventsError::OtherRelease)
}

/// The kind of denial, as a word and as a phrase.
fn kind(number: u16) -> (&'static str, &'static str) {
    match Kind::from_number(number) {
        Some(Kind::Request) => ("request", "refused"),
        Some(Kind::Audited) => ("audited", "allowed; an `audit` rule would refuse"),
        Some(Kind::Raw) => ("raw", "refused a raw or packet socket, or a TUN device"),
        Some(Kind::Packet) => ("packet", "dropped a packet"),
        Some(Kind::Unjudged) => ("unjudged", "refused a socket or a name that cannot be judged"),
        Some(Kind::Option) => ("option", "refused an option that puts another destination on the wire"),
        Some(Kind::NoLabel) => ("no_label", "refused a request that needs a label, and the task has none"),
        Some(Kind::Access) => ("access", "refused access to a process that is protected, or less restricted"),
        Some(Kind::Mapping) => ("mapping", "refused to map a file that is not pinned for the program"),
        Some(Kind::Answer) => ("answer", "refused an answer to the client"),
        Some(Kind::Locked) => ("locked", "refused to change a policy under lockdown"),
        None => ("unknown", "unknown"),
    }
}

/// Whether the tables denied it. For an allowed request the reason is not of interest, and is not that of the audited
/// rule.
fn is_judged(event: &Event) -> bool {
    let judged = [Kind::Request, Kind::Raw, Kind::Packet, Kind::Answer];
    Kind::from_number(event.kind).is_some_and(|kind| judged.contains(&kind))
}

/// Whether a grant of `clients` would have allowed it.
fn lacks_clients(event: &Event) -> bool {
    let reason = Reason::from_number(u8::try_from(event.reason).unwrap_or(u8::MAX));
    event.kind == Kind::Answer as u16 && matches!(reason, Reason::Confined | Reason::NotGranted)
}

/// The reason, as a word and as a phrase.
fn reason(number: u16) -> (&'static str, &'static str) {
    let sentence = match Reason::from_number(u8::try_from(number).unwrap_or(u8::MAX)) {
        Reason::Default => "no rule refuses",
        Reason::Granted => "a rule grants it",
        Reason::Denied => "a rule denies it",
        Reason::Exclusive => "only other programs may",
        Reason::Confined => "outside of what a program is confined to",
        Reason::NotGranted => "no rule grants it",
        Reason::Overflow => "too many restricted programs led to it",
        Reason::Fault => "a table could not be read",
    };
    (REASONS.get(usize::from(number)).map_or("fault", |(word, _)| word), sentence)
}

/// ICMP of both families, which has no ports.
const ICMP: &str = "icmp";

/// The destination of a request, if the event has one: its address, port and protocol.
fn destination(event: &Event) -> Option<(IpAddr, u16, String)> {
    let has_one = [Kind::Request, Kind::Audited, Kind::Packet, Kind::Answer];
    if !Kind::from_number(event.kind).is_some_and(|kind| has_one.contains(&kind)) {
        return None;
    }
    let v6 = Ipv6Addr::from_bits(u128::from(event.high) << 64 | u128::from(event.low));
    let address = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
    let protocol = match event.protocol {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        1 | 58 => ICMP.to_owned(),
        other => other.to_string(),
    };
    // An address has room for a port even if the protocol has none.
    let port = if protocol == ICMP { 0 } else { event.port };
    Some((address, port, protocol))
}

/// The thread's name, without characters that would break the line or control a terminal.
fn thread(event: &Event) -> String {
    let name = event.thread.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// As a line of text.
pub fn to_text(event: &Event, of: &Enforced, booted: u64) -> String {
    let mut line = Utc(booted.saturating_add(event.since_boot) / 1_000_000_000).to_string();
    // Writing to a string cannot fail.
    if event.process != 0 {
        let _ = write!(line, "  {} (process {}, user {})", thread(event), event.process, event.user);
    }
    let _ = write!(line, "  {}", kind(event.kind).1);
    if let Some((address, port, protocol)) = destination(event) {
        let _ = match address {
            IpAddr::V4(address) => write!(line, " {address}"),
            IpAddr::V6(address) => write!(line, " [{address}]"),
        };
        let _ = if protocol == ICMP { write!(line, "/{ICMP}") } else { write!(line, ":{port}/{protocol}") };
    }
    if is_judged(event) {
        let _ = write!(line, ": {}", reason(event.reason).1);
    }
    if event.rule != NO_RULE {
        let (rule, policy) = (u64::from(event.rule) + 1, shown(&of.policy));
        let _ = write!(line, " (rule {rule} of {policy}, revision {}", of.revision);
        match of.notes.of(event.rule).map(notes::to_text).filter(|text| !text.is_empty()) {
            Some(text) => line.extend([", ", &text, ")"]),
            None => line.push(')'),
        }
    }
    if lacks_clients(event) {
        line.push_str("; the connection was accepted: to let the program answer its clients, grant it `clients`");
    }
    if event.held != 0 {
        let _ = write!(line, "; {} like it were suppressed before", event.held);
    }
    line.push('\n');
    line
}

/// How many bytes of the manifest's digest are printed to identify the bundle.
const DIGEST_SHOWN: usize = 8;

/// As a line of JSON. `version` grows when a field changes its meaning or is removed.
pub fn to_json(event: &Event, of: &Enforced, booted: u64) -> String {
    let mut line = String::from("{\"version\":1,\"time\":");
    quote(&mut line, &Utc(booted.saturating_add(event.since_boot) / 1_000_000_000).to_string());
    let _ = write!(line, ",\"since_boot_ns\":{},\"kind\":\"{}\"", event.since_boot, kind(event.kind).0);
    if event.process != 0 {
        let _ = write!(line, ",\"process\":{},\"user\":{},\"thread\":", event.process, event.user);
        quote(&mut line, &thread(event));
    }
    let _ = write!(line, ",\"program_id\":\"{:016x}\"", event.program);
    let _ = write!(line, ",\"proven\":{}", event.label & Label::PROVEN != 0);
    if let Some((address, port, protocol)) = destination(event) {
        let _ = write!(line, ",\"address\":\"{address}\",\"port\":{port},\"protocol\":\"{protocol}\"");
    }
    if is_judged(event) {
        let _ = write!(line, ",\"reason\":\"{}\"", reason(event.reason).0);
    }
    if event.rule != NO_RULE {
        let _ = write!(line, ",\"rule\":{}", u64::from(event.rule) + 1);
        of.notes.of(event.rule).into_iter().for_each(|notes| notes::push_json(&mut line, notes));
    }
    if event.held != 0 {
        let _ = write!(line, ",\"held\":{}", event.held);
    }
    line.push_str(",\"policy\":");
    quote(&mut line, &of.policy);
    let digest = of.manifest_digest.first_chunk::<DIGEST_SHOWN>().map_or_else(String::new, |first| hex(first));
    let _ = write!(line, ",\"revision\":{},\"manifest\":\"{digest}\"", of.revision);
    line.push_str("}\n");
    line
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bfp_bundle::debug::DebugNotes;

    fn about() -> Enforced {
        let notes = Notes::default();
        Enforced { policy: "kms".to_owned(), revision: 12, manifest_digest: [0xab; 32], notes }
    }

    #[test]
    fn a_rule_is_shown_with_its_owner_and_its_ticket() {
        let text = |text: &str| Some(text.to_owned());
        let notes = DebugNotes {
            rule: 2,
            until: text("2027-01-31"),
            owner: text("pay\n\"ments\""),
            ticket: text("SEC-12\u{1b}"),
            reason: text("migration"),
        };
        let of = Enforced { notes: Notes::new([notes]), ..about() };
        let line = to_text(&event(), &of, 0);
        let shown = "(rule 3 of kms, revision 12, until 2027-01-31, owner \"pay\u{fffd}\"ments\"\", ticket \"SEC-12\u{fffd}\");";
        assert!(line.contains(shown), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let line = to_json(&event(), &of, 0);
        let shown = ",\"rule\":3,\"until\":\"2027-01-31\",\"owner\":\"pay\\u000a\\\"ments\\\"\",\"ticket\":\"SEC-12\\u001b\",\
                     \"because\":\"migration\",";
        assert!(line.contains(shown), "{line}");
        let other = Event { rule: 1, ..event() };
        assert!(to_text(&other, &of, 0).contains("(rule 2 of kms, revision 12);"));
        assert!(!to_json(&other, &of, 0).contains("owner"));
    }

    fn event() -> Event {
        Event {
            since_boot: 5_000_000_000,
            program: 7,
            low: 0xffff_0a00_0001,
            process: 42,
            user: 1000,
            rule: 2,
            label: Label::PROVEN,
            kind: Kind::Request as u16,
            reason: Reason::Exclusive as u16,
            port: 443,
            protocol: 6,
            thread: *b"cu\nrl\0\0\0\0\0\0\0\0\0\0\0",
            held: 4210,
            ..Event::default()
        }
    }

    #[test]
    fn records_are_read_as_the_kernel_writes_them() {
        let event = event();
        let mut record = Vec::new();
        for long in [event.since_boot, event.program, event.high, event.low] {
            record.extend(long.to_ne_bytes());
        }
        for word in [event.process, event.user, event.rule, event.label] {
            record.extend(word.to_ne_bytes());
        }
        for half in [event.kind, event.reason, event.port, event.protocol] {
            record.extend(half.to_ne_bytes());
        }
        record.extend(event.thread);
        assert_eq!(record.len(), Event::PREFIX);
        assert!(decode(record.split_last().unwrap().1).is_err());
        assert_eq!(decode(&record).unwrap(), Event { held: 0, ..event }, "of the release before");
        record.extend(event.held.to_ne_bytes());
        assert_eq!(record.len(), Event::SIZE);
        assert_eq!(decode(&record).unwrap(), event);
        record.extend([1; 8]);
        assert_eq!(decode(&record).unwrap(), event, "of a later release");
    }

    #[test]
    fn events_of_another_release_exit_with_4_and_nothing_enforced_with_1() {
        let failure = Failure::from(decode(&[1; Event::PREFIX - 1]).unwrap_err());
        assert!(matches!(failure.find(), Some(EventsError::OtherRelease)), "{failure}");
        assert_eq!(failure.exit() as u8, 4);
        assert_eq!(Failure::from(EventsError::NothingEnforced).exit() as u8, 1);
    }

    #[test]
    fn a_refusal_is_a_line() {
        assert_eq!(
            to_text(&event(), &about(), 0),
            "1970-01-01T00:00:05Z  cu?rl (process 42, user 1000)  refused 10.0.0.1:443/tcp: only other programs may (rule 3 of kms, revision 12); 4210 like it were suppressed before\n"
        );
        assert_eq!(
            to_json(&event(), &about(), 0),
            "{\"version\":1,\"time\":\"1970-01-01T00:00:05Z\",\"since_boot_ns\":5000000000,\"kind\":\"request\",\
             \"process\":42,\"user\":1000,\"thread\":\"cu?rl\",\"program_id\":\"0000000000000007\",\"proven\":true,\
             \"address\":\"10.0.0.1\",\"port\":443,\"protocol\":\"tcp\",\"reason\":\"exclusive\",\"rule\":3,\"held\":4210,\"policy\":\"kms\",\
             \"revision\":12,\"manifest\":\"abababababababab\"}\n"
        );
    }

    #[test]
    fn an_audited_request_has_no_reason_of_its_own() {
        let audited = Event { kind: Kind::Audited as u16, reason: Reason::Default as u16, held: 0, ..event() };
        let text = to_text(&audited, &about(), 0);
        assert!(text.ends_with("would refuse 10.0.0.1:443/tcp (rule 3 of kms, revision 12)\n"), "{text}");
        assert!(!to_json(&audited, &about(), 0).contains("reason"));
    }

    #[test]
    fn a_denied_answer_says_what_to_grant() {
        let answer = Event { kind: Kind::Answer as u16, reason: Reason::Confined as u16, held: 0, ..event() };
        assert_eq!(
            to_text(&answer, &about(), 0),
            "1970-01-01T00:00:05Z  cu?rl (process 42, user 1000)  refused an answer to the client 10.0.0.1:443/tcp: outside of what a program is confined to (rule 3 of kms, revision 12); the connection was accepted: to let the program answer its clients, grant it `clients`\n"
        );
        assert!(to_json(&answer, &about(), 0).contains("\"kind\":\"answer\""));
        let denied = Event { reason: Reason::Denied as u16, ..answer };
        assert!(to_text(&denied, &about(), 0).ends_with("a rule denies it (rule 3 of kms, revision 12)\n"));
    }

    #[test]
    fn a_packet_names_no_process_and_a_mapping_no_destination() {
        let packet = Event { process: 0, kind: Kind::Packet as u16, high: 0xfd00 << 48, low: 1, held: 0, ..event() };
        assert_eq!(
            to_text(&packet, &about(), 0),
            "1970-01-01T00:00:05Z  dropped a packet [fd00::1]:443/tcp: only other programs may (rule 3 of kms, revision 12)\n"
        );
        let mapping = Event { kind: Kind::Mapping as u16, rule: NO_RULE, held: 0, ..event() };
        assert!(to_text(&mapping, &about(), 0).ends_with("refused to map a file that is not pinned for the program\n"));
        assert!(!to_json(&mapping, &about(), 0).contains("address"));
    }

    #[test]
    fn icmp_has_no_port_whatever_the_call_named() {
        for (number, high, low, place) in
            [(1, 0, 0xffff_0a00_0001, "10.0.0.1/icmp"), (58, 0xfd00 << 48, 1, "[fd00::1]/icmp")]
        {
            let ping = Event { protocol: number, high, low, ..event() };
            assert!(
                to_text(&ping, &about(), 0).contains(&format!("refused {place}: ")),
                "{}",
                to_text(&ping, &about(), 0)
            );
            assert!(to_json(&ping, &about(), 0).contains("\"port\":0,\"protocol\":\"icmp\""));
        }
    }

    #[test]
    fn a_second_reader_is_not_alone_until_the_first_has_ended() {
        let first = Reader::begin();
        assert!(first.is_alone());
        assert!(!Reader::begin().is_alone());
        drop(first);
        assert!(Reader::begin().is_alone());
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|known| kind(*known as u16).0).collect();
        assert_eq!(words.len(), Kind::ALL.len());
        assert_eq!(kind(0).0, "unknown");
    }
}
