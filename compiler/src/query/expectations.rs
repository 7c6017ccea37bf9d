//! The `test` blocks of a policy, compared with its tables: (checked policy, compiled policy) → one outcome for each
//! block, and the rules that no expectation exercised.
//!
//! Always: the verdicts are those of `decide`. An expectation is judged for every kind of request in it and for every
//! program that it is about, so one that passes holds for all of them.

use std::collections::{BTreeSet, HashMap};

use bfp_grammar::syntax::{Expected, Span};

use crate::check::CheckedPolicy;
use crate::policy::{Destination, Expectation, ProgramIndex, Subjects};
use crate::query::queryable::{Asker, Judgement, Queryable, Who};
use crate::query::regions::{Plane, Region};

/// The outcomes of all `test` blocks of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each block, in the order of the text.
    pub outcomes: Vec<Outcome>,
    /// The rules, by number, that no expectation exercised: in none did they decide or apply.
    pub unexercised: Vec<usize>,
}

impl Report {
    /// Whether every expectation holds.
    pub fn is_passed(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_passed)
    }
}

/// The outcome of a `test` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The sentence that names the block.
    pub name: String,
    /// The place of the block in the source.
    pub span: Span,
    /// How many expectations the block has.
    pub expectations: usize,
    /// The expectations that do not hold.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether every expectation of the block holds.
    pub fn is_passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line in the source.
    pub span: Span,
    /// The verdict that it expects.
    pub expected: Expected,
    /// A request with the other verdict; `None` if no request is in the line's destinations.
    pub counterexample: Option<CounterExample>,
}

/// A request of an expectation that has another verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample {
    /// The requesting process.
    pub who: Who,
    /// One address, and the ports that are judged alike there.
    pub destination: Destination,
    /// The verdict.
    pub judgement: Judgement,
}

/// Compares every `test` block with the tables.
pub fn run(policy: &CheckedPolicy, compiled: &Queryable) -> Report {
    let plane = Plane::of(&[&compiled.image]);
    let mut runner = Runner { policy, compiled, plane, known: HashMap::new(), exercised: BTreeSet::new() };
    let outcomes: Vec<Outcome> = policy
        .policy()
        .tests
        .iter()
        .map(|test| Outcome {
            name: test.name.clone(),
            span: test.span,
            expectations: test.expectations.len(),
            failures: test.expectations.iter().filter_map(|line| runner.failure(line)).collect(),
        })
        .collect();
    let all = 0..compiled.debug.rules.len();
    Report { outcomes, unexercised: all.filter(|rule| !runner.exercised.contains(rule)).collect() }
}

struct Runner<'a> {
    policy: &'a CheckedPolicy,
    compiled: &'a Queryable,
    plane: Plane,
    /// Requests of one kind are judged once for each program.
    known: HashMap<(Who, (usize, usize)), Judgement>,
    exercised: BTreeSet<usize>,
}

impl Runner<'_> {
    /// Judges all requests of the line, also after the first counterexample: the remaining rules are exercised too.
    fn failure(&mut self, line: &Expectation) -> Option<Failure> {
        let steps = line.started_by.iter().chain([&line.subjects]).map(|subjects| self.whos(subjects));
        let whos = Queryable::chains(&steps.collect::<Vec<_>>());
        let regions = self.plane.within(&line.destinations);
        let wanted = line.expected == Expected::Allowed;
        let mut counterexample = None;
        for who in &whos {
            let asker = self.compiled.asker(who);
            for region in &regions {
                let judgement = self.judgement(who, &asker, region);
                if judgement.is_allowed != wanted && counterexample.is_none() {
                    let destination = one_address(region);
                    counterexample = Some(CounterExample { who: who.clone(), destination, judgement });
                }
            }
        }
        let is_empty = whos.is_empty() || regions.is_empty();
        (is_empty || counterexample.is_some()).then_some(Failure {
            span: line.span,
            expected: line.expected,
            counterexample,
        })
    }

    fn judgement(&mut self, who: &Who, asker: &Asker<'_>, region: &Region) -> Judgement {
        let key = (who.clone(), region.kind);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let judgement = asker.judge(region);
        self.exercised.extend(judgement.rule.into_iter().chain(judgement.audited));
        self.exercised.extend(&judgement.others);
        self.known.insert(key, judgement.clone());
        judgement
    }

    fn whos(&self, subjects: &Subjects) -> Vec<Who> {
        match subjects {
            Subjects::Everyone => self.compiled.everyone(),
            Subjects::Programs(programs) => {
                let policy = self.policy.policy();
                let is_asked = |index: &&ProgramIndex| {
                    index.0 >= policy.programs.len() || policy.kinds.binary_search(index).is_ok()
                };
                let at = |index: &ProgramIndex| policy.program(*index);
                let asked = programs.iter().filter(is_asked).filter_map(at);
                asked.map(|program| Who::Program(program.asked().to_owned())).collect()
            }
        }
    }
}

/// The first address of a region, with the ports of its first protocol.
fn one_address(region: &Region) -> Destination {
    use crate::policy::Addresses;
    let Destination { addresses, mut ports } = region.destination();
    ports.truncate(if addresses == Addresses::Raw { ports.len() } else { 1 });
    let addresses = match addresses {
        Addresses::V4(first, _) => Addresses::V4(first, first),
        Addresses::V6(first, _) => Addresses::V6(first, first),
        Addresses::Raw => Addresses::Raw,
    };
    Destination { addresses, ports }
}
