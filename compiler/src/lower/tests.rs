//! The image means what the model means: tested on random policies, for every program and every request at or beside an
//! edge.
#![expect(clippy::indexing_slicing, clippy::expect_used, reason = "a test may fail loudly")]

use bfp_bundle::decide::{Reason, Verdict, decide, decide_answer, decide_raw};
use bfp_bundle::envelope::BUNDLE_VERSION;
use bfp_bundle::image::Image;
use bfp_bundle::label::{Label, Proof};
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::record::NO_RULE;
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_grammar::syntax::Span;
use proptest::prelude::*;

use super::lower;
use crate::check::CheckedPolicy;
use crate::policy::model::{self, Answer, Asked, Process};
use crate::policy::*;

const PATHS: [&str; 4] = ["/usr/bin/a", "/usr/bin/b", "/usr/bin/c", "/usr/bin/d"];

fn address_v4() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), 0x7f00_0000u32..0x7f00_0004, 0x0a00_0000u32..0x0a00_0010, any::<u32>()]
}

fn address_v6() -> impl Strategy<Value = u128> {
    prop_oneof![
        Just(0u128),
        Just(u128::MAX),
        0xfd00u128 << 112..(0xfd00u128 << 112) + 16,
        (0x0064_ff9bu128 << 96) + 0x0a00_0000..(0x0064_ff9bu128 << 96) + 0x0a00_0010,
        any::<u128>()
    ]
}

fn addresses() -> impl Strategy<Value = Addresses> {
    prop_oneof![
        (address_v4(), address_v4()).prop_map(|(a, b)| Addresses::V4(a.min(b), a.max(b))),
        (address_v6(), address_v6()).prop_map(|(a, b)| Addresses::V6(a.min(b), a.max(b))),
        address_v4().prop_map(|a| Addresses::V4(a, a)),
        Just(Addresses::Raw),
    ]
}

fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let port = prop_oneof![Just(0u16), Just(443), Just(u16::MAX), 1u16..1000];
    let range = (0usize..4, port.clone(), port).prop_map(|(protocol, a, b)| PortRange {
        protocol: Protocol::ALL[protocol],
        first: a.min(b),
        last: a.max(b),
    });
    let icmp = PortRange { protocol: Protocol::Icmp, first: 0, last: u16::MAX };
    let some = prop::collection::btree_set(range, 1..4).prop_map(|ranges| ranges.into_iter().collect());
    prop_oneof![2 => Just(PortRange::all()), 1 => Just(vec![icmp]), 2 => some]
}

fn rule() -> impl Strategy<Value = Rule> {
    let effect = prop_oneof![
        Just(Effect::Exclusive),
        Just(Effect::Confined),
        Just(Effect::Deny),
        Just(Effect::Allow),
        Just(Effect::DenyOthers),
        Just(Effect::AllowOthers)
    ];
    let programs = prop::collection::btree_set(0usize..PATHS.len(), 1..3)
        .prop_map(|set| Subjects::Programs(set.into_iter().map(ProgramIndex).collect()));
    let subjects = prop_oneof![1 => Just(Subjects::Everyone), 4 => programs];
    let everything = Just(vec![
        Destination { addresses: Addresses::V4(0, u32::MAX), ports: PortRange::all() },
        Destination { addresses: Addresses::V6(0, u128::MAX), ports: PortRange::all() },
        Destination { addresses: Addresses::Raw, ports: PortRange::all() },
    ]);
    let some = prop::collection::vec(
        (addresses(), ports()).prop_map(|(addresses, ports)| Destination { addresses, ports }),
        1..4,
    );
    let destinations = prop_oneof![1 => everything.prop_map(|d| (d, true)), 6 => some.prop_map(|d| (d, false))];
    let enforcement = prop_oneof![3 => Just(Enforcement::Enforced), 1 => Just(Enforcement::Audited)];
    (effect, enforcement, subjects, destinations).prop_map(
        |(effect, enforcement, subjects, (destinations, covers_everything))| Rule {
            // `only * -> D` excludes no program, and `* except *` is none; both are rejected.
            effect: match effect {
                Effect::Exclusive | Effect::DenyOthers if subjects == Subjects::Everyone => Effect::Deny,
                Effect::AllowOthers if subjects == Subjects::Everyone => Effect::Allow,
                _ => effect,
            },
            // A grant cannot be audited; the resolver rejects it.
            enforcement: match effect {
                Effect::Allow | Effect::AllowOthers => Enforcement::Enforced,
                _ => enforcement,
            },
            subjects,
            destinations,
            covers_everything,
            notes: bfp_grammar::syntax::Notes::default(),
            share: Share::default(),
            span: Span::default(),
            subjects_span: Span::default(),
            destinations_span: Span::default(),
        },
    )
}

