//! What stays in force when the enforcer exits: pins, in one directory per generation.
//!
//! `generation-N` has the links of one policy; `new-N` is a generation that is being built or removed. Every change is
//! made under an exclusive lock on the parent directory, so that enforcers change the pins one at a time.
//!
//! **Invariant:** a generation that has its name is complete. It gets the name when nothing is missing any more, and
//! loses it before anything is removed, which is after its successor has one.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use aya::programs::links::PinnedLink;

use crate::failure::Actionable;

/// The directory of all pins.
pub const ROOT: &str = "/sys/fs/bpf/bfp";

const COMPLETE: &str = "generation-";
/// Also for a generation that is being removed. The BPF filesystem allows no dots in names.
const UNFINISHED: &str = "new-";

/// The prefix of the names of links.
pub(crate) const LINK: &str = "link_";
/// The prefix of the names of lockdown links.
pub(crate) const LOCKDOWN_LINK: &str = "lock_";

/// A path, and the error there.
#[derive(Debug, thiserror::Error)]
#[error("`{path}` cannot be {what}: {error}")]
pub struct PinsError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

impl Actionable for PinsError {
    fn help(&self) -> &'static str {
        match self.error.kind() {
            _ if self.what == "trusted" => {
                "mount the BPF filesystem for root alone, `mount -o remount,mode=700 /sys/fs/bpf`, and `chmod go-w` \
                 the directory"
            }
            io::ErrorKind::PermissionDenied => {
                "run it as root; under lockdown, run the file that applied the policy, not a copy, and without a tracer"
            }
            _ => "check that this process runs as root and that a BPF filesystem is mounted at /sys/fs/bpf",
        }
    }
}

pub(crate) fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> PinsError {
    let path = path.to_owned();
    move |error| PinsError { path, what, error }
}

/// Renames a directory that another user created at this path. If the BPF filesystem is open to every user, which it is
/// unless it was mounted otherwise (kernel/bpf/inode.c, `S_ISVTX | S_IRWXUGO`), such a directory could block the
/// policy. No name there may have a dot (`bpf_lookup`).
fn set_aside(root: &Path) -> Result<(), PinsError> {
    let own = std::fs::metadata("/proc/self").map_err(failed(root, "trusted"))?.uid();
    match std::fs::symlink_metadata(root) {
        Ok(there) if there.uid() != own => {
            let aside = root.with_file_name(format!("bfp-of-user-{}-{}", there.uid(), there.ino()));
            std::fs::rename(root, aside).map_err(failed(root, "set aside"))
        }
        _ => Ok(()),
    }
}

/// The directory of all pins, under an exclusive lock.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    /// Holds the lock.
    _folder: File,
}

impl Pins {
    /// Creates the directory if it is missing, and locks it.
    pub fn make() -> Result<Pins, PinsError> {
        Pins::make_in(Path::new(ROOT))
    }

    /// Locks the directory. `None` if it does not exist, so that nothing is enforced.
    pub fn find() -> Result<Option<Pins>, PinsError> {
        Pins::find_in(Path::new(ROOT))
    }

