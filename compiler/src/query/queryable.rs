//! The subject of a question: the tables of a policy and their debug section, from a source or from a bundle alike.

use std::collections::{HashMap, HashSet};

use bfp_bundle::debug::{Debug, DebugEffect, DebugRule};
use bfp_bundle::decide::Reason;
use bfp_bundle::image::{Image, NamedExecutable};
use bfp_bundle::label::{Label, ProgramId, Proof};
use bfp_bundle::names::{Match, unit};
use bfp_bundle::record::NO_RULE;

use crate::policy::program_text;
use crate::query::regions::{Region, cells, judge};
use crate::resolve::program_path;

/// A policy that can be queried.
#[derive(Clone, Debug)]
pub struct Queryable {
    /// The name of the policy.
    pub name: String,
    /// Its tables.
    pub image: Image,
    /// Where the tables come from.
    pub debug: Debug,
}

/// The requesting process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The program with this text (a path, a pattern, or those of a class), or of the file at this path; its digest
    /// pins hold.
    Program(String),
    /// An unlisted program.
    Unlisted,
    /// An unlisted program, started by the program at this path.
    StartedBy(String),
    /// The last of these, which are programs and unlisted ones: each started the next.
    Chain(Vec<Who>),
}

impl Who {
    /// The label of such a process under a policy.
    pub fn label(&self, image: &Image) -> Label {
        match self {
            // A process that no program of the policy led to has the label of an unlisted one.
            Who::Unlisted => Label::UNLISTED,
            _ => {
                let mut label = Label::UNLISTED;
                self.execute(image, &mut label);
                label
            }
        }
    }

    /// What a process with this label becomes by executing it.
    fn execute(&self, image: &Image, label: &mut Label) {
        match self {
            Who::Program(text) => label.execute(match_of(image, text), Proof::Proven),
            Who::Unlisted => label.execute(None, Proof::Proven),
            Who::StartedBy(text) => {
                label.execute(match_of(image, text), Proof::Proven);
                label.execute(None, Proof::Proven);
            }
            Who::Chain(steps) => steps.iter().for_each(|step| step.execute(image, label)),
        }
    }

    /// In words, for a report.
    pub fn text(&self) -> String {
        match self {
            Who::Program(text) => program_text::words(text),
            Who::Unlisted => "everyone else".to_owned(),
            Who::StartedBy(text) => match program_text::exact(text) {
                None if program_text::is_class(text) => format!("what is started by {}", program_text::words(text)),
                _ => format!("what {} starts", program_text::words(text)),
            },
            Who::Chain(steps) => {
                let step = |step: &Who| match step {
                    Who::Unlisted => "any other program".to_owned(),
                    step => step.text(),
                };
                steps.iter().map(step).collect::<Vec<_>>().join(" > ")
            }
        }
    }
}

/// What executing the program with this text, or the file at this path, does to a process. For a pattern that no file
/// matches alone, it is what its files do.
fn match_of<'a>(image: &'a Image, text: &str) -> Option<&'a Match> {
    if program_text::exact(text) == Some(text) {
        return image.match_of(text);
    }
    let is_of = |executable: &&NamedExecutable| {
        executable.path == text || program_text::members(&executable.path).any(|member| member == text)
    };
    let mut known: Vec<&NamedExecutable> = image.executables.iter().filter(is_of).collect();
    let found: HashSet<ProgramId> = image.found().map(|record| record.program).collect();
    known.sort_by_key(|executable| (!found.contains(&executable.program), executable.path != text));
    known.first().and_then(|first| image.matches.iter().find(|record| record.program == first.program))
}

/// A verdict, and the rules that apply to the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// Whether the request is allowed.
    pub is_allowed: bool,
    /// The reason for the verdict.
    pub reason: Reason,
    /// The rule that decided, if one did.
    pub rule: Option<usize>,
    /// The audited rule that would deny the request, if one would.
    pub audited: Option<usize>,
    /// Every other rule that applies: it covers the request and is about the program, or denies the request.
    pub others: Vec<usize>,
}

impl Queryable {
    /// The executables that the policy names.
    pub fn executables(&self) -> &[NamedExecutable] {
        &self.image.executables
    }

    /// The programs and classes that a file can be: without programs whose every file matches another one too.
    pub fn kinds(&self) -> impl Iterator<Item = &NamedExecutable> {
        let found: HashSet<ProgramId> = self.image.found().map(|record| record.program).collect();
        self.executables().iter().filter(move |executable| found.contains(&executable.program))
    }

