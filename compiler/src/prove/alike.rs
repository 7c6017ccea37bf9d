//! Cells in which a program was answered before, from the same inputs.
//!
//! Where many rules overlap, the same rules are about a program in many cells. `decide` answers from the records of the
//! cell and of the pair, the model from the rules that cover the cell and are about the program, or about everyone:
//! where all of these are as they were in a cell that was asked about, so are both answers. The pair is looked up in
//! every cell, for that is where a mistake would show.

use bfp_bundle::decide::Tables as _;
use bfp_bundle::record::Pair;
use smallvec::SmallVec;

use super::ask::Asking;
use super::meaning::Index;
use crate::policy::model::Answer;
use crate::prove::hash::NumberMap;

/// Where fewer programs are asked about, keeping what they answered costs more than asking. Tests have small policies.
const MANY: usize = if cfg!(test) { 2 } else { 16 };

/// What an answer about a program comes from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Inputs {
    program: usize,
    surroundings: u32,
    pair: Pair,
    /// The rules that cover the cell and are about the program.
    own: SmallVec<[u32; 4]>,
}

/// What is the same for all programs in a cell: whether more is asked there, its record, and the rules that are about
/// everyone.
type Surroundings = (bool, [u32; 4], Vec<u32>);

/// What was answered.
#[derive(Default)]
pub(super) struct Alike {
    surroundings: NumberMap<Surroundings, u32>,
    known: NumberMap<Inputs, Answer>,
}

impl Alike {
    /// The number of a cell's surroundings, where so many programs are asked about that answers are kept.
    /// `is_v4`: there, what is refused is asked about once more, as behind a gateway.
    pub(super) fn surroundings(
        &mut self,
        asking: &Asking<'_>,
        (cell, is_v4): (u32, bool),
        rules: &Index,
        programs: usize,
    ) -> Option<u32> {
        let record = asking.image.cell(cell).filter(|_| programs >= MANY)?;
        let record = [record.flags, record.rule, record.audit_rule, record.outside_rule];
        let next = self.surroundings.len() as u32;
        Some(*self.surroundings.entry((is_v4, record, rules.common().to_vec())).or_insert(next))
    }

    /// What a program's answers in a cell come from. `None` where more matters to it: of a class, each member's rules.
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
