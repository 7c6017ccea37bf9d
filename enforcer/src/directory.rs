//! From the paths that a policy names to what the kernel recognises: a directory and a name in it.
//!
//! The kernel itself says who a directory is, since `stat` shows other numbers on some filesystems. This
//! process marks its own label, asks for the directory's attributes, and a program that watches such
//! requests by marked tasks writes down what it sees.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, MapData, MapError};
use bfp_bundle::identity::{Executable, ExecutableKey, NAME_SIZE};
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::label::Label;

use crate::load::{EXECUTABLES, LABELS, LEARNING_HOOK, LoadError, Programs};
use crate::syscall;

const LEARNED: &str = "LEARNED";
const DIRECTORY_SIZE: usize = 16;
const KEY_SIZE: usize = size_of::<ExecutableKey>();
const VALUE_SIZE: usize = size_of::<Executable>();
const _: () = assert!(KEY_SIZE == DIRECTORY_SIZE + NAME_SIZE);

/// Where the flags lie in a label, after the program.
const FLAGS_AT: usize = std::mem::offset_of!(Label, flags);

/// Why an executable cannot be bound to its policy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is not there.
    #[error("the executable `{path}` of the policy cannot be found: {error}")]
    NotFound {
        /// As the policy names it.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is something else.
    #[error("the executable `{0}` of the policy is not a regular file")]
    NotAFile(String),
    /// Two names for one.
    #[error("the executables `{0}` and `{1}` of the policy are the same file on this host")]
    SameFile(String, String),
    /// The kernel did not answer.
    #[error("the kernel does not tell the identity of the directory `{0}`")]
    NoAnswer(PathBuf),
    /// The directory cannot be asked about.
    #[error("the directory `{path}` cannot be opened: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The label cannot be marked.
    #[error("this process cannot mark its own label: {0}")]
    Label(io::Error),
    /// A map cannot be used.
    #[error("the map of executables cannot be filled: {0}")]
    Map(#[from] MapError),
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl DirectoryError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            DirectoryError::NotFound { .. } => "install the program before the policy is applied, or correct its path",
            DirectoryError::NotAFile(_) => "name the program's file in the policy",
            DirectoryError::SameFile(..) => "name one of the two in the policy; symbolic links are followed",
            DirectoryError::NoAnswer(_) => {
                "check `lsm=` on the kernel's command line, and that `kernel.ftrace_enabled` is 1"
            }
            DirectoryError::Label(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                "run it on a processor with cmpxchg16b: newer kernels cannot keep labels without"
            }
            DirectoryError::Load(error) => error.help(),
            _ => "check that the kernel is 6.1 or newer and that this process runs as root",
        }
    }
}

/// Fills the map of executables and freezes it.
pub fn bind(programs: &mut Programs, executables: &[NamedExecutable]) -> Result<(), DirectoryError> {
    let files: Vec<ResolvedFile<'_>> = executables.iter().map(resolve).collect::<Result<_, _>>()?;
    let keys = learn(programs, &files)?;
    let mut names: BTreeMap<[u8; KEY_SIZE], &str> = BTreeMap::new();
    for (file, key) in files.iter().zip(&keys) {
        if let Some(earlier) = names.insert(*key, &file.executable.path) {
            return Err(DirectoryError::SameFile(earlier.to_owned(), file.executable.path.clone()));
        }
    }
    let mut map: HashMap<&mut MapData, [u8; KEY_SIZE], [u8; VALUE_SIZE]> = programs.typed_map(EXECUTABLES)?;
    for (file, key) in files.iter().zip(&keys) {
        map.insert(key, value(file.executable), 0)?;
    }
    let map = programs.map(EXECUTABLES)?;
    syscall::freeze(map).map_err(|error| LoadError::Table { table: EXECUTABLES, error })?;
    Ok(())
}

/// An executable, where it lies once symbolic links are followed.
struct ResolvedFile<'a> {
    executable: &'a NamedExecutable,
    directory: PathBuf,
    name: [u8; NAME_SIZE],
}

fn resolve(executable: &NamedExecutable) -> Result<ResolvedFile<'_>, DirectoryError> {
    let not_found = |error| DirectoryError::NotFound { path: executable.path.clone(), error };
    let path = std::fs::canonicalize(&executable.path).map_err(not_found)?;
    if !std::fs::symlink_metadata(&path).map_err(not_found)?.is_file() {
        return Err(DirectoryError::NotAFile(executable.path.clone()));
    }
    let (Some(directory), Some(component)) = (path.parent(), path.file_name()) else {
        return Err(DirectoryError::NotAFile(executable.path.clone()));
    };
    let component = component.as_bytes();
    let mut name = [0; NAME_SIZE];
    // A filesystem has no longer names than fit with a zero after them; one that has is no match.
    match name.get_mut(..component.len()) {
        Some(place) if component.len() < NAME_SIZE => place.copy_from_slice(component),
        _ => return Err(DirectoryError::NotAFile(executable.path.clone())),
    }
    Ok(ResolvedFile { executable, directory: directory.to_owned(), name })
}

