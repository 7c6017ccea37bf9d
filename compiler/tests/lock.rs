//! The text of a lock file: as a reviewer reads it, and as the compiler reads it back.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{
    Changes, Dnssec, Fetched, Lock, LockedName, ResolvedAt, Review, Seen, Stability, refresh,
};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

fn name(written: &str) -> DnsName {
    DnsName::parse(written).unwrap()
}

/// One name with everything, one with as little as there can be.
fn lock() -> Lock {
    let addresses = |written: &[&str]| written.iter().map(|address| address.parse().unwrap()).collect();
    let resolved_at = ResolvedAt::new(datetime!(2026-07-14 09:30 UTC));
    let earlier = ResolvedAt::new(datetime!(2026-05-01 12:00 UTC));
    let later = ResolvedAt::new(datetime!(2026-07-10 12:00 UTC));
    Lock {
        names: BTreeMap::from([
            (
                name("kms.internal"),
                LockedName {
                    addresses: addresses(&["fd00::3", "10.1.2.30", "10.1.2.4"]),
                    cname: vec![name("kms.eu.internal"), name("node-7.internal")],
                    ttl_seconds: 300,
                    stability: Stability::Rotating,
                    dnssec: Dnssec::Secure,
                    ipv4_only: None,
                    resolvers: vec!["10.0.0.53".to_owned(), "[fd00::53]:5353".to_owned()],
                    resolved_at,
                    seen: BTreeMap::from([
                        ("10.1.2.4".parse().unwrap(), Seen { first: earlier, last: resolved_at }),
                        ("fd00::3".parse().unwrap(), Seen { first: earlier, last: later }),
                    ]),
                },
            ),
            (
                name("git.corp.example"),
                LockedName {
                    addresses: addresses(&["192.0.2.7"]),
                    cname: Vec::new(),
                    ttl_seconds: 0,
                    stability: Stability::Stable,
                    dnssec: Dnssec::Unproven,
                    ipv4_only: None,
                    resolvers: vec!["10.0.0.53".to_owned()],
                    resolved_at,
                    seen: BTreeMap::new(),
                },
            ),
        ]),
        files: BTreeMap::from([("lists/office.txt".to_owned(), [0xab; 32])]),
        fetched: BTreeMap::new(),
    }
}

