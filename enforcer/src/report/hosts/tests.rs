#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
use proptest::prelude::*;

use super::*;

fn names(pairs: &[(&str, &str)]) -> Names {
    let name =
        |(address, name): &(&str, &str)| DebugName { address: address.parse().unwrap(), name: (*name).to_owned() };
    Names::new("payments", 3, pairs.iter().map(name).collect())
}

fn kms() -> Names {
    names(&[("2001:db8::10", "kms.internal"), ("203.0.113.10", "kms.internal"), ("203.0.113.10", "hsm.internal")])
}

const KMS: &str = "# BEGIN bfp-enforcer hosts: policy payments revision 3
203.0.113.10 hsm.internal
203.0.113.10 kms.internal
2001:db8::10 kms.internal
# END bfp-enforcer hosts: policy payments revision 3
";

#[test]
fn a_block_is_sorted_by_name_and_names_the_policy() {
    assert_eq!(kms().block(), KMS);
    assert_eq!(kms().words(), "the names of policy payments revision 3 (2)");
}

#[test]
fn a_block_is_added_replaced_in_its_place_and_removed() {
    let check = |old: &str, new: &str| {
        assert_eq!(String::from_utf8(with_block(old.as_bytes(), KMS).unwrap()).unwrap(), new);
    };
    let localhost = "127.0.0.1 localhost\n# ours\n::1 localhost";
    check("", KMS);
    check(localhost, &format!("{KMS}{localhost}"));
    let earlier = names(&[("203.0.113.9", "old.internal")]).block();
    check(&format!("{earlier}{localhost}"), &format!("{KMS}{localhost}"));
    check(&format!("{localhost}\n{earlier}{localhost}"), &format!("{localhost}\n{KMS}{localhost}"));
    check(&format!("{localhost}\r\n{}", earlier.replace('\n', "\r\n")), &format!("{localhost}\r\n{KMS}"));
    check(earlier.trim_end(), KMS);
    assert_eq!(
        without_block(format!("{localhost}\n{KMS}{localhost}").as_bytes()).unwrap(),
        format!("{localhost}\n{localhost}").as_bytes()
    );
    assert_eq!(without_block(localhost.as_bytes()).unwrap(), localhost.as_bytes());
}

#[test]
fn a_broken_block_is_refused() {
    let check = |file: &str, fault: BrokenBlock| {
        let file = file.replace("BEGIN", BEGIN).replace("END", END);
        assert_eq!(find(file.as_bytes()), Err(fault), "{file}");
    };
    check("BEGIN a\n1.2.3.4 a\n", BrokenBlock::NoEnd(1));
    check("1.2.3.4 a\nEND a", BrokenBlock::NoBegin(2));
    check("END a\n1.2.3.4 a\nBEGIN a\n", BrokenBlock::NoBegin(1));
    check("BEGIN a\nBEGIN a\nEND a\n", BrokenBlock::Twice(1, 2));
    check("BEGIN a\nEND a\n\nBEGIN a\nEND a\n", BrokenBlock::Twice(1, 4));
    check("BEGIN a\nEND a\nEND a\n", BrokenBlock::NoBegin(3));
    check("BEGIN a\nEND a\n1.2.3.4 a\nBEGIN a", BrokenBlock::Twice(1, 4));
}

#[test]
fn what_is_not_a_host_name_is_left_out() {
    let long = "a".repeat(64);
    let bad = [
        "",
        "*.internal",
        "a b",
        "a\n203.0.113.66 bank.example",
        "a\tb",
        "a#b",
        "a\u{85}b",
        "é",
        "A",
        "a..b",
        ".",
        "a.",
        &long,
    ];
    let longest = ["a".repeat(63).as_str(), &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].join(".");
    let good = ["localhost", "_dns.kms-1.internal", &longest];
    let pairs: Vec<_> = bad.iter().chain(&good).map(|name| ("203.0.113.10", *name)).collect();
    let names = names(&pairs);
    assert_eq!(names.left_out().collect::<BTreeSet<_>>(), bad.into_iter().collect());
    assert_eq!(names.block().lines().count(), good.len() + 2);
    assert!(!is_host_name(&format!("{longest}e")));
}

