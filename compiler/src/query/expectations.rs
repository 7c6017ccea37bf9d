//! What a policy expects of itself, held against its tables: (checked policy, what was compiled) → one
//! outcome for each `test` block, and the rules that no expectation reached.
//!
//! Always: the verdicts are those of `decide`; an expectation is asked for every kind of request in it, by
//! everyone it is about, so that one that passes holds for all of them.

use std::collections::{BTreeSet, HashMap};

use bfp_grammar::syntax::{Expected, Span};

use crate::check::CheckedPolicy;
use crate::policy::{Destination, Expectation, ProgramIndex, Subjects};
use crate::query::compiled::{Asker, Compiled, Judgement, Who};
use crate::query::regions::{Plane, Region};

/// All `test` blocks of a policy, as they came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// One for each block, in the order of the text.
    pub outcomes: Vec<Outcome>,
    /// The rules, by number, that decided or applied in no expectation.
    pub unexercised: Vec<usize>,
}

impl Report {
    /// Whether every expectation holds.
    pub fn is_passed(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_passed)
    }
}

/// A `test` block, as it came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The sentence that names it.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// How many expectations it has.
    pub expectations: usize,
    /// Those that do not hold.
    pub failures: Vec<Failure>,
}

impl Outcome {
    /// Whether all of it holds.
    pub fn is_passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line.
    pub span: Span,
    /// What it says.
    pub expected: Expected,
    /// A request that has the other verdict; `None` where the line is about no request at all.
    pub counterexample: Option<CounterExample>,
}

/// A request that an expectation is about, and that is judged otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample {
    /// Who asks.
    pub who: Who,
    /// For what: one address, and the ports that are judged alike there.
    pub destination: Destination,
    /// The verdict.
    pub judgement: Judgement,
}

/// Holds every `test` block against the tables.
pub fn run(policy: &CheckedPolicy, compiled: &Compiled) -> Report {
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
    compiled: &'a Compiled,
    plane: Plane,
    /// Requests of one kind are judged once for each program.
    known: HashMap<(Who, (usize, usize)), Judgement>,
    exercised: BTreeSet<usize>,
}

impl Runner<'_> {
    /// Asks for all of it, also behind the first counterexample: the rules beyond are exercised too.
    fn failure(&mut self, line: &Expectation) -> Option<Failure> {
        let whos = self.whos(&line.subjects);
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
