//! Cells in which a program was queried before, with the same inputs.
//!
//! Where many rules overlap, the same rules are about a program in many cells. `decide` answers from the records of the
//! cell and of the pair; the model answers from the rules that cover the cell and are about the program or about
//! everyone. If all of these are as in a cell that was queried before, so are both answers. The pair is still looked up
//! in every cell, because a mistake would show there.
//!
//! An enforced exclusive rule is about everyone but its own programs, whatever its number: to any other program, two cells
//! differ only in the rule that is blamed. An unlisted program is denied in each of them, and shows that the blame is
//! right. What an audited rule is blamed for shows only where a request is allowed, so its number counts.

use bfp_bundle::decide::Tables as _;
use bfp_bundle::record::Pair;
use smallvec::SmallVec;

use super::ask::Asking;
use super::meaning::Index;
use crate::policy::model::Answer;
use crate::policy::{Enforcement, Rule};
use crate::prove::hash::NumberMap;

/// For fewer programs than this, keeping answers costs more than querying again. Tests have small policies.
const MANY: usize = if cfg!(test) { 2 } else { 16 };

/// The inputs of an answer about a program.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Inputs {
    program: usize,
    surroundings: u32,
    pair: Pair,
    /// The rules that cover the cell and are about the program.
    own: SmallVec<[u32; 4]>,
}

/// The inputs that all programs in a cell share.
#[derive(PartialEq, Eq, Hash)]
struct Surroundings {
    /// Whether more is queried there.
    is_covered: bool,
    /// The flags of its record, and the rules that it blames for an audited denial and outside of a confinement.
    record: [u32; 3],
    /// How many enforced exclusive rules cover it.
    exclusive: usize,
    /// The other rules about everyone.
    common: Vec<u32>,
}

/// The answers so far, by their inputs.
#[derive(Default)]
pub(super) struct Alike {
    surroundings: NumberMap<Surroundings, u32>,
    known: NumberMap<Inputs, Answer>,
}

impl Alike {
    /// The number of a cell's surroundings, if enough programs are queried for answers to be kept. `is_covered`: a
    /// denial there is queried once more, as behind a gateway.
    pub(super) fn surroundings(
        &mut self,
        asking: &Asking<'_>,
        (cell, is_covered): (u32, bool),
        rules: &Index,
        programs: usize,
    ) -> Option<u32> {
        let record = asking.image.cell(cell).filter(|_| programs >= MANY)?;
        let is_exclusive = |rule: &Rule| rule.effect.excludes() && rule.enforcement == Enforcement::Enforced;
        let mut common = rules.common().to_vec();
        common.retain(|number| !asking.meaning.rule(*number).is_some_and(is_exclusive));
        let exclusive = rules.common().len() - common.len();
        let record = [record.flags, record.audit_rule, record.outside_rule];
        let next = self.surroundings.len() as u32;
        let surroundings = Surroundings { is_covered, record, exclusive, common };
        Some(*self.surroundings.entry(surroundings).or_insert(next))
    }

    /// The inputs of a program's answers in a cell. `None` where more matters to it: for a class, each member's rules.
    pub(super) fn inputs(
        asking: &Asking<'_>,
        cell: u32,
        rules: &Index,
        surroundings: u32,
        program: usize,
    ) -> Option<Inputs> {
        let record = asking.image.matches.get(program)?;
        let declared = asking.policy.policy().programs.get(program)?;
        if declared.is_class() || record.restricted().any(|id| id != record.program) {
            return None;
        }
        let pair = asking.image.pair(cell, record.program)?;
        Some(Inputs { program, surroundings, pair, own: rules.about(program).collect() })
    }

    pub(super) fn answer(&self, inputs: &Inputs) -> Option<Answer> {
        self.known.get(inputs).copied()
    }

    pub(super) fn keep(&mut self, inputs: Inputs, answer: Answer) {
        self.known.insert(inputs, answer);
    }
}
