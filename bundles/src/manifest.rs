//! The manifest: what a bundle is, which hosts it is for, and which sections follow it. This is what is signed.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::names::{Match, Name, NameBucket, Names, State, StepBucket, Word};
use crate::record::{Cell, Node32, Node128, PairBucket, Policy, ProgramBucket};

/// The most tags of an audience.
pub const MAX_AUDIENCE: usize = 64;

/// The most needs.
const MAX_NEEDS: usize = 64;

/// The most sections: a few more than there are kinds, so that an unknown kind is reported as such.
const MAX_SECTIONS: usize = 64;

/// The manifest of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name of the policy.
    pub policy: String,
    /// Grows with each release of the policy. A host rejects a lower one.
    pub revision: u64,
    /// The bundle is rejected before this time, in seconds since 1970-01-01 UTC.
    pub not_before: Option<u64>,
    /// The bundle is rejected from this time on, in seconds since 1970-01-01 UTC.
    pub expires: Option<u64>,
    /// The tags of the hosts that it is for. Empty means every host.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_AUDIENCE>")]
    pub audience: Vec<String>,
    /// Whether the policy is under lockdown while it is enforced: see docs/lockdown.md.
    pub lockdown: bool,
    /// SHA-256 of the policy's source.
    pub source_sha256: [u8; 32],
    /// SHA-256 of the lock file, or of no bytes if there is none.
    pub lock_sha256: [u8; 32],
    /// The compiler and its version.
    pub compiler: String,
    /// What the kernel must provide: [`Need`]s by number.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_NEEDS>")]
    pub needs: Vec<u16>,
    /// The sections, in the order of the file.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SECTIONS>")]
    pub sections: Vec<SectionEntry>,
    /// The values of the policy's parameters that it was built with, by name. They follow the rest, if there are any.
    #[serde(skip)]
    pub parameters: Vec<Parameter>,
}

/// A parameter of a policy, and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Parameter {
    /// A parameter with this value.
    pub fn new(name: &str, value: &str) -> Parameter {
        Parameter { name: String::from(name), value: String::from(value) }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// The most parameters: more than a policy can have, each with two values.
const MAX_PARAMETERS: usize = 64;

/// What follows a manifest with parameters.
#[derive(Serialize, Deserialize)]
struct Parameters(#[serde(deserialize_with = "bounded::list::<_, _, MAX_PARAMETERS>")] Vec<Parameter>);

impl Manifest {
    /// The body of a bundle.
    ///
    /// # Errors
    ///
    /// A text cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_allocvec(self)?;
        if !self.parameters.is_empty() {
            bytes.extend(postcard::to_allocvec(&self.parameters)?);
        }
        Ok(bytes)
    }

    /// The manifest that is a body; `None` if the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Manifest> {
        let (manifest, rest) = postcard::take_from_bytes::<Manifest>(bytes).ok()?;
        if rest.is_empty() {
            return Some(manifest);
        }
        let (Parameters(parameters), rest) = postcard::take_from_bytes(rest).ok()?;
        (rest.is_empty() && !parameters.is_empty()).then_some(Manifest { parameters, ..manifest })
    }

    /// Whether it lists a need.
    pub fn requires(&self, need: Need) -> bool {
        self.needs.contains(&(need as u16))
    }
}

/// The manifest's entry for one section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionEntry {
    /// A [`SectionKind`] by number.
    pub kind: u16,
    /// The size of a map's key in bytes. 0 if the section does not become a map.
    pub key_size: u32,
    /// The size of a record in bytes. 0 if the section does not become a map.
    pub value_size: u32,
    /// The number of records. 0 if the section does not become a map.
    pub count: u32,
    /// The length in bytes.
    pub length: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum SectionKind {
    /// One [`Policy`] record.
    Policy = 1,
    /// [`Node32`] records.
    Nodes32 = 2,
    /// [`Node128`] records.
    Nodes128 = 3,
    /// [`Cell`] records.
    Cells = 4,
    /// [`ProgramBucket`] records.
    Programs = 5,
    /// [`PairBucket`] records.
    Pairs = 6,
    /// The executables, as a postcard list of [`NamedExecutable`](crate::image::NamedExecutable).
    Executables = 7,
    /// The source of the rules, as postcard [`Debug`](crate::debug::Debug). The kernel never reads it.
    Debug = 8,
    /// One [`Names`] record.
    Names = 9,
    /// [`NameBucket`] records.
    NameBuckets = 10,
    /// [`Name`] records.
    NameTable = 11,
    /// [`Word`] records.
    NameWords = 12,
    /// [`State`] records.
    NameStates = 13,
    /// [`StepBucket`] records.
    NameSteps = 14,
    /// [`Match`] records, one for each executable.
    Matches = 15,
}