    /// Every process that the policy distinguishes: one for each of [`Self::kinds`], and an unlisted program.
    pub fn everyone(&self) -> Vec<Who> {
        self.called(self.kinds()).into_iter().chain([Who::Unlisted]).collect()
    }

    /// The same programs by the shortest texts that distinguish them.
    fn called<'a>(&'a self, kinds: impl Iterator<Item = &'a NamedExecutable>) -> Vec<Who> {
        let all: Vec<&NamedExecutable> = self.kinds().collect();
        let sets: Vec<Vec<&str>> =
            all.iter().map(|executable| program_text::members(&executable.path).collect()).collect();
        let names = program_text::short(&sets);
        let called: HashMap<ProgramId, String> = all.iter().map(|executable| executable.program).zip(names).collect();
        kinds.filter_map(|kind| Some(Who::Program(called.get(&kind.program)?.clone()))).collect()
    }

    /// The processes that a chain of programs stands for, `node > /usr/bin/curl`: each name or pattern may stand for
    /// several. Empty if one of them stands for none.
    pub fn chains(steps: &[Vec<Who>]) -> Vec<Who> {
        let none = vec![Vec::new()];
        let longer = |chains: Vec<Vec<Who>>, step: &Vec<Who>| -> Vec<Vec<Who>> {
            let with = |chain: &Vec<Who>| {
                let chain = chain.clone();
                step.iter().map(move |who| chain.iter().chain([who]).cloned().collect())
            };
            chains.iter().flat_map(with).collect()
        };
        let chain = |mut chain: Vec<Who>| match chain.len() {
            1 => chain.pop(),
            _ => Some(Who::Chain(chain)),
        };
        steps.iter().fold(none, longer).into_iter().filter_map(chain).collect()
    }

    /// The programs that a name or a pattern stands for; for an absolute path, the program of the file there. Empty if
    /// there are none.
    pub fn programs_named(&self, written: &str) -> Vec<Who> {
        if written == "*" {
            return self.everyone();
        }
        let text = match written.strip_prefix("* in unit ") {
            Some(unit) => unit::text(unit::EVERY_FILE, unit),
            None => program_path::canonical(written),
        };
        if program_text::exact(&text) == Some(text.as_str()) && written.starts_with('/') {
            return vec![Who::Program(written.to_owned())];
        }
        let named =
            |path: &str| self.debug.programs.iter().any(|program| program.path == path && program.name == written);
        let is_meant = |path: &str| path == text || named(path);
        let is_of = |executable: &&NamedExecutable| {
            let member = |at: &u32| self.executables().get(*at as usize).is_some_and(|of| is_meant(&of.path));
            is_meant(&executable.path) || executable.members.iter().any(member)
        };
        self.called(self.kinds().filter(is_of))
    }

    /// The programs, as written, that the file at a path matches; empty where it only matches the one with this path.
    pub fn patterns_of(&self, path: &str) -> Vec<&str> {
        let id = self.image.match_of(path).map(|record| record.program);
        let of = self.executables().iter().find(|executable| Some(executable.program) == id);
        let of = of.filter(|executable| executable.path != program_path::canonical(path));
        of.into_iter().flat_map(|executable| program_text::members(&executable.path)).collect()
    }

    /// The rule with this number, from 0.
    pub fn rule(&self, number: usize) -> Option<&DebugRule> {
        self.debug.rules.get(number)
    }

    /// A process that can make requests.
    pub fn asker(&self, who: &Who) -> Asker<'_> {
        let label = who.label(&self.image);
        let confines =
            |(_, rule): &(usize, &DebugRule)| rule.effect == DebugEffect::Confined && self.is_about(rule, &label);
        let confinements = self.debug.rules.iter().enumerate().filter(confines).map(|(number, _)| number).collect();
        Asker { compiled: self, label, confinements }
    }

    /// The programs of a rule. The tables list the executables in the order of the debug section.
    fn subjects<'a>(&'a self, rule: &'a DebugRule) -> impl Iterator<Item = &'a NamedExecutable> {
        rule.subjects.iter().flatten().filter_map(|at| self.executables().get(*at as usize))
    }

    /// Whether a restriction is about a process: about its program, or about one that led to it.
    fn is_about(&self, rule: &DebugRule, label: &Label) -> bool {
        let restricted_by = label.restricted_by.iter().take(label.depth as usize);
        rule.subjects.is_none()
            || self.subjects(rule).any(|executable| {
                executable.program == label.program
                    || restricted_by.clone().any(|program| *program == executable.program)
            })
    }

    fn is_granted(&self, rule: &DebugRule, label: &Label) -> bool {
        rule.subjects.is_none()
            || self.subjects(rule).any(|executable| {
                executable.program == label.program || label.inherits_from.contains(&executable.program)
            })
    }
}