/// A rule as it is in a policy that names `clients`: a host without ports covers answers too. `names_clients`: what was
/// about UDP is about answers.
fn with_answers(rule: &mut Rule, names_clients: bool) {
    for to in &mut rule.destinations {
        if to.ports == PortRange::all() {
            to.ports = PortRange::all_and_answers();
        } else if names_clients {
            let udp = to.ports.iter_mut().filter(|range| range.protocol == Protocol::Udp);
            udp.for_each(|range| range.protocol = Protocol::Answer);
            to.ports.sort();
        }
    }
}

pub(crate) fn policy() -> impl Strategy<Value = CheckedPolicy> {
    let options = (any::<bool>(), any::<bool>(), any::<[bool; 4]>());
    (prop::collection::vec(rule(), 0..6), options).prop_map(|(mut rules, (deny, clients, heirs))| {
        if clients {
            rules.iter_mut().enumerate().for_each(|(number, rule)| with_answers(rule, number % 2 == 0));
        }
        CheckedPolicy {
            warnings: Vec::new(),
            policy: ResolvedPolicy {
                declared_programs: std::collections::BTreeMap::new(),
                name_uses: Vec::new(),
                unspecified: Vec::new(),
                special: Vec::new(),
                rotating: std::collections::BTreeSet::new(),
                ipv4_only: std::collections::BTreeSet::new(),
                name: "p".to_owned(),
                programs: PATHS
                    .iter()
                    .zip(heirs)
                    .map(|(path, with_children)| Program {
                        path: (*path).to_owned(),
                        name: (*path).to_owned(),
                        span: Span::default(),
                        pins: Vec::new(),
                        libraries: None,
                        with_children,
                        written: (*path).to_owned(),
                        members: Vec::new(),
                    })
                    .collect(),
                kinds: (0..PATHS.len()).map(ProgramIndex).collect(),
                unlisted: Vec::new(),
                rules,
                clients,
                default: if deny { Default::Deny(Span::default()) } else { Default::Allow },
                names: std::collections::BTreeMap::new(),
                tests: Vec::new(),
                accepted: Vec::new(),
            },
        }
    })
}

/// Every address and port at an edge of the policy or beside one, with every protocol.
pub(crate) fn requests(policy: &ResolvedPolicy) -> Vec<Request> {
    let mut addresses =
        vec![Address::V4(0), Address::v6(0), Address::v6(0xffff_0a00_0001), Address::v6(0xffff_0000_0000)];
    let mut ports = vec![0, 443, u16::MAX];
    for destination in policy.rules.iter().flat_map(|rule| &rule.destinations) {
        match destination.addresses {
            Addresses::V4(first, last) => {
                for bits in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                    addresses.push(Address::V4(bits));
                    addresses.push(Address::v6(0xffff_0000_0000 | u128::from(bits)));
                    addresses.push(Address::v6((0x0064_ff9bu128 << 96) | u128::from(bits)));
                }
            }
            Addresses::Raw => {}
            Addresses::V6(first, last) => {
                addresses.extend([first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Address::v6))
            }
        }
        for range in &destination.ports {
            ports.extend([range.first.wrapping_sub(1), range.first, range.last, range.last.wrapping_add(1)]);
        }
    }
    addresses.sort();
    addresses.dedup();
    ports.sort();
    ports.dedup();
    let mut requests = Vec::new();
    for &address in &addresses {
        for &port in &ports {
            let protocols = if policy.clients { &Protocol::WITH_ANSWERS[..] } else { &Protocol::ALL };
            requests.extend(protocols.iter().map(|&protocol| Request { address, port, protocol }));
        }
    }
    requests
}

