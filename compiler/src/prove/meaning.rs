//! The policy's answer for a class: passes the rules that cover it to the plain model.
//!
//! The model weighs every rule of a policy. Here it gets only those that can matter to a process: covering rules that
//! are about everyone, about the process, or exclusive, and confinements that do not cover.

use std::collections::BTreeSet;

use crate::policy::model::{Answer, Asked, Needs, Process, Weighed, governs, identities, is_silent_on_raw, weigh};
use crate::policy::{Default, Effect, Enforcement, ProgramIndex, ResolvedPolicy, Rule, Subjects};

pub(super) struct Meaning<'a> {
    policy: &'a ResolvedPolicy,
    /// The rules that cover everything, and so every class.
    everywhere: Index,
    /// The confinements of each program.
    confinements: Vec<Vec<u32>>,
    /// The confinements of everyone.
    confinements_of_all: Vec<u32>,
    /// Programs with a grant in a rule that covers everything: one with no audited rule of its own, and the first one,
    /// where they differ.
    granted_everywhere: Vec<usize>,
    /// All such programs.
    pub(super) all_granted_everywhere: Vec<usize>,
    governance: Governance,
}

/// Which programs the rules govern, and of which they also govern what the programs start.
pub(super) struct Governance {
    pub(super) itself: Governed,
    pub(super) what_it_starts: Governed,
}

/// For each program, whether it is governed: by enforced rules, and by audited ones that do not cover raw sockets.
pub(super) struct Governed {
    enforced: Vec<bool>,
    audited: Vec<bool>,
}

impl Governed {
    pub(super) fn is(&self, program: usize, enforcement: Enforcement) -> bool {
        let governed = match enforcement {
            Enforcement::Enforced => &self.enforced,
            Enforcement::Audited => &self.audited,
        };
        governed.get(program) == Some(&true)
    }

    fn note(&mut self, ProgramIndex(program): ProgramIndex, rule: &Rule) {
        let by_enforced = rule.enforcement == Enforcement::Enforced;
        let governed = if by_enforced { &mut self.enforced } else { &mut self.audited };
        if (by_enforced || is_silent_on_raw(rule))
            && let Some(is) = governed.get_mut(program)
        {
            *is = true;
        }
    }
}

impl Governance {
    pub(super) fn of(policy: &ResolvedPolicy) -> Governance {
        let nobody = || vec![false; policy.programs.len()];
        let nothing = || Governed { enforced: nobody(), audited: nobody() };
        let mut governance = Governance { itself: nothing(), what_it_starts: nothing() };
        for rule in &policy.rules {
            let Subjects::Programs(programs) = &rule.subjects else { continue };
            for program in programs {
                let itself = Process { program: Some(*program), ..Process::default() };
                if governs(policy, rule, &itself) {
                    governance.itself.note(*program, rule);
                }
                let started = Process { program: None, ..Process::of(Some(*program)) };
                if governs(policy, rule, &started) {
                    governance.what_it_starts.note(*program, rule);
                }
            }
        }
        governance
    }

    fn is(&self, process: &Process, enforcement: Enforcement) -> bool {
        process.program.is_some_and(|ProgramIndex(program)| self.itself.is(program, enforcement))
            || process.restricted_by.iter().any(|ProgramIndex(program)| self.what_it_starts.is(*program, enforcement))
    }
}

/// Rules, indexed by the programs that they are about.
#[derive(Default)]
pub(super) struct Index {
    /// All rules, ascending.
    rules: Vec<u32>,
    /// The rules about everyone, and those about everyone but their programs, such as the exclusive ones.
    common: Vec<u32>,
    /// The rules about a program, sorted: (program, rule).
    of: Vec<(ProgramIndex, u32)>,
}

impl Index {
    /// The rules about everyone, and the exclusive ones.
    pub(super) fn common(&self) -> &[u32] {
        &self.common
    }

    /// The rules about a program.
    pub(super) fn about(&self, program: usize) -> impl Iterator<Item = u32> + '_ {
        let begin = self.of.partition_point(|(of, _)| of.0 < program);
        self.of.iter().skip(begin).take_while(move |(of, _)| of.0 == program).map(|(_, rule)| *rule)
    }
}

impl<'a> Meaning<'a> {
    pub(super) fn new(policy: &'a ResolvedPolicy, everywhere: &[u32], governance: Governance) -> Meaning<'a> {
        let mut meaning = Meaning {
            policy,
            everywhere: Index::default(),
            confinements: vec![Vec::new(); policy.programs.len()],
            confinements_of_all: Vec::new(),
            granted_everywhere: Vec::new(),
            all_granted_everywhere: Vec::new(),
            governance,
        };
        for (number, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| rule.effect == Effect::Confined) {
            match &rule.subjects {
                Subjects::Everyone => meaning.confinements_of_all.push(number as u32),
                Subjects::Programs(programs) => programs.iter().for_each(|ProgramIndex(program)| {
                    meaning.confinements.get_mut(*program).into_iter().for_each(|of| of.push(number as u32));
                }),
            }
        }
        let mut index = Index::default();
        meaning.index(everywhere, &mut index);
        meaning.everywhere = index;
        let granted: BTreeSet<usize> = meaning.everywhere.of.iter().map(|(program, _)| program.0).collect();
        let process = |program: &usize| Process::of(Some(ProgramIndex(*program)));
        let nothing = Index::default();
        let is = |audited: bool| {
            let mut scale = Vec::new();
            let answer = |program: &usize| (*program, meaning.answer(&nothing, &process(program), &mut scale));
            let mut answers = granted.iter().map(answer);
            answers.find(|(_, answer)| answer.allowed && answer.audited == audited).map(|(program, _)| program)
        };
        meaning.granted_everywhere = is(false).into_iter().chain(is(true)).collect();
        meaning.all_granted_everywhere = granted.into_iter().collect();
        meaning
    }

    /// Replaces the content of `index` with these rules.
    pub(super) fn index(&self, rules: &[u32], index: &mut Index) {
        index.rules.clear();
        index.common.clear();
        index.of.clear();
        index.rules.extend(rules);
        for number in rules {
            let Some(rule) = self.rule(*number) else { continue };
            if rule.effect.excludes() || rule.effect.is_about_others() || rule.subjects == Subjects::Everyone {
                index.common.push(*number);
            }
            if let Subjects::Programs(programs) = &rule.subjects {
                index.of.extend(programs.iter().map(|program| (*program, *number)));
            }
        }
        index.of.sort_unstable();
    }

    pub(super) fn rule(&self, number: u32) -> Option<&'a Rule> {
        self.policy.rules.get(number as usize)
    }

