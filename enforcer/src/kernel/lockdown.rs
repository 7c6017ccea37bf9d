//! Lockdown: other processes, root's included, cannot detach, unpin or replace the policy.
//!
//! Lockdown consists of links of its own in the generation's directory, `lock_HOOK`: without them the policy is
//! enforced without lockdown. Before they are attached, this process marks itself as the enforcer, so that it is not
//! locked out, and the list of guarded objects is written and frozen.
//!
//! **Invariant:** the lockdown links are attached last and detached first ([`crate::kernel::pins`]): whenever they
//! exist, so does the program that marks an enforcer at exec.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use bfp_bundle::identity::Inode;
use bfp_bundle::lockdown::{FOLDER, Mounted, Object, PROGRAM, Place};

use crate::failure::{Actionable, Failure};
use crate::host::syscall;
use crate::kernel::learn::{self, LearnError};
use crate::kernel::load::{LoadError, Programs};
use crate::kernel::object::{BUSY, ENFORCER, ENFORCERS, LOCKDOWN_HOOKS, MOUNTED, OBJECTS, PLACES};
use crate::kernel::pins::{LOCKDOWN_LINK, Pins, PinsError, failed, names, remove_links};

/// This program's own file.
const OWN_FILE: &str = "/proc/self/exe";

/// The mounts as the first process of the host sees them. This process may have its own, which end with it.
const ROOT_OF_HOST: &str = "/proc/1/root";

/// The pin, in a generation's directory, of the word that says that an enforcer is replacing the policy.
const BUSY_PIN: &str = "busy";

/// Why lockdown cannot be set up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum LockdownError {
    /// The enforcer is dynamically linked: a user who can replace a library could act as the enforcer.
    #[error("lockdown needs a statically linked enforcer, and this one loads libraries")]
    LoadsLibraries,
    #[error("`{OWN_FILE}` cannot be read: {0}")]
    OwnFile(io::Error),
    #[error("this process has another BPF filesystem than the host's first process")]
    NotOnHost,
    #[error("the files that lockdown guards cannot be identified: {0}")]
    Unknown(LearnError),
    #[error("the list of objects that lockdown guards cannot be written: {0}")]
    Map(MapError),
    #[error("the kernel does not identify the objects that lockdown guards: {0}")]
    Object(io::Error),
}

impl Actionable for LockdownError {
    fn help(&self) -> &'static str {
        match self {
            LockdownError::LoadsLibraries => "use a build of `just enforcer`, which is statically linked",
            LockdownError::NotOnHost => "run it on the host, not in a container or a mount namespace of its own",
            LockdownError::OwnFile(_) => "mount proc at /proc",
            LockdownError::Unknown(error) => error.help(),
            LockdownError::Map(_) | LockdownError::Object(_) => "check that this process runs as root",
        }
    }
}

/// Whether the generation in a directory is under lockdown.
pub fn is_active(folder: &Path) -> Result<bool, PinsError> {
    Ok(names(folder)?.iter().any(|name| name.starts_with(LOCKDOWN_LINK)))
}

/// Ends the lockdown of the generation in a directory. Its policy stays in force.
pub fn end(folder: &Path) -> Result<(), PinsError> {
    remove_links(folder, LOCKDOWN_LINK)
}

