//! What a bundle's manifest says, and what its sections hold, properly signed.

use bfp_bundle::debug::DebugNotes;
use bfp_bundle::envelope::Document;
use bfp_bundle::image::{Image, ImageError};
use bfp_bundle::manifest::{Manifest, Need, Parameter, SectionKind};
use bfp_bundle::record::{FANOUT, Node32, Node128, Step};
use bfp_bundle::seal::seal;
use bfp_bundle::verify::{Host, Refusal};

use super::Case;
use crate::made::{Parts, debug, host, image, keys, manifest, sealed};

/// The small policy's bundle with another body, signed.
fn of_body(body: &[u8]) -> Vec<u8> {
    seal(Document::Bundle, body, &keys(&[1]), &Parts::of(&image()).sections.concat())
}

/// The small policy's body.
fn body() -> Vec<u8> {
    postcard::to_allocvec(&Parts::of(&image()).manifest).unwrap()
}

/// The small policy's body with a range of bytes replaced.
fn spliced(range: core::ops::Range<usize>, bytes: &[u8]) -> Vec<u8> {
    let mut body = body();
    body.splice(range, bytes.iter().copied());
    of_body(&body)
}

/// The small policy's bundle, with what is announced spoilt before it is signed.
fn announcing(spoil: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::of(&image());
    spoil(&mut parts);
    parts.sealed(&[1])
}

/// A bundle of a spoilt image.
fn of_image(spoil: impl FnOnce(&mut Image)) -> Vec<u8> {
    let mut image = image();
    spoil(&mut image);
    Parts::of(&image).sealed(&[1])
}

// Where the fields of the small policy's body stand: its name has 12 bytes.
const REVISION: usize = 13;
const NOT_BEFORE: usize = 14;
const AUDIENCE: usize = 16;
const LOCKDOWN: usize = 17;

pub(crate) fn cases() -> Vec<Case> {
    [bodies(), claims(), sections(), images(), names(), old()].into_iter().flatten().collect()
}

fn bundle(name: &'static str, about: &'static str, file: Vec<u8>) -> Case {
    Case::new(name, about, Document::Bundle, file)
}

fn bodies() -> Vec<Case> {
    let mut longer = body();
    longer.push(0);
    let mut shorter = body();
    shorter.pop();
    // 2^60 as a varint.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    vec![
        bundle("body-longer", "a byte follows the manifest within the body", of_body(&longer))
            .refused(Refusal::BadBody),
        bundle("body-shorter", "the manifest ends too early", of_body(&shorter)).refused(Refusal::BadBody),
        bundle("body-empty", "a body of no bytes", of_body(&[])).refused(Refusal::BadBody),
        bundle("body-option", "an option that is neither 0 nor 1", spliced(NOT_BEFORE..NOT_BEFORE + 1, &[2]))
            .refused(Refusal::BadBody),
        bundle("body-bool", "a truth value that is neither 0 nor 1", spliced(LOCKDOWN..LOCKDOWN + 1, &[2]))
            .refused(Refusal::BadBody),
        bundle("body-utf8", "a name that is not UTF-8", spliced(1..2, &[0xff])).refused(Refusal::BadBody),
        bundle("body-number-in-two-bytes", "revision 7 in two bytes instead of one, which means the same", {
            spliced(REVISION..REVISION + 1, &[0x87, 0])
        }),
        bundle("body-number-too-large", "a revision of more than 64 bits", {
            spliced(REVISION..REVISION + 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
        })
        .refused(Refusal::BadBody),
        bundle("body-2-to-the-60-labels", "an audience of 2^60 labels is announced", {
            spliced(AUDIENCE..AUDIENCE + 1, &huge)
        })
        .refused(Refusal::BadBody),
        bundle("body-name-of-2-to-the-60-bytes", "a name of 2^60 bytes is announced", spliced(0..1, &huge))
            .refused(Refusal::BadBody),
        bundle("body-65-labels", "an audience of more labels than there may be", {
            sealed(Manifest { audience: vec!["web".to_owned(); 65], ..manifest() }, &[1])
        })
        .refused(Refusal::BadBody),
        bundle("body-65-needs", "more needs than there may be", {
            sealed(Manifest { needs: vec![1; 65], ..manifest() }, &[1])
        })
        .refused(Refusal::BadBody),
        bundle("body-65-parameters", "more parameters than there may be", {
            sealed(Manifest { parameters: vec![Parameter::new("env", "prod"); 65], ..manifest() }, &[1])
        })
        .refused(Refusal::BadBody),
        bundle("body-65-sections", "more sections than there may be", {
            announcing(|parts| {
                let first = parts.manifest.sections[0].clone();
                parts.manifest.sections.resize(65, first);
            })
        })
        .refused(Refusal::BadBody),
    ]
}

