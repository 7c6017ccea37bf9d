//! Concerns about rules that change nothing: what another rule says already, and grants that another rule
//! refuses as a whole.
//!
//! Always: what is told of is true, and not all that is true is told of. Only single rules are held
//! against each other, each against those that cover the first address of its destination, and of these
//! against a few: the work grows with the policy, not with its square.

use std::collections::HashMap;

use bfp_grammar::syntax::Span;

use super::concern::Concern;
use crate::policy::model::{Asked, covers, gives_nothing, restricts};
use crate::policy::{Addresses, Destination, Effect, Enforcement, ProgramIndex, ResolvedPolicy, Rule, Share, Subjects};
use crate::resolve::coverage::{contains, overlaps};

/// How many rules one rule is held against.
const CANDIDATES: usize = 16;

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found = Vec::new();
    let index = Index::of(policy);
    // Where both effects of a rule change nothing, neither does the rule.
    let mut whole = None;
    for (number, rule) in policy.rules.iter().enumerate() {
        // The parts of a shared rule are one statement, and what is left of it may be nothing.
        if whole == Some(rule.span) || matches!(rule.share, Share::Part(_)) || rule.destinations.is_empty() {
            continue;
        }
        if let Some(concern) = shadowed(policy, &index, number, rule) {
            found.push(concern);
        } else if rule.share != Share::Not {
            // It says how several rules are joined, which no other rule says.
        } else if gives_nothing(policy, rule) {
            if !(index.may_take_raw && covers(rule, Asked::Raw)) {
                found.push(Concern::NoEffect { rule: rule.span });
            }
        } else {
            let next = number + 1;
            let other_half = policy.rules.get(next).filter(|other| other.span == rule.span);
            let before = number.checked_sub(1).and_then(|before| policy.rules.get(before));
            let is_half = other_half.is_some() || before.is_some_and(|before| before.span == rule.span);
            let Some(Redundancy { why, other }) = redundant(policy, &index, number, rule) else { continue };
            let (what, help) = match rule.effect {
                _ if other_half.is_some_and(|half| redundant(policy, &index, next, half).is_some()) => {
                    whole = Some(rule.span);
                    let both: Vec<&Rule> = std::iter::once(rule).chain(other_half).collect();
                    ("this rule", index.help_to_remove(policy, &both))
                }
                Effect::Confined if is_half => {
                    ("the `only` behind the arrow", "remove this `only`, and keep the one before the programs")
                }
                Effect::Exclusive if is_half => {
                    ("the `only` before the programs", "remove this `only`, and keep the one behind the arrow")
                }
                _ => ("this rule", index.help_to_remove(policy, &[rule])),
            };
            found.push(Concern::Redundant { what, help, why, rule: rule.span, other });
        }
    }
    found
}

/// Why an effect changes nothing.
struct Redundancy {
    why: &'static str,
    other: Span,
}

/// A rule that says what this one says, and more.
fn redundant(policy: &ResolvedPolicy, index: &Index<'_>, number: usize, rule: &Rule) -> Option<Redundancy> {
    let says_it = |(other_number, other): (usize, &Rule)| {
        if other.span == rule.span {
            return None;
        }
        let (wide, narrow, why) = match rule.effect {
            Effect::Confined => (rule, other, "confines the program further"),
            Effect::Exclusive => (other, rule, "reserves all of it for the same programs"),
            Effect::Deny => (other, rule, "denies all of it"),
            Effect::DenyOthers => (other, rule, "denies all of it to the same programs"),
            Effect::AllowOthers => (other, rule, "grants all of it to the same programs"),
            Effect::Allow => (other, rule, "grants all of it"),
        };
        let covers = contains(&wide.destinations, &narrow.destinations);
        // Of two that say the same, the later one is too much.
        let same = covers && rule.subjects == other.subjects && contains(&narrow.destinations, &wide.destinations);
        (covers && (!same || other_number < number)).then_some(Redundancy { why, other: other.span })
    };
    if rule.effect == Effect::Confined {
        return index.same_confinements(policy, rule).find_map(says_it);
    }
    let everyone = (rule.subjects != Subjects::Everyone).then_some(&Subjects::Everyone);
    let by = |subjects| index.covering(policy, (rule.effect, rule.enforcement, subjects), rule);
    let same = by(&rule.subjects).find_map(says_it);
    // An exclusive rule for everyone is none.
    let of_everyone = || match rule.effect {
        Effect::Exclusive | Effect::DenyOthers | Effect::AllowOthers => None,
        _ => everyone.and_then(|everyone| by(everyone).find_map(says_it)),
    };
    same.or_else(of_everyone)
}

