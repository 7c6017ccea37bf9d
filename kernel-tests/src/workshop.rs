//! The temporary folder in which a guest's disk is created and used.
//!
//! Out: an empty folder. Always: it is removed after its run. What a killed run left is removed by the next one, which
//! distinguishes it from a running one's by its lock.

use crate::Failure;
use std::{
    env,
    fs::{self, File},
    path::Path,
    time::Duration,
};
use tempfile::TempDir;

const PREFIX: &str = "bfp-guest.";
const LOCK: &str = "lock";

/// A folder that is removed when this is dropped.
pub(crate) struct Workshop {
    dir: TempDir,
    /// Held while the folder is in use.
    _lock: File,
}

impl Workshop {
    pub(crate) fn open() -> Result<Self, Failure> {
        sweep();
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let dir = dir.map_err(|e| Failure::host("cannot make a temporary folder", e))?;
        let path = dir.path().join(LOCK);
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        Ok(Self { _lock: lock.map_err(Failure::at("lock", &path))?, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the folders that killed runs left.
fn sweep() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && is_abandoned(&entry.path()) {
            // The folder is another user's, or another run is removing it at this moment.
            let _left = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    // A folder is created a moment before it is locked.
    let age = fs::metadata(dir).ok().and_then(|data| data.modified().ok()?.elapsed().ok());
    let is_new = age.is_none_or(|age| age < Duration::from_secs(5));
    !is_new && File::open(dir.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;
    use std::{fs::FileTimes, time::SystemTime};

    fn age(dir: &Path) {
        let times = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(60));
        File::open(dir).unwrap().set_times(times).unwrap();
    }

    #[test]
    fn a_folder_in_use_is_not_abandoned() {
        let workshop = Workshop::open().unwrap();
        age(workshop.path());
        assert!(!is_abandoned(workshop.path()));
    }

    #[test]
    fn a_killed_runs_folder_is_swept_by_the_next() {
        let left = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap().keep();
        File::create(left.join(LOCK)).unwrap();
        age(&left);
        drop(Workshop::open().unwrap());
        assert!(!left.exists());
    }
}
