//! Images with deliberate mistakes: each is caught, or does not change the meaning.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "a test may fail loudly")]

use std::path::Path;

use bfp_bundle::decide::{decide, decide_raw};
use bfp_bundle::image::Image;
use bfp_bundle::label::Label;
use bfp_bundle::names::{Match, State};
use bfp_bundle::record::{BUCKET, Cell, FANOUT, NO_RULE, Pair, Policy, Step};
use proptest::prelude::*;

use super::{ProveError, prove};
use crate::check::CheckedPolicy;
use crate::check::check;
use crate::lower::lower;
use crate::lower::tests::{answer, policy, processes, requests};
use crate::names::lock::Lock;
use crate::policy::model::{self, Answer, Asked, Process};
use crate::resolve::resolve;
use crate::source::Disk;
use crate::source::load::load_text;

fn checked(text: &str) -> CheckedPolicy {
    check(
        resolve(&load_text("p.bfp", "p.bfp", text, Path::new("."), &Disk).ok().unwrap(), "stem", &Lock::default())
            .unwrap(),
    )
    .unwrap()
}

/// Every kind of rule and protocol; nodes over IPv4, IPv6 and ports; edges at both ends of an address space.
const POLICY: &str = r#"
program signer = "/usr/bin/signer"
program backup = "/usr/bin/restic" with children
program ci = { "/usr/bin/cargo", "/usr/bin/rustc" }
only signer -> { 10.0.0.5:443, 10.0.0.6/icmp, 10.0.0.9, [fd00::5]:{22, 443}/tcp, [fd00::6]/icmp }
backup -> only { 10.1.0.0/16, 255.255.255.255 }
audit ci -> only { 10.0.0.0/8, [2001:db8::/32] }
deny ci -> { metadata, 10.2.0.7:8000-8010, 10.2.0.9/icmp }
deny * -> { 192.0.2.0/24:25, [2001:db8::25] }
allow ci -> { 10.2.0.0/16:{80, 443, 8000-8010}, [2001:db8::/32] }
allow * -> 198.51.100.0/24
audit only signer -> 10.3.0.1
audit deny ci -> 10.3.0.0/24
audit deny * -> 10.3.0.128/25
deny "/usr/bin/tool" -> raw
allow { signer, "/usr/bin/tool" } -> *
"#;

/// The plain model's answers for every process and every request at an edge.
struct Answers {
    asked: Vec<Asked>,
    of: Vec<(Process, Label, Vec<Answer>)>,
}

impl Answers {
    /// A wrong image is queried with the labels of the right one: its executables are compared as they are.
    fn new(policy: &CheckedPolicy, right: &Image) -> Answers {
        // Seven is prime to the four protocols, so all protocols are queried without optimisation too.
        let step = if cfg!(debug_assertions) { 7 } else { 1 };
        let requests = requests(policy.policy()).into_iter().step_by(step).map(Asked::Request);
        let asked: Vec<Asked> = requests.chain([Asked::Raw]).collect();
        let of = processes(policy.policy(), right).into_iter().map(|(process, label)| {
            let answers = asked.iter().map(|asked| model::answer(policy.policy(), &process, *asked)).collect();
            (process, label, answers)
        });
        Answers { of: of.collect(), asked }
    }

    /// A process and a request that an image judges differently.
    fn difference(&self, image: &Image) -> Option<(&Process, Asked)> {
        self.of.iter().find_map(|(process, label, answers)| {
            let differs = |(asked, expected): &(&Asked, &Answer)| {
                let verdict = match asked {
                    Asked::Raw => decide_raw(image, label),
                    Asked::Request(request) => decide(image, label, request),
                };
                answer(verdict) != **expected
            };
            self.asked.iter().zip(answers).find(differs).map(|(asked, _)| (process, *asked))
        })
    }
}