    fn make_in(root: &Path) -> Result<Pins, PinsError> {
        loop {
            match DirBuilder::new().mode(0o700).create(root) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(root, "made")(error)),
                _ => {}
            }
            set_aside(root)?;
            // Another enforcer may remove it between the two.
            if let Some(pins) = Pins::find_in(root)? {
                return Ok(pins);
            }
        }
    }

    fn find_in(root: &Path) -> Result<Option<Pins>, PinsError> {
        loop {
            let folder = match File::open(root) {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(root, "opened")(error)),
            };
            folder.lock().map_err(failed(root, "locked"))?;
            let opened = folder.metadata().map_err(failed(root, "read"))?;
            // The BPF filesystem can be open to every user: a directory that another user owns enforces nothing.
            if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != opened.uid()) {
                return Ok(None);
            }
            if opened.mode() & 0o022 != 0 {
                let error = io::Error::other("other users may write to it");
                return Err(failed(root, "trusted")(error));
            }
            match std::fs::metadata(root) {
                Ok(there) if there.ino() == opened.ino() && there.dev() == opened.dev() => {
                    return Ok(Some(Pins { root: root.to_owned(), _folder: folder }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(root, "read")(error)),
            }
        }
    }

    /// The path of the pin of the task labels.
    pub fn labels(&self) -> PathBuf {
        self.root.join("labels")
    }

    /// The path of the pin of what was seen of each exec.
    pub fn executed(&self) -> PathBuf {
        self.root.join("executed")
    }

    /// The path of the pin of the socket labels.
    pub fn sockets(&self) -> PathBuf {
        self.root.join("sockets")
    }

    /// The path of the pin of the enforcer's own processes.
    pub fn enforcers(&self) -> PathBuf {
        self.root.join("enforcers")
    }

    /// The directory of all pins.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The complete generations, oldest first.
    pub fn generations(&self) -> Result<Vec<u64>, PinsError> {
        let mut numbers = Vec::new();
        for name in self.names()? {
            numbers.extend(name.strip_prefix(COMPLETE).and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The directory of the enforced generation. `None` if nothing is enforced.
    pub fn newest(&self) -> Result<Option<PathBuf>, PinsError> {
        Ok(self.generations()?.last().map(|number| self.generation(*number)))
    }

    /// The directory of a generation.
    pub fn generation(&self, number: u64) -> PathBuf {
        self.root.join(format!("{COMPLETE}{number}"))
    }

    fn unfinished(&self, number: u64) -> PathBuf {
        self.root.join(format!("{UNFINISHED}{number}"))
    }

    /// Creates a directory for a generation that is not complete yet.
    pub fn begin(&self, number: u64) -> Result<PathBuf, PinsError> {
        let path = self.unfinished(number);
        DirBuilder::new().mode(0o700).create(&path).map_err(failed(&path, "made"))?;
        Ok(path)
    }

    /// Gives a complete generation its name.
    pub fn complete(&self, number: u64) -> Result<(), PinsError> {
        let path = self.unfinished(number);
        std::fs::rename(&path, self.generation(number)).map_err(failed(&path, "renamed"))
    }

    /// Takes the name from a generation before it becomes incomplete.
    fn retire(&self, number: u64) -> Result<(), PinsError> {
        let path = self.generation(number);
        std::fs::rename(&path, self.unfinished(number)).map_err(failed(&path, "renamed"))
    }

    /// Removes the generations before one.
    pub fn remove_older(&self, number: u64) -> Result<(), PinsError> {
        for older in self.generations()?.into_iter().filter(|older| *older < number) {
            self.retire(older)?;
        }
        self.remove_unfinished()
    }

    /// Removes what a failed or killed enforcer left. If nothing is enforced, that includes the labels: they were not
    /// kept up to date, and a process may have executed another program since.
    pub fn remove_leftovers(&self) -> Result<(), PinsError> {
        self.remove_unfinished()?;
        if self.generations()?.is_empty() { self.remove_files() } else { Ok(()) }
    }

    fn remove_unfinished(&self) -> Result<(), PinsError> {
        for name in self.names()?.into_iter().filter(|name| name.starts_with(UNFINISHED)) {
            remove_generation(&self.root.join(name))?;
        }
        Ok(())
    }

    /// Removes unfinished generations, and everything if nothing is enforced.
    pub fn tidy(&self) -> Result<(), PinsError> {
        self.remove_leftovers()?;
        if self.generations()?.is_empty() { self.remove_root() } else { Ok(()) }
    }

    /// Removes everything: the generations first, then the labels.
    pub fn remove_all(&self) -> Result<(), PinsError> {
        for number in self.generations()? {
            self.retire(number)?;
        }
        for name in self.names()? {
            let path = self.root.join(name);
            if path.is_dir() {
                remove_generation(&path)?;
            }
        }
        self.remove_files()?;
        self.remove_root()
    }

    fn remove_files(&self) -> Result<(), PinsError> {
        for name in self.names()? {
            let path = self.root.join(name);
            std::fs::remove_file(&path).map_err(failed(&path, "removed"))?;
        }
        Ok(())
    }

    fn remove_root(&self) -> Result<(), PinsError> {
        std::fs::remove_dir(&self.root).map_err(failed(&self.root, "removed"))
    }

    fn names(&self) -> Result<Vec<String>, PinsError> {
        names(&self.root)
    }
}

pub(crate) fn names(folder: &Path) -> Result<Vec<String>, PinsError> {
    let entries = std::fs::read_dir(folder).map_err(failed(folder, "read"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(failed(folder, "read"))
}

/// Detaches the links in a directory whose names have this prefix.
pub(crate) fn remove_links(folder: &Path, prefix: &str) -> Result<(), PinsError> {
    for name in names(folder)?.into_iter().filter(|name| name.starts_with(prefix)) {
        let path = folder.join(name);
        // The kernel detaches in the background if the pin is the last to hold a link, and at once if a descriptor is
        // (kernel/bpf/syscall.c, `bpf_link_put` and `bpf_link_put_direct`).
        let link = PinnedLink::from_pin(&path).ok();
        std::fs::remove_file(&path).map_err(failed(&path, "removed"))?;
        drop(link);
    }
    Ok(())
}

/// Detaches a generation's links, and removes its directory.
///
/// Lockdown links are detached first: as long as they exist, an enforcer must be recognised as one, and the program
/// that marks it is another of the links.
fn remove_generation(folder: &Path) -> Result<(), PinsError> {
    remove_links(folder, LOCKDOWN_LINK)?;
    remove_links(folder, LINK)?;
    for name in names(folder)? {
        let path = folder.join(&name);
        std::fs::remove_file(&path).map_err(failed(&path, "removed"))?;
    }
    std::fs::remove_dir(folder).map_err(failed(folder, "removed"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_generation_counts_once_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::make_in(&folder.path().join("bfp")).unwrap();
        assert_eq!(pins.generations().unwrap(), []);
        pins.begin(1).unwrap();
        assert_eq!(pins.generations().unwrap(), []);
        pins.complete(1).unwrap();
        assert_eq!(pins.generations().unwrap(), [1]);
    }

    #[test]
    fn older_generations_go_by_number_not_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::make_in(&folder.path().join("bfp")).unwrap();
        for number in [2, 9, 10] {
            pins.begin(number).unwrap();
            pins.complete(number).unwrap();
        }
        assert_eq!(pins.generations().unwrap(), [2, 9, 10]);
        pins.remove_older(10).unwrap();
        assert_eq!(pins.generations().unwrap(), [10]);
    }

    #[test]
    fn a_generation_that_goes_loses_its_name_first() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::make_in(&folder.path().join("bfp")).unwrap();
        pins.begin(1).unwrap();
        pins.complete(1).unwrap();
        pins.retire(1).unwrap();
        assert_eq!(pins.generations().unwrap(), []);
        // As after a kill at this moment: the same number can be used again.
        pins.remove_leftovers().unwrap();
        pins.begin(1).unwrap();
    }

    #[test]
    fn labels_go_where_nothing_kept_them_true() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::make_in(&folder.path().join("bfp")).unwrap();
        std::fs::write(pins.labels(), "").unwrap();
        pins.remove_leftovers().unwrap();
        assert!(!pins.labels().exists());
        pins.begin(1).unwrap();
        pins.complete(1).unwrap();
        std::fs::write(pins.labels(), "").unwrap();
        pins.remove_leftovers().unwrap();
        assert!(pins.labels().exists());
    }

    #[test]
    fn tidying_leaves_complete_generations_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bfp");
        let pins = Pins::make_in(&root).unwrap();
        pins.begin(1).unwrap();
        pins.complete(1).unwrap();
        let unfinished = pins.begin(2).unwrap();
        std::fs::write(unfinished.join("about"), "").unwrap();
        std::fs::write(pins.labels(), "").unwrap();
        pins.tidy().unwrap();
        assert!(!unfinished.exists());
        assert!(pins.labels().exists());
        assert_eq!(pins.generations().unwrap(), [1]);
    }

    #[test]
    fn tidying_removes_everything_where_nothing_is_enforced() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bfp");
        let pins = Pins::make_in(&root).unwrap();
        std::fs::write(pins.labels(), "").unwrap();
        pins.begin(1).unwrap();
        pins.tidy().unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn removing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bfp");
        let pins = Pins::make_in(&root).unwrap();
        pins.begin(1).unwrap();
        pins.complete(1).unwrap();
        std::fs::write(pins.labels(), "").unwrap();
        pins.remove_all().unwrap();
        assert!(!root.exists());
        assert!(Pins::find_in(&root).unwrap().is_none());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("bfp");
        std::fs::create_dir(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Pins::make_in(&root).unwrap_err().to_string().contains("other users may write to it"));
    }
}
