//! Which pairs of rules may contradict each other at all: those that meet.
//!
//! Always: a pair that is not among them does not contradict. A policy of a hundred thousand rules has
//! five thousand million pairs, of which next to none meet; so the ends of all destinations are gone
//! over once, and only what is open at one place at one time is a pair.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::policy::{Addresses, Effect, Enforcement, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// For each rule the later ones, in their order, that it may contradict.
pub(super) struct Pairs(BTreeMap<usize, BTreeSet<usize>>);

impl Pairs {
    pub(super) fn of(policy: &ResolvedPolicy) -> Pairs {
        let mut pairs = Pairs(BTreeMap::new());
        for enforcement in [Enforcement::Enforced, Enforcement::Audited] {
            pairs.exclusive(policy, enforcement);
            pairs.confined(policy, enforcement);
        }
        pairs
    }

    /// The rules after `rule` that it may contradict.
    pub(super) fn later(&self, rule: usize) -> impl Iterator<Item = usize> + '_ {
        self.0.get(&rule).into_iter().flatten().copied()
    }

    fn add(&mut self, one: usize, other: usize) {
        if one != other {
            self.0.entry(one.min(other)).or_default().insert(one.max(other));
        }
    }

    /// Exclusive rules that share an address and of which neither has all programs of the other.
    fn exclusive(&mut self, policy: &ResolvedPolicy, enforcement: Enforcement) {
        let mut subjects: HashMap<&[ProgramIndex], usize> = HashMap::new();
        // (family, address, whether it begins there, rule, number of its programs); what ends goes first.
        let mut ends: Vec<(u8, u128, bool, usize, usize)> = Vec::new();
        for (number, rule) in of(policy, Effect::Exclusive, enforcement) {
            let Subjects::Programs(programs) = &rule.subjects else { continue };
            let next = subjects.len();
            let who = *subjects.entry(programs).or_insert(next);
            for destination in &rule.destinations {
                let (family, first, last) = match destination.addresses {
                    Addresses::V4(first, last) => (0, first.into(), last.into()),
                    Addresses::V6(first, last) => (1, first, last),
                    Addresses::Raw => (2, 0, 0),
                };
                ends.push((family, first, true, number, who));
                if let Some(after) = last.checked_add(1) {
                    ends.push((family, after, false, number, who));
                }
            }
        }
        ends.sort_unstable();
        let mut lists: Vec<&[ProgramIndex]> = vec![&[]; subjects.len()];
        for (programs, who) in subjects {
            lists.iter_mut().skip(who).take(1).for_each(|list| *list = programs);
        }
        let list = |who: usize| lists.get(who).copied().unwrap_or_default();
        // What is open, by its programs: rules for the same programs never contradict each other.
        let mut open: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (_, _, begins, rule, who) in ends {
            if begins {
                for (other, rules) in open.iter().filter(|(other, _)| **other != who) {
                    if !is_subset(list(who), list(*other)) && !is_subset(list(*other), list(who)) {
                        rules.iter().for_each(|met| self.add(rule, *met));
                    }
                }
                open.entry(who).or_default().insert(rule);
            } else if let Some(rules) = open.get_mut(&who) {
                rules.remove(&rule);
                if rules.is_empty() {
                    open.remove(&who);
                }
            }
        }
    }

    /// Confinements that share a program.
    fn confined(&mut self, policy: &ResolvedPolicy, enforcement: Enforcement) {
        let mut of_program: BTreeMap<ProgramIndex, Vec<usize>> = BTreeMap::new();
        let mut of_everyone: Vec<usize> = Vec::new();
        for (number, rule) in of(policy, Effect::Confined, enforcement) {
            match &rule.subjects {
                Subjects::Everyone => of_everyone.push(number),
                Subjects::Programs(programs) => {
                    programs.iter().for_each(|program| of_program.entry(*program).or_default().push(number));
                }
            }
        }
        for everyone in &of_everyone {
            of_everyone.iter().chain(of_program.values().flatten()).for_each(|other| self.add(*everyone, *other));
        }
        for rules in of_program.values() {
            for (at, rule) in rules.iter().enumerate() {
                rules.iter().skip(at + 1).for_each(|later| self.add(*rule, *later));
            }
        }
    }
}

fn of(policy: &ResolvedPolicy, effect: Effect, enforcement: Enforcement) -> impl Iterator<Item = (usize, &Rule)> {
    let rules = policy.rules.iter().enumerate();
    rules.filter(move |(_, rule)| (rule.effect, rule.enforcement) == (effect, enforcement))
}

fn is_subset(part: &[ProgramIndex], whole: &[ProgramIndex]) -> bool {
    part.len() <= whole.len() && part.iter().all(|program| whole.binary_search(program).is_ok())
}
