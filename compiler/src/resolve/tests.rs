//! Policies as text → what they resolve to, or their rendered errors.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod clients;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use bfp_bundle::request::Protocol;
use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, Report};
use proptest::prelude::*;

use super::{ResolveError, coverage, dns_names, ranges, resolve};
use crate::names::dns_name::DnsName;
use crate::names::lock::{Dnssec, Lock, LockedName, ResolvedAt, Stability};
use crate::policy::{Addresses, Default, Destination, PortRange, ProgramIndex, ResolvedPolicy, Subjects};
use crate::source::load::{Loaded, load_text};
use crate::source::{Disk, Read, SourceError};

fn lock() -> Lock {
    let mut lock = Lock::default();
    for (name, addresses) in [
        ("kms.internal", &["203.0.113.7", "2001:db8::7"][..]),
        ("mapped.example", &["::ffff:203.0.113.8"]),
        ("empty.example", &[]),
    ] {
        let locked = LockedName {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            cname: Vec::new(),
            ttl_seconds: 60,
            stability: Stability::Stable,
            dnssec: Dnssec::Unproven,
            ipv4_only: None,
            resolvers: vec!["192.0.2.53".to_owned()],
            resolved_at: ResolvedAt::parse("2026-07-14T09:30:00Z").unwrap(),
            seen: std::collections::BTreeMap::new(),
        };
        lock.names.insert(DnsName::parse(name).unwrap(), locked);
    }
    lock
}

fn loaded(text: &str) -> Loaded {
    load_text("policy.bfp", "policy.bfp", text, Path::new("."), &Disk)
        .unwrap_or_else(|failure| unreachable!("{failure:?}"))
}

fn resolved(text: &str) -> ResolvedPolicy {
    resolve(&loaded(text), "stem", &lock()).unwrap()
}

fn errors(text: &str) -> Vec<ResolveError> {
    resolve(&loaded(text), "stem", &lock()).expect_err("the policy has an error")
}

/// The source, followed by the rendered errors.
fn rendered(text: &str) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut all = format!("{}\n", text.trim());
    for error in errors(text.trim()) {
        let report = Report::new(error).with_source_code(NamedSource::new("policy.bfp", text.trim().to_owned()));
        all.push_str("\n----\n");
        handler.render_report(&mut all, report.as_ref()).unwrap();
    }
    all
}

/// One rule whose right side is `right`.
fn destinations(right: &str) -> Vec<Destination> {
    resolved(&format!("deny * -> {right}")).rules[0].destinations.clone()
}

fn v4(first: &str, last: &str) -> Addresses {
    let bits = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
    Addresses::V4(bits(first), bits(last))
}

fn v6(first: &str, last: &str) -> Addresses {
    let bits = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().to_bits();
    Addresses::V6(bits(first), bits(last))
}

fn addresses(right: &str) -> Vec<Addresses> {
    destinations(right).into_iter().map(|destination| destination.addresses).collect()
}

macro_rules! refused {
    ($($name:ident: $text:expr;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(rendered($text));
        }
    )*};
}

