//! A locked policy: other processes, root's too, do not take it apart.
//!
//! What locks a policy are links of their own in its generation's folder, `lock_HOOK`: without them the policy is
//! as it would be unlocked. Before they are attached, this process marks itself as the enforcer's, so that it
//! is not locked out, and what they guard is written down and frozen.
//!
//! **Invariant:** the links that lock are the last to come and the first to go ([`crate::kernel::pins`]): whenever they
//! are there, so is what marks an enforcer at exec.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use bfp_bundle::lockdown::{FOLDER, Object, PROGRAM};

use crate::host::syscall;
use crate::kernel::content::INODE_SIZE;
use crate::kernel::learn::{self, LearnError, MOUNTED_SIZE};
use crate::kernel::load::{BUSY, ENFORCER, ENFORCERS, LOCKDOWN_HOOKS, LoadError, MOUNTED, OBJECTS, PLACES, Programs};
use crate::kernel::pins::{LOCK, Pins, PinsError, failed, names, remove_links};

/// This program's own file.
const OWN_FILE: &str = "/proc/self/exe";

/// The pins as the first process of the host sees them: this one may have mounts of its own, which go with it.
const ROOT_OF_HOST: &str = "/proc/1/root";

/// The word that says that an enforcer is at work, in a generation's folder.
const BUSY_PIN: &str = "busy";

/// Why a policy cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockdownError {
    /// Whoever can replace a library can be the enforcer.
    #[error("a policy with lockdown needs an enforcer that loads no libraries, and this build of it loads some")]
    LoadsLibraries,
    /// This program's file.
    #[error("`{OWN_FILE}` cannot be read: {0}")]
    OwnFile(io::Error),
    /// Another BPF filesystem than the host's.
    #[error("the first process of this host does not see the BPF filesystem that this one pins to")]
    NotOnHost,
    /// What is guarded.
    #[error("what the lock guards cannot be told: {0}")]
    Unknown(#[from] LearnError),
    /// Its maps.
    #[error("what the lock guards cannot be written down: {0}")]
    Map(#[from] MapError),
    /// The kernel's numbers of what is guarded.
    #[error("the kernel does not tell what the lock guards: {0}")]
    Object(io::Error),
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

impl LockdownError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            LockdownError::LoadsLibraries => "build it as `just enforcer` does: linked statically",
            LockdownError::NotOnHost => "run it on the host, and not in a container or with mounts of its own at /sys",
            LockdownError::OwnFile(_) => "mount proc at /proc",
            LockdownError::Unknown(error) => error.help(),
            LockdownError::Load(error) => error.help(),
            LockdownError::Pins(error) => error.help(),
            LockdownError::Map(_) | LockdownError::Object(_) => "check that this process runs as root",
        }
    }
}

/// Whether a generation, by its folder, is locked.
pub fn is_locked(folder: &Path) -> Result<bool, PinsError> {
    Ok(names(folder)?.iter().any(|name| name.starts_with(LOCK)))
}

/// Takes the lock off a generation, by its folder. The policy stays in force.
pub fn unlock(folder: &Path) -> Result<(), PinsError> {
    remove_links(folder, LOCK)
}

/// The folders of the generations that are locked.
pub fn locked(pins: &Pins) -> Result<Vec<PathBuf>, PinsError> {
    let mut folders = Vec::new();
    for number in pins.generations()? {
        let folder = pins.generation(number);
        if is_locked(&folder)? {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// The device of the filesystem that has the pins, as the kernel itself writes it.
pub(crate) fn device_of(pins: &Pins) -> Result<u32, PinsError> {
    let about = std::fs::metadata(pins.root()).map_err(failed(pins.root(), "read"))?;
    Ok(syscall::kernel_device(about.dev()))
}

/// That an enforcer makes objects which no lock knows yet. While this is there, others get no descriptor of any
/// object by its number; should the enforcer end without a word, so it stays until the next one is done.
pub(crate) struct AtWork {
    folders: Vec<PathBuf>,
}

impl AtWork {
    /// Announces it to the generations that are locked. Where none is, nobody has been marked by a lock, and
    /// nothing that was marked before counts.
    pub(crate) fn announce(pins: &Pins) -> Result<AtWork, LockdownError> {
        let at_work = AtWork { folders: locked(pins)? };
        for folder in &at_work.folders {
            set_busy(folder, 1)?;
        }
        forget_marks(pins)?;
        Ok(at_work)
    }
}

/// Where no generation is locked, the marks that locks made are of no use, and those of a generation that failed are
/// nobody's.
pub(crate) fn forget_marks(pins: &Pins) -> Result<(), PinsError> {
    let marks = pins.enforcers();
    if !locked(pins)?.is_empty() {
        return Ok(());
    }
    match std::fs::remove_file(&marks) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed(&marks, "removed")),
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Those that were replaced are gone.
            let _ = set_busy(folder, 0);
        }
    }
}