    /// The programs that these rules distinguish from others of their kind. Every other program is treated as in each
    /// class with the same [`Self::profile`].
    pub(super) fn named(&self, rules: &[u32], named: &mut Vec<usize>) {
        let mut is_exclusive = false;
        for rule in rules.iter().filter_map(|number| self.rule(*number)) {
            is_exclusive |= rule.effect.excludes();
            if let Subjects::Programs(programs) = &rule.subjects {
                named.extend(programs.iter().map(|program| program.0));
            }
        }
        named.extend(&self.granted_everywhere);
        // A program that is one of P in every exclusive rule elsewhere may not be one here.
        if is_exclusive {
            let exclusive = self.everywhere.common.iter().filter_map(|number| self.rule(*number));
            for rule in exclusive.filter(|rule| rule.effect.excludes()) {
                if let Subjects::Programs(programs) = &rule.subjects {
                    named.extend(programs.iter().map(|ProgramIndex(program)| *program));
                }
            }
        }
    }

    /// The effect of these rules on a program that none of them names: nothing else can matter to it.
    pub(super) fn profile(&self, rules: &Index) -> u32 {
        let outside = self.confinements_of_all.iter().filter(|number| !self.covers(rules, **number));
        let outside = outside.filter_map(|number| self.rule(*number));
        let common = rules.common.iter().filter_map(|number| self.rule(*number));
        let about = |rule: &Rule| {
            let kind = match (rule.effect, &rule.subjects) {
                (Effect::Exclusive | Effect::DenyOthers, Subjects::Programs(_)) => 0,
                (Effect::Deny, _) => 1,
                _ => 2,
            };
            1 << (2 * kind + u32::from(rule.enforcement == Enforcement::Audited))
        };
        let outside = outside.fold(0, |all, rule| all | 1 << (6 + u32::from(rule.enforcement == Enforcement::Audited)));
        common.fold(outside, |all, rule| all | about(rule))
    }

    /// Whether a rule covers the class that exactly these rules, and those that cover everything, cover.
    pub(super) fn covers(&self, rules: &Index, number: u32) -> bool {
        rules.rules.binary_search(&number).is_ok() || self.everywhere.rules.binary_search(&number).is_ok()
    }

    /// As [`Needs::of`], without evaluating every rule.
    pub(super) fn needs(&self, process: &Process, asked: Asked) -> Needs {
        let by = |enforcement| asked == Asked::Raw && self.governance.is(process, enforcement);
        Needs {
            grant: self.policy.default != Default::Allow || by(Enforcement::Enforced),
            grant_under_audit: by(Enforcement::Audited),
        }
    }

    /// The policy's answer to a process in the class that exactly these rules cover.
    pub(super) fn answer(&self, rules: &Index, process: &Process, scale: &mut Vec<Weighed<'a>>) -> Answer {
        let needs = Needs { grant: self.policy.default != Default::Allow, grant_under_audit: false };
        self.answer_by(needs, rules, process, scale)
    }

    /// As [`Self::answer`], with `needs` given.
    pub(super) fn answer_by(
        &self,
        needs: Needs,
        rules: &Index,
        process: &Process,
        scale: &mut Vec<Weighed<'a>>,
    ) -> Answer {
        self.put_covering(rules, process, scale);
        let of_all = std::iter::once(&self.confinements_of_all);
        let own = process.restricted_by.iter().filter_map(|program| self.confinements.get(program.0));
        let left = of_all.chain(own).flatten().filter(|number| !self.covers(rules, **number));
        scale.extend(left.filter_map(|number| self.rule(*number)).map(|rule| Weighed { rule, covers: false }));
        weigh(needs, scale, process)
    }

    /// Whether the policy allows a process this class even if that requires a grant.
    pub(super) fn grants(&self, rules: &Index, process: &Process) -> bool {
        self.answer_by(Needs { grant: true, grant_under_audit: false }, rules, process, &mut Vec::new()).allowed
    }

    /// What the rules that cover the class deny themselves.
    pub(super) fn answer_covered(&self, rules: &Index, process: &Process, scale: &mut Vec<Weighed<'a>>) -> Answer {
        self.put_covering(rules, process, scale);
        weigh(Needs::NOTHING, scale, process)
    }

    /// Puts the rules that cover the class and can matter to a process on the scale.
    fn put_covering(&self, rules: &Index, process: &Process, scale: &mut Vec<Weighed<'a>>) {
        scale.clear();
        let mut put = |numbers: &[u32]| {
            let rules = numbers.iter().filter_map(|number| self.rule(*number));
            scale.extend(rules.map(|rule| Weighed { rule, covers: true }));
        };
        for index in [rules, &self.everywhere] {
            put(&index.common);
            // A rule that is added twice weighs no more than once.
            for program in identities(process).flatten().chain(process.restricted_by.iter().copied()) {
                index.about(program.0).for_each(|number| put(&[number]));
            }
        }
    }
}
