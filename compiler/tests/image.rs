//! The image of a policy, as a reviewer reads it: the source, then every table that the source becomes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use bfp_bundle::image::Image;
use bfp_bundle::names::Match;
use bfp_bundle::record::{Cell, NO_RULE, Node32, Pair, Policy, ProgramBucket, Step};
use bfp_bundle::request::LAST_PORT_KEY;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline::{self, Compiled};
use bfp_compiler::resolve::Source;
use bfp_compiler::source::Disk;
use bfp_compiler::source::load;

#[test]
fn image_of_signer_kms() {
    insta::assert_snapshot!(source_and_image("signer-kms"));
}

#[test]
fn image_of_default_deny() {
    insta::assert_snapshot!(source_and_image("default-deny"));
}

#[test]
fn image_of_ports() {
    insta::assert_snapshot!(source_and_image("ports"));
}

#[test]
fn image_of_icmp() {
    insta::assert_snapshot!(source_and_image("icmp"));
}

fn source_and_image(fixture: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/accept").join(fixture);
    let Ok(loaded) = load::load(&folder.join("policy.bfp"), &Disk) else { panic!("{fixture} is refused") };
    let text = loaded.sources.text();
    let lock_text = fs::read_to_string(folder.join("policy.bfp.lock")).unwrap_or_default();
    let lock = if lock_text.is_empty() { Lock::default() } else { Lock::parse(&lock_text).unwrap() };
    let source = Source { loaded: &loaded, stem: "policy", lock_text: &lock_text, lock: &lock };
    let Ok(Compiled { checked, image, debug, .. }) = pipeline::compile(&source) else {
        panic!("{fixture} is refused, or has no image")
    };
    let mut all = format!("{}\n\n---- rules\n", text.trim_end());
    for (number, (rule, written)) in debug.rules.iter().zip(&checked.policy().rules).enumerate() {
        writeln!(all, "{number}  {:?}  line {}: {}", written.effect, rule.place.line, rule.place.text).unwrap();
    }
    dump(&image, &mut all);
    all
}