fn set_busy(folder: &Path, value: u64) -> Result<(), MapError> {
    let map = Map::from_map_data(MapData::from_pin(folder.join(BUSY_PIN))?)?;
    Array::<MapData, u64>::try_from(map)?.set(0, value, 0)
}

/// Whether this program may become what alone unlocks a policy.
pub(crate) fn check_own_file() -> Result<(), LockdownError> {
    let mut head = [0; 4096];
    let read = File::open(OWN_FILE).and_then(|mut file| file.read(&mut head)).map_err(LockdownError::OwnFile)?;
    match loads_libraries(head.get(..read).unwrap_or_default()) {
        Some(false) => Ok(()),
        // What is no such program cannot be told, so it does.
        _ => Err(LockdownError::LoadsLibraries),
    }
}

/// Whether an ELF program of 64 bits names a loader (`PT_INTERP`); `None` where it cannot be told.
fn loads_libraries(program: &[u8]) -> Option<bool> {
    const LOADER: u32 = 3;
    let half = |at: usize| Some(u16::from_le_bytes(*program.get(at..)?.first_chunk()?));
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let first = usize::try_from(u64::from_le_bytes(*program.get(32..)?.first_chunk()?)).ok()?;
    let (size, count) = (usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count {
        let at = first.checked_add(size.checked_mul(index)?)?;
        if u32::from_le_bytes(*program.get(at..)?.first_chunk()?) == LOADER {
            return Some(true);
        }
    }
    Some(false)
}

/// What is not locked guards nothing, and nobody may have it guard something else.
pub(crate) fn leave_open(programs: &Programs) -> Result<(), LockdownError> {
    freeze(programs, &[ENFORCER, OBJECTS, PLACES, MOUNTED])
}

/// Locks a generation whose links are pinned in `folder`.
pub(crate) fn lock(programs: &mut Programs, pins: &Pins, folder: &Path) -> Result<(), LockdownError> {
    let learned = learn::while_learning(programs, |programs| learn(programs, pins, folder))?;
    if !learned.is_on_host {
        return Err(LockdownError::NotOnHost);
    }
    programs.typed_map::<Array<&mut MapData, [u8; INODE_SIZE]>>(ENFORCER)?.set(0, learned.enforcer, 0)?;
    programs.typed_map::<Array<&mut MapData, [u8; MOUNTED_SIZE]>>(MOUNTED)?.set(0, learned.mounted, 0)?;
    let mut places: HashMap<&mut MapData, [u8; INODE_SIZE], u64> = programs.typed_map(PLACES)?;
    for (place, kind) in learned.folders.map(|folder| (folder, FOLDER)).into_iter().chain([(learned.enforcer, PROGRAM)])
    {
        places.insert(place, kind, 0)?;
    }
    freeze(programs, &[ENFORCER, PLACES, MOUNTED])?;
    let own = syscall::own_pidfd().map_err(LockdownError::Object)?;
    let marked = syscall::set_task_element(programs.map(ENFORCERS)?, &own, Some(&learned.enforcer));
    marked.map_err(LockdownError::Object)?;

    for hook in LOCKDOWN_HOOKS {
        programs.attach(hook)?;
    }
    programs.pin_links(folder, LOCK)?;
    programs.pin_map(BUSY, &folder.join(BUSY_PIN))?;
    let numbers = objects(programs, folder).map_err(LockdownError::Object)?;
    let mut map: HashMap<&mut MapData, u64, u64> = programs.typed_map(OBJECTS)?;
    for number in numbers {
        map.insert(number, 1, 0)?;
    }
    freeze(programs, &[OBJECTS])
}

/// What the kernel says of what is guarded.
struct Learned {
    enforcer: [u8; INODE_SIZE],
    folders: [[u8; INODE_SIZE]; 2],
    mounted: [u8; MOUNTED_SIZE],
    /// Whether the first process of the host sees the same pins.
    is_on_host: bool,
}

fn learn(programs: &mut Programs, pins: &Pins, folder: &Path) -> Result<Learned, LearnError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| LearnError::Unreadable { path, error }
    };
    let mut ask = |path: &Path| {
        let file = File::open(path).map_err(unreadable(path))?;
        Ok::<_, LearnError>((learn::ask(programs, &file, path)?, learn::mount_of_last(programs)?))
    };
    let (enforcer, _) = ask(Path::new(OWN_FILE))?;
    let (generation, _) = ask(folder)?;
    let (root, _) = ask(pins.root())?;
    // Mounts of this process's own would go with it, and what guards them would guard nothing.
    let on_host = Path::new(ROOT_OF_HOST).join(pins.root().strip_prefix("/").unwrap_or(pins.root()));
    let (seen, mounted) = ask(&on_host)?;
    Ok(Learned { enforcer, folders: [root, generation], mounted, is_on_host: seen == root })
}

