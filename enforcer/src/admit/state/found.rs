//! What is on disk: two copies of the record, or the files that are left beside them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use bfp_bundle::verify::{MAX_BUNDLE_BYTES, MAX_DOCUMENT_BYTES};

use super::error::{StateError, unusable};
use super::record::{Copied, Record, decode};
use crate::admit::input::{self, InputError};
use crate::admit::trust::AdoptedSet;

/// The record and its copy. They are equal except while one of them is being replaced.
pub(super) const RECORD: &str = "state";
pub(super) const COPY: &str = "state.copy";

/// The prefix of an adopted trust set; its version follows.
const TRUST_SET: &str = "trust-set-";

const MAX_RECORD_BYTES: u64 = 16 << 20;

/// The condition of the state on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The directory is empty: this host has enforced nothing yet.
    Fresh,
    /// Both copies are intact.
    Whole,
    /// One copy is intact; this one is damaged or missing.
    OneCopy(PathBuf),
    /// Both copies are damaged. Only the trust sets and bundles beside them are left.
    Damaged(PathBuf),
    /// The record is missing, but trust sets or bundles are left.
    Gone(PathBuf),
    /// A newer release wrote the record. The part that every release reads is known.
    Newer(PathBuf),
}

impl Condition {
    /// Whether the host may have enforced revisions that are no longer on record.
    pub fn has_forgotten(&self) -> bool {
        matches!(self, Condition::Damaged(_) | Condition::Gone(_))
    }

    /// Describes the fault in a sentence.
    pub fn words(&self) -> Option<String> {
        Some(match self {
            Condition::Fresh | Condition::Whole => return None,
            Condition::OneCopy(path) => format!(
                "a copy of this host's state, `{}`, is damaged or missing: the other copy is used, and the next \
                 change writes both",
                path.display()
            ),
            Condition::Damaged(path) => format!(
                "this host's state at `{}` is damaged: only the trust sets and good bundles beside it are known",
                path.display()
            ),
            Condition::Gone(path) => format!(
                "this host's state at `{}` is missing: only the trust sets and good bundles beside it are known",
                path.display()
            ),
            Condition::Newer(path) => {
                format!("{}: it is left unchanged", StateError::Newer(path.clone()))
            }
        })
    }

    /// The condition as one word.
    pub fn word(&self) -> &'static str {
        match self {
            Condition::Fresh => "none",
            Condition::Whole => "whole",
            Condition::OneCopy(_) => "one_copy",
            Condition::Damaged(_) => "damaged",
            Condition::Gone(_) => "gone",
            Condition::Newer(_) => "newer",
        }
    }
}

/// What was found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record. If it is damaged or missing, only the trust sets beside it.
    pub record: Record,
    /// The condition of the state.
    pub condition: Condition,
    /// The sequence number of the record.
    pub(super) sequence: u64,
}

impl Found {
    /// Stands in for a state that cannot be read at all, so that a boot can continue.
    pub fn nothing() -> Found {
        Found { record: Record::default(), condition: Condition::Fresh, sequence: 0 }
    }

    /// The record, if it is complete or nothing more complete exists.
    pub fn whole(&self) -> Result<&Record, StateError> {
        match &self.condition {
            Condition::Damaged(path) => Err(StateError::Damaged(path.clone())),
            Condition::Newer(path) => Err(StateError::Newer(path.clone())),
            _ => Ok(&self.record),
        }
    }
}

