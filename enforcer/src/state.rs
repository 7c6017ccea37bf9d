//! What the host remembers on disk: a folder that only root may enter, with a record and the last good bundle.
//!
//! **Invariant:** whatever happens between any two system calls, a loss of power included, the folder holds one
//! whole record, the old or the new one, and the bundle that it names. A file is written under another name,
//! synced, renamed, and the folder is synced.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bfp_bundle::verify::{MAX_BUNDLE_BYTES, TrustSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::admission::Seen;
use crate::input::{self, InputError};
use crate::syscall;
use crate::trust::AdoptedSet;

/// Where it is.
pub const STATE: &str = "/var/lib/bfp";

/// The first bytes of the record's file, with the number of its layout.
const MAGIC: [u8; 12] = *b"BFPS\r\n\x1a\n\x01\0\0\0";

const MAX_RECORD_BYTES: u64 = 16 << 20;

/// What the host remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The highest revisions, one of each policy.
    pub seen: Vec<Seen>,
    /// What was enforced last, and is to be again after a restart.
    pub current: Option<Current>,
    /// The latest time that the host has known, in seconds since 1970-01-01 UTC.
    pub last_time: u64,
    /// A revision that the signers took back, which a kernel that enforces it still tells.
    pub recovered: Option<Recovered>,
    /// The trust sets that were adopted, as signed documents.
    pub trust_sets: Vec<AdoptedSet>,
}

/// What was enforced last, and how it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The policy.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of its manifest.
    pub manifest_digest: [u8; 32],
    /// When it was accepted first: it is no less good when it expires later.
    pub accepted_at: u64,
    /// By whose signatures.
    pub trust: TrustSet,
    /// On a host with which labels.
    pub labels: Vec<String>,
}

/// A revision that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Of which policy.
    pub policy: String,
    /// The highest revision until then.
    pub from: u64,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A path.
    #[error("this host's state at `{path}` cannot be {what}: {error}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What was wanted.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Not ours alone.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It says nothing sensible.
    #[error("this host's state at `{0}` is damaged")]
    Damaged(PathBuf),
}

impl StateError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                "make room on its filesystem, or name another folder with `--state`"
            }
            StateError::Unusable { .. } => "run it as root, or name another folder with `--state`",
            StateError::Input(error) => error.help(),
            StateError::Damaged(_) => {
                "put it back from a backup, or have the signers consent to a new beginning: `bfp-enforcer recover`"
            }
        }
    }
}

fn unusable(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Unusable { path, what, error }
}

/// The state's folder, locked.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Holds the lock, and is synced.
    handle: File,
}

impl State {
    /// Makes the folder where it is missing, and locks it: enforcers that change something follow each other.
    pub fn open(folder: &Path) -> Result<State, StateError> {
        refuse_pins(folder)?;
        DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(unusable(folder, "made"))?;
        let handle = File::open(folder).map_err(unusable(folder, "opened"))?;
        handle.lock().map_err(unusable(folder, "locked"))?;
        // So that the folder itself is there after a loss of power.
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable(parent, "synced"))?;
        }
        input::check_owner(folder, &handle.metadata().map_err(unusable(folder, "read"))?)?;
        Ok(State { folder: folder.to_owned(), handle })
    }

    /// The record; an empty one where there is none.
    pub fn read(&self) -> Result<Record, StateError> {
        read(&self.folder)
    }

    /// Writes the record, and drops the bundles that it does not name.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        let path = record_path(&self.folder);
        // Lists and numbers in memory can be encoded.
        let body = postcard::to_allocvec(record).map_err(|_| StateError::Damaged(path.clone()))?;
        let bytes = [&MAGIC[..], &Sha256::digest(&body), &body].concat();
        self.replace(&path, &bytes)?;
        let kept = record.current.as_ref().map(|current| bundle_path(&self.folder, &current.manifest_digest));
        let entries = std::fs::read_dir(&self.folder).map_err(unusable(&self.folder, "read"))?;
        for entry in entries {
            let path = entry.map_err(unusable(&self.folder, "read"))?.path();
            let is_dropped = path.extension().is_some_and(|extension| extension == "bfpb" || extension == "new");
            if is_dropped && Some(&path) != kept.as_ref() {
                std::fs::remove_file(&path).map_err(unusable(&path, "removed"))?;
            }
        }
        Ok(())
    }

    /// Keeps a bundle, for the record that is written next to name it.
    pub fn keep_bundle(&self, manifest_digest: &[u8; 32], bytes: &[u8]) -> Result<(), StateError> {
        let path = bundle_path(&self.folder, manifest_digest);
        match input::read_own(&path, MAX_BUNDLE_BYTES) {
            Ok(kept) if kept == bytes => Ok(()),
            _ => self.replace(&path, bytes),
        }
    }

    /// Where the bundle is that a record names.
    pub fn bundle_path(&self, current: &Current) -> PathBuf {
        bundle_path(&self.folder, &current.manifest_digest)
    }

    /// The bundle that a record names.
    pub fn kept_bundle(&self, current: &Current) -> Result<Vec<u8>, StateError> {
        Ok(input::read_own(&self.bundle_path(current), MAX_BUNDLE_BYTES)?)
    }

    /// Moves a record that is damaged out of the way, for people to look at.
    pub fn set_aside(&self) -> Result<(), StateError> {
        let path = record_path(&self.folder);
        std::fs::rename(&path, self.folder.join("state.damaged")).map_err(unusable(&path, "moved"))?;
        self.handle.sync_all().map_err(unusable(&self.folder, "synced"))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let mut file = options.map_err(unusable(&beside, "made"))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| std::fs::rename(&beside, path));
        if renamed.is_err() {
            // What is half written helps nobody; the reason why matters more.
            let _ = std::fs::remove_file(&beside);
        }
        renamed.map_err(unusable(path, "written"))?;
        self.handle.sync_all().map_err(unusable(&self.folder, "synced"))
    }
}

