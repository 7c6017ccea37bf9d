//! Why the kernel rejects the programs: its message, and the next action.

use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};

use crate::failure::Actionable;

/// Why the kernel rejects the programs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum LoadError {
    #[error("the kernel rejects the programs' maps: {0}")]
    Maps(EbpfError),
    #[error("the kernel rejects a test of the type information that the programs need")]
    Trial,
    #[error("the kernel rejects the programs' type information: {error}")]
    Types { error: io::Error, log: String },
    #[error("the kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    #[error("the kernel refuses to load the program `{program}`: {error}")]
    Refused { program: &'static str, error: io::Error, log: String },
    #[error("the kernel refuses to attach the program `{program}`: {error}")]
    Attach { program: &'static str, error: Box<dyn std::error::Error + Send + Sync> },
    #[error("the table `{table}` cannot be filled: {error}")]
    Table { table: &'static str, error: io::Error },
    #[error("the table `{0}` exceeds the size of a kernel map")]
    TooLarge(&'static str),
    #[error("the embedded programs have no `{0}`")]
    Incomplete(&'static str),
    #[error("running processes cannot be labelled: {0}")]
    Labelling(io::Error),
    #[error("`{path}` cannot be pinned: {error}")]
    Pin { path: PathBuf, error: Box<dyn std::error::Error + Send + Sync> },
}

impl Actionable for LoadError {
    fn help(&self) -> &'static str {
        match self {
            LoadError::Refused { .. } => "check that the kernel is 6.1 or newer; the verifier's last lines follow",
            LoadError::Trial => "check that the kernel is 6.1 or newer and that memory is free, and try again",
            LoadError::Types { .. } => "check that the kernel is 6.1 or newer; the last lines of its log follow",
            LoadError::Incomplete(_) => "build the enforcer again: its parts have different versions",
            LoadError::TooLarge(_) => "split the policy",
            _ => "check that the kernel is 6.1 or newer and that this process runs as root",
        }
    }

    fn log(&self) -> Option<&str> {
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
