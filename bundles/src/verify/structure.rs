//! The structure of the sections, checked in their bytes.
//!
//! No search over an accepted image can run off a table: every step leads to a node that stands before the
//! node it is in, or to a cell that exists, within the number of levels that [`decide`](crate::decide) descends.
//! Nothing is decoded into memory but the depth of each node.

use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;

use crate::bounded::Walked;
use crate::decide::{ADDRESS_LEVELS, PORT_LEVELS};
use crate::label::ProgramId;
use crate::manifest::SectionKind;
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket, Record, Step};

/// What is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A table that every image has is empty, or the policy is not one record.
    Count(SectionKind),
    /// A section is not a whole number of records, or is no list of executables.
    Undecodable(SectionKind),
    /// A step leads nowhere, backwards, or too deep.
    Structure(SectionKind),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Count(kind) => write!(f, "the section `{kind}` has the wrong number of records"),
            ImageError::Undecodable(kind) => write!(f, "the section `{kind}` cannot be decoded"),
            ImageError::Structure(kind) => write!(f, "the section `{kind}` leads outside its tables"),
        }
    }
}

impl core::error::Error for ImageError {}

/// Checks the sections that `find` hands out. Of the debug section, on which no verdict depends, the digest is
/// all that is checked.
pub(crate) fn check<'a>(find: impl Fn(SectionKind) -> &'a [u8]) -> Result<(), ImageError> {
    if count::<Policy>(SectionKind::Policy, find(SectionKind::Policy))? != 1 {
        return Err(ImageError::Count(SectionKind::Policy));
    }
    let policy = Policy::read_from(find(SectionKind::Policy)).ok_or(ImageError::Count(SectionKind::Policy))?;
    let cells = count::<Cell>(SectionKind::Cells, find(SectionKind::Cells))?;
    let programs = count::<ProgramBucket>(SectionKind::Programs, find(SectionKind::Programs))?;
    let pairs = count::<PairBucket>(SectionKind::Pairs, find(SectionKind::Pairs))?;
    if !are_buckets(policy.program_mask, programs) {
        return Err(ImageError::Count(SectionKind::Programs));
    }
    if !are_buckets(policy.pair_mask, pairs) {
        return Err(ImageError::Count(SectionKind::Pairs));
    }
    if policy.raw_cell as usize >= cells {
        return Err(ImageError::Structure(SectionKind::Policy));
    }

    let mut depths = Depths { cells, nodes32: Vec::new(), nodes128: Vec::new() };
    for node in records(SectionKind::Nodes32, find(SectionKind::Nodes32)) {
        depths.add32(&node?)?;
    }
    for node in records(SectionKind::Nodes128, find(SectionKind::Nodes128)) {
        depths.add128(&node?)?;
    }
    let (root_v4, root_v6) = (Step(policy.root_v4), Step(policy.root_v6));
    if !fits(depths.address32(root_v4), ADDRESS_LEVELS) || !fits(depths.address128(root_v6), ADDRESS_LEVELS) {
        return Err(ImageError::Structure(SectionKind::Policy));
    }
    check_executables(find(SectionKind::Executables))
}

fn count<R: Record>(kind: SectionKind, bytes: &[u8]) -> Result<usize, ImageError> {
    if bytes.len().is_multiple_of(R::SIZE) { Ok(bytes.len() / R::SIZE) } else { Err(ImageError::Undecodable(kind)) }
}

/// The records of a section; a rest that is none is an error.
fn records<R: Record>(kind: SectionKind, bytes: &[u8]) -> impl Iterator<Item = Result<R, ImageError>> {
    bytes.chunks(R::SIZE).map(move |chunk| R::read_from(chunk).ok_or(ImageError::Undecodable(kind)))
}

fn are_buckets(mask: u32, count: usize) -> bool {
    (mask as usize).checked_add(1) == Some(count) && count.is_power_of_two()
}

/// How deep a search goes below a step; `None` where it does not end.
type Depth = Option<u8>;

fn fits(depth: Depth, levels: u32) -> bool {
    depth.is_some_and(|depth| u32::from(depth) <= levels)
}

