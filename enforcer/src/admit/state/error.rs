//! Why a host's rollback state cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::admit::input::InputError;

/// Why the rollback state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An operation on a path failed.
    #[error("this host's state at `{path}` cannot be {what}: {error}")]
    Unusable {
        /// The path.
        path: PathBuf,
        /// The operation that failed.
        what: &'static str,
        /// The underlying error.
        error: io::Error,
    },
    /// Another user may change the state.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The record cannot be decoded.
    #[error("this host's state at `{0}` is damaged")]
    Damaged(PathBuf),
    /// A newer release wrote the record.
    #[error("this host's state at `{0}` was written by a newer enforcer")]
    Newer(PathBuf),
}

impl StateError {
    /// The next action for the operator.
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
