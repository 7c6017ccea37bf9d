//! The structure of the sections, checked in their bytes.
//!
//! No search over an accepted image can leave a table: every step leads to a node that precedes its own, or to a cell
//! that exists, within the number of levels that [`decide`](crate::decide) descends. Only the depth of each node is
//! decoded into memory.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::Deserialize;

use crate::bounded::Walked;
use crate::decide::{ADDRESS_LEVELS, PORT_LEVELS};
use crate::label::{ProgramId, RESTRICTED_BY_MAX};
use crate::manifest::SectionKind;
use crate::names::{self, Match, Name, NameBucket, Names, State, StepBucket, Word};
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket, Record, Step};

/// The fault of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A table that every image has is empty, or the policy is not exactly one record.
    Count(SectionKind),
    /// A section is not a whole number of records, or is not a list of executables.
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

/// Checks the sections that `find` returns. The debug section, on which no verdict depends, is checked by its digest
/// alone.
pub(crate) fn check<'a>(version: u32, find: impl Fn(SectionKind) -> &'a [u8]) -> Result<(), ImageError> {
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
    if version == 1 {
        return count_executables::<OldExecutable>(find(SectionKind::Executables)).map(drop);
    }
    let executables = count_executables::<WalkedExecutable>(find(SectionKind::Executables))?;
    check_matches(find(SectionKind::Matches), executables)?;
    check_names(find, executables)
}

/// Checks that there is one match for each executable.
fn check_matches(section: &[u8], executables: usize) -> Result<(), ImageError> {
    if count::<Match>(SectionKind::Matches, section)? != executables {
        return Err(ImageError::Count(SectionKind::Matches));
    }
    for record in records::<Match>(SectionKind::Matches, section) {
        if record?.count as usize > RESTRICTED_BY_MAX {
            return Err(ImageError::Structure(SectionKind::Matches));
        }
    }
    Ok(())
}

/// Checks that every name lies in its table, and that every step leads to a state.
fn check_names<'a>(find: impl Fn(SectionKind) -> &'a [u8], executables: usize) -> Result<(), ImageError> {
    let section = |kind| find(kind);
    if count::<Names>(SectionKind::Names, section(SectionKind::Names))? != 1 {
        return Err(ImageError::Count(SectionKind::Names));
    }
    let root = Names::read_from(section(SectionKind::Names)).ok_or(ImageError::Count(SectionKind::Names))?;
    let buckets = count::<NameBucket>(SectionKind::NameBuckets, section(SectionKind::NameBuckets))?;
    let names = count::<Name>(SectionKind::NameTable, section(SectionKind::NameTable))?;
    let words = count::<Word>(SectionKind::NameWords, section(SectionKind::NameWords))?;
    let states = count::<State>(SectionKind::NameStates, section(SectionKind::NameStates))?;
    let steps = count::<StepBucket>(SectionKind::NameSteps, section(SectionKind::NameSteps))?;
    if !are_buckets(root.bucket_mask, buckets) {
        return Err(ImageError::Count(SectionKind::NameBuckets));
    }
    if !are_buckets(root.step_mask, steps) {
        return Err(ImageError::Count(SectionKind::NameSteps));
    }
    if root.start as usize >= states || root.elsewhere as usize >= states {
        return Err(ImageError::Structure(SectionKind::Names));
    }
    let is_nowhere = |state: &State| state.otherwise == names::NOWHERE && state.accept == 0;
    if !State::read_from(section(SectionKind::NameStates)).is_some_and(|first| is_nowhere(&first)) {
        return Err(ImageError::Structure(SectionKind::NameStates));
    }
    for bucket in records::<NameBucket>(SectionKind::NameBuckets, section(SectionKind::NameBuckets)) {
        if bucket?.names.iter().any(|name| *name as usize > names) {
            return Err(ImageError::Structure(SectionKind::NameBuckets));
        }
    }
    for name in records::<Name>(SectionKind::NameTable, section(SectionKind::NameTable)) {
        let name = name?;
        let end = (name.first as usize).saturating_add(names::words(name.length) as usize);
        if name.length == 0 || name.length as usize > names::COMPONENT_MAX || end > words {
            return Err(ImageError::Structure(SectionKind::NameTable));
        }
    }
    // In a state over bytes, `accept` is a symbol, and every number is valid.
    let is_known = |state: &State| state.flags & State::BYTES != 0 || state.accept as usize <= executables;
    for state in records::<State>(SectionKind::NameStates, section(SectionKind::NameStates)) {
        let state = state?;
        if state.otherwise as usize >= states || state.glob_start as usize >= states || !is_known(&state) {
            return Err(ImageError::Structure(SectionKind::NameStates));
        }
    }
    for bucket in records::<StepBucket>(SectionKind::NameSteps, section(SectionKind::NameSteps)) {
        if bucket?.next.iter().any(|next| *next as usize >= states) {
            return Err(ImageError::Structure(SectionKind::NameSteps));
        }
    }
    Ok(())
}

fn count<R: Record>(kind: SectionKind, bytes: &[u8]) -> Result<usize, ImageError> {
    if bytes.len().is_multiple_of(R::SIZE) { Ok(bytes.len() / R::SIZE) } else { Err(ImageError::Undecodable(kind)) }
}

/// The records of a section. Leftover bytes are an error.
fn records<R: Record>(kind: SectionKind, bytes: &[u8]) -> impl Iterator<Item = Result<R, ImageError>> {
    bytes.chunks(R::SIZE).map(move |chunk| R::read_from(chunk).ok_or(ImageError::Undecodable(kind)))
}

fn are_buckets(mask: u32, count: usize) -> bool {
    (mask as usize).checked_add(1) == Some(count) && count.is_power_of_two()
}

/// How deep a search goes below a step. `None` if it does not end.
type Depth = Option<u8>;

fn fits(depth: Depth, levels: u32) -> bool {
    depth.is_some_and(|depth| u32::from(depth) <= levels)
}

/// The depths of the checked nodes, which are those before the current node.
///
/// A node is a node of ports if its steps lead to cells, and of addresses if they lead to ports. So each has two
/// depths: for a search by port, and for a search by address.
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
    #[serde(borrow)]
    first: OldExecutable<'a>,
    _members: Walked<u32>,
}

/// The same in the first format, which is also the start of the second.
#[derive(Deserialize)]
struct OldExecutable<'a> {
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

/// A record that starts with the path of an executable.
trait Named {
    fn path(&self) -> &str;
}

impl Named for OldExecutable<'_> {
    fn path(&self) -> &str {
        self.path
    }
}

impl Named for WalkedExecutable<'_> {
    fn path(&self) -> &str {
        self.first.path
    }
}

/// An executable that is named by an absolute path.
struct Absolute<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Named> Deserialize<'de> for Absolute<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Absolute<T>, D::Error> {
        let walked = T::deserialize(deserializer)?;
        if walked.path().starts_with('/') && !walked.path().contains('\0') {
            Ok(Absolute(PhantomData))
        } else {
            Err(serde::de::Error::custom("a path that is not absolute"))
        }
    }
}

fn count_executables<'a, T: Deserialize<'a> + Named>(section: &'a [u8]) -> Result<usize, ImageError> {
    match postcard::take_from_bytes::<Walked<Absolute<T>>>(section) {
        Ok((walked, [])) => Ok(walked.count),
        _ => Err(ImageError::Undecodable(SectionKind::Executables)),
    }
}