/// Whether a rule denies what it covers to all programs but its own.
fn excludes(rule: &DebugRule) -> bool {
    matches!(rule.effect, DebugEffect::Exclusive | DebugEffect::DenyOthers)
}

/// A process that makes requests under a policy.
pub struct Asker<'a> {
    compiled: &'a Queryable,
    label: Label,
    /// The rules that confine it, whatever the destination.
    confinements: Vec<usize>,
}

impl Asker<'_> {
    /// The verdict on its requests in a region.
    pub fn judge(&self, region: &Region) -> Judgement {
        let Asker { compiled, label, .. } = self;
        let asked = region.sample();
        let verdict = judge(&compiled.image, label, asked);
        let cells = cells(&compiled.image, asked);
        let number = |rule: u32| (rule != NO_RULE).then_some(rule as usize);
        let (mut rule, mut audited) = (number(verdict.rule), number(verdict.audited));
        // The tables name one `only` for every process that any of them denies.
        if verdict.reason == Reason::Exclusive {
            rule = self.refusing(rule, &cells);
        }
        if verdict.reason == Reason::Granted {
            rule = self.granting(rule, &cells);
        }
        audited = self.refusing(audited, &cells);
        let mut others = self.applying(&cells);
        others.retain(|other| Some(*other) != rule && Some(*other) != audited);
        Judgement { is_allowed: verdict.is_allowed(), reason: verdict.reason, rule, audited, others }
    }

    /// The numbers of the rules that cover these cells.
    fn covering<'a>(&'a self, cells: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
        let of_cell = |cell: &u32| self.compiled.debug.cells.get(*cell as usize);
        cells.iter().filter_map(of_cell).flatten().map(|number| *number as usize)
    }

    /// If the named `only` rule admits the program: another one of its kind that does not, where there is one, because
    /// the verdict comes from that.
    fn refusing(&self, named: Option<usize>, cells: &[u32]) -> Option<usize> {
        let Asker { compiled, label, .. } = self;
        let admits = |rule: &DebugRule| {
            let proven = label.flags & Label::PROVEN != 0;
            proven && compiled.subjects(rule).any(|executable| executable.program == label.program)
        };
        let rule = compiled.rule(named?)?;
        if !excludes(rule) || !admits(rule) {
            return named;
        }
        let refuses = |other: &DebugRule| excludes(other) && other.is_audited == rule.is_audited && !admits(other);
        let other = self.covering(cells).find(|number| compiled.rule(*number).is_some_and(refuses));
        other.or(named)
    }

    /// If the named rule grants to all programs but some, and the process is one of these or started by one: another one
    /// of its kind that does not leave it out, where there is one.
    fn granting(&self, named: Option<usize>, cells: &[u32]) -> Option<usize> {
        let Asker { compiled, label, .. } = self;
        let leaves_out = |rule: &DebugRule| compiled.is_about(rule, label);
        let grants = |rule: &DebugRule| rule.effect == DebugEffect::AllowOthers && !leaves_out(rule);
        let rule = compiled.rule(named?)?;
        if rule.effect != DebugEffect::AllowOthers || !leaves_out(rule) {
            return named;
        }
        let other = self.covering(cells).find(|number| compiled.rule(*number).is_some_and(grants));
        other.or(named)
    }

    /// The rules that apply in some cells: `only P -> D` to every request into D, the others to requests of their
    /// programs. `P -> only D` also applies outside of D, where it denies.
    fn applying(&self, cells: &[u32]) -> Vec<usize> {
        let Asker { compiled, label, confinements } = self;
        let applies = |number: &usize| {
            compiled.rule(*number).is_some_and(|rule| match rule.effect {
                DebugEffect::Exclusive | DebugEffect::DenyOthers | DebugEffect::AllowOthers => true,
                // It is one of `confinements`, or not about this process.
                DebugEffect::Confined => false,
                DebugEffect::Deny => compiled.is_about(rule, label),
                DebugEffect::Allow => compiled.is_granted(rule, label),
            })
        };
        let mut applying: Vec<usize> = self.covering(cells).filter(applies).collect();
        applying.extend(confinements);
        applying.sort_unstable();
        applying.dedup();
        applying
    }
}
