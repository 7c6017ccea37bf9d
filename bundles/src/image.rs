//! The image: a policy's tables in memory, and as sections of a bundle.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::decide::Tables;
use crate::label::{Label, ProgramId, Proof, RESTRICTED_BY_MAX};
use crate::manifest::SectionKind;
use crate::names::build::Automaton;
use crate::names::sections::NameSections;
use crate::names::{self, Match, State, unit};
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket, Record};
use crate::verify::structure;
pub use crate::verify::structure::ImageError;

/// A policy's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The record with the roots of the search trees.
    pub policy: Policy,
    /// Nodes over IPv4 addresses and port keys. Children precede their parents.
    pub nodes32: Vec<Node32>,
    /// Nodes over IPv6 addresses. Children precede their parents.
    pub nodes128: Vec<Node128>,
    /// The cells.
    pub cells: Vec<Cell>,
    /// The programs.
    pub programs: Vec<ProgramBucket>,
    /// What differs for a program in a cell.
    pub pairs: Vec<PairBucket>,
    /// The executables: the written programs, and the classes of files that several of them match.
    pub executables: Vec<NamedExecutable>,
    /// Which of the executables a file is, by its path.
    pub names: NameSections,
    /// What executing each executable does to a process.
    pub matches: Vec<Match>,
}

/// A program as written in the policy, or a class of files that match several programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedExecutable {
    /// The absolute path, in which `*` stands for characters of a component and `**` for components. For a class, a
    /// description.
    pub path: String,
    /// The program that a process of this file becomes.
    pub program: ProgramId,
    /// Constants of [`Match`].
    pub flags: u32,
    /// The fs-verity digests (SHA-256), one of which a grant requires. Empty if the path suffices.
    pub pins: Vec<[u8; 32]>,
    /// The libraries that the program may map for execution. `None` if it may map any file.
    pub libraries: Option<Vec<Library>>,
    /// For a class, the indexes of the written programs that its files match. Otherwise empty.
    pub members: Vec<u32>,
}

/// [`NamedExecutable`] as in bundles of the first format: one file for each program.
#[derive(Deserialize)]
struct OldExecutable {
    path: String,
    program: ProgramId,
    flags: u32,
    pins: Vec<[u8; 32]>,
    libraries: Option<Vec<Library>>,
}

/// A library that a pinned program may map for execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Library {
    /// The absolute path, at which the file is measured when the policy is applied.
    pub path: String,
    /// The fs-verity digests (SHA-256) that it may have.
    pub pins: Vec<[u8; 32]>,
}

impl NamedExecutable {
    /// Decodes the whole section.
    pub(crate) fn decode_all(version: u32, section: &[u8]) -> Result<Vec<NamedExecutable>, ImageError> {
        fn all<'a, T: Deserialize<'a>>(section: &'a [u8]) -> Result<Vec<T>, ImageError> {
            match postcard::take_from_bytes(section) {
                Ok((list, [])) => Ok(list),
                _ => Err(ImageError::Undecodable(SectionKind::Executables)),
            }
        }
        if version > 1 {
            return all(section);
        }
        let newer = |old: OldExecutable| NamedExecutable {
            path: old.path,
            program: old.program,
            flags: old.flags,
            pins: old.pins,
            libraries: old.libraries,
            members: Vec::new(),
        };
        Ok(all(section)?.into_iter().map(newer).collect())
    }

    /// The path in its text, without the unit.
    pub fn file(&self) -> &str {
        unit::split(&self.path).0
    }

    /// Whether it is written in the policy, and not a class of files that several programs match.
    pub fn is_written(&self) -> bool {
        self.members.is_empty()
    }

    /// What executing it does to a process, if it is the only written program that its file matches.
    pub fn alone(&self) -> Match {
        let mut restricted = [0; RESTRICTED_BY_MAX];
        let is_restricted = self.flags & Match::RESTRICTED != 0;
        if let Some(first) = restricted.first_mut().filter(|_| is_restricted) {
            *first = self.program;
        }
        let pinned = if self.pins.is_empty() { 0 } else { Match::PINNED };
        let libraries = if self.libraries.is_some() { Match::LIBRARIES } else { 0 };
        let flags = self.flags | pinned | libraries;
        Match { program: self.program, flags, count: is_restricted.into(), restricted }
    }
}

/// What executing a file does to a process if it matches several programs of separate policies: it gets all their
/// restrictions and none of their grants. `None` if these are more restrictions than a label can hold.
pub fn together(members: &[Match]) -> Option<Match> {
    if let [only] = members {
        return Some(*only);
    }
    let mut all = Match::NOTHING;
    members.iter().all(|member| all.confine(member)).then_some(all)
}

/// The tables that a bundle of the first format lacks, and that a host builds from its executables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Which of the executables a file is, by its path.
    pub names: NameSections,
    /// What executing each one does to a process.
    pub matches: Vec<Match>,
    /// The programs, with the flags for protected programs and for pinned libraries.
    pub programs: Vec<ProgramBucket>,
}

