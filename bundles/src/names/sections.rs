//! The tables of names in memory, and as sections of a bundle.

use alloc::vec::Vec;

use super::{Component, Name, NameBucket, NameTables, Names, State, StepBucket, Symbols, Word};
use crate::image::{ImageError, decode, encode};
use crate::manifest::SectionKind;

/// The tables of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSections {
    /// The start of the automaton.
    pub root: Names,
    /// The literal names of the policy, by their hash.
    pub buckets: Vec<NameBucket>,
    /// The names.
    pub names: Vec<Name>,
    /// Their bytes.
    pub words: Vec<Word>,
    /// The states.
    pub states: Vec<State>,
    /// The steps.
    pub steps: Vec<StepBucket>,
}

impl NameSections {
    /// The bytes of a section of names. Empty for any other section.
    pub fn section(&self, kind: SectionKind) -> Vec<u8> {
        match kind {
            SectionKind::Names => encode(core::slice::from_ref(&self.root)),
            SectionKind::NameBuckets => encode(&self.buckets),
            SectionKind::NameTable => encode(&self.names),
            SectionKind::NameWords => encode(&self.words),
            SectionKind::NameStates => encode(&self.states),
            SectionKind::NameSteps => encode(&self.steps),
            _ => Vec::new(),
        }
    }

    /// Decodes the sections that `find` returns.
    pub fn decode<'a>(find: impl Fn(SectionKind) -> &'a [u8]) -> Result<NameSections, ImageError> {
        Ok(NameSections {
            root: match decode::<Names>(SectionKind::Names, find(SectionKind::Names))?.as_slice() {
                [names] => *names,
                _ => return Err(ImageError::Count(SectionKind::Names)),
            },
            buckets: decode(SectionKind::NameBuckets, find(SectionKind::NameBuckets))?,
            names: decode(SectionKind::NameTable, find(SectionKind::NameTable))?,
            words: decode(SectionKind::NameWords, find(SectionKind::NameWords))?,
            states: decode(SectionKind::NameStates, find(SectionKind::NameStates))?,
            steps: decode(SectionKind::NameSteps, find(SectionKind::NameSteps))?,
        })
    }
}

impl NameTables for NameSections {
    fn names(&self) -> Option<&Names> {
        Some(&self.root)
    }
    fn name_bucket(&self, index: u32) -> Option<&NameBucket> {
        self.buckets.get(index as usize)
    }
    fn name(&self, index: u32) -> Option<&Name> {
        self.names.get(index as usize)
    }
    fn word(&self, index: u32) -> Option<&Word> {
        self.words.get(index as usize)
    }
    fn state(&self, index: u32) -> Option<&State> {
        self.states.get(index as usize)
    }
    fn step_bucket(&self, index: u32) -> Option<&StepBucket> {
        self.steps.get(index as usize)
    }
}

impl<C: Component> Symbols<C> for NameSections {}