/// Applies each mistake to an image of its own. Each must be caught or have no effect. Returns how many were caught.
fn caught<T: std::fmt::Debug>(
    policy: &CheckedPolicy,
    mistakes: impl IntoIterator<Item = T>,
    make: impl Fn(&mut Image, &T),
) -> usize {
    let right = lower(policy).unwrap();
    let answers = std::cell::OnceCell::new();
    let mistakes: Vec<T> = mistakes.into_iter().collect();
    // Without optimisation, a sample of the mistakes has to do.
    let step = if cfg!(debug_assertions) { mistakes.len().div_ceil(40).max(1) } else { 1 };
    let mut caught = 0;
    for mistake in mistakes.into_iter().step_by(step) {
        let mut wrong = right.clone();
        make(&mut wrong, &mistake);
        if wrong == right {
            continue;
        }
        match prove(policy, wrong.clone()) {
            Ok(_) => {
                let answers = answers.get_or_init(|| Answers::new(policy, &right));
                assert_eq!(answers.difference(&wrong), None, "{mistake:?} is not caught");
            }
            Err(ProveError::Mismatch(witness)) => {
                caught += 1;
                assert!(!witness.process.is_empty() && !witness.asked.is_empty());
            }
            Err(
                ProveError::Identity { .. } | ProveError::Record { .. } | ProveError::Name { .. } | ProveError::Clients,
            ) => caught += 1,
        }
    }
    caught
}

fn both_defaults() -> [CheckedPolicy; 2] {
    [checked(POLICY), checked(&format!("{POLICY}\n{CLIENTS}\ndefault deny\n"))]
}

/// Rules about answers, which the tables then distinguish.
const CLIENTS: &str = r#"
allow signer -> clients:443 from { 10.0.0.0/8, [2001:db8::/32] }
deny "/usr/bin/tool" -> clients:22
audit deny signer -> clients from 10.3.0.0/24
"#;

fn bits(count: usize, flags: u32) -> impl Iterator<Item = (usize, u32)> {
    (0..count).flat_map(move |at| (0..flags).map(move |bit| (at, 1 << bit)))
}

/// The allowed process is none of the programs that the place names, and none of the first that a rule grants
/// everything: only one of the others shows what its parents are denied.
#[test]
fn what_a_parent_is_refused_is_seen_where_only_others_are_allowed() {
    let policy = checked(
        "program a = \"/usr/bin/a\"\nprogram b = \"/usr/bin/b\"\nprogram c = \"/usr/bin/c\"\n\
         deny a -> 0.0.0.0/0\ndeny b -> 255.255.255.255\nonly { a, c } -> *\n",
    );
    let right = lower(&policy).unwrap();
    let slots =
        (0..right.pairs.len()).flat_map(|bucket| (0..right.pairs[bucket].flags.len()).map(move |at| (bucket, at)));
    let removed = slots.filter(|(bucket, at)| right.pairs[*bucket].flags[*at] & Pair::DENIED != 0).collect::<Vec<_>>();
    let number = removed.len();
    assert!(number >= 2);
    let caught = caught(&policy, removed, |image, (bucket, at)| image.pairs[*bucket].flags[*at] &= !Pair::DENIED);
    assert_eq!(caught, number);
}

#[test]
fn the_policy_itself_is_proven() {
    for policy in both_defaults() {
        let proven = prove(&policy, lower(&policy).unwrap()).expect("what lowering makes is right");
        assert!(proven.proof().to_string().contains(" of "));
    }
}

#[test]
fn a_wrong_flag_of_a_cell_is_caught() {
    for policy in both_defaults() {
        let image = lower(&policy).unwrap();
        let found = caught(&policy, bits(image.cells.len(), 8), |image, (at, flag)| image.cells[*at].flags ^= flag);
        assert!(found > 10, "{found}");
        let outside = caught(&policy, 0..image.cells.len(), |image, at| image.cells[*at].flags ^= Cell::OUTSIDE);
        assert!(outside > 0);
    }
}

#[test]
fn a_wrong_rule_is_caught() {
    let policy = checked(POLICY);
    let image = lower(&policy).unwrap();
    let other = |rule: &mut u32| *rule = if *rule == 0 { NO_RULE } else { 0 };
    assert!(caught(&policy, 0..image.cells.len(), |image, at| other(&mut image.cells[*at].rule)) > 0);
    assert!(caught(&policy, 0..image.cells.len(), |image, at| other(&mut image.cells[*at].audit_rule)) > 0);
    assert!(caught(&policy, [0], |image, _| other(&mut image.policy.default_rule)) == 1);
}

