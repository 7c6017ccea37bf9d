//! Cells: a set of rules that cover a request → what applies to everyone, and to each program.

use std::collections::{BTreeMap, HashMap};

use bfp_bundle::names::Match;
use bfp_bundle::record::{Cell, NO_RULE, Pair, Step};

use super::LowerError;
use crate::policy::model::gives_nothing;
use crate::policy::{Addresses, Default, Effect, Enforcement, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// The cells that were found so far.
pub(super) struct Cells<'a> {
    policy: &'a ResolvedPolicy,
    /// The rules that cover everything.
    everywhere: Vec<usize>,
    /// The confinements of each program, as numbers of rules.
    confinements: Vec<Vec<usize>>,
    /// For each program, the effects of its rules that do not depend on the destination.
    noted: Vec<Noted>,
    /// The confinements of everyone.
    confinements_of_all: Vec<usize>,
    numbers: HashMap<Vec<usize>, u32>,
    rules: Vec<Vec<usize>>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(policy: &'a ResolvedPolicy) -> Cells<'a> {
        let everywhere = |(_, rule): &(usize, &Rule)| rule.covers_everything;
        let mut cells = Cells {
            policy,
            everywhere: policy.rules.iter().enumerate().filter(everywhere).map(|(number, _)| number).collect(),
            confinements: vec![Vec::new(); policy.programs.len()],
            noted: vec![Noted::default(); policy.programs.len()],
            confinements_of_all: Vec::new(),
            numbers: HashMap::new(),
            rules: Vec::new(),
        };
        for (number, rule) in policy.rules.iter().enumerate() {
            let Subjects::Programs(programs) = &rule.subjects else {
                if rule.effect == Effect::Confined {
                    cells.confinements_of_all.push(number);
                }
                continue;
            };
            for ProgramIndex(program) in programs {
                if let Some(noted) = cells.noted.get_mut(*program) {
                    noted.add(policy, number, rule);
                }
                if let Some(confinements) =
                    cells.confinements.get_mut(*program).filter(|_| rule.effect == Effect::Confined)
                {
                    confinements.push(number);
                }
            }
        }
        cells
    }

    /// The number of the cell that exactly `rules` cover.
    pub(super) fn number(&mut self, rules: Vec<usize>) -> Result<u32, LowerError> {
        if let Some(number) = self.numbers.get(&rules) {
            return Ok(*number);
        }
        let next = self.rules.len();
        if next > Step::INDEX_MAX as usize {
            return Err(LowerError::Capacity { what: "cells", found: next, limit: Step::INDEX_MAX as usize });
        }
        self.numbers.insert(rules.clone(), next as u32);
        self.rules.push(rules);
        Ok(next as u32)
    }

    /// For each cell, what applies to everyone.
    pub(super) fn records(&self) -> Vec<Cell> {
        self.rules.iter().map(|rules| self.record(rules)).collect()
    }

    /// The flags that the kernel must set in the label of a process that executes the program.
    pub(super) fn executable_flags(&self, program: usize) -> u32 {
        let with_children = self.policy.programs.get(program).is_some_and(|program| program.with_children);
        let noted = self.noted.get(program).map_or(0, |noted| noted.flags);
        noted | flag(with_children, Match::WITH_CHILDREN)
    }

    /// The audited rule that governs a program, for the table of programs; [`NO_RULE`] if there is none.
    pub(super) fn governed_by(&self, program: usize) -> u32 {
        self.noted.get(program).and_then(|noted| noted.audited).map_or(NO_RULE, |number| number as u32)
    }

    /// What applies to a program in every cell that [`Self::pairs`] does not list: outside of every destination that
    /// its own rules name.
    pub(super) fn elsewhere(&self, program: usize) -> Pair {
        let pair = self.pair(program, &self.everywhere);
        let audit_rule = self.stands_in(program, &pair).unwrap_or(pair.audit_rule);
        Pair { audit_rule, ..pair }
    }

    /// The audited rule that governs a program, where its entry in the table of programs would name a rule about raw
    /// sockets instead. The entry has room for one rule only; the cells then name this one.
    fn stands_in(&self, program: usize, elsewhere: &Pair) -> Option<u32> {
        let governing = self.noted.get(program)?.audited?;
        let named = self.policy.rules.get(elsewhere.audit_rule as usize)?;
        names_raw(named).then_some(governing as u32)
    }

    /// What applies to which program in which cell, where it differs from [`Self::elsewhere`]. It can differ only for
    /// programs that a covering rule names.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u32, usize, Pair)> + '_ {
        let elsewhere: Vec<Pair> = (0..self.policy.programs.len()).map(|program| self.elsewhere(program)).collect();
        // The programs that need an entry in every cell. They are few: each has two audited rules, one of them about
        // raw sockets.
        let in_each_cell: Vec<usize> = (0..elsewhere.len())
            .filter(|program| self.noted.get(*program).is_some_and(|noted| noted.audited.is_some()))
            .filter(|program| elsewhere.get(*program) != Some(&self.pair(*program, &self.everywhere)))
            .collect();
        self.rules.iter().enumerate().flat_map(move |(cell, rules)| {
            // For each program, only the rules that can matter to it. Otherwise a cell of ten thousand rules for as
            // many programs would take ten thousand times ten thousand steps.
            let mut shared: Vec<usize> = Vec::new();
            let mut own: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for number in rules {
                let Some(rule) = self.policy.rules.get(*number) else { continue };
                if rule.effect.excludes() || rule.effect.is_about_others() || rule.subjects == Subjects::Everyone {
                    shared.push(*number);
                }
                if let Subjects::Programs(subjects) = &rule.subjects {
                    subjects.iter().for_each(|program| own.entry(program.0).or_default().push(*number));
                }
            }
            for program in &in_each_cell {
                own.entry(*program).or_default();
            }
            let differing: Vec<_> = own
                .into_iter()
                .map(|(program, mut rules)| {
                    rules.extend(&shared);
                    rules.sort_unstable();
                    rules.dedup();
                    (cell as u32, program, self.pair(program, &rules))
                })
                .filter(|(_, program, pair)| elsewhere.get(*program).is_none_or(|base| base != pair))
                .collect();
            differing
        })
    }

    /// The rules of a cell that are enforced, or audited, with their numbers.
    fn covering<'s>(
        &'s self,
        rules: &'s [usize],
        enforcement: Enforcement,
    ) -> impl Iterator<Item = (u32, &'s Rule)> + 's {
        let covering = rules.iter().filter_map(|number| Some((*number as u32, self.policy.rules.get(*number)?)));
        covering.filter(move |(_, rule)| rule.enforcement == enforcement)
    }

    /// The first of `confinements` that does not cover the cell.
    fn left(&self, confinements: &[usize], rules: &[usize], enforcement: Enforcement) -> Option<u32> {
        let left = |number: &&usize| {
            rules.binary_search(number).is_err()
                && self.policy.rules.get(**number).is_some_and(|rule| rule.enforcement == enforcement)
        };
        confinements.iter().find(left).map(|number| *number as u32)
    }

    fn record(&self, rules: &[usize]) -> Cell {
        let first = |enforcement, wanted: &dyn Fn(&Rule) -> bool| {
            self.covering(rules, enforcement).find(|(_, rule)| wanted(rule)).map(|(number, _)| number)
        };
        let everyone = |rule: &Rule| rule.subjects == Subjects::Everyone;
        let denied = |enforcement| first(enforcement, &|rule| rule.effect == Effect::Deny && everyone(rule));
        let outside = |enforcement| self.left(&self.confinements_of_all, rules, enforcement);
        // Of several, the one with the fewest programs. Mostly one set contains the other; this rule then denies every
        // process that any of them denies.
        let exclusive = |enforcement| {
            let exclusive = self.covering(rules, enforcement).filter(|(_, rule)| rule.effect.excludes());
            let programs = exclusive.filter_map(|(number, rule)| match &rule.subjects {
                Subjects::Everyone => None,
                Subjects::Programs(programs) => Some((programs.len(), number)),
            });
            programs.min().map(|(_, number)| number)
        };
        let granted = first(Enforcement::Enforced, &grants_to_everyone)
            .or_else(|| first(Enforcement::Enforced, &|rule| rule.effect == Effect::AllowOthers));
        let (denied, audit_denied) = (denied(Enforcement::Enforced), denied(Enforcement::Audited));
        let (outside, audit_outside) = (outside(Enforcement::Enforced), outside(Enforcement::Audited));
        let (exclusive, audit_exclusive) = (exclusive(Enforcement::Enforced), exclusive(Enforcement::Audited));
        Cell {
            flags: flag(denied.is_some(), Cell::DENIED)
                | flag(outside.is_some(), Cell::OUTSIDE)
                | flag(exclusive.is_some(), Cell::EXCLUSIVE)
                | flag(granted.is_some(), Cell::GRANTED)
                | flag(audit_denied.is_some(), Cell::AUDIT_DENIED)
                | flag(audit_outside.is_some(), Cell::AUDIT_OUTSIDE)
                | flag(audit_exclusive.is_some(), Cell::AUDIT_EXCLUSIVE),
            rule: denied.or(exclusive).or(granted).unwrap_or(NO_RULE),
            audit_rule: audit_denied.or(audit_outside).or(audit_exclusive).unwrap_or(NO_RULE),
            outside_rule: outside.or(exclusive.and(granted)).unwrap_or(0),
        }
    }

    fn pair(&self, program: usize, rules: &[usize]) -> Pair {
        let enforced = self.own(program, rules, Enforcement::Enforced);
        let audited = self.own(program, rules, Enforcement::Audited);
        Pair {
            flags: flag(enforced.member, Pair::MEMBER)
                | flag(enforced.outside.is_none(), Pair::INSIDE)
                | flag(enforced.denied.is_some(), Pair::DENIED)
                | flag(enforced.granted.is_some(), Pair::GRANTED)
                | flag(enforced.withheld, Pair::WITHHELD)
                | flag(audited.member, Pair::AUDIT_MEMBER)
                | flag(audited.outside.is_none(), Pair::AUDIT_INSIDE)
                | flag(audited.denied.is_some(), Pair::AUDIT_DENIED),
            rule: enforced.denied.or(enforced.outside).or(enforced.granted).unwrap_or(NO_RULE),
            audit_rule: audited.denied.or(audited.outside).unwrap_or(NO_RULE),
        }
    }

    /// What the rules of a cell with this enforcement state about a program.
    fn own(&self, program: usize, rules: &[usize], enforcement: Enforcement) -> Own {
        let is = |rule: &Rule| match &rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => programs.binary_search(&ProgramIndex(program)).is_ok(),
        };
        let own = |rule: &Rule| rule.subjects != Subjects::Everyone && is(rule);
        let exclusive = |(_, rule): &(u32, &Rule)| rule.effect.excludes();
        let mut exclusive = self.covering(rules, enforcement).filter(exclusive).peekable();
        let to_others = |(_, rule): &(u32, &Rule)| rule.effect == Effect::AllowOthers;
        let mut to_others = self.covering(rules, enforcement).filter(to_others).peekable();
        let first = |wanted: &dyn Fn(&Rule) -> bool| {
            self.covering(rules, enforcement).find(|(_, rule)| wanted(rule)).map(|(number, _)| number)
        };
        Own {
            member: exclusive.peek().is_some() && exclusive.all(|(_, rule)| is(rule)),
            outside: self.confinements.get(program).and_then(|all| self.left(all, rules, enforcement)),
            denied: first(&|rule| rule.effect == Effect::Deny && own(rule)),
            granted: first(&|rule| rule.effect.grants() && own(rule)),
            withheld: to_others.peek().is_some()
                && to_others.all(|(_, rule)| is(rule))
                && first(&grants_to_everyone).is_none(),
        }
    }
}