impl SectionKind {
    /// Every kind, in the order of a bundle.
    pub const ALL: [SectionKind; 15] = [
        SectionKind::Policy,
        SectionKind::Nodes32,
        SectionKind::Nodes128,
        SectionKind::Cells,
        SectionKind::Programs,
        SectionKind::Pairs,
        SectionKind::Executables,
        SectionKind::Debug,
        SectionKind::Names,
        SectionKind::NameBuckets,
        SectionKind::NameTable,
        SectionKind::NameWords,
        SectionKind::NameStates,
        SectionKind::NameSteps,
        SectionKind::Matches,
    ];

    /// Whether bundles of the first format have it too.
    pub fn is_old(self) -> bool {
        self as u16 <= SectionKind::Debug as u16
    }

    /// From its number.
    pub fn from_number(number: u16) -> Option<SectionKind> {
        SectionKind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// The size of its records in bytes, if the section is the content of an array map.
    pub fn record_size(self) -> Option<usize> {
        match self {
            SectionKind::Policy => Some(Policy::SIZE),
            SectionKind::Nodes32 => Some(Node32::SIZE),
            SectionKind::Nodes128 => Some(Node128::SIZE),
            SectionKind::Cells => Some(Cell::SIZE),
            SectionKind::Programs => Some(ProgramBucket::SIZE),
            SectionKind::Pairs => Some(PairBucket::SIZE),
            SectionKind::Names => Some(Names::SIZE),
            SectionKind::NameBuckets => Some(NameBucket::SIZE),
            SectionKind::NameTable => Some(Name::SIZE),
            SectionKind::NameWords => Some(Word::SIZE),
            SectionKind::NameStates => Some(State::SIZE),
            SectionKind::NameSteps => Some(StepBucket::SIZE),
            SectionKind::Matches => Some(Match::SIZE),
            SectionKind::Executables | SectionKind::Debug => None,
        }
    }

    /// Its name in diagnostics.
    pub fn name(self) -> &'static str {
        match self {
            SectionKind::Policy => "policy",
            SectionKind::Nodes32 => "nodes32",
            SectionKind::Nodes128 => "nodes128",
            SectionKind::Cells => "cells",
            SectionKind::Programs => "programs",
            SectionKind::Pairs => "pairs",
            SectionKind::Executables => "executables",
            SectionKind::Debug => "debug",
            SectionKind::Names => "names",
            SectionKind::NameBuckets => "name_buckets",
            SectionKind::NameTable => "name_table",
            SectionKind::NameWords => "name_words",
            SectionKind::NameStates => "name_states",
            SectionKind::NameSteps => "name_steps",
            SectionKind::Matches => "matches",
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a policy requires of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Need {
    /// BPF LSM programs are called and can deny.
    BpfLsm = 1,
    /// The content of executables is measured by fs-verity.
    Verity = 2,
    /// Raw and packet sockets are judged.
    RawSockets = 3,
    /// The libraries that a program maps for execution are measured by fs-verity.
    Libraries = 4,
    /// Grants to everyone are withheld from some programs, and from what they start.
    WithheldGrants = 5,
    /// Programs are told apart by the unit of systemd in which they are started.
    Units = 6,
    /// Answers to clients are told from other requests.
    Clients = 7,
}

impl Need {
    /// Everything that a policy of this format can require.
    pub const ALL: [Need; 7] = [
        Need::BpfLsm,
        Need::Verity,
        Need::RawSockets,
        Need::Libraries,
        Need::WithheldGrants,
        Need::Units,
        Need::Clients,
    ];

    /// From its number.
    pub fn from_number(number: u16) -> Option<Need> {
        Need::ALL.into_iter().find(|need| *need as u16 == number)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::BpfLsm => "BPF LSM",
            Need::Verity => "fs-verity digests of executables",
            Need::RawSockets => "verdicts on raw and packet sockets",
            Need::Libraries => "fs-verity digests of libraries",
            Need::WithheldGrants => "grants to all programs but some",
            Need::Units => "programs in units of systemd",
            Need::Clients => "verdicts on answers to clients",
        })
    }
}