fn claims() -> Vec<Case> {
    let labelled = || Host { tags: vec!["db".to_owned(), "eu".to_owned()], ..host() };
    let for_hosts = |labels: &[&str]| {
        let audience = labels.iter().map(|label| (*label).to_owned()).collect();
        sealed(Manifest { audience, ..manifest() }, &[1])
    };
    let needing = |needs: &[u16]| sealed(Manifest { needs: needs.to_vec(), ..manifest() }, &[1]);
    let valid = |not_before, expires| {
        sealed(Manifest { not_before: Some(not_before), expires: Some(expires), ..manifest() }, &[1])
    };
    vec![
        bundle(
            "lockdown",
            "a policy that locks the host down",
            sealed(Manifest { lockdown: true, ..manifest() }, &[1]),
        ),
        bundle("parameters", "the values of the policy's parameters follow the manifest", {
            let parameters = vec![Parameter::new("env", "prod"), Parameter::new("region", "eu-1")];
            sealed(Manifest { parameters, ..manifest() }, &[1])
        }),
        bundle("time", "the first and last second of its time", valid(1_000, 1_001)),
        bundle("early", "a second too early", valid(1_001, 2_000))
            .refused(Refusal::NotYetValid { not_before: 1_001, now: 1_000 }),
        bundle("expired", "in the second in which it expires", valid(0, 1_000))
            .refused(Refusal::Expired { expires: 1_000, now: 1_000 }),
        bundle("never", "it expires before it begins, and the beginning is looked at first", valid(1_001, 1_000))
            .refused(Refusal::NotYetValid { not_before: 1_001, now: 1_000 }),
        bundle("audience", "one of its labels is one of the host's", for_hosts(&["web", "eu"])).at(labelled()),
        bundle("audience-of-others", "none of its labels is one of the host's", for_hosts(&["web", "us"]))
            .at(labelled())
            .refused(Refusal::WrongAudience(vec!["web".to_owned(), "us".to_owned()])),
        bundle("audience-escaped", "labels in a message cannot write to a terminal", for_hosts(&["\u{1b}[2J\"\\"]))
            .at(labelled())
            .refused(Refusal::WrongAudience(vec!["\u{1b}[2J\"\\".to_owned()])),
        bundle("need-unknown", "it needs what the format does not know", needing(&[1, 99]))
            .refused(Refusal::UnknownNeed(99)),
        bundle("need-unmet", "it needs what this host does not offer", needing(&[1, 2, 99]))
            .refused(Refusal::UnmetNeed(Need::Verity)),
    ]
}