/// A folder among the pins would be taken for a generation, and an enforcer may make one where root may not.
fn refuse_pins(folder: &Path) -> Result<(), StateError> {
    let standing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let is_pins = File::open(standing).and_then(|file| syscall::is_on_bpf_filesystem(file.as_fd()));
    if is_pins.map_err(unusable(standing, "read"))? {
        return Err(unusable(folder, "kept")(io::Error::other("it is on a filesystem of pins")));
    }
    Ok(())
}

/// Reads the record without a lock, to look at; an empty one where there is none.
pub fn read(folder: &Path) -> Result<Record, StateError> {
    let path = record_path(folder);
    let bytes = match input::read_own(&path, MAX_RECORD_BYTES) {
        Err(InputError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Record::default());
        }
        read => read?,
    };
    decode(&bytes).ok_or(StateError::Damaged(path))
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (digest, body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<32>()?;
    if <[u8; 32]>::from(Sha256::digest(body)) != *digest {
        return None;
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Some(record),
        _ => None,
    }
}

fn record_path(folder: &Path) -> PathBuf {
    folder.join("state")
}

fn bundle_path(folder: &Path, manifest_digest: &[u8; 32]) -> PathBuf {
    let name = manifest_digest.iter().fold(String::from("good-"), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    folder.join(name + ".bfpb")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn record(digest: u8) -> Record {
        Record {
            seen: vec![Seen { policy: "web".to_owned(), revision: 3, manifest_digest: Some([digest; 32]) }],
            current: Some(Current {
                policy: "web".to_owned(),
                revision: 3,
                manifest_digest: [digest; 32],
                accepted_at: 5,
                trust: TrustSet { version: 0, threshold: 1, keys: vec![[1; 32]], revoked: vec![] },
                labels: vec!["host".to_owned()],
            }),
            last_time: 7,
            recovered: Some(Recovered { policy: "web".to_owned(), from: 9 }),
            trust_sets: vec![(1, vec![1, 2, 3])],
        }
    }

    #[test]
    fn what_was_written_is_read_and_a_fresh_host_remembers_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("deep/bfp")).unwrap();
        assert_eq!(state.read().unwrap(), Record::default());
        state.write(&record(1)).unwrap();
        assert_eq!(state.read().unwrap(), record(1));
    }

    #[test]
    fn only_the_bundle_that_the_record_names_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        for digest in [1, 2] {
            state.keep_bundle(&[digest; 32], &[digest; 10]).unwrap();
            state.write(&record(digest)).unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [format!("good-{}.bfpb", "02".repeat(32)).as_str(), "state"]);
        assert_eq!(state.kept_bundle(&record(2).current.unwrap()).unwrap(), [2; 10]);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.write(&record(1)).unwrap();
        let bytes = std::fs::read(folder.path().join("state")).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..length).unwrap()), None, "length {length}");
        }
        std::fs::write(folder.path().join("state"), "").unwrap();
        assert!(matches!(state.read(), Err(StateError::Damaged(_))));
        state.set_aside().unwrap();
        assert_eq!(state.read().unwrap(), Record::default());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::Input(_))));
    }
}