/// Everything of which others get no descriptor: programs, links, and the maps that could still be written.
fn objects(programs: &Programs, folder: &Path) -> io::Result<Vec<u64>> {
    let mut keys: Vec<u64> =
        programs.program_numbers()?.into_iter().map(|number| Object::Program.key(number)).collect();
    for map in programs.maps() {
        let map = map.map_err(io::Error::other)?;
        if !syscall::is_frozen(map)? {
            keys.push(Object::Map.key(syscall::object_number(map.fd().as_fd())?));
        }
    }
    for name in names(folder).map_err(io::Error::other)? {
        if name.starts_with(LOCK) || name.starts_with(crate::kernel::pins::LINK) {
            let link = syscall::open_pin(&folder.join(name))?;
            keys.push(Object::Link.key(syscall::object_number(link.as_fd())?));
        }
    }
    Ok(keys)
}

fn freeze(programs: &Programs, tables: &[&'static str]) -> Result<(), LockdownError> {
    for table in tables {
        syscall::freeze(programs.map(table)?).map_err(|error| LoadError::Table { table, error })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        bytes.get_mut(32..40).unwrap().copy_from_slice(&64u64.to_le_bytes());
        bytes.get_mut(54..56).unwrap().copy_from_slice(&56u16.to_le_bytes());
        bytes.get_mut(56..58).unwrap().copy_from_slice(&(kinds.len() as u16).to_le_bytes());
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.resize(bytes.len() + 52, 0);
        }
        bytes
    }

    #[test]
    fn a_program_that_names_a_loader_loads_libraries() {
        assert_eq!(loads_libraries(&program(&[1, 2])), Some(false));
        assert_eq!(loads_libraries(&program(&[1, 3, 2])), Some(true));
    }

    #[test]
    fn what_cannot_be_told_is_not_said_to_load_nothing() {
        assert_eq!(loads_libraries(b"#!/bin/sh\n"), None);
        let whole = program(&[1, 2]);
        assert_eq!(loads_libraries(whole.get(..100).unwrap()), None);
    }

    #[test]
    fn a_generation_is_locked_as_long_as_a_link_of_the_lock_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("link_bpf"), "").unwrap();
        assert!(!is_locked(folder.path()).unwrap());
        std::fs::write(folder.path().join("lock_bpf"), "").unwrap();
        assert!(is_locked(folder.path()).unwrap());
        unlock(folder.path()).unwrap();
        assert!(!is_locked(folder.path()).unwrap());
        assert!(folder.path().join("link_bpf").exists());
    }
}