/// Unlisted programs, each program with its digest pins holding or not, and each program started by each other one, in
/// either state.
pub(crate) fn processes(policy: &ResolvedPolicy, image: &Image) -> Vec<(Process, Label)> {
    let mut found = vec![(Process::default(), Label::UNLISTED)];
    let programs = policy.programs.len();
    for parent in 0..programs {
        for proof in [Proof::Proven, Proof::NameOnly] {
            let started = execute(policy, image, (Process::default(), Label::UNLISTED), parent, proof);
            for child in 0..programs {
                found.push(execute(policy, image, started.clone(), child, Proof::Proven));
            }
            found.push(started);
        }
    }
    found
}

/// A process after it executes a program, in both representations: the model's, and the kernel's label.
fn execute(
    policy: &ResolvedPolicy,
    image: &Image,
    (before, mut label): (Process, Label),
    program: usize,
    proof: Proof,
) -> (Process, Label) {
    let proven = proof == Proof::Proven;
    let mut process = Process { program: proven.then_some(ProgramIndex(program)), ..before };
    process.restricted_by.push(ProgramIndex(program));
    if proven && policy.programs[program].with_children {
        process.inherited_from.push(ProgramIndex(program));
    }
    label.execute(Some(&image.matches[program]), proof);
    (process, label)
}

pub(crate) fn answer(verdict: Verdict) -> Answer {
    Answer { allowed: verdict.is_allowed(), audited: verdict.is_allowed() && verdict.audited != NO_RULE }
}