fn sections() -> Vec<Case> {
    vec![
        bundle("section-order", "sections in another order, announced so", {
            announcing(|parts| {
                parts.manifest.sections.reverse();
                parts.sections.reverse();
            })
        }),
        bundle("section-swapped", "two sections change places, and the manifest does not", {
            announcing(|parts| parts.sections.swap(4, 5))
        })
        .refused(Refusal::SectionDigest(SectionKind::Programs)),
        bundle("section-changed", "a bit of a section is flipped", announcing(|parts| parts.sections[3][0] ^= 1))
            .refused(Refusal::SectionDigest(SectionKind::Cells)),
        bundle("section-debug-changed", "a bit of the section that no verdict depends on is flipped", {
            announcing(|parts| parts.sections[7][0] ^= 1)
        })
        .refused(Refusal::SectionDigest(SectionKind::Debug)),
        bundle("section-cut", "the last section's last byte is missing", {
            announcing(|parts| {
                let matches = &mut parts.sections[14];
                matches.truncate(matches.len() - 1);
            })
        })
        .refused(Refusal::Truncated("a section")),
        bundle("section-unknown", "a section of the kind 16", {
            announcing(|parts| parts.manifest.sections[7].kind = 16)
        })
        .refused(Refusal::UnknownSection(16)),
        bundle("section-twice", "a section twice", {
            announcing(|parts| {
                parts.manifest.sections.push(parts.manifest.sections[3].clone());
                parts.sections.push(parts.sections[3].clone());
            })
        })
        .refused(Refusal::DuplicateSection(SectionKind::Cells)),
        bundle("section-missing", "no section of debug information", {
            announcing(|parts| drop((parts.manifest.sections.remove(7), parts.sections.remove(7))))
        })
        .refused(Refusal::MissingSection(SectionKind::Debug)),
        bundle("section-key-size", "a map whose keys have 8 bytes", {
            announcing(|parts| parts.manifest.sections[3].key_size = 8)
        })
        .refused(Refusal::SectionSize(SectionKind::Cells)),
        bundle("section-value-size", "cells of 8 bytes", {
            announcing(|parts| {
                let cells = &mut parts.manifest.sections[3];
                (cells.value_size, cells.count) = (8, 4);
            })
        })
        .refused(Refusal::SectionSize(SectionKind::Cells)),
        bundle("section-count", "more records than the length holds", {
            announcing(|parts| parts.manifest.sections[1].count += 1)
        })
        .refused(Refusal::SectionSize(SectionKind::Nodes32)),
        bundle("section-count-of-bytes", "a count where there are no records", {
            announcing(|parts| parts.manifest.sections[6].count = 1)
        })
        .refused(Refusal::SectionSize(SectionKind::Executables)),
        bundle("section-2-to-the-60-bytes", "a table of 2^60 bytes is announced", {
            announcing(|parts| parts.manifest.sections[3].length = 1 << 60)
        })
        .refused(Refusal::SectionSize(SectionKind::Cells)),
        bundle("section-4-billion-records", "a table of as many records as can be announced", {
            announcing(|parts| {
                let nodes = &mut parts.manifest.sections[2];
                (nodes.count, nodes.length) = (u32::MAX, u64::from(u32::MAX) * 320);
            })
        })
        .refused(Refusal::Truncated("a section")),
        bundle("section-2-to-the-60-of-text", "executables of 2^60 bytes are announced", {
            announcing(|parts| parts.manifest.sections[6].length = 1 << 60)
        })
        .refused(Refusal::Truncated("a section")),
    ]
}