fn dump(image: &Image, out: &mut String) {
    let Policy { root_v4, root_v6, flags, program_mask, pair_mask, default_rule, raw_cell, reserved } = image.policy;
    let default = names(flags, &[(Policy::DEFAULT_DENY, "deny")]).replace("nothing", "allow");
    writeln!(out, "\n---- policy").unwrap();
    writeln!(out, "IPv4 begins at {}, IPv6 at {}, raw is cell {raw_cell}", step(root_v4), step(root_v6)).unwrap();
    writeln!(out, "default: {default}, by {}", rule(default_rule)).unwrap();
    writeln!(out, "masks: programs {program_mask}, pairs {pair_mask}; reserved {reserved:?}").unwrap();

    writeln!(out, "\n---- nodes over IPv4 addresses and ports").unwrap();
    for (index, node) in image.nodes32.iter().enumerate() {
        writeln!(out, "node {index}, over {}", if is_over_ports(node) { "ports" } else { "addresses" }).unwrap();
        let entries = node.ends.iter().zip(&node.next).map(|(&end, &next)| (end, next)).collect::<Vec<_>>();
        for (end, next) in used(&entries) {
            let end = if is_over_ports(node) { port(end) } else { Ipv4Addr::from_bits(end).to_string() };
            writeln!(out, "  to {end:<21} {}", step(next)).unwrap();
        }
    }
    writeln!(out, "\n---- nodes over IPv6 addresses").unwrap();
    for (index, node) in image.nodes128.iter().enumerate() {
        writeln!(out, "node {index}").unwrap();
        let ends = node.ends_high.iter().zip(&node.ends_low);
        let ends = ends.map(|(&high, &low)| u128::from(high) << 64 | u128::from(low));
        for (end, next) in used(&ends.zip(node.next).collect::<Vec<_>>()) {
            writeln!(out, "  to {:<39} {}", Ipv6Addr::from_bits(end).to_string(), step(next)).unwrap();
        }
    }

    writeln!(out, "\n---- cells").unwrap();
    for (number, cell) in image.cells.iter().enumerate() {
        let flags = [
            (Cell::DENIED, "denied"),
            (Cell::EXCLUSIVE, "exclusive"),
            (Cell::GRANTED, "granted"),
            (Cell::OUTSIDE, "outside"),
            (Cell::AUDIT_DENIED, "audit-denied"),
            (Cell::AUDIT_EXCLUSIVE, "audit-exclusive"),
            (Cell::AUDIT_OUTSIDE, "audit-outside"),
        ];
        writeln!(out, "cell {number}  {}, by {}", names(cell.flags, &flags), rule(cell.rule)).unwrap();
    }

    let pair_flags = [
        (Pair::MEMBER, "member"),
        (Pair::INSIDE, "inside"),
        (Pair::DENIED, "denied"),
        (Pair::GRANTED, "granted"),
        (Pair::AUDIT_MEMBER, "audit-member"),
        (Pair::AUDIT_INSIDE, "audit-inside"),
        (Pair::AUDIT_DENIED, "audit-denied"),
    ];
    writeln!(out, "\n---- programs").unwrap();
    for (index, bucket) in image.programs.iter().enumerate() {
        let entries = bucket.ids.iter().zip(&bucket.flags).zip(&bucket.rules);
        for (slot, ((&id, &flags), &by)) in entries.enumerate().filter(|(_, ((id, _), _))| **id != 0) {
            let number = index * bucket.ids.len() + slot + 1;
            let executable = image.executables.iter().find(|executable| executable.program == id).unwrap();
            let held = [
                (Match::RESTRICTED, "restricted"),
                (Match::WITH_CHILDREN, "with children"),
                (Match::GUARDED, "guarded"),
                (Match::GOVERNED, "governed"),
                (Match::GOVERNING, "governing"),
                (Match::AUDIT_GOVERNED, "audit-governed"),
                (Match::AUDIT_GOVERNING, "audit-governing"),
            ];
            let restricted = names(executable.flags, &held).replace("nothing", "unrestricted");
            writeln!(out, "program {number}  {}  id {id:016x}, {restricted}", executable.path).unwrap();
            writeln!(out, "  elsewhere: {}, by {}", names(flags & ProgramBucket::PAIR, &pair_flags), rule(by)).unwrap();
        }
    }
    writeln!(out, "\n---- pairs").unwrap();
    for (index, bucket) in image.pairs.iter().enumerate() {
        let entries = bucket.cells.iter().zip(&bucket.programs).zip(bucket.flags.iter().zip(&bucket.rules));
        for ((cell, program), (&flags, &by)) in entries.filter(|((_, program), _)| **program != 0) {
            let flags = names(flags, &pair_flags);
            writeln!(out, "bucket {index}: cell {cell}, program {program}  {flags}, by {}", rule(by)).unwrap();
        }
    }
}

/// The entries up to the one that takes all that is left: what stands behind it is padding.
fn used<K: Copy + PartialEq>(entries: &[(K, u32)]) -> Vec<(K, u32)> {
    let last = entries.last().unwrap().0;
    let count = entries.iter().position(|(end, _)| *end == last).unwrap() + 1;
    let padding = entries.iter().skip(count);
    assert!(padding.clone().all(|entry| Some(entry) == entries.get(count - 1)), "padding repeats the last child");
    entries.iter().take(count).copied().collect()
}

/// A search over ports ends at a cell, or at another node that is decided by port.
fn is_over_ports(node: &Node32) -> bool {
    node.ends.iter().any(|&end| end <= LAST_PORT_KEY) && node.next.iter().all(|&next| next & Step::PORT_DONE != 0)
}

fn step(written: u32) -> String {
    let index = Step(written).index();
    match (written & Step::ADDRESS_DONE != 0, written & Step::PORT_DONE != 0) {
        (true, true) => format!("cell {index}"),
        (true, false) => format!("ports of node {index}"),
        (false, false) => format!("node {index}"),
        (false, true) => format!("nowhere ({written:#x})"),
    }
}

fn port(key: u32) -> String {
    let protocol = ["tcp", "udp", "icmp", "other"].get(key as usize >> 16);
    protocol.map_or_else(|| "the end".to_owned(), |protocol| format!("{}/{protocol}", key & 0xffff))
}

fn rule(number: u32) -> String {
    if number == NO_RULE { "no rule".to_owned() } else { format!("rule {number}") }
}

fn names(flags: u32, known: &[(u32, &str)]) -> String {
    let unknown = known.iter().fold(flags, |left, (flag, _)| left & !flag);
    assert_eq!(unknown, 0, "a flag without a name");
    let set: Vec<&str> = known.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { "nothing".to_owned() } else { set.join(" ") }
}