refused! {
    unknown_program_is_refused: "program signer = \"/usr/bin/signer\"\nonly singer -> 10.0.0.0/8\ndeny signer -> *";
    unknown_host_is_refused: "host kms = 10.0.0.1\ndeny * -> { kms, kns, bookkeeping }";
    host_on_the_left_is_refused: "host kms = 10.0.0.1\nonly kms -> 10.0.0.0/8\nonly loopback -> 10.0.0.0/8";
    program_on_the_right_is_refused: "program signer = \"/usr/bin/signer\"\ndeny * -> signer";
    name_declared_twice_is_refused: "program kms = \"/usr/bin/kms\"\nhost kms = 10.0.0.1\nonly kms -> 10.0.0.1";
    second_policy_name_is_refused: "policy one\npolicy two\ndeny * -> 10.0.0.1";
    second_default_is_refused: "default allow\ndefault deny\ndeny * -> 10.0.0.1";
    builtin_name_is_refused: "host private = 10.0.0.1\ndeny * -> private";
    unused_declarations_are_refused_with_their_errors: "program a = \"a\"\nhost b = nowhere\ndeny * -> 10.0.0.1";
    cycle_is_refused_once: "host a = { b, 10.0.0.1 }\nhost b = a\ndeny * -> a\ndeny * -> b";
    cycle_of_programs_is_refused: "program a = a\ndeny a -> 10.0.0.1";
    removing_everything_is_refused: "deny * -> 10.0.0.0/24 except 10.0.0.0/8";
    host_bits_are_refused: "deny * -> { 10.1.2.3/8, [2001:db8::1/32]:443 }";
    relative_path_is_refused: "deny { \"bin/x\", \"/usr/../x\", \"/usr/bin/\", \"/\" } -> 10.0.0.1";
    ports_given_twice_are_refused: "host kms = kms.internal:443\ndeny * -> kms:80";
    name_without_an_answer_is_refused: "deny * -> { other.internal:443, empty.example }";
    name_that_is_none_is_refused: "deny * -> { \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example\", \"-a-.example\" }";
    policy_without_a_rule_is_refused: "policy idle";
    one_file_with_two_identities: "program a = \"/a\" with children\ndeny { a, \"/a\" } -> 10.0.0.1";
    libraries_that_are_not_pinned: "only \"/a\" libraries { \"/lib/b\", \"c\" } -> 10.0.0.1";
    audit_of_a_grant: "audit allow \"/a\" -> 10.0.0.1";
    ports_of_raw: "deny * -> raw:443";
    everyone_within_a_set_is_refused: "deny { *, \"/a\" } -> 10.0.0.1";
}

#[test]
fn a_program_that_only_a_test_names_is_unlisted() {
    let tested =
        "only \"/a\" -> 10.0.0.1\ntest \"t\" {\n    \"/b\" -> 10.0.0.1 denied\n    \"/a\" -> 10.0.0.1 allowed\n}\n";
    let policy = resolved(tested);
    let paths = |programs: &[crate::policy::Program]| programs.iter().map(|one| one.path.clone()).collect::<Vec<_>>();
    assert_eq!((paths(&policy.programs), paths(&policy.unlisted)), (vec!["/a".to_owned()], vec!["/b".to_owned()]));
    assert_eq!(policy.tests[0].expectations[0].subjects, Subjects::Programs(vec![ProgramIndex(1)]));
    assert_eq!(policy.program(ProgramIndex(1)).unwrap().path, "/b");
}

#[test]
fn declarations_deeper_than_the_limit_are_refused() {
    let mut text = "host h0 = 10.0.0.1\n".to_owned();
    (1..200).for_each(|at| text.push_str(&format!("host h{at} = h{}\n", at - 1)));
    text.push_str("deny * -> h199");
    assert!(errors(&text).iter().any(|error| matches!(error, ResolveError::TooDeep { .. })));
}

#[test]
fn doubling_declarations_are_worked_out_once() {
    let mut text = "host h0 = 10.0.0.1\nprogram p0 = \"/p\"\n".to_owned();
    for at in 1..30 {
        text.push_str(&format!("host h{at} = {{ h{0}, h{0} }}\nprogram p{at} = {{ p{0}, p{0} }}\n", at - 1));
    }
    text.push_str("deny p29 -> h29");
    let policy = resolved(&text);
    assert_eq!(policy.rules[0].subjects, Subjects::Programs(vec![ProgramIndex(0)]));
    assert_eq!(policy.rules[0].destinations.len(), 1);
}