fn images() -> Vec<Case> {
    let image =
        |name, about, spoil: fn(&mut Image), error| bundle(name, about, of_image(spoil)).refused(Refusal::Image(error));
    let section = |name, about, kind, bytes| bundle(name, about, Parts::with_section(kind, bytes).sealed(&[1]));
    let policy = crate::made::image().section(SectionKind::Policy);
    let executables = crate::made::image().section(SectionKind::Executables);
    vec![
        section("image-two-policies", "two policy records", SectionKind::Policy, policy.repeat(2))
            .refused(Refusal::Image(ImageError::Count(SectionKind::Policy))),
        image(
            "image-program-mask",
            "the mask wants two buckets of programs, and there is one",
            |image| image.policy.program_mask = 1,
            ImageError::Count(SectionKind::Programs),
        ),
        image(
            "image-three-buckets",
            "three buckets of pairs, which is no power of two",
            |image| {
                image.policy.pair_mask = 2;
                image.pairs = vec![image.pairs[0]; 3];
            },
            ImageError::Count(SectionKind::Pairs),
        ),
        image(
            "image-no-buckets",
            "no bucket of programs",
            |image| {
                image.policy.program_mask = u32::MAX;
                image.programs.clear();
            },
            ImageError::Count(SectionKind::Programs),
        ),
        image(
            "image-raw-cell",
            "the cell of raw sockets does not exist",
            |image| image.policy.raw_cell = 2,
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-root",
            "the root is a node that does not exist",
            |image| image.policy.root_v4 = 2,
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-root-of-ports",
            "the root over addresses is a node that decides nothing but ports",
            |image| {
                image.nodes32[0].next = [Step::PORT_DONE; FANOUT];
                image.policy.root_v4 = 0;
            },
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-root-v6",
            "the root over IPv6 addresses is a cell that does not exist",
            |image| image.policy.root_v6 = Step::ADDRESS_DONE | Step::PORT_DONE | 2,
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-port-without-address",
            "the port is decided before the address is",
            |image| image.policy.root_v6 = Step::PORT_DONE,
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-loop",
            "a node leads to itself",
            |image| image.nodes32[0].next[3] = 0,
            ImageError::Structure(SectionKind::Nodes32),
        ),
        image(
            "image-forwards",
            "a node leads to one behind it",
            |image| image.nodes32[0].next[3] = 1,
            ImageError::Structure(SectionKind::Nodes32),
        ),
        image(
            "image-descending",
            "the ends of a node descend",
            |image| image.nodes32[0].ends.swap(0, 1),
            ImageError::Structure(SectionKind::Nodes32),
        ),
        image(
            "image-last-end",
            "the last end of a node is not the last key",
            |image| image.nodes32[0].ends[15] = u32::MAX - 1,
            ImageError::Structure(SectionKind::Nodes32),
        ),
        image(
            "image-five-levels-of-ports",
            "a search for a port goes five nodes deep",
            |image| {
                // Each leads to the one before it, down to ports; then an address leads to the fifth.
                let ports = image.nodes32[0];
                let chain = (0..4).map(|below| Node32 { ends: ports.ends, next: [below; FANOUT] });
                image.nodes32 = [ports].into_iter().chain(chain).collect();
                image.policy.root_v4 = Step::ADDRESS_DONE | 4;
            },
            ImageError::Structure(SectionKind::Policy),
        ),
        image(
            "image-node128",
            "a node over IPv6 addresses leads to itself",
            |image| {
                image.nodes128 =
                    vec![Node128 { ends_high: [u64::MAX; FANOUT], ends_low: [u64::MAX; FANOUT], next: [0; FANOUT] }];
            },
            ImageError::Structure(SectionKind::Nodes128),
        ),
        section("image-executables-cut", "the list of executables ends too early", SectionKind::Executables, {
            executables[..executables.len() - 1].to_vec()
        })
        .refused(Refusal::Image(ImageError::Undecodable(SectionKind::Executables))),
        section("image-executables-longer", "a byte follows the list of executables", SectionKind::Executables, {
            [executables.as_slice(), &[0]].concat()
        })
        .refused(Refusal::Image(ImageError::Undecodable(SectionKind::Executables))),
        image(
            "image-relative-path",
            "an executable is named by a path that is not absolute",
            |image| image.executables[0].path = "usr/bin/signer".to_owned(),
            ImageError::Undecodable(SectionKind::Executables),
        ),
        image(
            "image-zero-in-a-path",
            "a path with a zero byte, where the kernel's ends",
            |image| image.executables[0].path = "/usr/bin/signer\0".to_owned(),
            ImageError::Undecodable(SectionKind::Executables),
        ),
        section("debug", "debug information that cannot be decoded", SectionKind::Debug, vec![1])
            .refused(Refusal::BadDebug),
        section("debug-notes", "the notes of a rule follow the debug information", SectionKind::Debug, {
            let text = |text: &str| Some(text.to_owned());
            let (until, owner, reason) = (text("2027-01-31"), text("payments"), text("a \"new\" database"));
            let notes = vec![DebugNotes { rule: 0, until, owner, ticket: None, reason }];
            let notes = postcard::to_allocvec(&notes).unwrap();
            [postcard::to_allocvec(&debug()).unwrap().as_slice(), &[0], &notes].concat()
        }),
        section("debug-no-notes", "an empty list of notes follows the debug information", SectionKind::Debug, {
            [postcard::to_allocvec(&debug()).unwrap().as_slice(), &[0, 0]].concat()
        })
        .refused(Refusal::BadDebug),
        section("debug-address", "a name with what is not an address", SectionKind::Debug, {
            let (nothing, names) = (Vec::<u8>::new(), [("203.0.113", "kms.example.com")].as_slice());
            postcard::to_allocvec(&(&nothing, None::<u8>, &nothing, names, &nothing, &nothing)).unwrap()
        })
        .refused(Refusal::BadDebug),
    ]
}