/// A rule that refuses all that this one grants.
fn shadowed(policy: &ResolvedPolicy, index: &Index<'_>, number: usize, rule: &Rule) -> Option<Concern> {
    if rule.enforcement != Enforcement::Enforced || !matches!(rule.effect, Effect::Allow | Effect::Exclusive) {
        return None;
    }
    let shadow = |why, other: &Rule| {
        let help = match other.effect {
            Effect::Confined => {
                "restrictions always win: remove the grant, or name what it grants in the confinement too"
            }
            Effect::Exclusive => {
                "restrictions always win: remove the grant, or name its programs on the left of the `only` too"
            }
            Effect::DenyOthers => {
                "restrictions always win: remove the grant, or name its programs after that `* except` too"
            }
            _ => "restrictions always win: remove the grant, or take it out of the other rule with `except`",
        };
        Concern::Shadowed { why, help, rule: rule.span, other: other.span }
    };
    let denied = |subjects| {
        let mut by = index.covering(policy, (Effect::Deny, Enforcement::Enforced, subjects), rule);
        by.find(|(_, other)| contains(&other.destinations, &rule.destinations))
    };
    if let Some((_, other)) = denied(&Subjects::Everyone).or_else(|| denied(&rule.subjects)) {
        return Some(shadow("all of it is denied", other));
    }
    if (rule.effect, &rule.subjects) == (Effect::Exclusive, &Subjects::Everyone) {
        // It excludes nobody, which is an error of its own.
        return None;
    }
    let keeps_out =
        |at: &&usize| policy.rules.get(**at).is_some_and(|by| !overlaps(&by.destinations, &rule.destinations));
    let confined = |found: Option<&usize>| {
        let other = policy.rules.get(*found?)?;
        Some(shadow("all of it is outside a confinement", other))
    };
    if let Some(concern) = confined(index.confinements_of_everyone.iter().find(keeps_out)) {
        return Some(concern);
    }
    let Subjects::Programs(programs) = &rule.subjects else { return None };
    let reserved = index.exclusive(policy, rule).find(|(other_number, other)| match &other.subjects {
        Subjects::Programs(others) => {
            *other_number != number
                && (rule.effect == Effect::Allow || other.effect == Effect::DenyOthers)
                && programs.iter().all(|program| others.binary_search(program).is_err())
                && contains(&other.destinations, &rule.destinations)
        }
        Subjects::Everyone => false,
    });
    if let Some((_, other)) = reserved {
        let why = match other.effect {
            Effect::DenyOthers => "all of it is denied to these programs",
            _ => "all of it is reserved for other programs",
        };
        return Some(shadow(why, other));
    }
    // All of its programs are kept out by a confinement of their own.
    let mut each = policy.kinds_of(programs).map(|program| index.confinements.get(&program)?.iter().find(keeps_out));
    let first = each.next()?;
    if each.all(|found| found.is_some()) { confined(first) } else { None }
}

/// Whether a rule governs its programs.
fn governs(policy: &ResolvedPolicy, rule: &Rule) -> bool {
    rule.enforcement == Enforcement::Enforced && !gives_nothing(policy, rule) && rule.effect != Effect::DenyOthers
}

type Kind<'a> = (Effect, Enforcement, &'a Subjects);

/// The rules of each kind, by what they cover.
struct Index<'a> {
    /// For each kind, the rules of it that cover the first address of a rule: (rule, those) sorted.
    by_kind: HashMap<Kind<'a>, Spans>,
    exclusive: Spans,
    confinements: HashMap<ProgramIndex, Vec<usize>>,
    confinements_of_everyone: Vec<usize>,
    /// How many statements govern each program, and how many what it starts: [`crate::policy::model::governs`].
    governed: HashMap<ProgramIndex, [usize; 2]>,
    /// Nobody has raw sockets, whether a rule names them or not.
    raw_is_denied: bool,
    /// Some rule is about programs of its own, or would be if it were enforced: they, or what they start, have raw
    /// sockets by a grant alone, under `default allow` too.
    may_take_raw: bool,
}

/// Address ranges with the rules that they belong to, sorted by their begin.
#[derive(Default)]
struct Spans {
    ranges: Vec<(Key, Key, usize)>,
}

/// Family and address.
type Key = (u8, u128);

fn ends(destination: &Destination) -> (Key, Key) {
    match destination.addresses {
        Addresses::V4(first, last) => ((0, first.into()), (0, last.into())),
        Addresses::V6(first, last) => ((1, first), (1, last)),
        Addresses::Raw => ((2, 0), (2, 0)),
    }
}

impl Spans {
    fn add(&mut self, number: usize, rule: &Rule) {
        self.ranges.extend(rule.destinations.iter().map(ends).map(|(first, last)| (first, last, number)));
    }

    fn finish(&mut self) {
        self.ranges.sort_unstable();
    }

    /// Some of the rules that cover an address: of those that begin first, which are wide or written first,
    /// and of those that begin last, which are near.
    fn at(&self, address: Key) -> impl Iterator<Item = usize> + '_ {
        let begun = self.ranges.partition_point(|(first, _, _)| *first <= address);
        let (early, late) = (CANDIDATES.min(begun), CANDIDATES.min(begun.saturating_sub(CANDIDATES)));
        let some = self.ranges.iter().take(early).chain(self.ranges.iter().take(begun).rev().take(late));
        some.filter(move |(_, last, _)| *last >= address).map(|(_, _, rule)| *rule)
    }
}