/// Asks the kernel about the directory of each file.
fn learn(programs: &mut Programs, files: &[ResolvedFile<'_>]) -> Result<Vec<[u8; KEY_SIZE]>, DirectoryError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let own = syscall::own_pidfd().map_err(DirectoryError::Label)?;
    programs.attach(LEARNING_HOOK)?;
    let before: Option<[u8; Label::SIZE]> =
        syscall::task_element(programs.map(LABELS)?, &own).map_err(DirectoryError::Label)?;
    let mut marked = before.unwrap_or([0; Label::SIZE]);
    if let Some(flags) = marked.get_mut(FLAGS_AT..).and_then(|bytes| bytes.first_chunk_mut()) {
        *flags = (u32::from_ne_bytes(*flags) | Label::LEARNER).to_ne_bytes();
    }
    syscall::set_task_element(programs.map(LABELS)?, &own, Some(&marked)).map_err(DirectoryError::Label)?;
    let keys = files.iter().map(|file| learn_one(programs, file)).collect();
    // Whatever was learned, the mark goes: a label that was not there before goes with it.
    syscall::set_task_element(programs.map(LABELS)?, &own, before.as_ref()).map_err(DirectoryError::Label)?;
    programs.detach_last();
    keys
}

fn learn_one(programs: &mut Programs, file: &ResolvedFile<'_>) -> Result<[u8; KEY_SIZE], DirectoryError> {
    let mut answers: Array<&mut MapData, [u8; DIRECTORY_SIZE]> = programs.typed_map(LEARNED)?;
    answers.set(0, [0; DIRECTORY_SIZE], 0)?;
    ask(&file.directory).map_err(|error| DirectoryError::Unreadable { path: file.directory.clone(), error })?;
    let answer = answers.get(&0, 0)?;
    if answer == [0; DIRECTORY_SIZE] {
        return Err(DirectoryError::NoAnswer(file.directory.clone()));
    }
    let mut key = [0; KEY_SIZE];
    let (directory, name) = key.split_at_mut(DIRECTORY_SIZE);
    directory.copy_from_slice(&answer);
    name.copy_from_slice(&file.name);
    Ok(key)
}

/// Reaches the hook `inode_getattr` for the directory.
fn ask(directory: &Path) -> io::Result<()> {
    File::open(directory)?.metadata().map(drop)
}

fn value(executable: &NamedExecutable) -> [u8; VALUE_SIZE] {
    let mut value = [0; VALUE_SIZE];
    let (program, rest) = value.split_at_mut(8);
    program.copy_from_slice(&executable.program.to_ne_bytes());
    if let Some(flags) = rest.first_chunk_mut() {
        *flags = executable.flags.to_ne_bytes();
    }
    value
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn named(path: &Path) -> NamedExecutable {
        NamedExecutable {
            path: path.to_str().unwrap().to_owned(),
            program: 0x0102_0304_0506_0708,
            flags: 3,
            pins: Vec::new(),
        }
    }

    #[test]
    fn symbolic_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real"), "").unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        let executable = named(&folder.path().join("link"));
        let file = resolve(&executable).unwrap();
        assert!(file.name.starts_with(b"real\0"));
        assert_eq!(file.directory, folder.path().canonicalize().unwrap());
    }

    #[test]
    fn a_missing_executable_is_refused_by_its_name() {
        let executable = named(Path::new("/nonexistent/program"));
        let error = resolve(&executable).err().unwrap();
        assert!(error.to_string().starts_with("the executable `/nonexistent/program` of the policy cannot be found"));
    }

    #[test]
    fn a_directory_is_no_executable() {
        let folder = tempfile::tempdir().unwrap();
        let executable = named(folder.path());
        assert!(matches!(resolve(&executable), Err(DirectoryError::NotAFile(_))));
    }

    #[test]
    fn values_have_the_kernels_layout() {
        let value = value(&named(Path::new("/bin/true")));
        assert_eq!(value.first_chunk(), Some(&0x0102_0304_0506_0708u64.to_ne_bytes()));
        assert_eq!(value.get(8..), Some(&[3, 0, 0, 0, 0, 0, 0, 0][..]));
    }
}