/// Reads the state without a lock, for display only.
pub fn read(folder: &Path) -> Result<Found, StateError> {
    let (path, copy_path) = (folder.join(RECORD), folder.join(COPY));
    let found = |record, condition, sequence| Found { record, condition, sequence };
    let one = |damaged: &Path| Condition::OneCopy(damaged.to_owned());
    Ok(match (read_copy(&path)?, read_copy(&copy_path)?) {
        (Copied::Whole(sequence, record), Copied::Whole(other, copy)) => match other > sequence {
            true => found(copy, Condition::Whole, other),
            false => found(record, Condition::Whole, sequence),
        },
        // If only the layout number is damaged, the rest equals the other copy.
        (Copied::Newer(at, newer), Copied::Whole(sequence, copy)) if at == sequence && newer.is_prefix_of(&copy) => {
            found(copy, one(&path), sequence)
        }
        (Copied::Whole(sequence, record), Copied::Newer(at, newer))
            if at == sequence && newer.is_prefix_of(&record) =>
        {
            found(record, one(&copy_path), sequence)
        }
        (Copied::Newer(sequence, record), Copied::Newer(other, copy)) => match other > sequence {
            true => found(copy, Condition::Newer(copy_path), other),
            false => found(record, Condition::Newer(path), sequence),
        },
        (Copied::Newer(sequence, record), _) => found(record, Condition::Newer(path), sequence),
        (_, Copied::Newer(sequence, record)) => found(record, Condition::Newer(copy_path), sequence),
        // The first release ran again in between, and does not read the copy.
        (Copied::First(record), Copied::Whole(sequence, copy))
        | (Copied::Whole(sequence, copy), Copied::First(record)) => {
            found(Record::merged(record, copy), Condition::Whole, sequence)
        }
        (Copied::First(record), _) => found(record, Condition::Whole, 0),
        (Copied::Whole(sequence, record), _) => found(record, one(&copy_path), sequence),
        (_, Copied::Whole(sequence, record)) => found(record, one(&path), sequence),
        (_, Copied::First(record)) => found(record, one(&path), 0),
        (Copied::Damaged, _) => found(left(folder), Condition::Damaged(path), 0),
        (_, Copied::Damaged) => found(left(folder), Condition::Damaged(copy_path), 0),
        (Copied::Missing, Copied::Missing) => {
            let record = left(folder);
            let is_fresh = record.trust_sets.is_empty() && kept_bundles(folder).is_empty();
            found(record, if is_fresh { Condition::Fresh } else { Condition::Gone(path) }, 0)
        }
    })
}

fn read_copy(path: &Path) -> Result<Copied, StateError> {
    match input::read_own(path, MAX_RECORD_BYTES) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(InputError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(Copied::Missing),
        Err(InputError::Unreadable { error, path }) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(unusable(&path, "read")(error))
        }
        Err(error @ InputError::Writable { .. }) => Err(error.into()),
        // An unreadable sector, or something other than a file at this path.
        Err(_) => Ok(Copied::Damaged),
    }
}

/// Whether a copy is present but cannot be decoded.
pub(super) fn is_damaged(path: &Path) -> bool {
    matches!(read_copy(path), Ok(Copied::Damaged))
}

/// The trust sets that are left without a record, in order. Each is verified before it is used.
fn left(folder: &Path) -> Record {
    let mut trust_sets: Vec<AdoptedSet> = Vec::new();
    for name in names(folder) {
        let version = name.strip_prefix(TRUST_SET).and_then(|version| version.parse().ok());
        let document = version.map(|version| (version, input::read_own(&folder.join(&name), MAX_DOCUMENT_BYTES)));
        if let Some((version, Ok(document))) = document {
            trust_sets.push((version, document));
        }
    }
    trust_sets.sort_by_key(|(version, _)| *version);
    Record { trust_sets, ..Record::default() }
}

/// Every good bundle on disk with its path, whether a record names it or not.
pub fn kept_bundles(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut bundles = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if name.starts_with(GOOD)
            && name.ends_with(".bfpb")
            && let Ok(bytes) = input::read_own(&path, MAX_BUNDLE_BYTES)
        {
            bundles.push((path, bytes));
        }
    }
    bundles.sort();
    bundles
}

/// The bundle whose manifest has this digest.
pub fn kept_bundle(folder: &Path, manifest_digest: &[u8; 32]) -> Result<Vec<u8>, StateError> {
    Ok(input::read_own(&bundle_path(folder, manifest_digest), MAX_BUNDLE_BYTES)?)
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

pub(super) fn trust_set_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("{TRUST_SET}{version:04}"))
}

/// The prefix of the names of good bundles.
const GOOD: &str = "good-";

pub(super) fn bundle_path(folder: &Path, manifest_digest: &[u8; 32]) -> PathBuf {
    let name = manifest_digest.iter().fold(String::from(GOOD), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    folder.join(name + ".bfpb")
}