impl<'a> Index<'a> {
    fn of(policy: &'a ResolvedPolicy) -> Index<'a> {
        let mut index = Index {
            by_kind: HashMap::new(),
            exclusive: Spans::default(),
            confinements: HashMap::new(),
            confinements_of_everyone: Vec::new(),
            governed: HashMap::new(),
            may_take_raw: policy
                .rules
                .iter()
                .any(|rule| matches!(rule.subjects, Subjects::Programs(_)) && !gives_nothing(policy, rule)),
            raw_is_denied: policy.rules.iter().any(|rule| {
                (rule.effect, rule.enforcement) == (Effect::Deny, Enforcement::Enforced)
                    && rule.subjects == Subjects::Everyone
                    && rule.destinations.iter().any(|destination| destination.addresses == Addresses::Raw)
            }),
        };
        let mut before = None;
        for (number, rule) in policy.rules.iter().enumerate() {
            // Both halves of `only P -> only D` are one statement, which governs by its second half what P starts.
            let adds = [before != Some(rule.span), restricts(rule)];
            if let (Subjects::Programs(programs), true) = (&rule.subjects, governs(policy, rule)) {
                for program in programs {
                    let counts = index.governed.entry(*program).or_default();
                    counts.iter_mut().zip(adds).for_each(|(count, adds)| *count += usize::from(adds));
                }
            }
            before = Some(rule.span);
            index.by_kind.entry((rule.effect, rule.enforcement, &rule.subjects)).or_default().add(number, rule);
            if rule.enforcement == Enforcement::Audited {
                continue;
            }
            match (&rule.subjects, rule.effect) {
                (_, Effect::Exclusive | Effect::DenyOthers) => index.exclusive.add(number, rule),
                (Subjects::Programs(programs), Effect::Confined) => {
                    programs.iter().for_each(|program| index.confinements.entry(*program).or_default().push(number));
                }
                (Subjects::Everyone, Effect::Confined) => index.confinements_of_everyone.push(number),
                _ => {}
            }
        }
        index.by_kind.values_mut().for_each(Spans::finish);
        index.exclusive.finish();
        index
    }

    /// What to do about a statement that changes nothing. A program that an enforced rule is about has no raw sockets,
    /// whatever the rule says, and what a restricted one starts has none: that much may change.
    fn help_to_remove(&self, policy: &ResolvedPolicy, rules: &[&Rule]) -> &'static str {
        let wanted = [true, rules.iter().any(|rule| restricts(rule))];
        let stays = |rule: &&Rule| match &rule.subjects {
            Subjects::Programs(programs) if governs(policy, rule) => programs.iter().all(|program| {
                let counts = self.governed.get(program).copied().unwrap_or_default();
                counts.iter().zip(wanted).all(|(count, is_wanted)| !is_wanted || *count > 1)
            }),
            _ => true,
        };
        if self.raw_is_denied || rules.iter().all(stays) {
            "remove it, or let it say what the other does not"
        } else {
            "let it say what the other does not, or add `deny * -> raw` and remove it: no other rule is about its \
             program, which would have raw sockets then, or what it starts would"
        }
    }

    /// Some of the rules of a kind that cover the first address of a rule, but for that rule.
    fn covering<'p>(
        &'p self,
        policy: &'p ResolvedPolicy,
        kind: Kind<'p>,
        rule: &'p Rule,
    ) -> impl Iterator<Item = (usize, &'p Rule)> + 'p {
        let found = rule.destinations.first().and_then(|first| Some(self.by_kind.get(&kind)?.at(ends(first).0)));
        let rules = found.into_iter().flatten().filter_map(|number| Some((number, policy.rules.get(number)?)));
        rules.filter(move |(_, other)| !std::ptr::eq(*other, rule))
    }

    /// Some of the confinements of the same programs, but for this one.
    fn same_confinements<'p>(
        &'p self,
        policy: &'p ResolvedPolicy,
        rule: &'p Rule,
    ) -> impl Iterator<Item = (usize, &'p Rule)> + 'p {
        let first = match &rule.subjects {
            Subjects::Programs(programs) => programs.first(),
            Subjects::Everyone => None,
        };
        let found = first.and_then(|first| self.confinements.get(first)).into_iter().flatten().take(CANDIDATES);
        let rules = found.filter_map(|number| Some((*number, policy.rules.get(*number)?)));
        rules.filter(move |(_, other)| {
            !std::ptr::eq(*other, rule) && (other.enforcement, &other.subjects) == (rule.enforcement, &rule.subjects)
        })
    }

    fn exclusive<'p>(
        &'p self,
        policy: &'p ResolvedPolicy,
        rule: &'p Rule,
    ) -> impl Iterator<Item = (usize, &'p Rule)> + 'p {
        let found = rule.destinations.first().map(|first| self.exclusive.at(ends(first).0));
        found.into_iter().flatten().filter_map(|number| Some((number, policy.rules.get(number)?)))
    }
}
