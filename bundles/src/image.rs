//! The image: a policy's tables in memory, and as the sections of a bundle.
//!
//! Decoding checks the structure once, so that no search over an accepted image can run off a table:
//! every step leads to a node that stands before the node it is in, or to a cell that exists, within the
//! number of levels that [`decide`](crate::decide) descends.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decide::{ADDRESS_LEVELS, PORT_LEVELS, Tables};
use crate::identity::Executable;
use crate::label::{Label, ProgramId, Proof};
use crate::manifest::SectionKind;
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket, Record, Step};

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
    /// What the kernel notes when a process executes it.
    pub fn executable(&self) -> Executable {
        Executable { program: self.program, flags: self.flags, reserved: 0 }
    }
}

/// What is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A table that every image has is empty, or the policy is not one record.
    #[error("the section `{0}` has the wrong number of records")]
    Count(SectionKind),
    /// A section is not a whole number of records, or is no list of executables.
    #[error("the section `{0}` cannot be decoded")]
    Undecodable(SectionKind),
    /// A step leads nowhere, backwards, or too deep.
    #[error("the section `{0}` leads outside its tables")]
    Structure(SectionKind),
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

    /// Decodes the sections that `find` hands out, and checks their structure.
    pub fn decode<'a>(find: impl Fn(SectionKind) -> &'a [u8]) -> Result<Image, ImageError> {
        let executables = SectionKind::Executables;
        let image = Image {
            policy: match decode::<Policy>(SectionKind::Policy, find(SectionKind::Policy))?.as_slice() {
                [policy] => *policy,
                _ => return Err(ImageError::Count(SectionKind::Policy)),
            },
            nodes32: decode(SectionKind::Nodes32, find(SectionKind::Nodes32))?,
            nodes128: decode(SectionKind::Nodes128, find(SectionKind::Nodes128))?,
            cells: decode(SectionKind::Cells, find(SectionKind::Cells))?,
            programs: decode(SectionKind::Programs, find(SectionKind::Programs))?,
            pairs: decode(SectionKind::Pairs, find(SectionKind::Pairs))?,
            executables: match postcard::take_from_bytes(find(executables)) {
                Ok((list, [])) => list,
                _ => return Err(ImageError::Undecodable(executables)),
            },
        };
        image.check_structure()?;
        Ok(image)
    }

    /// The label of a process that executes the file at `path` on its host, with proof, and that nothing
    /// the policy names has started.
    pub fn label_of(&self, path: &str) -> Label {
        let mut label = Label::STRANGER;
        let named = self.executables.iter().find(|executable| executable.path == path);
        label.execute(named.map(NamedExecutable::executable).as_ref(), Proof::Proven);
        label
    }

    fn check_structure(&self) -> Result<(), ImageError> {
        let buckets =
            |mask: u32, count: usize| (mask as usize).checked_add(1) == Some(count) && count.is_power_of_two();
        if !buckets(self.policy.program_mask, self.programs.len()) {
            return Err(ImageError::Count(SectionKind::Programs));
        }
        if !buckets(self.policy.pair_mask, self.pairs.len()) {
            return Err(ImageError::Count(SectionKind::Pairs));
        }

        if self.policy.raw_cell as usize >= self.cells.len() {
            return Err(ImageError::Structure(SectionKind::Policy));
        }

        // A node is a node of ports when its steps lead to cells, of addresses when they lead to ports.
        // `depths` holds both depths of each node that was checked: as seen by a search for a port, and by
        // a search for an address; a search that a node cannot serve is too deep.
        const UNFIT: u32 = u32::MAX;
        let mut depths: Vec<(u32, u32)> = Vec::with_capacity(self.nodes32.len());
        let port_depth = |depths: &[(u32, u32)], step: Step| -> u32 {
            if step.0 & Step::PORT_DONE != 0 {
                if (step.index() as usize) < self.cells.len() { 0 } else { UNFIT }
            } else {
                depths.get(step.index() as usize).map_or(UNFIT, |depth| depth.0)
            }
        };
        let port_fits = |depths: &[(u32, u32)], step: Step| port_depth(depths, step) <= PORT_LEVELS;
        let one_more = |depth: u32| if depth == UNFIT { UNFIT } else { depth + 1 };
        let address_step = |depths: &[(u32, u32)], step: Step| -> u32 {
            if step.0 & Step::ADDRESS_DONE != 0 {
                if port_fits(depths, step) { 0 } else { UNFIT }
            } else if step.0 & Step::PORT_DONE != 0 {
                UNFIT
            } else {
                depths.get(step.index() as usize).map_or(UNFIT, |depth| depth.1)
            }
        };
        for node in &self.nodes32 {
            let ascending = node.ends.is_sorted() && node.ends.last() == Some(&u32::MAX);
            let steps = || node.next.iter().map(|&step| Step(step));
            let by_port = steps().map(|step| one_more(port_depth(&depths, step))).max().unwrap_or(UNFIT);
            let by_address = steps().map(|step| one_more(address_step(&depths, step))).max().unwrap_or(UNFIT);
            let found = (by_port, by_address);
            if !ascending || (found.0 > PORT_LEVELS && found.1 > ADDRESS_LEVELS) {
                return Err(ImageError::Structure(SectionKind::Nodes32));
            }
            depths.push(found);
        }
        let mut depths128: Vec<u32> = Vec::with_capacity(self.nodes128.len());
        let step128 = |depths128: &[u32], step: Step| -> u32 {
            if step.0 & Step::ADDRESS_DONE != 0 {
                if port_fits(&depths, step) { 0 } else { UNFIT }
            } else if step.0 & Step::PORT_DONE != 0 {
                UNFIT
            } else {
                depths128.get(step.index() as usize).copied().unwrap_or(UNFIT)
            }
        };
        for node in &self.nodes128 {
            let ends = || node.ends_high.iter().zip(&node.ends_low);
            let ascending = ends().is_sorted() && ends().next_back() == Some((&u64::MAX, &u64::MAX));
            let found = node.next.iter().map(|&step| one_more(step128(&depths128, Step(step)))).max().unwrap_or(UNFIT);
            if !ascending || found > ADDRESS_LEVELS {
                return Err(ImageError::Structure(SectionKind::Nodes128));
            }
            depths128.push(found);
        }
        let (root_v4, root_v6) = (Step(self.policy.root_v4), Step(self.policy.root_v6));
        if address_step(&depths, root_v4) > ADDRESS_LEVELS || step128(&depths128, root_v6) > ADDRESS_LEVELS {
            return Err(ImageError::Structure(SectionKind::Policy));
        }
        Ok(())
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