impl Derived {
    pub(crate) fn of(executables: &[NamedExecutable], programs: &[u8]) -> Result<Derived, ImageError> {
        let written: Vec<&str> = executables.iter().map(|executable| executable.path.as_str()).collect();
        let unnamed = |_| ImageError::Structure(SectionKind::Executables);
        let automaton = Automaton::of(&written).map_err(unnamed)?;
        let member = |index: &usize| executables.get(*index).map(NamedExecutable::alone);
        let matches = automaton.accepts().iter().map(|accept| {
            let members: Vec<Match> = accept.iter().filter_map(member).collect();
            together(&members).ok_or(ImageError::Structure(SectionKind::Executables))
        });
        let matches = matches.collect::<Result<Vec<_>, _>>()?;
        let places: Vec<u32> = (0..matches.len() as u32).collect();
        let names = automaton.tables(&places).map_err(unnamed)?;
        let mut programs: Vec<ProgramBucket> = decode(SectionKind::Programs, programs)?;
        let mut held: BTreeMap<ProgramId, u32> = BTreeMap::new();
        for executable in executables.iter().filter(|executable| executable.program != 0) {
            let noted = executable.alone().flags;
            // That format does not mark audited rules: all of its programs are governed.
            let governing = if noted & Match::RESTRICTED == 0 { 0 } else { Match::GOVERNING };
            *held.entry(executable.program).or_default() |= program_flags(noted | governing | Match::GOVERNED);
        }
        for bucket in &mut programs {
            for (id, flags) in bucket.ids.iter().zip(&mut bucket.flags) {
                *flags |= held.get(id).copied().unwrap_or(0);
            }
        }
        Ok(Derived { names, matches, programs })
    }

    /// The bytes of a section that a host builds instead of the bundle's.
    pub fn section(&self, kind: SectionKind) -> Option<Vec<u8>> {
        match kind {
            SectionKind::Programs => Some(encode(&self.programs)),
            SectionKind::Matches => Some(encode(&self.matches)),
            kind if kind.is_old() => None,
            kind => Some(self.names.section(kind)),
        }
    }
}

/// The flags of a program in the table of programs, besides its destinations.
pub fn program_flags(flags: u32) -> u32 {
    let both = [
        (Match::GUARDED, ProgramBucket::GUARDED),
        (Match::LIBRARIES, ProgramBucket::LIBRARIES),
        (Match::GOVERNED, ProgramBucket::GOVERNED),
        (Match::AUDIT_GOVERNED, ProgramBucket::AUDIT_GOVERNED),
        (Match::GOVERNING, ProgramBucket::GOVERNING),
        (Match::AUDIT_GOVERNING, ProgramBucket::AUDIT_GOVERNING),
    ];
    both.into_iter().filter(|(noted, _)| flags & noted != 0).fold(0, |all, (_, flag)| all | flag)
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
            // Encoding a list of strings and numbers in memory cannot fail.
            SectionKind::Executables => postcard::to_allocvec(&self.executables).unwrap_or_default(),
            SectionKind::Debug => Vec::new(),
            SectionKind::Matches => encode(&self.matches),
            names => self.names.section(names),
        }
    }

    /// Decodes the sections that `find` returns.
    ///
    /// # Preconditions
    /// Their structure was checked.
    pub fn decode<'a>(version: u32, find: impl Fn(SectionKind) -> &'a [u8]) -> Result<Image, ImageError> {
        structure::check(version, &find)?;
        let executables = NamedExecutable::decode_all(version, find(SectionKind::Executables))?;
        let Derived { names, matches, programs } = if version > 1 {
            Derived {
                names: NameSections::decode(&find)?,
                matches: decode(SectionKind::Matches, find(SectionKind::Matches))?,
                programs: decode(SectionKind::Programs, find(SectionKind::Programs))?,
            }
        } else {
            Derived::of(&executables, find(SectionKind::Programs))?
        };
        Ok(Image {
            policy: match decode::<Policy>(SectionKind::Policy, find(SectionKind::Policy))?.as_slice() {
                [policy] => *policy,
                _ => return Err(ImageError::Count(SectionKind::Policy)),
            },
            nodes32: decode(SectionKind::Nodes32, find(SectionKind::Nodes32))?,
            nodes128: decode(SectionKind::Nodes128, find(SectionKind::Nodes128))?,
            cells: decode(SectionKind::Cells, find(SectionKind::Cells))?,
            programs,
            pairs: decode(SectionKind::Pairs, find(SectionKind::Pairs))?,
            executables,
            names,
            matches,
        })
    }

    /// The label of a process that executes the file at `path` on its host, with proof, and that no named program
    /// started.
    pub fn label_of(&self, path: &str) -> Label {
        let mut label = Label::UNLISTED;
        label.execute(self.match_of(path), Proof::Proven);
        label
    }

    /// The records that the tables of names lead to, one for each kind of process that an exec can produce.
    pub fn found(&self) -> impl Iterator<Item = &Match> {
        let paths = self.names.states.iter().filter(|state| state.flags & State::BYTES == 0);
        paths.filter_map(|state| self.matches.get(state.accept.checked_sub(1)? as usize))
    }

    /// What executing a file does to a process: that of the path in `text`, in the unit that it names.
    pub fn match_of(&self, text: &str) -> Option<&Match> {
        let (path, unit) = unit::split(text);
        let cgroup = unit.map(unit::cgroup).unwrap_or_default();
        self.matches.get(names::find_in(&self.names, Some(path), &cgroup)? as usize)
    }
}

/// The bytes of a section of records.
pub fn encode<R: Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = alloc::vec![0; records.len() * R::SIZE];
    for (record, place) in records.iter().zip(bytes.chunks_exact_mut(R::SIZE)) {
        record.write_to(place);
    }
    bytes
}

pub(crate) fn decode<R: Record>(kind: SectionKind, bytes: &[u8]) -> Result<Vec<R>, ImageError> {
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
