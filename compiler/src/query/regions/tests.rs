//! Regions against brute force: on random policies, every request at or beside an edge is in exactly one region, and
//! has the verdict of its sample.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::path::Path;

use bfp_bundle::debug::Debug;
use bfp_bundle::label::Label;
use proptest::prelude::*;

use super::*;
use crate::annotate;
use crate::check::CheckedPolicy;
use crate::names::lock::Lock;
use crate::pipeline;
use crate::query::queryable::{Queryable, Who};
use crate::resolve::Source;
use crate::resolve::resolve;
use crate::source::Disk;
use crate::source::load::load_text;

pub(crate) const PATHS: [&str; 3] = ["/opt/a", "/opt/b", "/opt/c"];

/// Compiles a policy without rejecting contradictions, which have verdicts too.
pub(crate) fn compiled(text: &str) -> (CheckedPolicy, Queryable) {
    let loaded = load_text("p.bfp", "p.bfp", text, Path::new("."), &Disk)
        .unwrap_or_else(|failure| unreachable!("{failure:?}: {text}"));
    let lock = Lock::default();
    let policy = resolve(&loaded, "p", &lock).unwrap_or_else(|errors| unreachable!("{errors:?}: {text}"));
    let checked = CheckedPolicy { policy, warnings: Vec::new() };
    let image = pipeline::lower(&checked).unwrap_or_else(|errors| unreachable!("{errors:?}: {text}"));
    let source = Source { loaded: &loaded, stem: "p", lock_text: "", lock: &lock };
    let debug = annotate::debug(&source, &checked, &image);
    (checked, Queryable { name: "p".to_owned(), image, debug })
}

fn destination() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        Just("10.0.0.0/30"),
        Just("10.0.0.2"),
        Just("10.0.0.0/8"),
        Just("0.0.0.0/0"),
        Just("127.0.0.1"),
        Just("[::1]"),
        Just("[::/0]"),
        Just("[fd00::/16]"),
        Just("[64:ff9b::10.0.0.2]"),
        Just("[64:ff9b::/96]"),
    ];
    let ports = prop_oneof![
        Just(""),
        Just(":443"),
        Just(":443/tcp"),
        Just(":{53, 400-500}/udp"),
        Just(":*/tcp"),
        Just(":0"),
        Just("/icmp")
    ];
    let one = (host, ports).prop_map(|(host, ports)| format!("{host}{ports}"));
    let one = prop_oneof![8 => one, 1 => Just("raw".to_owned()), 1 => Just("loopback".to_owned())];
    prop_oneof![
        4 => one.clone(),
        2 => prop::collection::vec(one.clone(), 1..4).prop_map(|all| format!("{{ {} }}", all.join(", "))),
        1 => one.prop_map(|one| format!("* except {one}")),
        1 => Just("*".to_owned()),
    ]
}

fn program() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0usize..3).prop_map(|at| format!("\"{}\"", PATHS.get(at).unwrap())),
        1 => Just("{ \"/opt/a\", \"/opt/b\" }".to_owned()),
        1 => Just("*".to_owned()),
    ]
}

/// A random policy, as text.
pub(crate) fn policy() -> impl Strategy<Value = String> {
    let rule = (program(), destination(), 0usize..8).prop_map(|(who, to, effect)| match effect {
        0 if who != "*" => format!("only {who} -> {to}"),
        1 => format!("{who} -> only {to}"),
        2 => format!("allow {who} -> {to}"),
        3 => format!("audit deny {who} -> {to}"),
        4 if who != "*" => format!("only {who} -> only {to}"),
        6 if who != "*" => format!("deny * except {who} -> {to}"),
        7 if who != "*" => format!("allow * except {who} -> {to}"),
        _ => format!("deny {who} -> {to}"),
    });
    let heirs = any::<bool>().prop_map(|heirs| {
        if heirs { "program heir = \"/opt/c\" with children\nallow heir -> 10.0.0.2:443\n" } else { "" }
    });
    (prop::collection::vec(rule, 1..5), any::<bool>(), heirs).prop_map(|(rules, deny, heirs)| {
        // A program with children is named by its declaration.
        let c = if heirs.is_empty() { "\"/opt/c\"" } else { "heir" };
        let rules = rules.join("\n").replace("\"/opt/c\"", c);
        format!("{heirs}{rules}\ndefault {}\n", if deny { "deny" } else { "allow" })
    })
}

/// Every request at an edge of what [`policy`] writes, and beside it, unless it is judged as another one.
pub(crate) fn requests() -> Vec<Asked> {
    let v4 = [1, 0x09ff_ffff, 0x0a00_0000, 0x0a00_0001, 0x0a00_0002, 0x0a00_0003, 0x0a00_0004, 0x0aff_ffff];
    let v4 = v4.into_iter().chain([0x0b00_0000, 0x7f00_0000, 0x7f00_0001, 0x7f00_0002, 0x8000_0000, u32::MAX]);
    let fd00 = 0xfd00 << 112;
    let v6 = [1, 2, MAPPED.1 + 1, fd00 - 1, fd00, fd00 + 1, (0xfd01 << 112) - 1, 0xfd01 << 112, u128::MAX];
    let nat64 = [0, 1, 0x0a00_0001, 0x0a00_0002, 0x0a00_0003, 0x0a00_0004, 0x7f00_0001, 0xffff_ffff];
    let nat64 = nat64.map(|bits| NAT64.0 + bits).into_iter().chain([NAT64.0 - 1, NAT64.1 + 1]);
    let addresses: Vec<Address> = v4.map(Address::V4).chain(v6.into_iter().chain(nat64).map(Address::v6)).collect();
    let mut requests = vec![Asked::Raw];
    for address in addresses {
        for protocol in Protocol::ALL {
            let ports = [0, 1, 53, 400, 443, 444, u16::MAX];
            requests.extend(ports.map(|port| Asked::Request(Request { address, port, protocol })));
        }
    }
    requests
}