/// What is wrong with the tables of names.
fn names() -> Vec<Case> {
    let image =
        |name, about, spoil: fn(&mut Image), error| bundle(name, about, of_image(spoil)).refused(Refusal::Image(error));
    vec![
        image(
            "names-mask",
            "the mask wants more buckets of names than there are",
            |image| image.names.root.bucket_mask += 2,
            ImageError::Count(SectionKind::NameBuckets),
        ),
        image(
            "names-no-steps",
            "no bucket of steps",
            |image| image.names.steps.clear(),
            ImageError::Count(SectionKind::NameSteps),
        ),
        image(
            "names-start",
            "the first state does not exist",
            |image| image.names.root.start = 99,
            ImageError::Structure(SectionKind::Names),
        ),
        image(
            "names-nowhere",
            "the state that leads nowhere leads somewhere",
            |image| image.names.states[0].otherwise = 1,
            ImageError::Structure(SectionKind::NameStates),
        ),
        image(
            "names-otherwise",
            "a state leads to one that does not exist",
            |image| image.names.states[1].otherwise = 99,
            ImageError::Structure(SectionKind::NameStates),
        ),
        image(
            "names-accept",
            "a path ends in an executable that does not exist",
            |image| image.names.states[1].accept = 2,
            ImageError::Structure(SectionKind::NameStates),
        ),
        image(
            "names-step",
            "a step leads to a state that does not exist",
            |image| image.names.steps[0].next[3] = 99,
            ImageError::Structure(SectionKind::NameSteps),
        ),
        image(
            "names-bucket",
            "a bucket has a name that does not exist",
            |image| image.names.buckets[0].names[3] = 99,
            ImageError::Structure(SectionKind::NameBuckets),
        ),
        image(
            "names-no-bytes",
            "a name of no bytes",
            |image| image.names.names[0].length = 0,
            ImageError::Structure(SectionKind::NameTable),
        ),
        image(
            "names-too-long",
            "a name of 256 bytes",
            |image| image.names.names[0].length = 256,
            ImageError::Structure(SectionKind::NameTable),
        ),
        image(
            "names-beyond-words",
            "a name whose bytes lie behind the last one",
            |image| image.names.names[0].first = beyond_words(image),
            ImageError::Structure(SectionKind::NameTable),
        ),
        image(
            "matches-missing",
            "an executable of which nothing is said",
            |image| image.matches.clear(),
            ImageError::Count(SectionKind::Matches),
        ),
        image(
            "matches-nine",
            "nine restricted programs, where eight have room",
            |image| image.matches[0].count = 9,
            ImageError::Structure(SectionKind::Matches),
        ),
        image(
            "matches-beyond",
            "more restricted programs than can be counted",
            |image| image.matches[0].count = u32::MAX,
            ImageError::Structure(SectionKind::Matches),
        ),
    ]
}

fn beyond_words(image: &Image) -> u32 {
    image.names.words.len() as u32
}

/// The first format, which is still read.
fn old() -> Vec<Case> {
    let named = |spoil: fn(&mut Parts)| {
        let mut parts = Parts::old();
        spoil(&mut parts);
        parts.sealed_old(&[1])
    };
    vec![
        bundle("old", "a bundle of the first format", named(|_| {})),
        bundle("old-with-names", "one that has a section which came with the second", {
            named(|parts| {
                let new = Parts::of(&image());
                parts.manifest.sections.push(new.manifest.sections[8].clone());
                parts.sections.push(new.sections[8].clone());
            })
        })
        .refused(Refusal::UnknownSection(9)),
        bundle("old-as-new", "one that says that it is of the second format", Parts::old().sealed(&[1]))
            .refused(Refusal::MissingSection(SectionKind::Names)),
        bundle("new-as-old", "one of the second format that says that it is of the first", {
            Parts::of(&image()).sealed_old(&[1])
        })
        .refused(Refusal::UnknownSection(9)),
        bundle("old-with-members", "executables as the second format has them", {
            named(|parts| {
                let new = Parts::of(&image());
                parts.manifest.sections[6] = new.manifest.sections[6].clone();
                parts.sections[6] = new.sections[6].clone();
            })
        })
        .refused(Refusal::Image(ImageError::Undecodable(SectionKind::Executables))),
    ]
}
