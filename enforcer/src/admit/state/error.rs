//! Why a host's rollback state cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use crate::admit::input::InputError;
use crate::failure::{Actionable, Exit};

/// Why the rollback state cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum StateError {
    #[error("this host's state at `{path}` cannot be {what}: {error}")]
    Unusable { path: PathBuf, what: &'static str, error: io::Error },
    /// Another user may change the state.
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("this host's state at `{0}` is damaged")]
    Damaged(PathBuf),
    #[error("this host's state at `{0}` was written by a newer enforcer")]
    Newer(PathBuf),
}

impl Actionable for StateError {
    fn help(&self) -> &'static str {
        match self {
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                "free space on its filesystem, or name another directory with `--state`"
            }
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "mount its filesystem for writing, or name another directory with `--state`"
            }
            StateError::Unusable { .. } => "run it as root, or name another directory with `--state`",
            StateError::Input(error) => error.help(),
            StateError::Damaged(_) => {
                "restore it from a backup, let `bfp-enforcer boot` recover what is left beside it, or start over with \
                 a token `--from 0` of the signers: `bfp-enforcer recover`"
            }
            StateError::Newer(_) => "install the enforcer that wrote it, or a later one",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            StateError::Input(_) | StateError::Damaged(_) => Exit::Rejected,
            StateError::Unusable { .. } | StateError::Newer(_) => Exit::CannotEnforce,
        }
    }
}

pub(super) fn unusable(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Unusable { path, what, error }
}