/// Where an unlisted program is denied, only the programs of the exclusive rule show which audited rule is blamed.
#[test]
fn a_wrong_audited_rule_under_an_exclusive_one_is_caught() {
    let mut text = "only { \"/a\", \"/b\", \"/c\" } -> 10.0.0.0/8\n".to_owned();
    for number in 1..=8 {
        let other = if number % 2 == 0 { "/b" } else { "/c" };
        text += &format!("audit only {{ \"/a\", \"{other}\" }} -> 10.0.0.{}\n", 2 * number);
    }
    let policy = checked(&text);
    let right = lower(&policy).unwrap();
    for rule in 1..=8 {
        let mut wrong = right.clone();
        let blamed = wrong.cells.iter_mut().filter(|cell| cell.audit_rule == rule);
        let changed = blamed.map(|cell| cell.audit_rule = if rule > 2 { rule - 2 } else { rule + 2 }).count();
        assert!(changed > 0 && prove(&policy, wrong).is_err(), "rule {rule} in {changed} cells");
    }
}

#[test]
fn a_wrong_pair_is_caught() {
    for policy in both_defaults() {
        let right = lower(&policy).unwrap();
        let held = |at: &usize| right.pairs[at / BUCKET].programs[at % BUCKET] != 0;
        let entries: Vec<usize> = (0..right.pairs.len() * BUCKET).filter(held).collect();
        let dropped = caught(&policy, entries.clone(), |image, at| image.pairs[at / BUCKET].programs[at % BUCKET] = 0);
        assert!(dropped > 10, "{dropped}");
        let flips = entries.iter().flat_map(|at| (0..7).map(move |bit| (*at, 1_u32 << bit)));
        let flipped = caught(&policy, flips, |image, (at, flag)| image.pairs[at / BUCKET].flags[at % BUCKET] ^= flag);
        assert!(flipped > 10, "{flipped}");
        let moved = caught(&policy, entries.clone(), |image, at| image.pairs[at / BUCKET].cells[at % BUCKET] ^= 1);
        assert!(moved > 10, "{moved}");
        let renamed = caught(&policy, entries.clone(), |image, at| image.pairs[at / BUCKET].programs[at % BUCKET] ^= 1);
        assert!(renamed > 10, "{renamed}");
    }
}

#[test]
fn a_pair_that_does_not_belong_is_caught() {
    let policy = checked(POLICY);
    let right = lower(&policy).unwrap();
    let cells = right.cells.len() as u32;
    let numbers = (0..right.programs.len() * BUCKET).filter(|at| right.programs[at / BUCKET].ids[at % BUCKET] != 0);
    let added: Vec<(u32, u32)> = numbers.flat_map(|at| (0..cells).map(move |cell| (cell, at as u32 + 1))).collect();
    // Either of the two buckets of a pair has room, or the image stays right.
    let found = caught(&policy, added, |image, (cell, number)| {
        let (first, second) = bfp_bundle::record::bucket_hashes(bfp_bundle::record::pair_key(*cell, *number));
        for at in [first & image.policy.pair_mask, second & image.policy.pair_mask] {
            let bucket = &mut image.pairs[at as usize];
            let held = (0..BUCKET).any(|slot| (bucket.cells[slot], bucket.programs[slot]) == (*cell, *number));
            if let Some(free) = (0..BUCKET).find(|slot| bucket.programs[*slot] == 0)
                && !held
            {
                bucket.cells[free] = *cell;
                bucket.programs[free] = *number;
                bucket.flags[free] = Pair::DENIED;
                return;
            }
        }
    });
    assert!(found > 10, "{found}");
}

