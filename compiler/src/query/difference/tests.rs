//! Differences against brute force: a process gains or loses something exactly where some request's verdict changes.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bfp_bundle::label::Proof;
use proptest::prelude::*;

use super::*;
use crate::policy::model::Asked;
use crate::query::describe::{AddressNames, describe, tidy};
use crate::query::regions::tests::{PATHS, compiled, is_in, policy, requests};

fn told(old: &str, new: &str) -> String {
    let (old, new) = (compiled(old).1, compiled(new).1);
    let difference = compare(&old, &new).unwrap();
    let mut said = String::new();
    for change in &difference.changes {
        for (sign, moved) in [('+', &change.gains), ('-', &change.loses)] {
            for to in describe(moved, &AddressNames::default()) {
                said.push_str(&format!("{} {sign} {}\n", change.who.text(), to.text()));
            }
        }
    }
    for change in &difference.identities {
        said.push_str(&format!("{} {}\n", change.path, change.aspect.text()));
    }
    said
}

/// The brute force: judges every kind of request by both policies for every program.
fn plainly(old: &Queryable, new: &Queryable) -> Difference {
    let plane = Plane::of(&[&old.image, &new.image]);
    let regions = plane.regions();
    let mut kinds: BTreeMap<(usize, usize), &Region> = BTreeMap::new();
    for region in &regions {
        kinds.entry(region.kind).or_insert(region);
    }
    let allows = |compiled: &Queryable, who: &Who, region: &Region| {
        judge(&compiled.image, &who.label(&compiled.image), region.sample()).is_allowed()
    };
    let is_closed = |compiled: &Queryable, who: &Who, region: &Region| {
        let mut label = who.label(&compiled.image);
        label.inherits_from = Label::UNLISTED.inherits_from;
        let of = |label: &Label| judge(&compiled.image, label, region.sample());
        let refused = |label: &Label| matches!(of(label).reason, Reason::Denied | Reason::Confined);
        of(&label).reason == Reason::NotGranted && of(&Label::UNLISTED).is_allowed()
            || is_withheld(&compiled.image, &label, region)
            || refused(&label) && !refused(&Label::UNLISTED)
    };
    let paths = |all: Vec<&NamedExecutable>| all.iter().map(|one| one.path.clone()).collect::<BTreeSet<_>>();
    let inherited = Match::RESTRICTED | Match::WITH_CHILDREN;
    let named = paths([old, new].iter().flat_map(|one| one.executables()).collect());
    let parents =
        paths([old, new].iter().flat_map(|one| one.executables()).filter(|one| one.flags & inherited != 0).collect());
    let everyone: Vec<Who> = named.into_iter().map(Who::Program).chain([Who::Unlisted]).collect();
    let moved = |who: &Who, region: &Region| match who {
        Who::StartedBy(path) => {
            let (parent, is_open) = (Who::Program(path.clone()), |of| !is_closed(of, who, region));
            let moved = Move::of((is_open(old), is_open(new)))?;
            let feels = |other: &&Who| **other != parent && allows(old, other, region) && allows(new, other, region);
            let is_told = Move::of((allows(old, &parent, region), allows(new, &parent, region))) == Some(moved);
            (!is_told && everyone.iter().any(|other| feels(&other))).then_some(moved)
        }
        who => Move::of((allows(old, who, region), allows(new, who, region))),
    };
    let mut changes = Vec::new();
    for who in everyone.iter().cloned().chain(parents.into_iter().map(Who::StartedBy)) {
        let moves: HashMap<(usize, usize), Move> =
            kinds.iter().filter_map(|(kind, region)| Some((*kind, moved(&who, region)?))).collect();
        let of = |wanted: Move| {
            let moved = regions.iter().filter(|region| moves.get(&region.kind) == Some(&wanted));
            union(&moved.map(Region::destination).collect::<Vec<_>>())
        };
        if !moves.is_empty() {
            changes.push(Change { who, gains: of(Move::Gain), loses: of(Move::Loss) });
        }
    }
    Difference { changes, identities: identities(&Files::of(&[Side::of(&old.image), Side::of(&new.image)]).unwrap()) }
}

