//! Policies as text → whether they contradict themselves, and what is said about it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, Report};

use super::CheckedPolicy;
use super::{Concern, RotatingGrant, check};
use crate::diagnostics::findings::Findings;
use crate::names::dns_name::DnsName;
use crate::names::lock::{Dnssec, Lock, LockedName, ResolvedAt, Stability};
use crate::resolve::resolve;
use crate::source::Disk;
use crate::source::load::load_text;

fn checked(text: &str) -> Result<CheckedPolicy, Findings> {
    let locked = |stability| LockedName {
        addresses: ["203.0.113.7", "2001:db8::7"].iter().map(|address| address.parse().unwrap()).collect(),
        cname: Vec::new(),
        ttl_seconds: 60,
        stability,
        dnssec: Dnssec::Unproven,
        ipv4_only: None,
        resolvers: vec!["192.0.2.53".to_owned()],
        resolved_at: ResolvedAt::parse("2026-07-14T09:30:00Z").unwrap(),
        seen: std::collections::BTreeMap::new(),
    };
    let name = |name| DnsName::parse(name).unwrap();
    let names =
        [(name("kms.internal"), locked(Stability::Stable)), (name("cdn.example.com"), locked(Stability::Rotating))];
    let lock = Lock { names: names.into(), ..Lock::default() };
    check(
        resolve(
            &load_text("policy.bfp", "policy.bfp", text, Path::new("."), &Disk)
                .unwrap_or_else(|failure| unreachable!("{failure:?}")),
            "stem",
            &lock,
        )
        .unwrap(),
    )
}

fn rendered(text: &str) -> String {
    shown(text, checked(text).expect_err("the policy contradicts itself"))
}

fn shown(text: &str, findings: Findings) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut all = format!("{text}\n");
    for error in findings {
        let report = Report::new_boxed(error).with_source_code(NamedSource::new("policy.bfp", text.to_owned()));
        all.push_str("\n----\n");
        handler.render_report(&mut all, report.as_ref()).unwrap();
    }
    all
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
    exclusives_of_different_programs_are_refused: "only \"/a\" -> kms.internal:443\nonly \"/b\" -> kms.internal:443";
    exclusive_within_that_of_another_program_is_refused: "only \"/a\" -> 10.0.0.0/8\nonly \"/b\" -> 10.1.0.0/16:80";
    exclusives_that_share_a_program_and_overlap_are_refused:
        "only { \"/a\", \"/b\" } -> { 10.0.0.1, 10.0.0.2:53/udp }\nonly { \"/b\", \"/c\" } -> { [2001:db8::/32], 10.0.0.1 }";
    two_confinements_of_one_program_are_refused:
        "program a = \"/a\"\na -> only kms.internal:443\n{ a, \"/b\" } -> only { 10.0.0.0/8, loopback:80-90/tcp }";
    exclusives_of_icmp_that_overlap_are_refused:
        "only \"/a\" -> { 10.0.0.0/8/icmp, 10.0.0.1:443 }\nonly \"/b\" -> { 10.0.0.1, [fd00::/8]/icmp }";
    confinement_beside_that_of_everyone_is_refused: "* -> only 10.0.0.0/8\n\"/a\" -> only 192.0.2.0/24";
    two_confinements_of_everyone_are_refused: "* -> only 10.0.0.0/8\n* -> only 192.0.2.0/24";
    restrictions_on_rotating_names_are_refused:
        "host cdn = { cdn.example.com:443, kms.internal }\nonly \"/a\" -> cdn\ndeny * -> \"cdn.example.com\":80\nonly \"/a\" -> only cdn";
    grants_that_leave_rotating_names_out_are_refused:
        "host cdn = cdn.example.com\nallow \"/a\" -> 203.0.113.0/24 except cdn\n\"/b\" -> only 203.0.113.0/24 except { cdn.example.com }";
    exclusive_of_everyone_is_refused: "only * -> 10.0.0.1\nonly * -> only 10.0.0.2";
}

#[test]
fn rules_of_which_one_contains_the_other_are_accepted() {
    for text in [
        "only { \"/a\", \"/b\" } -> 10.0.0.0/8\nonly \"/a\" -> 10.1.0.0/16",
        "only { \"/a\", \"/b\" } -> 10.0.0.0/8\nonly { \"/b\", \"/c\" } -> 10.1.0.0/16:443",
        "only \"/a\" -> 10.0.0.1\nonly \"/a\" -> 10.0.0.0/8:443",
        "\"/a\" -> only { 10.0.0.0/9, 10.128.0.0/9 }\n\"/a\" -> only 10.0.0.0/8:443",
        "* -> only 10.0.0.0/8\n\"/a\" -> only 10.1.0.0/16",
        "\"/a\" -> only *\n\"/a\" -> only 10.1.0.0/16",
    ] {
        assert!(checked(text).is_ok(), "{text}");
    }
}

