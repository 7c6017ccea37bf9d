//! The identity of a file as the kernel sees it: `stat` shows other numbers on some filesystems.
//!
//! This process marks its own label and requests the attributes of a file that it has open. A program that watches such
//! requests by marked tasks records what it sees. Queried are the enforcer's own file and pins, for lockdown, and files
//! with fs-verity, which never change.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData, MapError};
use bfp_bundle::identity::Inode;
use bfp_bundle::label::Label;
use bfp_bundle::lockdown::Mounted;

use crate::failure::Actionable;
use crate::host::syscall;
use crate::kernel::load::{LoadError, Programs};
use crate::kernel::object::{LABELS, LEARNING_HOOK};

pub(crate) const INODE_SIZE: usize = size_of::<Inode>();

const LEARNED: &str = "LEARNED";
const LEARNED_MOUNT: &str = "LEARNED_MOUNT";
pub(crate) const MOUNTED_SIZE: usize = size_of::<Mounted>();

/// The offset of the flags in a label, after the program.
const FLAGS_AT: usize = std::mem::offset_of!(Label, flags);

/// Why the kernel does not report the identity of a file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum LearnError {
    #[error("the kernel does not report the identity of `{0}`")]
    NoAnswer(PathBuf),
    #[error("`{path}` cannot be opened: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("this process cannot mark its own label: {0}")]
    Label(io::Error),
    #[error("the map of answers cannot be read: {0}")]
    Map(#[from] MapError),
    /// A program cannot be loaded or attached.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Actionable for LearnError {
    fn help(&self) -> &'static str {
        match self {
            LearnError::NoAnswer(_) => {
                "check `lsm=` on the kernel's command line, and that `kernel.ftrace_enabled` is 1"
            }
            LearnError::Label(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                "run it on a processor with cmpxchg16b: newer kernels cannot keep labels without"
            }
            LearnError::Load(error) => error.help(),
            _ => "check that the kernel is 6.1 or newer and that this process runs as root",
        }
    }

    fn log(&self) -> Option<&str> {
        match self {
            LearnError::Load(error) => error.log(),
            _ => None,
        }
    }
}

/// Marks this process as one to be answered while `asked` runs.
pub(crate) fn while_learning<T>(
    programs: &mut Programs,
    asked: impl FnOnce(&mut Programs) -> Result<T, LearnError>,
) -> Result<T, LearnError> {
    let own = syscall::own_pidfd().map_err(LearnError::Label)?;
    programs.attach(LEARNING_HOOK)?;
    let before: Option<[u8; Label::SIZE]> =
        syscall::task_element(programs.map(LABELS)?, &own).map_err(LearnError::Label)?;
    let mut marked = before.unwrap_or([0; Label::SIZE]);
    if let Some(flags) = marked.get_mut(FLAGS_AT..).and_then(|bytes| bytes.first_chunk_mut()) {
        *flags = (u32::from_ne_bytes(*flags) | Label::LEARNER).to_ne_bytes();
    }
    syscall::set_task_element(programs.map(LABELS)?, &own, Some(&marked)).map_err(LearnError::Label)?;
    let learned = asked(programs);
    // Whatever the outcome, the mark is removed; a label that did not exist before is removed with it.
    syscall::set_task_element(programs.map(LABELS)?, &own, before.as_ref()).map_err(LearnError::Label)?;
    programs.detach_last();
    learned
}

/// Queries the kernel for the identity of an open directory or file, by the hook `inode_getattr`.
pub(crate) fn ask(programs: &mut Programs, opened: &File, path: &Path) -> Result<[u8; INODE_SIZE], LearnError> {
    let mut answers: Array<&mut MapData, [u8; INODE_SIZE]> = programs.typed_map(LEARNED)?;
    answers.set(0, [0; INODE_SIZE], 0)?;
    let asked = opened.metadata();
    asked.map_err(|error| LearnError::Unreadable { path: path.to_owned(), error })?;
    match answers.get(&0, 0)? {
        answer if answer == [0; INODE_SIZE] => Err(LearnError::NoAnswer(path.to_owned())),
        answer => Ok(answer),
    }
}

/// The mount of the last file that was queried, as the bytes of `bfp_bundle::lockdown::Mounted`.
pub(crate) fn mount_of_last(programs: &mut Programs) -> Result<[u8; MOUNTED_SIZE], LearnError> {
    let answers: Array<&mut MapData, [u8; MOUNTED_SIZE]> = programs.typed_map(LEARNED_MOUNT)?;
    Ok(answers.get(&0, 0)?)
}