#[test]
fn a_wrong_program_is_caught() {
    for policy in both_defaults() {
        let right = lower(&policy).unwrap();
        let held = |at: &usize| right.programs[at / BUCKET].ids[at % BUCKET] != 0;
        let entries = right.programs.len() * BUCKET;
        let flips = (0..entries).filter(held).flat_map(|at| (0..7).map(move |bit| (at, 1_u32 << bit)));
        let flipped = caught(&policy, flips, |image, (at, flag)| {
            image.programs[at / BUCKET].flags[at % BUCKET] ^= flag;
        });
        assert!(flipped > 10, "{flipped}");
        let missing = caught(&policy, 0..entries, |image, at| image.programs[at / BUCKET].ids[at % BUCKET] = 0);
        assert_eq!(missing, policy.policy().programs.len());
        let twice = caught(&policy, 0..entries, |image, at| {
            let known = image.executables[0].program;
            image.programs[at / BUCKET].ids[at % BUCKET] = known;
        });
        assert!(twice > 0);
    }
}

/// Every end decreased and increased by one; every child exchanged for its neighbour.
#[test]
fn a_wrong_node_is_caught() {
    let policy = checked(POLICY);
    let image = lower(&policy).unwrap();
    let places = |nodes: usize| (0..nodes).flat_map(|node| (0..FANOUT).map(move |child| (node, child)));
    let ends32: usize = [1, u32::MAX]
        .map(|by| {
            caught(&policy, places(image.nodes32.len()), |image, (node, child)| {
                let end = &mut image.nodes32[*node].ends[*child];
                *end = end.wrapping_add(by);
            })
        })
        .iter()
        .sum();
    assert!(ends32 > 10, "{ends32}");
    let ends128 = caught(&policy, places(image.nodes128.len()), |image, (node, child)| {
        let node = &mut image.nodes128[*node];
        let (high, low) = (&mut node.ends_high[*child], &mut node.ends_low[*child]);
        (*high, *low) = if *low == 0 { (high.wrapping_sub(1), u64::MAX) } else { (*high, *low - 1) };
    });
    assert!(ends128 > 2, "{ends128}");
    let swapped = caught(&policy, places(image.nodes32.len()), |image, (node, child)| {
        image.nodes32[*node].next.swap(*child, (child + 1) % FANOUT);
    });
    assert!(swapped > 5, "{swapped}");
    let swapped = caught(&policy, places(image.nodes128.len()), |image, (node, child)| {
        image.nodes128[*node].next.swap(*child, (child + 1) % FANOUT);
    });
    assert!(swapped > 2, "{swapped}");
}

/// Within a class, where the policy has no edge to query.
#[test]
fn a_hole_within_a_class_is_caught() {
    let policy = checked("deny \"/a\" -> { 10.0.0.0/8, [fd00::/8] }");
    let right = lower(&policy).unwrap();
    let (outside, inside) = (right.nodes32[0].next[0], right.nodes32[0].next[1]);
    let found = caught(&policy, [outside, inside], |image, other| {
        // 10.0.0.0/8 in three parts, the middle one as `other`.
        let ends = [0x09ff_ffff, 0x0a12_3456, 0x0a12_3457, 0x0aff_ffff];
        let node = &mut image.nodes32[0];
        node.ends = [u32::MAX; FANOUT];
        node.ends[..4].copy_from_slice(&ends);
        node.next = [outside; FANOUT];
        node.next[1..4].copy_from_slice(&[inside, *other, inside]);
    });
    assert_eq!(found, 1, "the hole is caught, and the cut alone means the same");
}

#[test]
fn a_wrong_beginning_is_caught() {
    for policy in both_defaults() {
        let image = lower(&policy).unwrap();
        let cells = image.cells.len() as u32;
        let flags = [Policy::DEFAULT_DENY, Policy::CLIENTS];
        assert_eq!(caught(&policy, flags, |image, flag| image.policy.flags ^= flag), 2);
        assert!(caught(&policy, 0..cells, |image, cell| image.policy.raw_cell = *cell) > 1);
        assert_eq!(caught(&policy, [cells, u32::MAX], |image, cell| image.policy.raw_cell = *cell), 2);
        // To a cell without looking at the address, to the wrong kind of node, and nowhere.
        let ports = Step::ADDRESS_DONE | (image.nodes32.len() as u32 - 1);
        let roots = [Step::ADDRESS_DONE | Step::PORT_DONE, ports, u32::MAX];
        assert_eq!(caught(&policy, roots, |image, root| image.policy.root_v4 = *root), 3);
        assert_eq!(caught(&policy, roots, |image, root| image.policy.root_v6 = *root), 3);
    }
}

