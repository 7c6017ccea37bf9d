//! The rollback state on disk: a directory that only root may enter, with two copies of a record, the trust sets that
//! the host adopted, and the last good bundle.
//!
//! **Invariant:** whatever happens between any two system calls, including power loss, the directory holds one complete
//! record, the old or the new one, and the bundle that it names. Each file is written under a temporary name, synced
//! and renamed, and then the directory is synced.
//!
//! **Invariant:** an unreadable record is never overwritten. A record of a newer release stays in place, and a damaged
//! one is kept under a name of its own.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bfp_bundle::verify::MAX_BUNDLE_BYTES;

use crate::admit::input;
use crate::host::syscall;

mod error;
mod found;
mod record;
#[cfg(test)]
mod tests;

pub use error::StateError;
pub use found::{Condition, Found, kept_bundle, kept_bundles, read};
pub use record::{LastGood, Record, Recovered, UsedToken};

use error::unusable;
use found::{COPY, RECORD, bundle_path, is_damaged, trust_set_path};

/// The directory of the rollback state.
pub const STATE: &str = "/var/lib/bfp";

/// The prefix under which a damaged record is kept; the time follows.
const DAMAGED: &str = "state.damaged-";

/// What to do when the state cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// The command fails.
    Fail,
    /// The command continues and reports the failure: a host that boots must be protected.
    Report,
}

/// The directory of the rollback state, under an exclusive lock.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Holds the lock, and is synced. `None` if the directory cannot be used.
    handle: Option<File>,
    on_failure: OnFailure,
    unwritten: RefCell<Option<StateError>>,
}

impl State {
    /// Opens the directory, creates it if it is missing, and takes its lock, so that enforcers change the state one at
    /// a time.
    pub fn open(folder: &Path) -> Result<State, StateError> {
        let handle = Some(open_folder(folder)?);
        Ok(State { folder: folder.to_owned(), handle, on_failure: OnFailure::Fail, unwritten: RefCell::default() })
    }

    /// Opens the state at boot. Here a state that cannot be used or written is not an error: [`State::unwritten`]
    /// reports it.
    pub fn come_up(folder: &Path) -> State {
        let (handle, error) = match open_folder(folder) {
            Ok(handle) => (Some(handle), None),
            Err(error) => (None, Some(error)),
        };
        State { folder: folder.to_owned(), handle, on_failure: OnFailure::Report, unwritten: RefCell::new(error) }
    }

    /// Why the latest state is not on disk, if it is not.
    pub fn unwritten(&self) -> Option<StateError> {
        self.unwritten.take()
    }

    /// Reads the record from disk.
    pub fn read(&self) -> Result<Found, StateError> {
        read(&self.folder)
    }