#[test]
fn programs_keep_the_name_and_order_of_their_first_mention() {
    let policy = resolved(
        "program tools = { \"/b\", \"/a\" }\nprogram all = { tools, \"/c\" }\ndeny { \"/d\", all } -> loopback\nonly all -> only kms.internal:443\ndefault deny",
    );
    let programs: Vec<_> =
        policy.programs.iter().map(|program| (program.path.as_str(), program.name.as_str())).collect();
    assert_eq!(programs, [("/d", "/d"), ("/b", "tools"), ("/a", "tools"), ("/c", "all")]);
    assert_eq!(policy.rules.len(), 3, "`only P -> only D` is two rules");
    assert_eq!(policy.rules[1].span, policy.rules[2].span);
    assert_eq!(policy.name, "stem");
    assert!(matches!(policy.default, Default::Deny(_)));
    assert_eq!(policy.names.len(), 1);
}

#[test]
fn star_covers_everything_beside_the_mapped_addresses() {
    let rule = &resolved("deny * -> *").rules[0];
    assert!(rule.covers_everything);
    assert_eq!(rule.subjects, Subjects::Everyone);
    let expected = [
        v4("0.0.0.0", "255.255.255.255"),
        v6("::", "::fffe:ffff:ffff"),
        v6("::1:0:0:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        Addresses::Raw,
    ];
    assert_eq!(addresses("*"), expected);
    assert_eq!(addresses("[::/0]"), expected[1..3]);
    assert!(destinations("*").iter().all(|destination| destination.ports == PortRange::all()));
}

#[test]
fn mapped_addresses_become_ipv4() {
    assert_eq!(addresses("[::ffff:0:0/96]"), [v4("0.0.0.0", "255.255.255.255")]);
    assert_eq!(addresses("[::ffff:10.0.0.0/104]"), [v4("10.0.0.0", "10.255.255.255")]);
    assert_eq!(addresses("mapped.example"), [v4("203.0.113.8", "203.0.113.8")]);
}

#[test]
fn except_subtracts_addresses_and_ports() {
    assert_eq!(
        addresses("10.0.0.0/8 except 10.9.0.0/16"),
        [v4("10.0.0.0", "10.8.255.255"), v4("10.10.0.0", "10.255.255.255")]
    );
    let left = destinations("10.0.0.0/31:80-90/tcp except 10.0.0.1:{80, 85}");
    let tcp = |first, last| PortRange { protocol: Protocol::Tcp, first, last };
    assert_eq!(
        left,
        [
            Destination { addresses: v4("10.0.0.0", "10.0.0.0"), ports: vec![tcp(80, 90)] },
            Destination { addresses: v4("10.0.0.1", "10.0.0.1"), ports: vec![tcp(81, 84), tcp(86, 90)] },
        ]
    );
    let rule = &resolved("deny * -> * except kms.internal").rules[0];
    assert!(!rule.covers_everything);
    assert_eq!(rule.destinations.len(), 6);
}

#[test]
fn ports_without_a_protocol_are_those_of_every_protocol_with_ports() {
    let protocols = |right| -> Vec<_> {
        destinations(right)[0].ports.iter().map(|range| (range.protocol, range.first, range.last)).collect()
    };
    assert_eq!(
        protocols("10.0.0.1:{80, 81, 443}"),
        [Protocol::Tcp, Protocol::Udp, Protocol::Other]
            .iter()
            .flat_map(|&protocol| [(protocol, 80, 81), (protocol, 443, 443)])
            .collect::<Vec<_>>()
    );
    assert_eq!(protocols("10.0.0.1:443/udp"), [(Protocol::Udp, 443, 443)]);
    assert_eq!(protocols("10.0.0.1:*/tcp"), [(Protocol::Tcp, 0, u16::MAX)]);
    assert_eq!(destinations("10.0.0.1:*")[0].ports, PortRange::all());
    assert_eq!(destinations("metadata:80"), destinations("{ metadata:80 }"));
}

#[test]
fn icmp_is_covered_whole_and_by_nothing_that_has_ports() {
    let icmp = [PortRange { protocol: Protocol::Icmp, first: 0, last: u16::MAX }];
    assert_eq!(destinations("10.0.0.1/icmp")[0].ports, icmp);
    assert_eq!(destinations("kms.internal/icmp").len(), 2);
    assert_eq!(destinations("loopback/icmp"), destinations("{ 127.0.0.0/8/icmp, [::1]/icmp }"));
    assert_eq!(destinations("{ 10.0.0.1:0-65535, 10.0.0.1/icmp }"), destinations("10.0.0.1"));
    assert_eq!(destinations("10.0.0.1 except 10.0.0.0/8/icmp"), destinations("10.0.0.1:0-65535"));
    assert_eq!(destinations("10.0.0.0/31/icmp except 10.0.0.1"), destinations("10.0.0.0/icmp"));
    let named = resolved("host kms = kms.internal\ndeny * -> kms/icmp");
    assert_eq!(named.rules[0].destinations, destinations("kms.internal/icmp"));
}

#[test]
fn named_host_is_narrowed_to_ports() {
    let named = resolved("host kms = kms.internal\ndeny * -> kms:443");
    assert_eq!(named.rules[0].destinations, destinations("kms.internal:443"));
}

#[test]
fn builtin_hosts_are_the_documented_networks() {
    assert_eq!(addresses("loopback"), [v4("127.0.0.0", "127.255.255.255"), v6("::1", "::1")]);
    assert_eq!(addresses("link-local"), addresses("{ 169.254.0.0/16, [fe80::/10] }"));
    assert_eq!(addresses("private"), addresses("{ 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, [fc00::/7] }"));
    assert_eq!(addresses("multicast"), addresses("{ 224.0.0.0/4, [ff00::/8] }"));
    assert_eq!(
        addresses("metadata"),
        addresses("{ 169.254.169.254, 100.100.100.200, [fd00:ec2::254], [fd20:ce::254] }")
    );
}

#[test]
fn dns_names_are_collected_everywhere_and_once() {
    let text = "host a = { kms.internal:443, 10.0.0.0/8 except b.example }\ndeny * -> { KMS.internal, \"c\" }";
    let names = dns_names(&loaded(text)).unwrap();
    let texts: BTreeSet<_> = names.keys().map(DnsName::as_str).collect();
    assert_eq!(texts, BTreeSet::from(["b.example", "c", "kms.internal"]));
    let wrong = dns_names(&loaded(
        "deny * -> { \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example\", \"-a-.example\" }",
    ));
    assert_eq!(wrong.unwrap_err().len(), 2);
}

#[test]
fn addresses_of_a_name_are_those_of_the_lock() {
    let policy = resolved("deny * -> kms.internal");
    let recorded = &policy.names[&DnsName::parse("kms.internal").unwrap()];
    assert_eq!(recorded, &["203.0.113.7".parse::<IpAddr>().unwrap(), "2001:db8::7".parse().unwrap()]);
}

/// Few addresses and ports, so that ranges meet, at both ends of both families.
fn some_destinations() -> impl Strategy<Value = Vec<Destination>> {
    let range = (0_u32..8, 0_u32..8, prop::sample::select(vec![0_u32, 1, 2]));
    let ports = prop::collection::vec((prop::sample::select(&Protocol::ALL[..]), 0_u16..4, 0_u16..4), 1..3);
    let one = (range, ports).prop_map(|((a, b, place), ports)| Destination {
        addresses: match place {
            0 => Addresses::V4(a.min(b), a.max(b)),
            1 => Addresses::V4(u32::MAX - a.max(b), u32::MAX - a.min(b)),
            _ => Addresses::V6(u128::MAX - u128::from(a.max(b)), u128::MAX - u128::from(a.min(b))),
        },
        ports: coverage::merge_ports(
            ports.into_iter().map(|(protocol, a, b)| PortRange { protocol, first: a.min(b), last: a.max(b) }).collect(),
        ),
    });
    prop::collection::vec(one, 0..6)
}

fn covers(destinations: &[Destination], place: Addresses, protocol: Protocol, port: u16) -> bool {
    destinations.iter().any(|destination| {
        let inside = match (destination.addresses, place) {
            (Addresses::V4(first, last), Addresses::V4(at, _)) => (first..=last).contains(&at),
            (Addresses::V6(first, last), Addresses::V6(at, _)) => (first..=last).contains(&at),
            _ => false,
        };
        inside
            && destination
                .ports
                .iter()
                .any(|range| range.protocol == protocol && (range.first..=range.last).contains(&port))
    })
}

proptest! {
    #[test]
    fn arithmetic_agrees_with_asking_every_request(a in some_destinations(), b in some_destinations()) {
        let (union, less) = (coverage::union(&a), coverage::without(&a, &b));
        let (mut common, mut rest) = (false, false);
        let low = (0_u32..9).map(|at| Addresses::V4(at, at));
        let high = (0_u32..9).map(|at| Addresses::V4(u32::MAX - at, u32::MAX - at));
        let v6 = (0_u128..9).map(|at| Addresses::V6(u128::MAX - at, u128::MAX - at));
        for place in low.chain(high).chain(v6) {
            for protocol in Protocol::ALL {
                for port in 0..5 {
                    let (in_a, in_b) = (covers(&a, place, protocol, port), covers(&b, place, protocol, port));
                    prop_assert_eq!(covers(&union, place, protocol, port), in_a);
                    prop_assert_eq!(covers(&less, place, protocol, port), in_a && !in_b);
                    common |= in_a && in_b;
                    rest |= in_a && !in_b;
                }
            }
        }
        let union_b = coverage::union(&b);
        prop_assert_eq!(coverage::overlaps(&union, &union_b), common);
        prop_assert_eq!(coverage::contains(&union_b, &union), !rest);
        prop_assert_eq!(coverage::union(&less), less);
    }
}

/// The fewest networks that have exactly these addresses: each with its length.
fn networks(mut first: u128, last: u128, bits: u32) -> Vec<(u128, u32)> {
    let mut networks = Vec::new();
    while first <= last {
        let free = first.trailing_zeros().min((last - first + 1).ilog2());
        networks.push((first, bits - free));
        first += 1 << free;
    }
    networks
}

/// Both ends of a range: anywhere, or near each other.
fn ends() -> impl Strategy<Value = (u32, u32)> {
    let near = (any::<u32>(), 0_u32..70).prop_map(|(first, more)| (first, first.saturating_add(more)));
    prop_oneof![any::<(u32, u32)>(), near].prop_map(|(a, b)| (a.min(b), a.max(b)))
}

proptest! {
    #[test]
    fn range_of_addresses_is_the_networks_that_it_consists_of((first, last) in ends()) {
        let v4 = |bits: u128| std::net::Ipv4Addr::from_bits(bits as u32);
        let of: Vec<String> = networks(first.into(), last.into(), 32)
            .into_iter()
            .map(|(network, length)| format!("{}/{length}", v4(network)))
            .collect();
        let range = format!("{}-{}", v4(first.into()), v4(last.into()));
        prop_assert_eq!(destinations(&range), destinations(&format!("{{ {} }}", of.join(", "))));

        let v6 = |bits: u128| std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | bits);
        let (first, last) = (u128::from(first) << 40, u128::from(last) << 40);
        let of: Vec<String> = networks(first, last, 128)
            .into_iter()
            .map(|(network, length)| format!("[{}/{length}]:443", v6(network)))
            .collect();
        let range = format!("[{}-{}]:443", v6(first), v6(last));
        prop_assert_eq!(destinations(&range), destinations(&format!("{{ {} }}", of.join(", "))));
    }
}