#[test]
fn a_wrong_executable_is_caught() {
    let policy = checked(POLICY);
    let programs = policy.policy().programs.len();
    assert_eq!(
        caught(&policy, bits(programs, 2), |image, (at, flag)| image.executables[*at].flags ^= flag),
        programs * 2
    );
    assert_eq!(caught(&policy, 0..programs, |image, at| image.executables[*at].program ^= 1), programs);
    assert_eq!(caught(&policy, 0..programs, |image, at| image.executables[*at].path.push('2')), programs);
    assert_eq!(caught(&policy, 0..programs, |image, at| image.executables[*at].pins.push([0; 32])), programs);
    assert_eq!(caught(&policy, 0..programs, |image, at| image.executables[*at].libraries = Some(Vec::new())), programs);
    assert_eq!(caught(&policy, 0..programs, |image, at| drop(image.executables.remove(*at))), programs);
    assert_eq!(caught(&policy, [0], |image, at| image.executables.push(image.executables[*at].clone())), 1);
}

#[test]
fn a_witness_tells_who_asks_for_what_and_both_answers() {
    let policy = checked("only \"/usr/bin/signer\" -> 10.0.0.5:443/tcp");
    let mut image = lower(&policy).unwrap();
    image.cells.iter_mut().for_each(|cell| cell.flags &= !Cell::EXCLUSIVE);
    let error = prove(&policy, image).expect_err("nobody is excluded");
    assert_eq!(
        error.to_string(),
        "the tables are wrong: an unknown program asks for 10.0.0.5:443/tcp: the policy refuses it; the tables allow it \
         (Default)"
    );
}

/// One changed word of an image.
fn mistake() -> impl Strategy<Value = (u8, prop::sample::Index, prop::sample::Index, u32)> {
    let word = prop_oneof![(0u32..8).prop_map(|bit| 1 << bit), Just(u32::MAX), Just(Step::PORT_DONE)];
    (0u8..9, any::<prop::sample::Index>(), any::<prop::sample::Index>(), word)
}

fn make(image: &mut Image, (what, at, child, by): &(u8, prop::sample::Index, prop::sample::Index, u32)) {
    let child16 = child.index(FANOUT);
    let slot = child.index(BUCKET);
    match what {
        0 if !image.nodes32.is_empty() => at.get_mut(&mut image.nodes32).ends[child16] ^= by,
        1 if !image.nodes32.is_empty() => at.get_mut(&mut image.nodes32).next[child16] ^= by,
        2 if !image.nodes128.is_empty() => at.get_mut(&mut image.nodes128).ends_low[child16] ^= u64::from(*by),
        3 if !image.nodes128.is_empty() => at.get_mut(&mut image.nodes128).next[child16] ^= by,
        4 => at.get_mut(&mut image.cells).flags ^= by,
        5 => at.get_mut(&mut image.programs).flags[slot] ^= by,
        6 => at.get_mut(&mut image.pairs).flags[slot] ^= by,
        7 => at.get_mut(&mut image.pairs).cells[slot] ^= by,
        _ => at.get_mut(&mut image.pairs).programs[slot] ^= by,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 300 }))]

    #[test]
    fn what_lowering_makes_of_any_policy_is_proven(policy in policy()) {
        let proven = prove(&policy, lower(&policy).unwrap());
        prop_assert!(proven.is_ok(), "{}", proven.expect_err("it is not"));
    }

    #[test]
    fn what_is_proven_means_the_same(policy in policy(), mistake in mistake()) {
        caught(&policy, [mistake], make);
    }
}