/// For such a request, a parent's grant to one of the addresses and its child's grant to the other are worth more
/// together than either alone.
fn is_judged_twice(asked: Asked) -> bool {
    matches!(asked, Asked::Request(request) if request.address.behind_nat64().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn difference_is_the_one_that_is_found_plainly(before in policy(), after in policy()) {
        let (old, new) = (compiled(&before).1, compiled(&after).1);
        if old.image != new.image {
            prop_assert_eq!(compare(&old, &new).unwrap(), plainly(&old, &new));
        }
    }

    /// Two policies that differ in few rules: most records of each program stay the same.
    #[test]
    fn difference_of_a_few_rules_is_the_one_that_is_found_plainly(
        same in policy(), before in policy(), after in policy()
    ) {
        let c = if same.contains("heir") { "heir" } else { "\"/opt/c\"" };
        let rules = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("default") && !line.starts_with("program"));
            let lines = lines.map(|line| line.replace("heir", "\"/opt/c\"").replace("\"/opt/c\"", c));
            lines.collect::<Vec<_>>().join("\n")
        };
        let of = |more: &str| compiled(&format!("{same}\n{}\n", rules(more))).1;
        let (old, new) = (of(&before), of(&after));
        if old.image != new.image {
            prop_assert_eq!(compare(&old, &new).unwrap(), plainly(&old, &new));
        }
    }

    #[test]
    fn difference_is_where_a_verdict_changes(before in policy(), after in policy()) {
        let (old, new) = (compiled(&before).1, compiled(&after).1);
        let difference = compare(&old, &new).unwrap();
        let nothing = Vec::new();
        let named = |path: &str| [&old, &new].iter().flat_map(|one| one.executables()).any(|known| known.path == path);
        for who in PATHS.iter().map(|path| Who::Program((*path).to_owned())).chain([Who::Unlisted]) {
            let told = match &who {
                Who::Program(path) if !named(path) => Who::Unlisted,
                who => who.clone(),
            };
            let change = difference.changes.iter().find(|change| change.who == told);
            let (gains, loses) = change.map_or((&nothing, &nothing), |change| (&change.gains, &change.loses));
            for asked in requests() {
                let was = judge(&old.image, &who.label(&old.image), asked).is_allowed();
                let is = judge(&new.image, &who.label(&new.image), asked).is_allowed();
                prop_assert_eq!(!was && is, is_in(asked, gains), "{:?} gains {:?}", who, asked);
                prop_assert_eq!(was && !is, is_in(asked, loses), "{:?} loses {:?}", who, asked);
            }
        }
    }

    /// For every pair of a program and one that it starts: the parent, the child, or both report a changed verdict.
    #[test]
    fn what_a_program_hands_down_is_told(before in policy(), after in policy()) {
        let (old, new) = (compiled(&before).1, compiled(&after).1);
        let difference = compare(&old, &new).unwrap();
        let named = |path: &str| [&old, &new].iter().flat_map(|one| one.executables()).any(|known| known.path == path);
        let children = |path: &str| difference.identities.iter().any(|change| change.path == path);
        let told = |who: &Who, asked, gain: bool| {
            let change = difference.changes.iter().find(|change| change.who == *who);
            change.is_some_and(|change| is_in(asked, if gain { &change.gains } else { &change.loses }))
        };
        let of = |compiled: &Queryable, parent: &str, child: Option<&str>, asked| {
            let mut label = compiled.image.label_of(parent);
            let named = compiled.executables().iter().find(|executable| Some(executable.path.as_str()) == child);
            label.execute(named.map(|named| named.alone()).as_ref(), Proof::Proven);
            judge(&compiled.image, &label, asked).is_allowed()
        };
        let under_both = |parent: &str| {
            [&old, &new].iter().all(|compiled| !of(compiled, parent, None, Asked::Raw))
        };
        for parent in PATHS {
            if children(parent) {
                continue;
            }
            for child in PATHS.map(Some).into_iter().chain([None]) {
                if child.is_some_and(children) {
                    continue;
                }
                let child_named = child.filter(|path| named(path));
                let who = child_named.map_or(Who::Unlisted, |path| Who::Program(path.to_owned()));
                for asked in requests().into_iter().filter(|asked| !is_judged_twice(*asked)) {
                    let (was, is) = (of(&old, parent, child, asked), of(&new, parent, child, asked));
                    if was != is {
                        let told = told(&Who::Program(parent.to_owned()), asked, is)
                            || told(&Who::StartedBy(parent.to_owned()), asked, is)
                            || told(&who, asked, is)
                            // A restriction of the child itself, which has an effect only with the grants of its
                            // parent.
                            || child.is_some_and(|path| told(&Who::StartedBy(path.to_owned()), asked, is))
                            // A grant of raw sockets that the child does not need under the default.
                            || asked == Asked::Raw && child_named.is_some() && under_both(parent);
                        prop_assert!(told, "{:?} under {} from {} to {} for {:?}", child, parent, was, is, asked);
                    }
                }
            }
        }
    }

    #[test]
    fn policy_does_not_differ_from_itself(text in policy()) {
        let compiled = compiled(&text).1;
        prop_assert!(compare(&compiled, &compiled).unwrap().is_empty());
    }

    /// The parts that a description leaves out only repeat the rest.
    #[test]
    fn description_says_all_that_is_not_judged_as_something_else(before in policy(), after in policy()) {
        let (old, new) = (compiled(&before).1, compiled(&after).1);
        for change in compare(&old, &new).unwrap().changes {
            for moved in [change.gains, change.loses] {
                let tidied = tidy(&moved);
                for asked in requests() {
                    if !is_judged_twice(asked) && asked != Asked::Raw {
                        prop_assert_eq!(is_in(asked, &tidied), is_in(asked, &moved), "{:?}", asked);
                    }
                }
            }
        }
    }
}