/// The program with this text.
fn program<'a>(policy: &'a ResolvedPolicy, text: &str) -> &'a crate::policy::Program {
    policy.programs.iter().find(|program| program.path == text).unwrap()
}

#[test]
fn both_folders_of_a_merged_usr_are_one_program() {
    let policy =
        resolved("deny { \"/bin/curl\", \"/usr/bin/curl\", \"/usr/sbin/ip\" } -> 10.0.0.1\ndeny \"/sbin/ip\" -> raw");
    let paths: Vec<&str> = policy.programs.iter().map(|program| program.path.as_str()).collect();
    assert_eq!(paths, ["/usr/bin/curl", "/usr/sbin/ip"]);
    assert_eq!(policy.programs[0].written, "/bin/curl");
}

#[test]
fn what_one_file_can_be_is_named_by_the_rules_of_all_that_it_matches() {
    let policy = resolved(
        "deny \"/opt/a*/x\" -> 10.0.0.1\nallow \"/opt/*b/x\" -> 10.0.0.2\nallow \"/opt/ab/x\" -> 10.0.0.3\n\
         test \"t\" { \"/opt/a*/x\" -> 10.0.0.1 denied\n\"/opt/other\" -> 10.0.0.1 allowed\n}",
    );
    let subjects = |rule: usize| match &policy.rules[rule].subjects {
        Subjects::Programs(programs) => programs.iter().map(|program| program.0).collect::<Vec<_>>(),
        Subjects::Everyone => Vec::new(),
    };
    let text = |index: usize| policy.programs[index].path.replace('\n', " ");
    assert_eq!(policy.programs.len(), 5);
    let class = |of: &str| (0..5).find(|index| text(*index) == of).unwrap();
    let (two, three) = (class("/opt/*b/x /opt/a*/x"), class("/opt/*b/x /opt/a*/x /opt/ab/x"));
    let sorted = |mut of: Vec<usize>| {
        of.sort_unstable();
        of
    };
    assert_eq!(subjects(0), sorted(vec![0, two, three]));
    assert_eq!(subjects(1), sorted(vec![1, two, three]));
    assert_eq!(subjects(2), sorted(vec![2, three]));
    assert_eq!(policy.programs[three].name, "/opt/ab/x");
    assert_eq!(policy.programs[two].quoted(), "what matches both `/opt/*b/x` and `/opt/a*/x`");
    // No file matches the exact path without the others.
    assert!(!policy.kinds.contains(&ProgramIndex(2)) && policy.kinds.contains(&ProgramIndex(two)));
    let asked = |line: usize| policy.tests[0].expectations[line].subjects.clone();
    assert_eq!(asked(0), policy.rules[0].subjects);
    assert_eq!(asked(1), Subjects::Programs(vec![ProgramIndex(5)]));
    assert_eq!(policy.program(ProgramIndex(5)).unwrap().path, "/opt/other");
}