/// Patterns that overlap in several ways, among them an exact path.
const PATTERNS: &str = r#"
program any   = "/opt/*/bin/vault" with children
program app   = "/opt/app/**"
program vault = "/opt/app/bin/vault"
only { any, vault } -> 10.0.0.5:443
deny app -> { metadata, 10.2.0.7:8000-8010 }
deny "/opt/a*/bin/*" -> 10.3.0.0/24
deny { "/bin/tool", "/**/run" } -> raw
"#;

/// An entry of a program has room for one audited rule, which must be the right one for raw sockets too.
#[test]
fn audited_rules_that_are_about_one_program_are_told_apart() {
    for rules in [
        "audit \"/d\" -> only raw\naudit only \"/d\" -> 10.0.0.1\n",
        "audit \"/d\" -> only { raw, 10.0.0.0/8 }\naudit deny \"/d\" -> 10.0.0.1\naudit only \"/e\" -> 10.0.0.2\n",
        "audit only \"/d\" -> 10.0.0.1\naudit deny \"/d\" -> 10.0.0.2\n",
    ] {
        let policy = checked(rules);
        let proven = prove(&policy, lower(&policy).unwrap());
        assert!(proven.is_ok(), "{rules}{}", proven.unwrap_err());
    }
}

#[test]
fn wrong_tables_of_names_are_caught() {
    let policy = checked(PATTERNS);
    let right = lower(&policy).unwrap();
    let proven = |image: Image| prove(&policy, image).is_ok();
    assert!(proven(right.clone()));
    let places = policy.policy().programs.len() as u32;
    let mut missed = Vec::new();
    let mut number = 0;
    // Nothing ends in the first two states: the one that leads nowhere, and the one before the last component.
    for at in 2..right.names.states.len() {
        let state = right.names.states[at];
        for other in (0..=places).filter(|other| *other != state.accept && state.flags & State::BYTES == 0) {
            let mut wrong = right.clone();
            wrong.names.states[at].accept = other;
            number += 1;
            if proven(wrong) {
                missed.push(format!("state {at} takes its files for {other}"));
            }
        }
    }
    assert!(number > 100, "{number}");
    assert!(missed.is_empty(), "{missed:#?}");
    // Some are taken only by paths that differ in two components from all queried ones.
    let (mut steps, mut unseen) = (0, Vec::new());
    for at in 0..right.names.steps.len() * BUCKET {
        if right.names.steps[at / BUCKET].keys[at % BUCKET] != 0 {
            let mut wrong = right.clone();
            wrong.names.steps[at / BUCKET].next[at % BUCKET] = 0;
            wrong.names.steps[at / BUCKET].keys[at % BUCKET] = 0;
            steps += 1;
            if proven(wrong) {
                unseen.push(format!("step {:x} is missing", right.names.steps[at / BUCKET].keys[at % BUCKET]));
            }
        }
    }
    for at in 0..right.names.names.len() {
        let mut wrong = right.clone();
        wrong.names.names[at].symbol = 0;
        if proven(wrong) {
            missed.push(format!("name {at} is not known"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(steps > 50 && unseen.len() * 5 < steps, "{steps}: {unseen:#?}");
}

#[test]
fn a_wrong_record_of_a_process_is_caught() {
    let policy = checked(PATTERNS);
    let right = lower(&policy).unwrap();
    assert!(right.matches.iter().any(|record| record.count > 1), "a class has the restrictions of several");
    for at in 0..right.matches.len() {
        for flag in (0..5).map(|bit| 1 << bit) {
            let mut wrong = right.clone();
            wrong.matches[at].flags ^= flag;
            assert!(prove(&policy, wrong).is_err(), "record {at} without {flag}");
        }
        let changes: [fn(&mut Match); 4] = [
            |record| record.program ^= 1,
            |record| record.count ^= 1,
            |record| record.restricted[0] ^= 1,
            |record| record.restricted[7] ^= 1,
        ];
        for change in changes {
            let mut wrong = right.clone();
            change(&mut wrong.matches[at]);
            assert!(prove(&policy, wrong).is_err(), "record {at}");
        }
    }
    for flag in (16..23).map(|bit| 1 << bit) {
        let mut wrong = right.clone();
        let held = wrong.programs.iter_mut().find(|bucket| bucket.ids[0] != 0).unwrap();
        held.flags[0] ^= flag;
        assert!(prove(&policy, wrong).is_err(), "{flag:#x}");
    }
}

#[test]
fn whoever_has_a_grant_that_others_want_is_guarded() {
    let guarded = |text: &str| {
        let image = lower(&checked(text)).unwrap();
        image.matches.iter().map(|record| record.flags & Match::GUARDED != 0).collect::<Vec<_>>()
    };
    let rules = "allow \"/opt/a\" -> 10.0.0.1\n\"/opt/b\" -> only 10.0.0.2\ndeny \"/opt/c\" -> 10.0.0.3\n\
                 audit only \"/opt/d\" -> 10.0.0.4\nonly \"/opt/e\" -> 10.0.0.5\n";
    assert_eq!(guarded(rules), [false, false, false, false, true]);
    assert_eq!(guarded(&format!("{rules}default deny\n")), [true, true, false, false, true]);
}

fn pattern() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => "[ab]{1,2}",
        1 => Just("*".to_owned()),
        1 => Just("**".to_owned()),
        2 => "[ab]?\\*[ab]?".prop_filter("no subtree", |name| name != "**"),
        1 => Just("bin".to_owned()),
        1 => Just("usr".to_owned()),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![4 => "[ab]{1,3}", 1 => Just("bin".to_owned()), 1 => Just("usr".to_owned())];
    prop::collection::vec(name, 1..5).prop_map(|names| format!("/{}", names.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 100 } else { 2000 }))]

    /// Without classes: a file is denied what any pattern that it matches is denied, and granted what any of them is
    /// granted.
    #[test]
    fn overlapping_patterns_mean_what_each_says(
        patterns in prop::collection::vec(pattern(), 1..6),
        paths in prop::collection::vec(path(), 30),
    ) {
        let rules = patterns.iter().enumerate().map(|(number, pattern)| {
            format!("deny \"{pattern}\" -> 10.0.0.{number}\naccept check::writable_grant because \"t\"\n\
                     accept check::interpreter because \"t\"\nallow \"{pattern}\" -> 10.1.0.{number}\n")
        });
        let text = format!("default deny\nallow * -> 10.0.0.0/16\n{}", rules.collect::<String>());
        let loaded = load_text("p.bfp", "p.bfp", &text, Path::new("."), &Disk).ok().unwrap();
        // A grant to a pattern of everyone is rejected, which has its own test.
        let Ok(policy) = check(resolve(&loaded, "stem", &Lock::default()).unwrap()) else { return Ok(()) };
        let image = lower(&policy).unwrap();
        let again = lower(&policy).unwrap();
        prop_assert_eq!(&again, &image);
        let proven = prove(&policy, image.clone());
        prop_assert!(proven.is_ok(), "{:?}", proven.err());
        let covered = |pattern: &str, path: &str| {
            let canonical = crate::resolve::program_path::canonical(pattern);
            let without_usr = canonical.strip_prefix("/usr").filter(|rest| rest.starts_with("/bin/"));
            [Some(canonical.as_str()), without_usr].into_iter().flatten().any(|of| crate::check::pattern::matches(of, path))
        };
        for path in &paths {
            let label = image.label_of(path);
            for (number, pattern) in patterns.iter().enumerate() {
                let same: Vec<&String> =
                    patterns.iter().filter(|other| covered(other, path)).collect();
                let asked = |network: u32| {
                    let address = bfp_bundle::request::Address::V4(10 << 24 | network << 16 | number as u32);
                    bfp_bundle::request::Request { address, port: 443, protocol: bfp_bundle::request::Protocol::Tcp }
                };
                let means = same.contains(&pattern);
                prop_assert_eq!(!decide(&image, &label, &asked(0)).is_allowed(), means, "{} {:?}", path, patterns);
                prop_assert_eq!(decide(&image, &label, &asked(1)).is_allowed(), means, "{} {:?}", path, patterns);
            }
        }
    }
}
