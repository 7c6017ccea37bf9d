//! From the paths that a policy names to what the kernel recognises: a directory and a name in it.
//!
//! The kernel itself says who a directory is, since `stat` shows other numbers on some filesystems. This
//! process marks its own label, asks for the directory's attributes, and a program that watches such
//! requests by marked tasks writes down what it sees.
//!
//! Where the kernel tells programs the fs-verity digest of a file, the digests that a policy pins are enough. The files
//! are measured all the same, for kernels that do not, for processes that run already, and to tell the operator which
//! file is another one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, MapData, MapError};
use bfp_bundle::identity::{Executable, ExecutableKey, NAME_SIZE, Part};
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::label::Label;
use bfp_bundle::lockdown::Mounted;

use crate::content::{self, CONTENT_KEY_SIZE, Content, DIRECTORY_SIZE, INODE_KEY_SIZE, Impostor};
use crate::load::{DIGESTS, EXECUTABLES, INODES, LABELS, LEARNING_HOOK, LoadError, Programs};
use crate::syscall;

const LEARNED: &str = "LEARNED";
const LEARNED_MOUNT: &str = "LEARNED_MOUNT";
pub(crate) const MOUNTED_SIZE: usize = size_of::<Mounted>();
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
    /// A library that it may map is not there.
    #[error("the library `{path}` that the policy pins for `{program}` cannot be found: {error}")]
    NoLibrary {
        /// As the policy names it.
        path: String,
        /// Whose it is.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// Its filesystem has no fs-verity.
    #[error("the content of `{path}` cannot be measured: {error}")]
    NotMeasured {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
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
            DirectoryError::NoLibrary { .. } => "install it before the policy is applied, or correct its path",
            DirectoryError::SameFile(..) => "name one of the two in the policy; symbolic links are followed",
            DirectoryError::NotMeasured { .. } => {
                "keep it on a filesystem with fs-verity (ext4 made with `-O verity`, btrfs, f2fs), \
                 under a kernel built with CONFIG_FS_VERITY"
            }
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

/// Fills the maps of executables and of their contents, and freezes them. Returns the files that have none
/// of the contents that the policy pins.
pub fn bind(programs: &mut Programs, executables: &[NamedExecutable]) -> Result<Vec<Impostor>, DirectoryError> {
    let files: Vec<ResolvedFile<'_>> = executables.iter().map(resolve).collect::<Result<_, _>>()?;
    let contents: Vec<Content<'_>> = content::pinned(executables).collect();
    let (keys, inodes) = learn(programs, &files, &contents)?;
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
    fill_contents(programs, &contents, &inodes)?;
    for table in [EXECUTABLES, DIGESTS, INODES] {
        syscall::freeze(programs.map(table)?).map_err(|error| LoadError::Table { table, error })?;
    }
    Ok(content::impostors(&contents, &inodes))
}

/// Fills the maps of digests and of measured files.
fn fill_contents(
    programs: &mut Programs,
    contents: &[Content<'_>],
    inodes: &[Option<[u8; DIRECTORY_SIZE]>],
) -> Result<(), DirectoryError> {
    let mut map: HashMap<&mut MapData, [u8; CONTENT_KEY_SIZE], u64> = programs.typed_map(DIGESTS)?;
    for content in contents {
        for pin in content.pins {
            map.insert(content::content_key(content, pin), 1, 0)?;
        }
    }
    let mut map: HashMap<&mut MapData, [u8; INODE_KEY_SIZE], u64> = programs.typed_map(INODES)?;
    for (content, inode) in contents.iter().zip(inodes) {
        if let Some(inode) = inode {
            map.insert(content::inode_key(content, inode), 1, 0)?;
        }
    }
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

/// What the kernel says of the executables: the key of each; and of the files that have a content which the
/// policy pins.
type Learned = (Vec<[u8; KEY_SIZE]>, Vec<Option<[u8; DIRECTORY_SIZE]>>);

/// Asks the kernel about the directory of each file, and about the files that are measured.
fn learn(
    programs: &mut Programs,
    files: &[ResolvedFile<'_>],
    contents: &[Content<'_>],
) -> Result<Learned, DirectoryError> {
    if files.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    while_learning(programs, |programs| learn_all(programs, files, contents))
}

/// Marks this process as one that asks, for as long as something is asked.
pub(crate) fn while_learning<T>(
    programs: &mut Programs,
    asked: impl FnOnce(&mut Programs) -> Result<T, DirectoryError>,
) -> Result<T, DirectoryError> {
    let own = syscall::own_pidfd().map_err(DirectoryError::Label)?;
    programs.attach(LEARNING_HOOK)?;
    let before: Option<[u8; Label::SIZE]> =
        syscall::task_element(programs.map(LABELS)?, &own).map_err(DirectoryError::Label)?;
    let mut marked = before.unwrap_or([0; Label::SIZE]);
    if let Some(flags) = marked.get_mut(FLAGS_AT..).and_then(|bytes| bytes.first_chunk_mut()) {
        *flags = (u32::from_ne_bytes(*flags) | Label::LEARNER).to_ne_bytes();
    }
    syscall::set_task_element(programs.map(LABELS)?, &own, Some(&marked)).map_err(DirectoryError::Label)?;
    let learned = asked(programs);
    // Whatever was learned, the mark goes: a label that was not there before goes with it.
    syscall::set_task_element(programs.map(LABELS)?, &own, before.as_ref()).map_err(DirectoryError::Label)?;
    programs.detach_last();
    learned
}

fn learn_all(
    programs: &mut Programs,
    files: &[ResolvedFile<'_>],
    contents: &[Content<'_>],
) -> Result<Learned, DirectoryError> {
    let keys = files.iter().map(|file| learn_one(programs, file)).collect::<Result<_, _>>()?;
    let inodes = contents.iter().map(|content| match measure(content)? {
        Some(file) => ask(programs, &file, Path::new(content.path)).map(Some),
        None => Ok(None),
    });
    Ok((keys, inodes.collect::<Result<_, _>>()?))
}

fn learn_one(programs: &mut Programs, file: &ResolvedFile<'_>) -> Result<[u8; KEY_SIZE], DirectoryError> {
    let unreadable = |error| DirectoryError::Unreadable { path: file.directory.clone(), error };
    let answer = ask(programs, &File::open(&file.directory).map_err(unreadable)?, &file.directory)?;
    let mut key = [0; KEY_SIZE];
    let (directory, name) = key.split_at_mut(DIRECTORY_SIZE);
    directory.copy_from_slice(&answer);
    name.copy_from_slice(&file.name);
    Ok(key)
}

/// Has the kernel tell the identity of an open directory or file, by the hook `inode_getattr`.
pub(crate) fn ask(programs: &mut Programs, opened: &File, path: &Path) -> Result<[u8; DIRECTORY_SIZE], DirectoryError> {
    let mut answers: Array<&mut MapData, [u8; DIRECTORY_SIZE]> = programs.typed_map(LEARNED)?;
    answers.set(0, [0; DIRECTORY_SIZE], 0)?;
    let asked = opened.metadata();
    asked.map_err(|error| DirectoryError::Unreadable { path: path.to_owned(), error })?;
    match answers.get(&0, 0)? {
        answer if answer == [0; DIRECTORY_SIZE] => Err(DirectoryError::NoAnswer(path.to_owned())),
        answer => Ok(answer),
    }
}

/// Whether the file has one of its contents now; the file, where it does.
fn measure(content: &Content<'_>) -> Result<Option<File>, DirectoryError> {
    let path = || content.path.to_owned();
    let not_found = |error| match content.part {
        Part::Program => DirectoryError::NotFound { path: path(), error },
        Part::Mapped => DirectoryError::NoLibrary { path: path(), program: content.program_path.to_owned(), error },
    };
    let file = File::open(content.path).map_err(not_found)?;
    match syscall::measure_verity(file.as_fd()) {
        Ok(digest) => Ok(digest.filter(|digest| content.pins.contains(digest)).map(|_| file)),
        // The filesystem could, and the file is as any other.
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(None),
        Err(error) => Err(DirectoryError::NotMeasured { path: path(), error }),
    }
}

/// Where what was asked about last lies, as `bfp_bundle::lockdown::Mounted` lies in memory.
pub(crate) fn mount_of_last(programs: &mut Programs) -> Result<[u8; MOUNTED_SIZE], DirectoryError> {
    let answers: Array<&mut MapData, [u8; MOUNTED_SIZE]> = programs.typed_map(LEARNED_MOUNT)?;
    Ok(answers.get(&0, 0)?)
}

fn value(executable: &NamedExecutable) -> [u8; VALUE_SIZE] {
    let mut value = [0; VALUE_SIZE];
    let (program, rest) = value.split_at_mut(8);
    program.copy_from_slice(&executable.program.to_ne_bytes());
    let pinned = if executable.pins.is_empty() { 0 } else { Executable::PINNED };
    if let Some(flags) = rest.first_chunk_mut() {
        *flags = (executable.flags | pinned).to_ne_bytes();
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
            libraries: None,
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