#[test]
fn lock_text_is_made_for_review() {
    insta::assert_snapshot!(lock().to_text(), @r#"
    # What this policy is compiled with. Review changes; `bfpc lock` makes them.
    version = 2

    [[name]]
    name = "git.corp.example"
    addresses = ["192.0.2.7"]
    ttl_seconds = 0
    stability = "stable"
    resolvers = ["10.0.0.53"]
    resolved_at = "2026-07-14T09:30:00Z"

    [[name]]
    name = "kms.internal"
    addresses = [
        "10.1.2.4",
        "10.1.2.30",
        "fd00::3",
    ]
    cname = [
        "kms.eu.internal",
        "node-7.internal",
    ]
    ttl_seconds = 300
    stability = "rotating"
    dnssec = "secure"
    resolvers = [
        "10.0.0.53",
        "[fd00::53]:5353",
    ]
    resolved_at = "2026-07-14T09:30:00Z"
    seen = [
        { address = "10.1.2.4", first_seen = "2026-05-01T12:00:00Z" },
        { address = "fd00::3", first_seen = "2026-05-01T12:00:00Z", last_seen = "2026-07-10T12:00:00Z" },
    ]

    [[file]]
    path = "lists/office.txt"
    sha256 = "abababababababababababababababababababababababababababababababab"
    "#);
}

#[test]
fn another_order_is_read_and_sorted_when_written() {
    let text = lock().to_text();
    let (head, tables) = text.split_once("\n[[name]]\n").unwrap();
    let (first, second) = tables.split_once("\n[[name]]\n").unwrap();
    let swapped = format!("{head}\n[[name]]\n{second}\n[[name]]\n{first}")
        .replace("    \"10.1.2.4\",\n    \"10.1.2.30\",\n", "    \"10.1.2.30\",\n    \"10.1.2.4\",\n");
    assert_ne!(swapped, text);
    assert_eq!(Lock::parse(&swapped).unwrap().to_text(), text);
}

#[test]
fn address_that_stays_keeps_when_it_was_first_seen() {
    let before = lock().names.remove(&name("kms.internal")).unwrap();
    let now = ResolvedAt::new(datetime!(2026-08-01 00:00 UTC));
    let addresses = ["10.1.2.4", "10.1.2.30", "10.1.2.31"].map(|address| address.parse().unwrap());
    let live =
        LockedName { addresses: BTreeSet::from(addresses), resolved_at: now, seen: BTreeMap::new(), ..before.clone() };
    let after = live.clone().after(&before);
    let first = |address: &str| after.seen(address.parse().unwrap()).first.to_string();
    assert_eq!(first("10.1.2.4"), "2026-05-01T12:00:00Z");
    assert_eq!(first("10.1.2.30"), "2026-07-14T09:30:00Z", "there when the entry was made, which does not say more");
    assert_eq!(first("10.1.2.31"), now.to_string());
    assert!(after.addresses.iter().all(|address| after.seen(*address).last == now));
    assert_eq!(after.seen.len(), 2, "what is as old as the entry has no record");

    // A clock that went back makes no record that could not be read.
    let past = ResolvedAt::new(datetime!(2020-01-01 00:00 UTC));
    let after = LockedName { resolved_at: past, ..live }.after(&before);
    let lock = Lock { names: BTreeMap::from([(name("kms.internal"), after)]), ..Lock::default() };
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
}

#[test]
fn record_that_says_nothing_is_not_written_again() {
    let text = lock().to_text().replacen("address = \"10.1.2.4\", first_seen", "address = \"10.1.2.4\", last_seen", 1);
    let text = text.replacen("last_seen = \"2026-05-01T12:00:00Z\"", "last_seen = \"2026-07-14T09:30:00Z\"", 1);
    let read = Lock::parse(&text).unwrap();
    assert_eq!(read.names.get(&name("kms.internal")).unwrap().seen.len(), 1);
    assert!(!read.to_text().contains("{ address = \"10.1.2.4\""));
}

#[test]
fn lock_without_names_is_a_lock() {
    let text = Lock::default().to_text();
    assert_eq!(Lock::parse(&text).unwrap(), Lock::default());
}

/// The codes of the faults in `text`, in order.
fn faults(text: &str) -> Vec<String> {
    let error = Lock::parse(text).unwrap_err();
    error.faults.iter().map(|fault| fault.code().unwrap().to_string()).collect()
}

#[test]
fn every_fault_has_its_code() {
    let text = lock().to_text();
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    for (text, code) in [
        (String::new(), "lock::no_version"),
        ("version = ".to_owned(), "lock::syntax"),
        (with("version = 2", "<<<<<<< HEAD\nversion = 2"), "lock::syntax"),
        (with("ttl_seconds = 0", "ttl_seconds = 0\nttl_seconds = 1"), "lock::syntax"),
        (with("version = 2", "version = 3\nfrom_the_future = true"), "lock::unknown_version"),
        (with("version = 2", "version = \"2\""), "lock::shape"),
        (with("version = 2", "version = 1"), "lock::old_version"),
        (with("stability = \"stable\"\n", ""), "lock::shape"),
        (with("\"stable\"", "\"Stable\""), "lock::unknown_word"),
        (with("\"stable\"", "true"), "lock::shape"),
        (with("\"secure\"", "\"insecure\""), "lock::unknown_word"),
        (with("version = 2", "version = 2\nextra = 1"), "lock::shape"),
        (with("ttl_seconds = 0", "ttl_seconds = 0\nverified = true"), "lock::shape"),
        (with("ttl_seconds = 0", "ttl = 0"), "lock::shape"),
        (with("ttl_seconds = 0", "ttl_seconds = -1"), "lock::shape"),
        (with("ttl_seconds = 0", "ttl_seconds = 4294967296"), "lock::shape"),
        (with("addresses = [\"192.0.2.7\"]\n", ""), "lock::shape"),
        (with("[\"192.0.2.7\"]", "\"192.0.2.7\""), "lock::shape"),
        (with("[\"192.0.2.7\"]", "[]"), "lock::no_addresses"),
        (with("[\"192.0.2.7\"]", "[\"192.0.2.0/24\"]"), "lock::invalid_address"),
        (with("[\"192.0.2.7\"]", "[\"192.0.2.07\"]"), "lock::invalid_address"),
        (with("\"fd00::3\"", "\"fd00::3%eth0\""), "lock::invalid_address"),
        (with("[\"192.0.2.7\"]", "[\"fd00::7\", \"fd00::7\"]"), "lock::duplicate_address"),
        (with("[\"192.0.2.7\"]", "[\"fd00:0::7\"]"), "lock::address_not_canonical"),
        (with("[\"192.0.2.7\"]", "[\"FD00::7\"]"), "lock::address_not_canonical"),
        (with("\"git.corp.example\"", "\"*.corp.example\""), "lock::invalid_name"),
        (with("\"git.corp.example\"", "\"192.0.2.7\""), "lock::invalid_name"),
        (with("\"git.corp.example\"", "\"Git.corp.example\""), "lock::name_not_canonical"),
        (with("\"git.corp.example\"", "\"kms.internal\""), "lock::duplicate_name"),
        (with("\"kms.eu.internal\"", "\"kms..internal\""), "lock::invalid_cname"),
        (with("09:30:00Z", "09:30:00+02:00"), "lock::invalid_time"),
        (with("2026-07-14", "2026-02-30"), "lock::invalid_time"),
        (with("2026-05-01T12", "2026-05-01 12"), "lock::invalid_time"),
        (with("last_seen = \"2026-07-10T12:00:00Z\"", "last_seen = \"2026\""), "lock::invalid_time"),
        (with("last_seen", "seen_last"), "lock::shape"),
        (with("address = \"fd00::3\", ", ""), "lock::shape"),
        (with("address = \"fd00::3\"", "address = \"fd00::4\""), "lock::invalid_seen"),
        (with("address = \"fd00::3\"", "address = \"fd00:0::3\""), "lock::invalid_seen"),
        (with("address = \"fd00::3\"", "address = \"10.1.2.4\""), "lock::invalid_seen"),
        (with("2026-07-10", "2026-07-15"), "lock::invalid_seen"),
        (with("2026-07-10", "2026-04-30"), "lock::invalid_seen"),
    ] {
        assert_eq!(faults(&text), [code], "{text}");
    }
}

#[test]
fn all_faults_are_reported_each_at_its_place() {
    let text = lock()
        .to_text()
        .replace("\"git.corp.example\"", "\"kms.internal\"")
        .replace("\"192.0.2.7\"", "\"192.0.2.7\", \"192.0.2.256\"")
        .replace("\"kms.eu.internal\"", "\"kms eu.internal\"")
        .replace("09:30:00Z", "9:30Z");
    let error = Lock::parse(&text).unwrap_err();
    let report = miette::Report::from(error).with_source_code(miette::NamedSource::new("policy.bfp.lock", text));
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .render_report(&mut shown, report.as_ref())
        .unwrap();
    insta::assert_snapshot!(shown);
}

fn answer(addresses: &[&str], day: i64) -> LockedName {
    LockedName {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        cname: Vec::new(),
        ttl_seconds: 60,
        stability: Stability::Stable,
        dnssec: Dnssec::Unproven,
        ipv4_only: None,
        resolvers: Vec::new(),
        resolved_at: at(day),
        seen: BTreeMap::new(),
    }
}

fn at(day: i64) -> ResolvedAt {
    ResolvedAt::new(datetime!(2026-01-01 00:00 UTC) + time::Duration::days(day))
}

const WEEK: Duration = Duration::from_hours(7 * 24);

#[test]
fn refreshed_address_stays_for_as_long_as_is_allowed() {
    let mut entry = answer(&["192.0.2.1", "192.0.2.2"], 0);
    for day in 1..=7 {
        let refreshed = refresh(&entry, answer(&["192.0.2.2"], day), Changes::Allowed, WEEK);
        assert_eq!(refreshed.entry.addresses.len(), 2, "day {day}");
        assert!(refreshed.removed.is_empty() && refreshed.reviews.is_empty());
        entry = refreshed.entry;
        assert_eq!(entry.seen("192.0.2.1".parse().unwrap()), Seen::once(at(0)));
        assert_eq!(entry.seen("192.0.2.2".parse().unwrap()), Seen { first: at(0), last: at(day) });
    }
    let refreshed = refresh(&entry, answer(&["192.0.2.2"], 8), Changes::Allowed, WEEK);
    assert_eq!(refreshed.removed, BTreeSet::from(["192.0.2.1".parse().unwrap()]));
    assert_eq!(refreshed.entry.addresses.len(), 1);
    // An address that comes back begins anew.
    let back = refresh(&refreshed.entry, answer(&["192.0.2.1"], 9), Changes::Allowed, WEEK).entry;
    assert_eq!(back.seen("192.0.2.1".parse().unwrap()), Seen::once(at(9)));
}

#[test]
fn frozen_name_is_reviewed_for_what_comes_and_what_goes_and_not_for_what_was_gone() {
    let entry = refresh(&answer(&["192.0.2.1"], 0), answer(&["192.0.2.2"], 1), Changes::Allowed, WEEK).entry;
    let reviews = |live: &[&str]| refresh(&entry, answer(live, 90), Changes::Frozen, WEEK).reviews;
    let one = |address: &str| BTreeSet::from([address.parse().unwrap()]);
    assert_eq!(reviews(&["192.0.2.2"]), []);
    assert_eq!(reviews(&["192.0.2.1", "192.0.2.2"]), []);
    assert_eq!(reviews(&["192.0.2.1"]), [Review::Gone(one("192.0.2.2"))]);
    assert_eq!(reviews(&["192.0.2.2", "192.0.2.3"]), [Review::Added(one("192.0.2.3"))]);
    let kept = refresh(&entry, answer(&["192.0.2.2"], 90), Changes::Frozen, WEEK);
    assert_eq!(kept.entry.addresses, entry.addresses, "nothing of a frozen name is removed");

    let rotating = LockedName { stability: Stability::Rotating, ..answer(&["192.0.2.2"], 2) };
    let refreshed = |changes| refresh(&entry, rotating.clone(), changes, WEEK);
    assert_eq!(refreshed(Changes::Frozen).reviews, [Review::Rotates]);
    assert_eq!(refreshed(Changes::Allowed).reviews, []);
    assert_eq!(refreshed(Changes::Allowed).entry.stability, Stability::Rotating);

    let proven = LockedName { dnssec: Dnssec::Secure, ..answer(&["192.0.2.2"], 0) };
    let unproven = refresh(&proven, answer(&["192.0.2.2"], 1), Changes::Allowed, WEEK);
    assert_eq!(unproven.reviews, [Review::Unproven]);
}

fn any_name() -> impl Strategy<Value = DnsName> {
    "[a-z_][a-z0-9_]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}".prop_map(|written| name(&written))
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        // A mapped address is the IPv4 address in it, and in no lock.
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()),
    ]
}

