//! Why the kernel rejects the programs: its message, and the next action.

use std::io;
use std::path::PathBuf;

use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};

/// Why the kernel rejects the programs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps cannot be loaded.
    #[error("the kernel refuses the programs' maps: {0}")]
    Maps(EbpfError),
    /// The test for a feature of the programs' type information failed.
    #[error("the kernel refuses a trial of the type information that the programs need")]
    Trial,
    /// The kernel rejects the programs' type information.
    #[error("the kernel refuses the programs' type information: {error}")]
    Types {
        /// The underlying error.
        error: io::Error,
        /// The kernel's log.
        log: String,
    },
    /// The kernel's own type information is malformed.
    #[error("the kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// A program is rejected, mostly by the verifier.
    #[error("the kernel refuses to load the program `{program}`: {error}")]
    Refused {
        /// The name of the program.
        program: &'static str,
        /// The underlying error.
        error: io::Error,
        /// The verifier's log.
        log: String,
    },
    /// A program cannot be attached or run.
    #[error("the kernel refuses to attach the program `{program}`: {error}")]
    Attach {
        /// The name of the program.
        program: &'static str,
        /// The underlying error.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A section cannot be copied into its map.
    #[error("the table `{table}` cannot be filled: {error}")]
    Table {
        /// The name of the table.
        table: &'static str,
        /// The underlying error.
        error: io::Error,
    },
    /// A section is larger than a map can be.
    #[error("the table `{0}` is larger than a map of the kernel can be")]
    TooLarge(&'static str),
    /// The object lacks a program or a map that this enforcer expects.
    #[error("the embedded programs have no `{0}`")]
    Incomplete(&'static str),
    /// The running processes cannot be labelled.
    #[error("the processes that already run cannot be labelled: {0}")]
    Labelling(io::Error),
    /// A link that aya does not know cannot be pinned.
    #[error("`{path}` cannot be pinned: {error}")]
    PinLink {
        /// The path.
        path: PathBuf,
        /// The underlying error.
        error: io::Error,
    },
    /// A map or link cannot be pinned.
    #[error("`{path}` cannot be pinned: {error}")]
    Pin {
        /// The path.
        path: PathBuf,
        /// The underlying error.
        error: PinError,
    },
}

impl LoadError {
    /// The next action for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            LoadError::Refused { .. } => "check that the kernel is 6.1 or newer; the verifier's last lines follow",
            LoadError::Trial => "check that the kernel is 6.1 or newer and that memory is free, and try again",
            LoadError::Types { .. } => "check that the kernel is 6.1 or newer; the last lines of what it said follow",
            LoadError::Incomplete(_) => "build the enforcer again: its parts are of different versions",
            LoadError::TooLarge(_) => "split the policy",
            _ => "check that the kernel is 6.1 or newer and that this process runs as root",
        }
    }

    /// The last lines of the verifier's log, if there is one.
    pub fn log(&self) -> Option<&str> {
        match self {
            LoadError::Refused { log, .. } | LoadError::Types { log, .. } => Some(log),
            _ => None,
        }
    }
}

impl From<EbpfError> for LoadError {
    fn from(error: EbpfError) -> LoadError {
        match error {
            EbpfError::BtfError(BtfError::LoadError { io_error, verifier_log }) => {
                LoadError::Types { error: io_error, log: last_lines(&verifier_log) }
            }
            other => LoadError::Maps(other),
        }
    }
}

pub(super) fn refused(program: &'static str, error: ProgramError) -> LoadError {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            LoadError::Refused { program, error: io_error, log: last_lines(&verifier_log) }
        }
        other => LoadError::Attach { program, error: other.into() },
    }
}

/// The end of a log, which has the reason.
fn last_lines(log: &impl ToString) -> String {
    const LINES: usize = 20;
    let log = log.to_string();
    let skip = log.lines().count().saturating_sub(LINES);
    log.lines().skip(skip).collect::<Vec<_>>().join("\n")
}

pub(super) fn not_attached<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    program: &'static str,
) -> impl FnOnce(E) -> LoadError {
    move |error| LoadError::Attach { program, error: error.into() }
}
