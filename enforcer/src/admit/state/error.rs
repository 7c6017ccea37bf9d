//! Why a host's state cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::admit::input::InputError;

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
    /// A later release knows what it says.
    #[error("this host's state at `{0}` was written by a newer enforcer")]
    Newer(PathBuf),
}

impl StateError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                "make room on its filesystem, or name another folder with `--state`"
            }
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "mount its filesystem for writing, or name another folder with `--state`"
            }
            StateError::Unusable { .. } => "run it as root, or name another folder with `--state`",
            StateError::Input(error) => error.help(),
            StateError::Damaged(_) => {
                "put it back from a backup, have `bfp-enforcer boot` gather what is left beside it, or have the \
                 signers consent to a new beginning: a token `--from 0` for `bfp-enforcer recover`"
            }
            StateError::Newer(_) => "install the enforcer that wrote it, or a later one",
        }
    }
}

pub(super) fn unusable(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Unusable { path, what, error }
}