#[test]
fn the_name_of_a_policy_cannot_write_a_line() {
    let hostile = format!("a\n203.0.113.66 bank.example{}", " 203.0.113.66 bank.example".repeat(99));
    let block = Names::new(&hostile, u64::MAX, vec![]).block();
    assert!(
        block.lines().count() == 2 && block.lines().all(|line| line.starts_with("# ") && line.len() < 400),
        "{block}"
    );
}

#[test]
fn other_addresses_of_an_enforced_name_are_found() {
    let check = |rest: &str, expected: &[(&str, &str)]| {
        let file = format!("{KMS}{rest}");
        let found = kms().contradictions(file.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
        assert_eq!(found, expected, "{rest}");
    };
    check("127.0.0.1 localhost\n# 203.0.113.66 kms.internal\n", &[]);
    check("203.0.113.10 kms.internal hsm.internal\n2001:DB8::10 KMS.internal # ours\n", &[]);
    check("::ffff:203.0.113.10 kms.internal", &[]);
    check("203.0.113.66\tother KMS.Internal#", &[("kms.internal", "203.0.113.66")]);
    check(
        "2001:db8::10 hsm.internal\n1.2 kms.internal\n",
        &[("hsm.internal", "2001:db8::10"), ("kms.internal", "1.2")],
    );
}

/// A file without a marker: lines of any bytes, with or without a last line break.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        Just(b"127.0.0.1 localhost\r".to_vec()),
        Just(format!(" {BEGIN} a").into_bytes()),
        Just(END.trim_end_matches(':').as_bytes().to_vec()),
    ];
    let lines = proptest::collection::vec(line, 0..8).prop_map(|lines| lines.join(&b'\n'));
    lines.prop_filter("no marker", |file| find(file) == Ok(None))
}

fn any_names() -> impl Strategy<Value = Names> {
    let name = prop_oneof!["[a-c]{1,2}\\.internal", any::<String>()];
    let address = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()))
    ];
    let pairs = proptest::collection::vec((address, name), 0..6);
    (any::<String>(), any::<u64>(), pairs).prop_map(|(policy, revision, pairs)| {
        Names::new(&policy, revision, pairs.into_iter().map(|(address, name)| DebugName { address, name }).collect())
    })
}

proptest! {
    #[test]
    fn twice_is_as_once_and_removing_gives_back_the_file(file in file(), first in any_names(), second in any_names()) {
        let once = with_block(&file, &first.block()).unwrap();
        prop_assert_eq!(&with_block(&once, &first.block()).unwrap(), &once);
        let replaced = with_block(&once, &second.block()).unwrap();
        prop_assert_eq!(&replaced, &with_block(&file, &second.block()).unwrap());
        prop_assert_eq!(without_block(&replaced).unwrap(), file);
    }

    #[test]
    fn a_block_between_lines_keeps_both_sides(before in file(), after in file(), names in any_names()) {
        let before = [before.as_slice(), b"\n"].concat();
        let old = [&before, kms().block().as_bytes(), &after].concat();
        let new = [&before, names.block().as_bytes(), &after].concat();
        prop_assert_eq!(with_block(&old, &names.block()).unwrap(), new);
        prop_assert_eq!(without_block(&old).unwrap(), [before, after].concat());
    }

    #[test]
    fn every_line_of_a_block_is_a_comment_or_an_address_and_a_name(names in any_names()) {
        let block = names.block();
        let lines: Vec<&str> = block.split_terminator('\n').collect();
        prop_assert_eq!(lines.len(), names.addresses.len() + 2);
        for line in lines.get(1..lines.len() - 1).unwrap() {
            let (address, name) = line.split_once(' ').unwrap();
            prop_assert!(address.parse::<IpAddr>().is_ok() && is_host_name(name), "{}", line);
        }
    }
}