/// Whether a request is in one of these destinations.
pub(crate) fn is_in(asked: Asked, destinations: &[Destination]) -> bool {
    destinations.iter().any(|to| match (to.addresses, asked) {
        (Addresses::Raw, Asked::Raw) => true,
        (Addresses::Raw, _) | (_, Asked::Raw) => false,
        (_, Asked::Request(request)) => {
            let address = match (to.addresses, request.address) {
                (Addresses::V4(first, last), Address::V4(bits)) => (first..=last).contains(&bits),
                (Addresses::V6(first, last), Address::V6 { high, low }) => {
                    (first..=last).contains(&(u128::from(high) << 64 | u128::from(low)))
                }
                _ => false,
            };
            let port = |range: &PortRange| {
                range.protocol == request.protocol && (range.first..=range.last).contains(&request.port)
            };
            address && to.ports.iter().any(port)
        }
    })
}

/// All processes that the tests use.
pub(crate) fn whos() -> Vec<Who> {
    let paths = PATHS.iter().map(|path| Who::Program((*path).to_owned()));
    let started = PATHS.iter().map(|path| Who::StartedBy((*path).to_owned()));
    paths.chain([Who::Unlisted]).chain(started).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_request_lies_in_one_region_and_is_judged_as_its_sample(one in policy(), other in policy()) {
        let (one, other) = (compiled(&one).1, compiled(&other).1);
        let plane = Plane::of(&[&one.image, &other.image]);
        let regions: Vec<(Region, Vec<Destination>)> =
            plane.regions().into_iter().map(|region| (region.clone(), vec![region.destination()])).collect();
        for asked in requests() {
            let found: Vec<&Region> =
                regions.iter().filter(|(_, all)| is_in(asked, all)).map(|(region, _)| region).collect();
            let [region] = found.as_slice() else { unreachable!("{asked:?} lies in {found:?}") };
            for compiled in [&one, &other] {
                for who in whos() {
                    let label = who.label(&compiled.image);
                    let sample = judge(&compiled.image, &label, region.sample());
                    prop_assert_eq!(judge(&compiled.image, &label, asked), sample, "{:?} {:?}", who, asked);
                }
                prop_assert_eq!(cells(&compiled.image, asked), cells(&compiled.image, region.sample()));
            }
        }
    }

    #[test]
    fn rules_of_a_cell_are_those_that_cover_the_request(text in policy()) {
        let (checked, compiled) = compiled(&text);
        for asked in requests() {
            let cell = cells(&compiled.image, asked).first().copied().unwrap();
            let told: Vec<u32> = compiled.debug.cells.get(cell as usize).unwrap().clone();
            let rules = checked.policy().rules.iter().enumerate();
            let covering: Vec<u32> =
                rules.filter(|(_, rule)| crate::policy::model::covers(rule, asked)).map(|(number, _)| number as u32).collect();
            prop_assert_eq!(told, covering, "{:?}", asked);
        }
    }

    #[test]
    fn regions_within_destinations_are_the_regions_cut_to_them(text in policy(), to in destination()) {
        let (_, compiled) = compiled(&text);
        let plane = Plane::of(&[&compiled.image]);
        let asked = crate::query::question::destinations(&to, crate::query::question::Vocabulary::Debug(&Debug::default())).unwrap();
        let within: Vec<Destination> = plane.within(&asked).iter().map(Region::destination).collect();
        for request in requests() {
            let behind = match request {
                Asked::Request(request) => request.address.behind_nat64(),
                Asked::Raw => None,
            };
            if behind.is_none() {
                prop_assert_eq!(is_in(request, &within), is_in(request, &asked), "{:?}", request);
            }
        }
    }
}

#[test]
fn unspecified_address_is_asked_about_as_loopback() {
    let (_, compiled) = compiled("deny * -> loopback\n");
    let plane = Plane::of(&[&compiled.image]);
    let zero = |addresses| Destination { addresses, ports: PortRange::all() };
    for addresses in [Addresses::V4(0, 0), Addresses::V6(0, 0)] {
        let regions = plane.within(&[zero(addresses)]);
        assert!(!regions.is_empty());
        let allowed = |region: &Region| judge(&compiled.image, &Label::UNLISTED, region.sample()).is_allowed();
        assert!(!regions.iter().any(allowed), "{regions:?}");
    }
}

#[test]
fn stretches_that_are_alike_are_one_kind() {
    let (_, compiled) = compiled("deny * -> { 10.0.0.1:443, 10.0.0.9:443, 192.0.2.0/24:443 }\n");
    let regions = Plane::of(&[&compiled.image]).regions();
    let kinds: BTreeSet<(usize, usize)> = regions.iter().map(|region| region.kind).collect();
    assert!(kinds.len() * 2 < regions.len(), "{} kinds of {} regions", kinds.len(), regions.len());
}