#[test]
fn a_class_has_no_more_than_each_of_its_members() {
    let pin = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let library = |digit: &str| format!("\"/usr/lib/{digit}.so\" verity {}", pin(digit));
    let policy = |first: &str, second: &str, rules: &str| {
        resolved(&format!("program a = \"/opt/a*/x\" {first}\nprogram b = \"/opt/*b/x\" {second}\n{rules}"))
    };
    let class = |policy: &ResolvedPolicy| program(policy, "/opt/*b/x\n/opt/a*/x").clone();
    let rules = "only { a, b } -> 10.0.0.1";
    let (one, two) = (pin("1"), pin("2"));
    let digests = |policy: &ResolvedPolicy| class(policy).pins.iter().map(|pin| pin[0]).collect::<Vec<_>>();
    let unpinned = policy(&format!("verity {one}"), "", rules);
    assert_eq!(digests(&unpinned), [0x11], "the member that is pinned needs its pin");
    let both = policy(&format!("verity {{ {one}, {two} }}"), &format!("verity {two}"), rules);
    assert_eq!(digests(&both), [0x22]);
    let loads = |libraries: &[&str]| {
        let listed: Vec<String> = libraries.iter().map(|digit| library(digit)).collect();
        format!("verity {one} libraries {{ {} }}", listed.join(", "))
    };
    let listed = policy(&loads(&["3", "4"]), &loads(&["4", "5"]), rules);
    let kept: Vec<String> = class(&listed).libraries.unwrap().into_iter().map(|library| library.path).collect();
    assert_eq!(kept, ["/usr/lib/4.so"]);
    assert_eq!(class(&policy(&loads(&["3"]), "", rules)).libraries.unwrap().len(), 1);
    assert_eq!(class(&policy(&loads(&["3"]), &loads(&[]), rules)).libraries, Some(Vec::new()));
    assert!(!class(&policy("with children", "", rules)).with_children, "one member would not pass on its grant");
    assert!(class(&policy("with children", "with children", rules)).with_children);
    assert!(class(&policy("with children", "", "only a -> 10.0.0.1\ndeny b -> 10.0.0.2")).with_children);
    assert!(!class(&policy("with children", "with children", "deny { a, b } -> 10.0.0.2")).with_children);
}