#[test]
fn another_spelling_is_no_difference() {
    let old = "program p = \"/opt/p\"\nhost h = { 10.0.0.0/9, 10.128.0.0/9 }\nonly p -> h\n";
    assert_eq!(told(old, "only \"/opt/p\" -> 10.0.0.0/8\n"), "");
}

#[test]
fn who_gains_and_who_loses_is_told_by_program_and_range() {
    let old = "only \"/opt/p\" -> 10.0.0.0/8:443\n";
    let new = "only { \"/opt/p\", \"/opt/q\" } -> 10.0.0.0/8:443\ndeny * -> 192.0.2.1:53/udp\n";
    assert_eq!(
        told(old, new),
        "/opt/p - 192.0.2.1:53/udp\n/opt/q + 10.0.0.0/8:443\n/opt/q - 192.0.2.1:53/udp\n/opt/q - raw\neveryone else - 192.0.2.1:53/udp\n"
    );
}

#[test]
fn icmp_is_granted_and_refused_by_itself() {
    let ports = "allow \"/opt/p\" -> 10.0.0.0/8:443\ndefault deny\n";
    let both = "allow \"/opt/p\" -> { 10.0.0.0/8:443, 10.0.0.0/8/icmp, [fd00::/8]/icmp }\ndefault deny\n";
    assert_eq!(told(ports, both), "/opt/p + 10.0.0.0/8/icmp\n/opt/p + [fd00::/8]/icmp\n");
    let (all, silent) = ("deny * -> raw\n", "deny * -> { raw, 10.0.0.1/icmp }\n");
    assert_eq!(told(all, silent), "everyone else - 10.0.0.1/icmp\n");
}

#[test]
fn raw_sockets_are_a_destination() {
    assert_eq!(told("deny * -> raw\n", "deny * -> 10.0.0.1\n"), "everyone else + raw\neveryone else - 10.0.0.1\n");
}

#[test]
fn restriction_that_only_children_feel_is_told() {
    let old = "only \"/opt/b\" -> 10.0.0.1\ndeny \"/opt/a\" -> 10.0.0.9\n";
    let new = "only \"/opt/b\" -> 10.0.0.1\ndeny \"/opt/a\" -> { 10.0.0.1, 10.0.0.9 }\n";
    assert_eq!(told(old, new), "what /opt/a starts - 10.0.0.1\n");
}