/// What the rules of a cell state about one program.
struct Own {
    /// The cell has exclusive rules, and the program is one of P in each of them.
    member: bool,
    /// A `P -> only D` about it that does not cover the cell.
    outside: Option<u32>,
    /// A `deny P -> D` about it.
    denied: Option<u32>,
    /// A grant to it.
    granted: Option<u32>,
    /// The cell has grants to everyone, and each of them excepts the program.
    withheld: bool,
}

/// The effects on a program's processes of the rules about it, whatever the destination.
#[derive(Clone, Default)]
struct Noted {
    /// A set of the flags of [`Match`].
    flags: u32,
    /// The first audited rule about it that does not cover raw sockets; preferably one that also applies to what the
    /// program starts.
    audited: Option<usize>,
}

impl Noted {
    fn add(&mut self, policy: &ResolvedPolicy, number: usize, rule: &Rule) {
        let restricts = rule.effect.restricts();
        self.flags |= flag(restricts, Match::RESTRICTED) | flag(is_wanted(policy, rule), Match::GUARDED);
        // It grants only what the default allows; or it is about every program but this one.
        if gives_nothing(policy, rule) || rule.effect == Effect::DenyOthers {
            return;
        }
        match rule.enforcement {
            Enforcement::Enforced => self.flags |= Match::GOVERNED | flag(restricts, Match::GOVERNING),
            Enforcement::Audited if names_raw(rule) => {}
            Enforcement::Audited => {
                if self.audited.is_none() || restricts && self.flags & Match::AUDIT_GOVERNING == 0 {
                    self.audited = Some(number);
                }
                self.flags |= Match::AUDIT_GOVERNED | flag(restricts, Match::AUDIT_GOVERNING);
            }
        }
    }
}

/// Whether a rule grants what it covers to every program.
fn grants_to_everyone(rule: &Rule) -> bool {
    rule.effect.grants() && rule.subjects == Subjects::Everyone
}

/// Whether a rule itself names raw sockets.
fn names_raw(rule: &Rule) -> bool {
    rule.destinations.iter().any(|to| to.addresses == Addresses::Raw)
}

/// Whether a rule gives its programs something that others do not have.
fn is_wanted(policy: &ResolvedPolicy, rule: &Rule) -> bool {
    let is_grant = match policy.default {
        Default::Allow => rule.effect.excludes(),
        Default::Deny(_) => rule.effect.excludes() || rule.effect.grants(),
    };
    is_grant && rule.enforcement == Enforcement::Enforced
}

fn flag(is: bool, flag: u32) -> u32 {
    if is { flag } else { 0 }
}
