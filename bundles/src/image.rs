//! The image: a policy's tables in memory, and as the sections of a bundle.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decide::Tables;
use crate::identity::Executable;
use crate::label::{Label, ProgramId, Proof};
use crate::manifest::SectionKind;
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket, Record};
use crate::verify::structure;
pub use crate::verify::structure::ImageError;

/// A policy's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where they begin.
    pub policy: Policy,
    /// Nodes over IPv4 addresses and port keys; children stand before their parents.
    pub nodes32: Vec<Node32>,
    /// Nodes over IPv6 addresses; children stand before their parents.
    pub nodes128: Vec<Node128>,
    /// The cells.
    pub cells: Vec<Cell>,
    /// The programs.
    pub programs: Vec<ProgramBucket>,
    /// What differs for a program in a cell.
    pub pairs: Vec<PairBucket>,
    /// The files that are the programs.
    pub executables: Vec<NamedExecutable>,
}

/// An executable that a policy names, by its path on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedExecutable {
    /// The absolute path.
    pub path: String,
    /// The program that a process of this file is.
    pub program: ProgramId,
    /// Constants of [`Executable`]: whether a rule restricts it, and whether it has heirs.
    pub flags: u32,
    /// The fs-verity digests (SHA-256) of which a grant needs one; empty where the path is enough.
    pub pins: Vec<[u8; 32]>,
    /// What else the program may map for execution; `None` where that is anything.
    pub libraries: Option<Vec<Library>>,
}

/// A library that a pinned program may map for execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Library {
    /// The absolute path, where it is measured when the policy is applied.
    pub path: String,
    /// The fs-verity digests (SHA-256) that it may have.
    pub pins: Vec<[u8; 32]>,
}

impl NamedExecutable {
    /// All that a section holds.
    pub(crate) fn decode_all(section: &[u8]) -> Result<Vec<NamedExecutable>, ImageError> {
        match postcard::take_from_bytes(section) {
            Ok((list, [])) => Ok(list),
            _ => Err(ImageError::Undecodable(SectionKind::Executables)),
        }
    }

    /// What the kernel notes when a process executes it.
    pub fn executable(&self) -> Executable {
        Executable { program: self.program, flags: self.flags, reserved: 0 }
    }
}

impl Image {
    /// The bytes of a section that becomes a map, or of the executables.
    pub fn section(&self, kind: SectionKind) -> Vec<u8> {
        match kind {
            SectionKind::Policy => encode(core::slice::from_ref(&self.policy)),
            SectionKind::Nodes32 => encode(&self.nodes32),
            SectionKind::Nodes128 => encode(&self.nodes128),
            SectionKind::Cells => encode(&self.cells),
            SectionKind::Programs => encode(&self.programs),
            SectionKind::Pairs => encode(&self.pairs),
            // A list of strings and numbers in memory cannot fail to encode.
            SectionKind::Executables => postcard::to_allocvec(&self.executables).unwrap_or_default(),
            SectionKind::Debug => Vec::new(),
        }
    }

    /// Decodes the sections that `find` hands out, once their structure is checked.
    pub fn decode<'a>(find: impl Fn(SectionKind) -> &'a [u8]) -> Result<Image, ImageError> {
        structure::check(&find)?;
        Ok(Image {
            policy: match decode::<Policy>(SectionKind::Policy, find(SectionKind::Policy))?.as_slice() {
                [policy] => *policy,
                _ => return Err(ImageError::Count(SectionKind::Policy)),
            },
            nodes32: decode(SectionKind::Nodes32, find(SectionKind::Nodes32))?,
            nodes128: decode(SectionKind::Nodes128, find(SectionKind::Nodes128))?,
            cells: decode(SectionKind::Cells, find(SectionKind::Cells))?,
            programs: decode(SectionKind::Programs, find(SectionKind::Programs))?,
            pairs: decode(SectionKind::Pairs, find(SectionKind::Pairs))?,
            executables: NamedExecutable::decode_all(find(SectionKind::Executables))?,
        })
    }

    /// The label of a process that executes the file at `path` on its host, with proof, and that nothing
    /// the policy names has started.
    pub fn label_of(&self, path: &str) -> Label {
        let mut label = Label::STRANGER;
        let named = self.executables.iter().find(|executable| executable.path == path);
        label.execute(named.map(NamedExecutable::executable).as_ref(), Proof::Proven);
        label
    }
}

fn encode<R: Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = alloc::vec![0; records.len() * R::SIZE];
    for (record, place) in records.iter().zip(bytes.chunks_exact_mut(R::SIZE)) {
        record.write_to(place);
    }
    bytes
}

fn decode<R: Record>(kind: SectionKind, bytes: &[u8]) -> Result<Vec<R>, ImageError> {
    let chunks = bytes.chunks_exact(R::SIZE);
    if !chunks.remainder().is_empty() {
        return Err(ImageError::Undecodable(kind));
    }
    Ok(chunks.filter_map(R::read_from).collect())
}

impl Tables for Image {
    fn policy(&self) -> Option<&Policy> {
        Some(&self.policy)
    }
    fn node32(&self, index: u32) -> Option<&Node32> {
        self.nodes32.get(index as usize)
    }
    fn node128(&self, index: u32) -> Option<&Node128> {
        self.nodes128.get(index as usize)
    }
    fn cell(&self, index: u32) -> Option<&Cell> {
        self.cells.get(index as usize)
    }
    fn program_bucket(&self, index: u32) -> Option<&ProgramBucket> {
        self.programs.get(index as usize)
    }
    fn pair_bucket(&self, index: u32) -> Option<&PairBucket> {
        self.pairs.get(index as usize)
    }
}