prop_compose! {
    fn any_locked()(
        addresses in btree_set(any_address(), 1..6),
        cname in vec(any_name(), 0..4),
        ttl_seconds in any::<u32>(),
        // Whatever the string: quotes, controls, line ends.
        resolvers in vec("\\PC{0,12}|[\u{0}-\u{ff}]{0,12}", 0..3),
        stability in prop_oneof![Just(Stability::Stable), Just(Stability::Rotating)],
        dnssec in prop_oneof![Just(Dnssec::Secure), Just(Dnssec::Unproven)],
        ipv4_only in prop::option::of("[a-z \"\\\\é]{1,20}[a-z]"),
        seconds in 0..253_402_300_799_i64,
        ages in vec((0..100_i64, 0..100_i64), 0..6),
    ) -> LockedName {
        let resolved_at = ResolvedAt::new(OffsetDateTime::from_unix_timestamp(seconds).unwrap());
        // Such a name has no address of IPv6.
        let keeps = |address: &IpAddr| ipv4_only.is_none() || address.is_ipv4();
        let one = ipv4_only.as_ref().map(|_| IpAddr::from([192, 0, 2, 1]));
        let addresses: BTreeSet<IpAddr> = addresses.into_iter().filter(keeps).chain(one).collect();
        let before = |age: i64| {
            ResolvedAt::new(OffsetDateTime::from_unix_timestamp(seconds.saturating_sub(age).max(0)).unwrap())
        };
        let records = addresses.iter().zip(ages);
        let records = records.map(|(address, (a, b))| (*address, Seen { first: before(a + b), last: before(a) }));
        // What is the same as no record is none.
        let seen = records.filter(|(_, seen)| *seen != Seen::once(resolved_at)).collect();
        LockedName { addresses, cname, ttl_seconds, stability, dnssec, ipv4_only, resolvers, resolved_at, seen }
    }
}