/// The directories of the generations under lockdown.
pub fn generations(pins: &Pins) -> Result<Vec<PathBuf>, PinsError> {
    let mut folders = Vec::new();
    for number in pins.generations()? {
        let folder = pins.generation(number);
        if is_active(&folder)? {
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

/// Marks a replacement in progress: BPF objects exist that lockdown does not list yet. While the mark is set, other
/// processes get no descriptor of any object by its number. It survives a crash of the enforcer, until the next one is
/// done.
pub(crate) struct ReplacementGuard {
    folders: Vec<PathBuf>,
}

impl ReplacementGuard {
    /// Sets the mark in the generations under lockdown. If there are none, no lockdown has marked a process, and
    /// earlier marks are void.
    pub(crate) fn begin(pins: &Pins) -> Result<ReplacementGuard, Failure> {
        let guard = ReplacementGuard { folders: generations(pins)? };
        for folder in &guard.folders {
            set_busy(folder, 1).map_err(LockdownError::Map)?;
        }
        forget_marks(pins)?;
        Ok(guard)
    }
}

/// If no generation is under lockdown, removes the marks of enforcer processes: those of earlier lockdowns and of
/// failed generations are void.
pub(crate) fn forget_marks(pins: &Pins) -> Result<(), PinsError> {
    let marks = pins.enforcers();
    if !generations(pins)?.is_empty() {
        return Ok(());
    }
    match std::fs::remove_file(&marks) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed(&marks, "removed")),
    }
}

impl Drop for ReplacementGuard {
    fn drop(&mut self) {
        for folder in &self.folders {
            // The generations that were replaced are gone.
            let _ = set_busy(folder, 0);
        }
    }
}

fn set_busy(folder: &Path, value: u64) -> Result<(), MapError> {
    let map = Map::from_map_data(MapData::from_pin(folder.join(BUSY_PIN))?)?;
    Array::<MapData, u64>::try_from(map)?.set(0, value, 0)
}

/// Checks that this program may become the only one that can end lockdown.
pub(crate) fn check_own_file() -> Result<(), LockdownError> {
    let mut head = [0; 4096];
    let read = File::open(OWN_FILE).and_then(|mut file| file.read(&mut head)).map_err(LockdownError::OwnFile)?;
    match loads_libraries(head.get(..read).unwrap_or_default()) {
        Some(false) => Ok(()),
        // A file that is not such a program cannot be checked, so it is rejected.
        _ => Err(LockdownError::LoadsLibraries),
    }
}

/// Whether a 64-bit ELF program names a loader (`PT_INTERP`). `None` if that cannot be determined.
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

/// Freezes empty lockdown maps: a policy without lockdown guards nothing, and nothing can be added later.
pub(crate) fn freeze_unused(programs: &Programs) -> Result<(), LoadError> {
    freeze(programs, &[ENFORCER, OBJECTS, PLACES, MOUNTED])
}

/// Puts a generation whose links are pinned in `folder` under lockdown.
pub(crate) fn begin(programs: &mut Programs, pins: &Pins, folder: &Path) -> Result<(), Failure> {
    let learned = learn::while_learning(programs, |programs| learn(programs, pins, folder));
    let learned = learned.map_err(LockdownError::Unknown)?;
    if !learned.is_on_host {
        return Err(LockdownError::NotOnHost.into());
    }
    let enforcer = learned.enforcer.to_bytes();
    let mut enforcers: Array<&mut MapData, [u8; Inode::SIZE]> = programs.typed_map(ENFORCER)?;
    enforcers.set(0, enforcer, 0).map_err(LockdownError::Map)?;
    let mut mounted: Array<&mut MapData, [u8; Mounted::SIZE]> = programs.typed_map(MOUNTED)?;
    mounted.set(0, learned.mounted.to_bytes(), 0).map_err(LockdownError::Map)?;
    let mut places: HashMap<&mut MapData, [u8; Place::SIZE], u64> = programs.typed_map(PLACES)?;
    for (place, kind) in learned.folders.map(|folder| (folder, FOLDER)).into_iter().chain([(learned.enforcer, PROGRAM)])
    {
        places.insert(place.to_bytes(), kind, 0).map_err(LockdownError::Map)?;
    }
    freeze(programs, &[ENFORCER, PLACES, MOUNTED])?;
    let own = syscall::own_pidfd().map_err(LockdownError::Object)?;
    let marked = syscall::set_task_element(programs.map(ENFORCERS)?, &own, Some(&enforcer));
    marked.map_err(LockdownError::Object)?;

    for hook in LOCKDOWN_HOOKS {
        programs.attach(hook)?;
    }
    programs.pin_links(folder, LOCKDOWN_LINK)?;
    programs.pin_map(BUSY, &folder.join(BUSY_PIN))?;
    let numbers = objects(programs, folder).map_err(LockdownError::Object)?;
    let mut map: HashMap<&mut MapData, u64, u64> = programs.typed_map(OBJECTS)?;
    for number in numbers {
        map.insert(number, 1, 0).map_err(LockdownError::Map)?;
    }
    Ok(freeze(programs, &[OBJECTS])?)
}

/// The kernel's identities of what is guarded.
struct Learned {
    enforcer: Inode,
    folders: [Place; 2],
    mounted: Mounted,
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
        Ok::<_, LearnError>((learn::ask(programs, &file, path)?, learn::mount_of_last(programs, path)?))
    };
    let (enforcer, _) = ask(Path::new(OWN_FILE))?;
    let (generation, _) = ask(folder)?;
    let (root, _) = ask(pins.root())?;
    // A mount of this process alone would end with it, and guarding it would be useless.
    let on_host = Path::new(ROOT_OF_HOST).join(pins.root().strip_prefix("/").unwrap_or(pins.root()));
    let (seen, mounted) = ask(&on_host)?;
    Ok(Learned { enforcer, folders: [root, generation], mounted, is_on_host: seen == root })
}

/// Every object of which other processes get no descriptor: programs, links, and the maps that can still be written.
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
        if name.starts_with(LOCKDOWN_LINK) || name.starts_with(crate::kernel::pins::LINK) {
            let link = syscall::open_pin(&folder.join(name))?;
            keys.push(Object::Link.key(syscall::object_number(link.as_fd())?));
        }
    }
    Ok(keys)
}

fn freeze(programs: &Programs, tables: &[&'static str]) -> Result<(), LoadError> {
    tables.iter().try_for_each(|table| programs.freeze(table))
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
    fn a_file_that_is_not_elf_is_not_said_to_load_nothing() {
        assert_eq!(loads_libraries(b"#!/bin/sh\n"), None);
        let whole = program(&[1, 2]);
        assert_eq!(loads_libraries(whole.get(..100).unwrap()), None);
    }

    #[test]
    fn a_generation_is_locked_as_long_as_a_link_of_the_lock_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("link_bpf"), "").unwrap();
        assert!(!is_active(folder.path()).unwrap());
        std::fs::write(folder.path().join("lock_bpf"), "").unwrap();
        assert!(is_active(folder.path()).unwrap());
        end(folder.path()).unwrap();
        assert!(!is_active(folder.path()).unwrap());
        assert!(folder.path().join("link_bpf").exists());
    }
}