/// A process and a request whose verdicts under the two policies `is_right` rejects.
fn differing(
    one: &CheckedPolicy,
    other: &CheckedPolicy,
    is_right: impl Fn(bool, bool) -> bool,
) -> Option<(Process, Asked)> {
    let images = [one, other].map(|policy| lower(policy).expect("an image"));
    let [processes, others] = [0, 1].map(|side| processes([one, other][side].policy(), &images[side]));
    let mut asked: Vec<Asked> = requests(one.policy()).into_iter().map(Asked::Request).collect();
    asked.extend(requests(other.policy()).into_iter().map(Asked::Request));
    asked.push(Asked::Raw);
    let allowed = |side: usize, label: &Label, asked: &Asked| match asked {
        Asked::Raw => decide_raw(&images[side], label).is_allowed(),
        Asked::Request(request) => decide(&images[side], label, request).is_allowed(),
    };
    processes.iter().zip(&others).find_map(|((process, label), (_, label_there))| {
        let differs = |asked: &&Asked| !is_right(allowed(0, label, asked), allowed(1, label_there, asked));
        asked.iter().find(differs).map(|asked| (process.clone(), *asked))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 96 } else { 2000 }))]

    #[test]
    fn the_image_means_what_the_model_means(checked in policy()) {
        let image = lower(&checked).expect("a small policy has an image");
        for (process, label) in processes(checked.policy(), &image) {
            let verdict = decide_raw(&image, &label);
            prop_assert_eq!(answer(verdict), model::answer(checked.policy(), &process, Asked::Raw), "{:?} raw", process);
            for request in requests(checked.policy()) {
                let verdict = decide(&image, &label, &request);
                prop_assert!(verdict.reason != Reason::Fault, "{:?} {:?}", process, request);
                prop_assert_eq!(
                    answer(verdict), model::answer(checked.policy(), &process, Asked::Request(request)),
                    "{:?} {:?} {:?}", verdict, process, request
                );
            }
        }
    }

    /// Whatever the client's port and the server's; and where the policy does not name `clients`, as a request.
    #[test]
    fn an_answer_means_what_the_model_means(checked in policy()) {
        let image = lower(&checked).expect("a small policy has an image");
        let requests = requests(checked.policy());
        let tcp = requests.iter().filter(|request| request.protocol == Protocol::Tcp);
        let asked: Vec<(&Request, u16)> = tcp.flat_map(|request| [443, u16::MAX].map(|local| (request, local))).collect();
        for (process, label) in processes(checked.policy(), &image) {
            for (request, local) in &asked {
                let verdict = decide_answer(&image, &label, request, *local);
                prop_assert!(verdict.reason != Reason::Fault, "{:?} {:?}", process, request);
                prop_assert_eq!(
                    answer(verdict), model::answer_to_client(checked.policy(), &process, **request, *local),
                    "{:?} {:?} {:?} at {}", verdict, process, request, local
                );
                if !checked.policy().clients {
                    prop_assert_eq!(verdict, decide(&image, &label, request));
                }
            }
        }
    }

    /// A `deny` of answers, or of requests to the client, leaves none.
    #[test]
    fn a_restriction_never_widens_what_is_answered(checked in policy(), added in rule()) {
        let mut more = checked.clone();
        let mut added = Rule { effect: Effect::Deny, enforcement: Enforcement::Enforced, ..added };
        if checked.policy.clients {
            with_answers(&mut added, true);
        }
        more.policy.rules.push(added);
        let (before, after) = (lower(&checked).expect("an image"), lower(&more).expect("an image"));
        for ((_, label), (_, label_after)) in processes(checked.policy(), &before).into_iter().zip(processes(more.policy(), &after)) {
            for request in requests(more.policy()).iter().filter(|request| request.protocol == Protocol::Tcp) {
                if decide_answer(&after, &label_after, request, 443).is_allowed() {
                    prop_assert!(decide_answer(&before, &label, request, 443).is_allowed());
                }
            }
        }
    }

    #[test]
    fn adding_a_restriction_never_widens_access(checked in policy(), added in rule()) {
        let mut more = checked.clone();
        more.policy.rules.push(Rule { effect: Effect::Deny, enforcement: Enforcement::Enforced, ..added });
        let (before, after) = (lower(&checked).expect("an image"), lower(&more).expect("an image"));
        for ((_, label), (_, label_after)) in processes(checked.policy(), &before).into_iter().zip(processes(more.policy(), &after)) {
            for request in requests(more.policy()) {
                if decide(&after, &label_after, &request).is_allowed() {
                    prop_assert!(decide(&before, &label, &request).is_allowed());
                }
            }
        }
    }

    /// Audited rules have no effect: no process is denied more or less.
    #[test]
    fn an_audited_rule_changes_no_verdict(checked in policy()) {
        let mut enforced = checked.clone();
        enforced.policy.rules.retain(|rule| rule.enforcement == Enforcement::Enforced);
        prop_assert_eq!(differing(&checked, &enforced, |with, without| with == without), None);
    }

    #[test]
    fn a_further_grant_takes_nothing(checked in policy(), added in rule()) {
        let mut more = checked.clone();
        more.policy.rules.push(Rule { effect: Effect::Allow, enforcement: Enforcement::Enforced, ..added });
        prop_assert_eq!(differing(&checked, &more, |before, after| after || !before), None);
    }

    #[test]
    fn everything_means_the_same_when_it_is_written_out(checked in policy()) {
        let mut written_out = checked.clone();
        written_out.policy.rules.iter_mut().for_each(|rule| rule.covers_everything = false);
        prop_assert_eq!(differing(&checked, &written_out, |one, other| one == other), None);
    }

    #[test]
    fn an_image_survives_its_sections(checked in policy()) {
        let image = lower(&checked).expect("an image");
        let sections = SectionKind::ALL.map(|kind| (kind, image.section(kind)));
        let decoded = Image::decode(BUNDLE_VERSION, |wanted| {
            sections.iter().find(|(kind, _)| *kind == wanted).map_or(&[] as &[u8], |(_, bytes)| bytes.as_slice())
        });
        prop_assert_eq!(decoded.expect("what was encoded decodes"), image);
    }
}