prop_compose! {
    fn any_fetched()(
        url in "\\PC{0,12}|[\u{0}-\u{ff}]{0,12}", bytes in 0..=i64::MAX as u64, seconds in 0..253_402_300_799_i64,
    ) -> Fetched {
        Fetched { url, bytes, at: ResolvedAt::new(OffsetDateTime::from_unix_timestamp(seconds).unwrap()) }
    }
}

proptest! {
    #[test]
    fn parse_inverts_to_text(
        names in btree_map(any_name(), any_locked(), 0..5),
        files in btree_map("\\PC{0,12}", (any::<[u8; 32]>(), prop::option::of(any_fetched())), 0..3),
    ) {
        let fetched = files.iter().filter_map(|(path, (_, fetched))| Some((path.clone(), fetched.clone()?))).collect();
        let files = files.into_iter().map(|(path, (digest, _))| (path, digest)).collect();
        let lock = Lock { names, files, fetched };
        let text = lock.to_text();
        let read = Lock::parse(&text).unwrap();
        prop_assert_eq!(&read, &lock);
        prop_assert_eq!(read.to_text(), text);
    }

    #[test]
    fn refreshed_entry_is_read_as_it_was_written_and_holds_every_answer(
        name in any_name(), before in any_locked(), live in any_locked(), days in 0..3_u64, allowed in any::<bool>(),
    ) {
        prop_assume!(live.resolved_at > ResolvedAt::new(OffsetDateTime::UNIX_EPOCH));
        let live = LockedName { ipv4_only: None, seen: BTreeMap::new(), ..live };
        let before = LockedName { ipv4_only: None, ..before };
        let changes = if allowed { Changes::Allowed } else { Changes::Frozen };
        let refreshed = refresh(&before, live.clone(), changes, Duration::from_hours(24 * days));
        prop_assert!(refreshed.entry.addresses.is_superset(&live.addresses));
        prop_assert_eq!(&refreshed.entry.current(), &live.addresses);
        prop_assert!(allowed || refreshed.entry.addresses.is_superset(&before.addresses));
        let lock = Lock { names: BTreeMap::from([(name, refreshed.entry)]), ..Lock::default() };
        prop_assert_eq!(&Lock::parse(&lock.to_text()).unwrap(), &lock);
    }

    #[test]
    fn damaged_lock_is_never_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = lock().to_text().into_bytes();
        let at = at.index(bytes.len());
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = Lock::parse(&text);
        }
    }
}
