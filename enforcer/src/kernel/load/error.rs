//! Why the kernel does not take the programs: what it said, and what to do.

use std::io;
use std::path::PathBuf;

use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};

/// Why the kernel does not take the programs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("the kernel refuses the programs' maps: {0}")]
    Maps(EbpfError),
    /// A trial of what the programs' type information needs.
    #[error("the kernel refuses a trial of the type information that the programs need")]
    Trial,
    /// The programs' type information.
    #[error("the kernel refuses the programs' type information: {error}")]
    Types {
        /// Why.
        error: io::Error,
        /// What the kernel said of it.
        log: String,
    },
    /// Its own type information.
    #[error("the kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// The verifier, for the most part.
    #[error("the kernel refuses to load the program `{program}`: {error}")]
    Refused {
        /// Which program.
        program: &'static str,
        /// Why.
        error: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// Attaching or running.
    #[error("the kernel refuses to attach the program `{program}`: {error}")]
    Attach {
        /// Which program.
        program: &'static str,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A section that does not get into its map.
    #[error("the table `{table}` cannot be filled: {error}")]
    Table {
        /// Which table.
        table: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A section that is larger than a map can be.
    #[error("the table `{0}` is larger than a map of the kernel can be")]
    TooLarge(&'static str),
    /// This program and its embedded programs do not fit together.
    #[error("the embedded programs have no `{0}`")]
    Incomplete(&'static str),
    /// Labelling what runs.
    #[error("the processes that already run cannot be labelled: {0}")]
    Labelling(io::Error),
    /// Pinning a link that aya does not know.
    #[error("`{path}` cannot be pinned: {error}")]
    PinLink {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Pinning.
    #[error("`{path}` cannot be pinned: {error}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        error: PinError,
    },
}

impl LoadError {
    /// What the person who reads the message can do.
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

    /// The verifier's last lines, where it said something.
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