#[test]
fn rules_that_do_not_meet_are_accepted() {
    for text in [
        "only \"/a\" -> 10.0.0.1:443\nonly \"/b\" -> 10.0.0.1:444",
        "only \"/a\" -> 10.0.0.1/32:443/tcp\nonly \"/b\" -> 10.0.0.1:443/udp",
        "only \"/a\" -> 10.0.0.1:0-65535\nonly \"/b\" -> 10.0.0.1/icmp",
        "only \"/a\" -> 10.0.0.0/9\nonly \"/b\" -> 10.128.0.0/9",
        "only \"/a\" -> 0.0.0.0/0\nonly \"/b\" -> [2001:db8::/32]",
        "\"/a\" -> only 10.0.0.1\n\"/b\" -> only 10.0.0.2",
        "deny \"/a\" -> 10.0.0.1\nallow \"/a\" -> 10.0.0.2\nonly \"/b\" -> 10.0.0.1",
    ] {
        assert!(checked(text).is_ok(), "{text}");
    }
}

#[test]
fn large_sets_are_compared_quickly() {
    let set = |second: u32| {
        let all: Vec<String> = (0..4000).map(|at| format!("10.{second}.{}.{}", at / 128, at % 128 * 2)).collect();
        all.join(", ")
    };
    let text = format!("\"/a\" -> only {{ {} }}\n\"/a\" -> only {{ {} }}", set(1), set(2));
    assert_eq!(checked(&text).unwrap_err().len(), 1);
}

#[test]
fn merged_line_resolves_the_contradiction() {
    for text in [
        "only { \"/a\", \"/b\" } -> { 10.0.0.1, 10.0.0.2:53/udp }\nonly { \"/b\", \"/c\" } -> { [2001:db8::/32], 10.0.0.1 }",
        "\"/a\" -> only { kms.internal:{1, 3-4}, 10.0.0.3 }\n\"/a\" -> only { 10.0.0.0/31:5, 10.0.0.2:6/tcp }",
        "only \"/a\" -> { kms.internal/icmp, 10.0.0.1:443, 10.0.0.0/30 except 10.0.0.2/icmp }\nonly \"/b\" -> { 10.0.0.1/icmp, [fd00::/8]/icmp }",
    ] {
        let error = checked(text).unwrap_err().remove(0);
        let help = error.help().unwrap().to_string();
        let line = help.rsplit('`').nth(1).expect("the help ends with a line that is quoted");
        assert!(checked(line).is_ok(), "{line}");
    }
}

/// What is said about names whose addresses rotate, of a policy that is accepted.
fn rotating(text: &str) -> Vec<RotatingGrant> {
    let policy = checked(text).unwrap();
    let rotating = policy.warnings().iter().filter_map(|warning| match warning {
        Concern::Rotating(grant) => Some(grant.clone()),
        _ => None,
    });
    rotating.collect()
}

#[test]
fn grants_of_rotating_names_are_warned_of_once_a_place() {
    let text = "program a = \"/a\"\nhost cdn = cdn.example.com:443\nallow a -> { cdn, cdn.example.com:80 }\na -> only cdn\n\
                deny * -> 203.0.113.0/24 except cdn.example.com\nallow a -> kms.internal";
    let warnings: Findings = rotating(text).into_iter().map(|warning| Box::new(warning) as _).collect();
    assert!(warnings.iter().all(|warning| warning.severity() == Some(miette::Severity::Warning)));
    insta::assert_snapshot!(shown(text, warnings));
}

#[test]
fn stable_names_give_no_warning_and_what_is_left_out_twice_is_in() {
    assert_eq!(rotating("only \"/a\" -> only kms.internal\nallow \"/b\" -> 192.0.2.1"), []);
    let twice = "deny * -> 203.0.113.0/24 except { 203.0.113.0/28 except cdn.example.com }";
    let codes: Vec<String> =
        checked(twice).unwrap_err().iter().map(|found| found.code().unwrap().to_string()).collect();
    assert_eq!(codes, ["check::rotating_exclusive"]);
    let grant = "allow \"/a\" -> 203.0.113.0/24 except { 203.0.113.0/28 except cdn.example.com }";
    assert!(matches!(rotating(grant).as_slice(), [RotatingGrant::Granted { .. }]));
}

#[test]
fn grant_of_a_rotating_name_can_be_accepted_and_a_restriction_cannot() {
    let accepted = "accept check::rotating_grant because \"a mirror is a mirror\"\nallow \"/a\" -> cdn.example.com:443";
    assert_eq!(rotating(accepted), []);
    let restricted = "accept check::rotating_exclusive because \"never mind\"\nonly \"/a\" -> cdn.example.com:443";
    assert!(checked(restricted).is_err());
}
