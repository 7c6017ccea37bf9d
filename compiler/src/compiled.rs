//! What questions are asked of: the tables of a policy and where they came from, out of a source or out of
//! a bundle alike.

use bfp_bundle::debug::{Debug, DebugEffect, DebugRule};
use bfp_bundle::decide::Reason;
use bfp_bundle::image::{Image, NamedExecutable};
use bfp_bundle::label::{Label, Proof};
use bfp_bundle::names::Match;
use bfp_bundle::record::NO_RULE;

use crate::model::Asked;
use crate::regions::{Region, cells, judge};

/// A policy that can be asked.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The name of the policy.
    pub name: String,
    /// Its tables.
    pub image: Image,
    /// Where they came from.
    pub debug: Debug,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The program at this path, with proof.
    Program(String),
    /// Every program that no policy names.
    Stranger,
    /// A program that no policy names, started by the program at this path.
    StartedBy(String),
}

impl Who {
    /// The label that such a process has under a policy.
    pub fn label(&self, image: &Image) -> Label {
        match self {
            Who::Program(path) => image.label_of(path),
            Who::Stranger => Label::STRANGER,
            Who::StartedBy(path) => {
                let mut label = image.label_of(path);
                label.execute(None, Proof::Proven);
                label
            }
        }
    }

    /// As a person says it.
    pub fn text(&self) -> String {
        match self {
            Who::Program(path) => path.clone(),
            Who::Stranger => "everyone else".to_owned(),
            Who::StartedBy(path) => format!("what {path} starts"),
        }
    }
}

/// A verdict, and the rules that speak of the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// Whether the request may go on.
    pub is_allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Option<usize>,
    /// The audit rule that would refuse it.
    pub audited: Option<usize>,
    /// Every other rule that applies: it covers the request and is about the program, or refuses it.
    pub others: Vec<usize>,
}

impl Compiled {
    /// The executables that the policy names.
    pub fn executables(&self) -> &[NamedExecutable] {
        &self.image.executables
    }

    /// Everyone who can be told apart: each named program, and a stranger.
    pub fn everyone(&self) -> Vec<Who> {
        let named = self.executables().iter().map(|executable| Who::Program(executable.path.clone()));
        named.chain([Who::Stranger]).collect()
    }

    /// The programs that a name stands for; an absolute path stands for itself. Empty where there are none.
    pub fn programs_named(&self, written: &str) -> Vec<Who> {
        if written == "*" {
            return self.everyone();
        }
        if written.starts_with('/') {
            return vec![Who::Program(written.to_owned())];
        }
        let called = self.debug.programs.iter().filter(|(_, name)| name == written);
        called.map(|(path, _)| Who::Program(path.clone())).collect()
    }

    /// The rule with this number.
    pub fn rule(&self, number: usize) -> Option<&DebugRule> {
        self.debug.rules.get(number)
    }

    /// What holds for a process with this label, asking for this.
    pub fn judge(&self, label: &Label, asked: Asked) -> Judgement {
        let verdict = judge(&self.image, label, asked);
        let number = |rule: u32| (rule != NO_RULE).then_some(rule as usize);
        let (mut rule, mut audited) = (number(verdict.rule), number(verdict.audited));
        // The tables name one `only` for everyone whom any of them refuses.
        if verdict.reason == Reason::Exclusive {
            rule = self.refusing(rule, label, asked);
        }
        audited = self.refusing(audited, label, asked);
        let mut others = self.applying(label, asked);
        others.retain(|other| Some(*other) != rule && Some(*other) != audited);
        Judgement { is_allowed: verdict.is_allowed(), reason: verdict.reason, rule, audited, others }
    }

    /// In place of an `only` rule that admits a program: another one of its kind that does not, where there is
    /// one, since the verdict is about that.
    fn refusing(&self, named: Option<usize>, label: &Label, asked: Asked) -> Option<usize> {
        let admits = |rule: &DebugRule| {
            let proven = label.flags & Label::PROVEN != 0;
            proven && self.subjects(rule).any(|executable| executable.program == label.program)
        };
        let rule = self.rule(named?)?;
        if rule.effect != DebugEffect::Exclusive || !admits(rule) {
            return named;
        }
        let covering = cells(&self.image, asked);
        let others = covering.iter().filter_map(|cell| self.debug.cells.get(*cell as usize)).flatten();
        let refuses = |other: &DebugRule| {
            other.effect == DebugEffect::Exclusive && other.is_audited == rule.is_audited && !admits(other)
        };
        let other = others.map(|number| *number as usize).find(|number| self.rule(*number).is_some_and(refuses));
        other.or(named)
    }

    /// The rules that apply to a request: `only P -> D` to every request into D, the others to those of
    /// their programs; `P -> only D` to what lies outside of D too, which it refuses.
    fn applying(&self, label: &Label, asked: Asked) -> Vec<usize> {
        let cells = cells(&self.image, asked);
        let of_cell = |cell: &u32| self.debug.cells.get(*cell as usize);
        let covers =
            |number: usize| cells.iter().filter_map(of_cell).any(|rules| rules.binary_search(&(number as u32)).is_ok());
        let applies = |(number, rule): &(usize, &DebugRule)| match rule.effect {
            DebugEffect::Exclusive => covers(*number),
            DebugEffect::Confined => self.is_about(rule, label),
            DebugEffect::Deny => covers(*number) && self.is_about(rule, label),
            DebugEffect::Allow => covers(*number) && self.is_granted(rule, label),
        };
        self.debug.rules.iter().enumerate().filter(applies).map(|(number, _)| number).collect()
    }

    /// The programs of a rule. The tables list the executables in the order of the debug section.
    fn subjects<'a>(&'a self, rule: &'a DebugRule) -> impl Iterator<Item = &'a NamedExecutable> {
        rule.subjects.iter().flatten().filter_map(|at| self.executables().get(*at as usize))
    }

    /// Whether a restriction is about a process: about its program, or one that led to it.
    fn is_about(&self, rule: &DebugRule, label: &Label) -> bool {
        let under = label.under.iter().take(label.depth as usize);
        rule.subjects.is_none()
            || self.subjects(rule).any(|executable| {
                executable.program == label.program || under.clone().any(|under| *under == executable.program)
            })
    }

    fn is_granted(&self, rule: &DebugRule, label: &Label) -> bool {
        rule.subjects.is_none()
            || self
                .subjects(rule)
                .any(|executable| executable.program == label.program || label.heir_of.contains(&executable.program))
    }

    /// What holds for one region.
    pub fn judge_region(&self, label: &Label, region: &Region) -> Judgement {
        self.judge(label, region.sample())
    }

    /// The programs whose restrictions what they start inherits, or whose grants.
    pub fn parents(&self) -> impl Iterator<Item = &NamedExecutable> {
        let inherited = Match::RESTRICTED | Match::WITH_CHILDREN;
        self.executables().iter().filter(move |executable| executable.flags & inherited != 0)
    }
}