/// The depths of the nodes that were checked, which are those before the node that is looked at.
///
/// A node is a node of ports when its steps lead to cells, of addresses when they lead to ports. So each has
/// two depths: as a search for a port sees it, and as a search for an address does.
struct Depths {
    cells: usize,
    nodes32: Vec<(Depth, Depth)>,
    nodes128: Vec<Depth>,
}

impl Depths {
    fn add32(&mut self, node: &Node32) -> Result<(), ImageError> {
        let ascending = node.ends.is_sorted() && node.ends.last() == Some(&u32::MAX);
        let by_port = deepest(node.next.iter().map(|step| self.port(Step(*step))));
        let by_address = deepest(node.next.iter().map(|step| self.address32(Step(*step))));
        if !ascending || !(fits(by_port, PORT_LEVELS) || fits(by_address, ADDRESS_LEVELS)) {
            return Err(ImageError::Structure(SectionKind::Nodes32));
        }
        self.nodes32.push((by_port, by_address));
        Ok(())
    }

    fn add128(&mut self, node: &Node128) -> Result<(), ImageError> {
        let ends = || node.ends_high.iter().zip(&node.ends_low);
        let ascending = ends().is_sorted() && ends().next_back() == Some((&u64::MAX, &u64::MAX));
        let found = deepest(node.next.iter().map(|step| self.address128(Step(*step))));
        if !ascending || !fits(found, ADDRESS_LEVELS) {
            return Err(ImageError::Structure(SectionKind::Nodes128));
        }
        self.nodes128.push(found);
        Ok(())
    }

    fn port(&self, step: Step) -> Depth {
        if step.0 & Step::PORT_DONE != 0 {
            ((step.index() as usize) < self.cells).then_some(0)
        } else {
            self.nodes32.get(step.index() as usize).and_then(|depths| depths.0)
        }
    }

    fn address32(&self, step: Step) -> Depth {
        self.address(step, |index| self.nodes32.get(index).and_then(|depths| depths.1))
    }

    fn address128(&self, step: Step) -> Depth {
        self.address(step, |index| self.nodes128.get(index).copied().flatten())
    }

    fn address(&self, step: Step, node: impl FnOnce(usize) -> Depth) -> Depth {
        if step.0 & Step::ADDRESS_DONE != 0 {
            fits(self.port(step), PORT_LEVELS).then_some(0)
        } else if step.0 & Step::PORT_DONE != 0 {
            None
        } else {
            node(step.index() as usize)
        }
    }
}

/// One more than the deepest of a node's steps.
fn deepest(steps: impl Iterator<Item = Depth>) -> Depth {
    steps.max_by_key(|depth| depth.unwrap_or(u8::MAX)).flatten().and_then(|depth| depth.checked_add(1))
}

/// A [`NamedExecutable`](crate::image::NamedExecutable) that is read and dropped.
#[derive(Deserialize)]
struct WalkedExecutable<'a> {
    path: &'a str,
    _program: ProgramId,
    _flags: u32,
    _pins: Walked<[u8; 32]>,
    #[serde(borrow)]
    _libraries: Option<Walked<WalkedLibrary<'a>>>,
}

/// A [`Library`](crate::image::Library), likewise.
#[derive(Deserialize)]
struct WalkedLibrary<'a> {
    _path: &'a str,
    _pins: Walked<[u8; 32]>,
}

/// An executable that is named by an absolute path.
struct Absolute;

impl<'de> Deserialize<'de> for Absolute {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Absolute, D::Error> {
        let walked = WalkedExecutable::deserialize(deserializer)?;
        if walked.path.starts_with('/') && !walked.path.contains('\0') {
            Ok(Absolute)
        } else {
            Err(serde::de::Error::custom("a path that is not absolute"))
        }
    }
}

fn check_executables(section: &[u8]) -> Result<(), ImageError> {
    match postcard::take_from_bytes::<Walked<Absolute>>(section) {
        Ok((_, [])) => Ok(()),
        _ => Err(ImageError::Undecodable(SectionKind::Executables)),
    }
}
