//! Resolution against a real authoritative server (hickory-server, in this process, on loopback).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

mod name_server;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bfp_compiler::names::dns::{DnsError, Resolvers, resolve};
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{Lock, LockedName, Stability};
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_server::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use time::macros::datetime;

/// Serves the zone `corp.test` until the process ends; `extra` is one more address of `shared`.
fn serve(extra: Option<Ipv4Addr>) -> SocketAddr {
    let mut catalog = Catalog::new();
    let origin = Name::from_str("corp.test.").unwrap();
    catalog.upsert(origin.into(), vec![Arc::new(zone(extra))]);
    name_server::serve(catalog)
}

fn zone(extra: Option<Ipv4Addr>) -> InMemoryZoneHandler<TokioRuntimeProvider> {
    let origin = Name::from_str("corp.test.").unwrap();
    let mut zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
    let mut add = |name: &str, data: RData| {
        let name = Name::from_str(name).unwrap().append_domain(&origin).unwrap();
        assert!(zone.upsert_mut(Record::from_rdata(name, 300, data), 1));
    };
    let own = |name: &str| Name::from_str(name).unwrap();
    add("", RData::SOA(SOA::new(own("ns.corp.test."), own("host.corp.test."), 1, 60, 60, 600, 60)));
    add("v4", RData::A(A::new(192, 0, 2, 1)));
    add("v6", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
    add("both", RData::A(A::new(192, 0, 2, 2)));
    add("both", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)));
    add("alias", RData::CNAME(CNAME(own("middle.corp.test."))));
    add("middle", RData::CNAME(CNAME(own("both.corp.test."))));
    add("text", RData::TXT(TXT::new(vec!["no address".to_owned()])));
    add("shared", RData::A(A::new(192, 0, 2, 9)));
    if let Some(extra) = extra {
        add("shared", RData::A(A(extra)));
    }
    for last in 1..=200 {
        add("many", RData::A(A::new(198, 51, 100, last)));
    }
    zone
}

fn ask(servers: &[SocketAddr], name: &str) -> Result<LockedName, DnsError> {
    ask_with(servers, name, |resolvers| resolvers)
}

fn ask_with(servers: &[SocketAddr], name: &str, options: fn(Resolvers) -> Resolvers) -> Result<LockedName, DnsError> {
    let written: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let resolvers = options(Resolvers::parse(&written).unwrap());
    let names = BTreeSet::from([DnsName::parse(name).unwrap()]);
    resolve(&names, &resolvers, datetime!(2026-11-24 00:00 UTC)).into_values().next().unwrap()
}

fn addresses(answer: &LockedName) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn both_families_are_asked_for() {
    let server = serve(None);
    assert_eq!(addresses(&ask(&[server], "v4.corp.test").unwrap()), ["192.0.2.1"]);
    assert_eq!(addresses(&ask(&[server], "v6.corp.test").unwrap()), ["2001:db8::1"]);
    assert_eq!(addresses(&ask(&[server], "both.corp.test").unwrap()), ["192.0.2.2", "2001:db8::2"]);
}

#[test]
fn the_chain_of_aliases_is_recorded_in_order() {
    let answer = ask(&[serve(None)], "alias.corp.test").unwrap();
    let chain: Vec<&str> = answer.cname.iter().map(DnsName::as_str).collect();
    assert_eq!(chain, ["middle.corp.test", "both.corp.test"]);
    assert_eq!(addresses(&answer), ["192.0.2.2", "2001:db8::2"]);
}

#[test]
fn an_answer_too_long_for_udp_is_fetched_whole() {
    assert_eq!(ask(&[serve(None)], "many.corp.test").unwrap().addresses.len(), 200);
}

#[test]
fn what_has_no_address_is_an_error_of_its_own() {
    let server = serve(None);
    assert!(matches!(ask(&[server], "nowhere.corp.test"), Err(DnsError::NoSuchName { .. })));
    assert!(matches!(ask(&[server], "text.corp.test"), Err(DnsError::NoAddress { .. })));
    assert!(matches!(ask(&[server], "kms.other.test"), Err(DnsError::Refused { .. })));
}

#[test]
fn silence_is_an_error_and_bounded() {
    // Bound, and never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let short = |resolvers: Resolvers| resolvers.with_timeout(Duration::from_millis(300));
    let answer = ask_with(&[silent.local_addr().unwrap()], "v4.corp.test", short);
    assert!(matches!(answer, Err(DnsError::NoAnswer { .. })), "{answer:?}");
}

#[test]
fn resolvers_that_disagree_make_a_rotating_name_or_with_a_quorum_an_error_that_says_who_said_what() {
    let servers = [serve(None), serve(Some(Ipv4Addr::new(203, 0, 113, 66)))];
    let agreed = ask(&servers, "v4.corp.test").unwrap();
    assert_eq!((agreed.resolvers.len(), agreed.stability), (2, Stability::Stable));
    let shared = ask(&servers, "shared.corp.test").unwrap();
    assert_eq!(addresses(&shared), ["192.0.2.9", "203.0.113.66"]);
    assert_eq!(shared.stability, Stability::Rotating);
    match ask_with(&servers, "shared.corp.test", |resolvers| resolvers.with_quorum(2).unwrap()) {
        Err(DnsError::NoQuorum { quorum: 2, answers }) => assert!(answers.contains("203.0.113.66"), "{answers}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn quorum_is_no_larger_than_the_number_of_resolvers() {
    for quorum in [0, 2] {
        let resolvers = Resolvers::parse(&["192.0.2.53".to_owned()]).unwrap();
        assert!(resolvers.with_quorum(quorum).is_err(), "{quorum}");
    }
}

#[test]
fn answers_survive_the_lock_file() {
    let server = serve(None);
    let mut lock = Lock::default();
    for name in ["alias.corp.test", "many.corp.test", "v6.corp.test"] {
        lock.names.insert(DnsName::parse(name).unwrap(), ask(&[server], name).unwrap());
    }
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
}