#[test]
fn identities_are_compared_pin_by_pin() {
    let policy = |pins: &str| format!("only \"/opt/p\" {pins} -> 10.0.0.1\n");
    let pin = |digit: char| format!("sha256:{}", String::from(digit).repeat(64));
    let (a, b) = (pin('a'), pin('b'));
    let verity = |pins: &[&str]| policy(&format!("verity {{ {} }}", pins.join(", ")));
    assert_eq!(told(&policy(""), &verity(&[&a])), format!("/opt/p is pinned now, to {a}\n"));
    assert_eq!(told(&verity(&[&a]), &policy("")), "/opt/p is no longer pinned: any file at this path has its grants\n");
    assert_eq!(
        told(&verity(&[&a]), &verity(&[&b])),
        format!("/opt/p has its grants as {b} too\n/opt/p has no grants as {a} any more\n")
    );
    let loads = |libraries: &str| policy(&format!("verity {a} libraries {{ {libraries} }}"));
    let libc = |pin: &str| format!("\"/lib/libc.so.6\" verity {pin}");
    assert_eq!(told(&verity(&[&a]), &loads(&libc(&a))), "/opt/p loads no library now but those that are listed\n");
    assert_eq!(told(&loads(""), &verity(&[&a])), "/opt/p may load any library now\n");
    assert_eq!(
        told(&loads(&libc(&a)), &loads(&libc(&b))),
        format!("/opt/p may load /lib/libc.so.6 as {b} now\n/opt/p may not load /lib/libc.so.6 as {a} any more\n")
    );
    let children = |more: &str| format!("program p = \"/opt/p\"{more}\nonly p -> 10.0.0.1\n");
    let (old, new) = (compiled(&children("")).1, compiled(&children(" with children")).1);
    let difference = compare(&old, &new).unwrap();
    assert!(difference.widens());
    assert_eq!(difference.identities.first().unwrap().aspect, Aspect::ChildrenAdded);
    assert!(!compare(&new, &old).unwrap().widens());
}

#[test]
fn a_pattern_in_place_of_a_path_shows_who_is_let_in_beside_it() {
    let policy = |programs: &str| format!("allow {{ {programs} }} -> 10.0.0.1\ndefault deny\n");
    let (path, pattern) = (policy("\"/opt/app/r1/bin/app\""), policy("\"/opt/app/*/bin/app\""));
    // Under `default allow`, a governed program loses the raw sockets that it could open; under `default deny` there
    // are none to lose.
    assert_eq!(told(&path, &pattern), "/opt/app/*/bin/app + 10.0.0.1\n");
    assert_eq!(told(&pattern, &path), "/opt/app/*/bin/app - 10.0.0.1\n");
    let wider = policy("\"/opt/**\"");
    assert_eq!(told(&pattern, &wider), "/opt/** + 10.0.0.1\n");
    assert_eq!(
        told(&policy("\"/opt/a*/x\""), &policy("\"/opt/*b/x\"")),
        "/opt/*b/x + 10.0.0.1\n/opt/a*/x - 10.0.0.1\n"
    );
    let both = policy("\"/opt/app/*/bin/app\", \"/opt/app/r1/bin/app\"");
    assert_eq!(told(&both, &pattern), "");
}

#[test]
fn the_other_folder_of_a_merged_usr_is_no_difference() {
    let policy = |program: &str| format!("only \"{program}\" -> 10.0.0.1\ndeny * -> raw\n");
    assert_eq!(told(&policy("/bin/app"), &policy("/usr/bin/app")), "");
}

#[test]
fn a_pin_that_a_pattern_does_not_have_is_told() {
    let pin = "a".repeat(64);
    let old = format!("only \"/opt/r1/app\" verity sha256:{pin} -> 10.0.0.1\ndeny * -> raw\n");
    let new = "only \"/opt/*/app\" -> 10.0.0.1\ndeny * -> raw\n";
    assert_eq!(
        told(&old, new),
        "/opt/*/app + 10.0.0.1\n/opt/r1/app is no longer pinned: any file at this path has its grants\n"
    );
}