    /// Writes the record, and removes the bundles that it does not name. A record that differs from the one on disk
    /// only in its time need not be written.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        self.settle(self.folder().and_then(|_| self.write_all(record)))
    }

    /// Stores a bundle, and writes the record that names it.
    pub fn keep(&self, manifest_digest: &[u8; 32], bundle: &[u8], record: &Record) -> Result<(), StateError> {
        let kept = self.folder().and_then(|_| self.keep_bundle(manifest_digest, bundle));
        self.settle(kept.and_then(|()| self.write_all(record)))
    }

    fn settle(&self, written: Result<(), StateError>) -> Result<(), StateError> {
        match (written, self.on_failure) {
            (Err(error), OnFailure::Report) => {
                self.unwritten.borrow_mut().get_or_insert(error);
                Ok(())
            }
            (written, _) => written,
        }
    }

    fn write_all(&self, record: &Record) -> Result<(), StateError> {
        let found = self.read()?;
        if let Condition::Newer(path) = found.condition {
            return Err(StateError::Newer(path));
        }
        match self.write_over(&found, record) {
            Err(_) if found.condition == Condition::Whole && record.equals_except_time(&found.record) => return Ok(()),
            written => written?,
        }
        self.drop_others(record)
    }

    fn write_over(&self, found: &Found, record: &Record) -> Result<(), StateError> {
        let paths = [COPY, RECORD].map(|name| self.folder.join(name));
        let [_, path] = &paths;
        // Encoding lists and numbers in memory cannot fail.
        let bytes = record.encode(found.sequence.saturating_add(1));
        let bytes = bytes.ok_or_else(|| StateError::Damaged(path.clone()))?;
        for (version, document) in &record.trust_sets {
            self.keep_file(&trust_set_path(&self.folder, *version), document)?;
        }
        // Both copies are on disk before either is renamed: if the disk is full, nothing changes.
        let beside = paths.each_ref().map(|path| beside(path));
        let staged = beside.iter().try_for_each(|path| write_synced(path, &bytes));
        let placed = staged.and_then(|()| self.set_aside_damaged());
        let placed = placed
            .and_then(|()| beside.iter().zip(&paths).try_for_each(|(beside, path)| std::fs::rename(beside, path)));
        if placed.is_err() {
            // A partial file is useless, and the first error matters more.
            beside.iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
        placed.map_err(unusable(path, "written"))?;
        self.sync()
    }

    /// Renames a damaged copy, for later inspection. Copies that were renamed before are kept.
    fn set_aside_damaged(&self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for path in [RECORD, COPY].map(|name| self.folder.join(name)) {
            if is_damaged(&path) {
                let mut name = format!("{DAMAGED}{now}");
                while self.folder.join(&name).exists() {
                    name.push('+');
                }
                std::fs::rename(&path, self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn drop_others(&self, record: &Record) -> Result<(), StateError> {
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

    fn keep_bundle(&self, manifest_digest: &[u8; 32], bytes: &[u8]) -> Result<(), StateError> {
        self.keep_file(&bundle_path(&self.folder, manifest_digest), bytes)
    }

    fn keep_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        match input::read_own(path, MAX_BUNDLE_BYTES) {
            Ok(kept) if kept == bytes => Ok(()),
            _ => self.replace(path, bytes),
        }
    }

    /// The path of the bundle that a record names.
    pub fn bundle_path(&self, current: &LastGood) -> PathBuf {
        bundle_path(&self.folder, &current.manifest_digest)
    }

    /// Reads the bundle that a record names.
    pub fn kept_bundle(&self, current: &LastGood) -> Result<Vec<u8>, StateError> {
        kept_bundle(&self.folder, &current.manifest_digest)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let beside = beside(path);
        let renamed = write_synced(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        renamed.map_err(unusable(path, "written"))?;
        self.sync()
    }

    /// The directory. Nothing is written to one that other users may change.
    fn folder(&self) -> Result<&File, StateError> {
        let unopened = || unusable(&self.folder, "written")(io::Error::other("its directory cannot be used"));
        self.handle.as_ref().ok_or_else(unopened)
    }

    fn sync(&self) -> Result<(), StateError> {
        self.folder()?.sync_all().map_err(unusable(&self.folder, "synced"))
    }
}

fn open_folder(folder: &Path) -> Result<File, StateError> {
    refuse_pins(folder)?;
    let is_new = !folder.exists();
    DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(unusable(folder, "made"))?;
    let handle = File::open(folder).map_err(unusable(folder, "opened"))?;
    handle.lock().map_err(unusable(folder, "locked"))?;
    // Ensures that the directory itself survives a power loss.
    if let Some(parent) = folder.parent().filter(|parent| is_new && !parent.as_os_str().is_empty()) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable(parent, "synced"))?;
    }
    input::check_owner(folder, &handle.metadata().map_err(unusable(folder, "read"))?)?;
    Ok(handle)
}

/// The temporary name under which a file is written before it is renamed.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

/// Rejects a state directory on the BPF filesystem: it would be taken for a generation, and an enforcer could create it
/// where root cannot.
fn refuse_pins(folder: &Path) -> Result<(), StateError> {
    let standing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let is_pins = File::open(standing).and_then(|file| syscall::is_on_bpf_filesystem(file.as_fd()));
    if is_pins.map_err(unusable(standing, "read"))? {
        return Err(unusable(folder, "kept")(io::Error::other("it is on the BPF filesystem")));
    }
    Ok(())
}
