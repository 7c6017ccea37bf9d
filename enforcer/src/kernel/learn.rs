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
use bfp_bundle::record::Record as _;

use crate::failure::Actionable;
use crate::host::syscall;
use crate::kernel::load::{LoadError, Programs};
use crate::kernel::object::{LABELS, LEARNING_HOOK};

const LEARNED: &str = "LEARNED";
const LEARNED_MOUNT: &str = "LEARNED_MOUNT";

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
    let mut marked = before.and_then(|label| Label::read_from(&label)).unwrap_or_default();
    marked.flags |= Label::LEARNER;
    syscall::set_task_element(programs.map(LABELS)?, &own, Some(&marked.to_bytes())).map_err(LearnError::Label)?;
    let learned = asked(programs);
    // Whatever the outcome, the mark is removed; a label that did not exist before is removed with it.
    syscall::set_task_element(programs.map(LABELS)?, &own, before.as_ref()).map_err(LearnError::Label)?;
    programs.detach_last();
    learned
}

/// Queries the kernel for the identity of an open directory or file, by the hook `inode_getattr`.
pub(crate) fn ask(programs: &mut Programs, opened: &File, path: &Path) -> Result<Inode, LearnError> {
    let mut answers: Array<&mut MapData, [u8; Inode::SIZE]> = programs.typed_map(LEARNED)?;
    answers.set(0, Inode::default().to_bytes(), 0)?;
    let asked = opened.metadata();
    asked.map_err(|error| LearnError::Unreadable { path: path.to_owned(), error })?;
    let answer = Inode::read_from(&answers.get(&0, 0)?).filter(|answer| *answer != Inode::default());
    answer.ok_or_else(|| LearnError::NoAnswer(path.to_owned()))
}

/// The mount of the last file that was queried, which is the one at `path`.
pub(crate) fn mount_of_last(programs: &mut Programs, path: &Path) -> Result<Mounted, LearnError> {
    let answers: Array<&mut MapData, [u8; Mounted::SIZE]> = programs.typed_map(LEARNED_MOUNT)?;
    Mounted::read_from(&answers.get(&0, 0)?).ok_or_else(|| LearnError::NoAnswer(path.to_owned()))
}