#[test]
fn the_longest_path_works() {
    let name = "a".repeat(255);
    let path = format!("/{}", vec![name.as_str(); 16].join("/"));
    assert_eq!(path.len(), 4096);
    let longest = &path[..4095];
    let policy = resolved(&format!("deny {{ \"{longest}\", \"/opt/{name}\", \"{}\" }} -> 10.0.0.1", "/a".repeat(120)));
    assert_eq!(policy.programs.len(), 3);
    for (path, what) in [(path, "path"), (format!("/opt/{name}a"), "name"), ("/a".repeat(121), "path")] {
        let errors = errors(&format!("deny \"{path}\" -> 10.0.0.1"));
        assert!(matches!(errors.as_slice(), [ResolveError::LongPath { .. }]), "{what}: {errors:?}");
    }
}

#[test]
fn patterns_that_overlap_in_too_many_ways_are_refused() {
    let words = (0..40).map(|at| format!("\"/opt/*{}*/x\"", char::from(b'a' + at % 26).to_string() + &at.to_string()));
    let text = format!("deny {{ {} }} -> 10.0.0.1", words.collect::<Vec<_>>().join(", "));
    let errors = errors(&text);
    assert!(matches!(errors.as_slice(), [ResolveError::PatternCapacity { .. }]), "{errors:?}");
}

