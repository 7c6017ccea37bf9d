//! Cells: a set of rules that cover a request → what holds for everyone, and for each program.

use std::collections::{BTreeSet, HashMap};

use bfp_bundle::record::{Cell, NO_RULE, Pair, Step};

use super::LowerError;
use crate::policy::{Effect, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// The cells found so far.
pub(super) struct Cells<'a> {
    policy: &'a ResolvedPolicy,
    /// The confinements of each program, by number of the rule.
    confinements: Vec<Vec<usize>>,
    /// Whether a deny or a confinement is about each program.
    restricted: Vec<bool>,
    /// The confinements and denials of everyone.
    confinements_of_all: Vec<usize>,
    numbers: HashMap<Vec<usize>, u32>,
    rules: Vec<Vec<usize>>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(policy: &'a ResolvedPolicy) -> Cells<'a> {
        let mut cells = Cells {
            policy,
            confinements: vec![Vec::new(); policy.programs.len()],
            restricted: vec![false; policy.programs.len()],
            confinements_of_all: Vec::new(),
            numbers: HashMap::new(),
            rules: Vec::new(),
        };
        for (number, rule) in policy.rules.iter().enumerate() {
            match (&rule.subjects, rule.effect) {
                (Subjects::Everyone, Effect::Confined) => cells.confinements_of_all.push(number),
                (Subjects::Programs(programs), Effect::Confined | Effect::Deny) => {
                    for ProgramIndex(program) in programs {
                        if let Some(restricted) = cells.restricted.get_mut(*program) {
                            *restricted = true;
                        }
                        if rule.effect == Effect::Confined
                            && let Some(confinements) = cells.confinements.get_mut(*program)
                        {
                            confinements.push(number);
                        }
                    }
                }
                _ => {}
            }
        }
        cells
    }

    /// The number of the cell that exactly `rules` cover.
    pub(super) fn number(&mut self, rules: Vec<usize>) -> Result<u32, LowerError> {
        let next = self.rules.len();
        if next > Step::INDEX_MAX as usize {
            return Err(LowerError::Capacity { what: "cells", found: next, limit: Step::INDEX_MAX as usize });
        }
        Ok(*self.numbers.entry(rules.clone()).or_insert_with(|| {
            self.rules.push(rules);
            next as u32
        }))
    }

    /// What each cell holds for everyone.
    pub(super) fn records(&self) -> Vec<Cell> {
        self.rules.iter().map(|rules| self.record(rules)).collect()
    }

    /// Whether a deny or a confinement is about a program.
    pub(super) fn is_restricted(&self, program: usize) -> bool {
        self.restricted.get(program).copied().unwrap_or(false)
    }

    /// What holds for a program wherever [`Self::pairs`] says nothing else: what it is outside of every
    /// destination that a rule of its own names.
    pub(super) fn elsewhere(&self, program: usize) -> Pair {
        let everywhere = |(_, rule): &(usize, &Rule)| rule.covers_everything;
        let rules: Vec<usize> =
            self.policy.rules.iter().enumerate().filter(everywhere).map(|(number, _)| number).collect();
        self.pair(program, &rules)
    }

    /// What holds for which program in which cell, where it differs from elsewhere.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, usize, Pair)> + '_ {
        let elsewhere: Vec<Pair> = (0..self.policy.programs.len()).map(|program| self.elsewhere(program)).collect();
        self.rules.iter().enumerate().flat_map(move |(cell, rules)| {
            let mut programs = BTreeSet::new();
            for rule in rules.iter().filter_map(|rule| self.policy.rules.get(*rule)) {
                if let Subjects::Programs(subjects) = &rule.subjects {
                    programs.extend(subjects.iter().map(|ProgramIndex(program)| *program));
                }
            }
            // Where `only * …` rules nothing out, being a member of all of no exclusive rules counts for
            // nothing either: only programs that a covering rule names can differ.
            let differing: Vec<_> = programs
                .into_iter()
                .map(|program| (cell as u32, program, self.pair(program, rules)))
                .filter(|(_, program, pair)| elsewhere.get(*program).is_none_or(|base| base != pair))
                .collect();
            differing
        })
    }

    fn covering<'s>(&'s self, rules: &'s [usize]) -> impl Iterator<Item = (u32, &'s Rule)> + 's {
        rules.iter().filter_map(|number| Some((*number as u32, self.policy.rules.get(*number)?)))
    }

    fn record(&self, rules: &[usize]) -> Cell {
        let first = |wanted: &dyn Fn(&Rule) -> bool| {
            self.covering(rules).find(|(_, rule)| wanted(rule)).map(|(number, _)| number)
        };
        let everyone = |rule: &Rule| rule.subjects == Subjects::Everyone;
        let outside = self.confinements_of_all.iter().find(|number| !rules.contains(number)).map(|n| *n as u32);
        let denied = first(&|rule| rule.effect == Effect::Deny && everyone(rule)).or(outside);
        let exclusive = first(&|rule| rule.effect == Effect::Exclusive && !everyone(rule));
        let granted = first(&|rule| rule.effect != Effect::Deny && everyone(rule));
        let named = first(&|rule| !rule.covers_everything);
        let flag = |rule: Option<u32>, flag: u32| if rule.is_some() { flag } else { 0 };
        Cell {
            flags: flag(denied, Cell::DENIED)
                | flag(exclusive, Cell::EXCLUSIVE)
                | flag(granted, Cell::GRANTED)
                | flag(named, Cell::NAMED),
            rule: denied.or(exclusive).or(granted).unwrap_or(NO_RULE),
        }
    }

    fn pair(&self, program: usize, rules: &[usize]) -> Pair {
        let is = |rule: &Rule| match &rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => programs.contains(&ProgramIndex(program)),
        };
        let own = |rule: &Rule| rule.subjects != Subjects::Everyone && is(rule);
        let mut exclusive = self.covering(rules).filter(|(_, rule)| rule.effect == Effect::Exclusive).peekable();
        let member = exclusive.peek().is_some() && exclusive.all(|(_, rule)| is(rule));
        let outside = self
            .confinements
            .get(program)
            .and_then(|confinements| confinements.iter().find(|number| !rules.contains(number)))
            .map(|number| *number as u32);
        let denied = self.covering(rules).find(|(_, rule)| rule.effect == Effect::Deny && own(rule));
        let granted = self.covering(rules).find(|(_, rule)| rule.effect != Effect::Deny && own(rule));
        let rule_of = |found: Option<(u32, &Rule)>| found.map(|(number, _)| number);
        Pair {
            flags: if member { Pair::MEMBER } else { 0 }
                | if outside.is_none() { Pair::INSIDE } else { 0 }
                | if denied.is_some() { Pair::DENIED } else { 0 }
                | if granted.is_some() { Pair::GRANTED } else { 0 },
            rule: rule_of(denied).or(outside).or(rule_of(granted)).unwrap_or(NO_RULE),
        }
    }
}