#[test]
fn what_an_included_file_declares_may_stay_unused() {
    struct Common;
    impl Read for Common {
        fn text(&self, _: &Path) -> Result<String, SourceError> {
            Ok("host mirror = 203.0.113.30\nprogram editor = \"/usr/bin/editor\"\nhost vault = 203.0.113.20\n"
                .to_owned())
        }

        fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
            self.text(path).map(|_| [0; 32])
        }
    }
    let unused = |text: &str| -> Vec<String> {
        let loaded = load_text("policy.bfp", "policy.bfp", text, Path::new(""), &Common).unwrap();
        let errors = resolve(&loaded, "policy", &lock()).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(unused("include \"common.bfp\"\ndeny * -> vault\n"), Vec::<String>::new());
    let own = "host spare = 203.0.113.40\ninclude \"common.bfp\"\ndeny * -> vault\nhost last = 203.0.113.41\n";
    assert_eq!(unused(own), ["`spare` is declared and never used", "`last` is declared and never used"]);
}

#[test]
fn protocols_stand_behind_each_port_of_a_set() {
    let by_set = destinations("10.0.0.1:{443/tcp, 8000-8010/udp, */udp, icmp, 80}");
    let by_elements = destinations("{ 10.0.0.1:443/tcp, 10.0.0.1:*/udp, 10.0.0.1/icmp, 10.0.0.1:80 }");
    assert_eq!(by_set, by_elements);
    assert_eq!(destinations("10.0.0.1:{443/tcp, 80/tcp}"), destinations("10.0.0.1:{80, 443}/tcp"));
    assert_eq!(destinations("10.0.0.1:{icmp}"), destinations("10.0.0.1/icmp"));
}

#[test]
fn special_answers_are_known_in_every_form() {
    for address in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"] {
        let told = ranges::special(address.parse().unwrap());
        assert_eq!(told, Some("where clouds give out credentials"), "{address}");
    }
}
