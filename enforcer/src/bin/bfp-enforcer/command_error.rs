//! The errors of the commands themselves: what was done in part, and tokens and documents that do not fit this host.

use std::io;
use std::path::{Path, PathBuf};

use bfp_bundle::verify::Refusal;
use bfp_enforcer::admit::input::InputError;
use bfp_enforcer::admit::trust::TrustError;
use bfp_enforcer::failure::{Actionable, Exit, Failure};
use bfp_enforcer::report::shown::shown;

use crate::session::LOST_LINKS;

/// Why a command fails, or what it leaves to its operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Verification or admission rejects a document.
    #[error("`{path}` is refused: {reason}")]
    Rejected { path: PathBuf, reason: Failure },
    #[error("the trusted keys cannot be used: {0}")]
    UnmetThreshold(Refusal),
    #[error("policy `{policy}` revision {revision} is under lockdown")]
    UnderLockdown { policy: String, revision: u64 },
    #[error(
        "the token releases `{policy}` up to revision {revision}, but revision {enforced_revision} of `{enforced}` is \
         enforced"
    )]
    TokenForOtherRevision { policy: String, revision: u64, enforced: String, enforced_revision: u64 },
    #[error("this is not a {wanted} token")]
    WrongTokenKind { wanted: &'static str },
    #[error(
        "the token is for a host that has seen revision {from} of `{policy}`, but the highest that this host has seen \
         is {highest}"
    )]
    TokenNotForThisRevision { policy: String, from: u64, highest: u64 },
    #[error("the token for revision {from} of `{policy}` was used on this host before")]
    UsedToken { policy: String, from: u64 },
    #[error("{done}bfp-enforcer: but this host's rollback state is incomplete: {}", .losses.join("; "))]
    StateLost { done: String, losses: Vec<String> },
    #[error("{}\nbfp-enforcer: the last good bundle is enforced instead: {done}", shown(&failure.to_string()))]
    LastGood { failure: Failure, done: String },
    #[error("{}, but not completely on this host: {lacks} warnings above say what is missing", done.trim_end())]
    Incomplete { done: String, lacks: usize },
    #[error("{done}, but {lost}")]
    LinksRemain { done: String, lost: String },
    /// The output of `status` or `hosts`, which reports a fault.
    #[error("{0}")]
    Degraded(String),
    #[error("this host's clock is before 1970")]
    Clock,
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
}

impl Actionable for CommandError {
    fn help(&self) -> &'static str {
        match self {
            CommandError::Rejected { reason, .. } => reason.help(),
            CommandError::LastGood { failure, .. } => failure.help(),
            CommandError::UnmetThreshold(refusal) => refusal.help(),
            CommandError::UnderLockdown { .. } => "name a signed release token with `--token` (docs/lockdown.md)",
            CommandError::TokenForOtherRevision { .. } => {
                "ask the signers for a token that releases the enforced revision"
            }
            CommandError::WrongTokenKind { .. } => {
                "name a token for this command: `bfpc inspect` shows what a token is for"
            }
            CommandError::TokenNotForThisRevision { .. } => {
                "ask the signers for a token for the revision that this host has seen"
            }
            CommandError::UsedToken { .. } => {
                "a token can be used once: ask the signers for one that expires at another time"
            }
            CommandError::StateLost { .. } => "find out what happened to /var/lib/bfp: docs/operations.md",
            CommandError::Incomplete { .. } => "fix what is missing; `bfp-enforcer status` shows what remains",
            CommandError::LinksRemain { .. } => LOST_LINKS,
            CommandError::Degraded(_) => "docs/operations.md says what to do",
            CommandError::Clock => "set the clock: bundles are valid for a time",
            CommandError::Output(_) => "check where standard output goes",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            CommandError::StateLost { .. }
            | CommandError::LastGood { .. }
            | CommandError::Incomplete { .. }
            | CommandError::LinksRemain { .. }
            | CommandError::Degraded(_) => Exit::Finding,
            CommandError::Clock | CommandError::Output(_) => Exit::Usage,
            CommandError::Rejected { .. }
            | CommandError::UnmetThreshold(_)
            | CommandError::UnderLockdown { .. }
            | CommandError::TokenForOtherRevision { .. }
            | CommandError::WrongTokenKind { .. }
            | CommandError::TokenNotForThisRevision { .. }
            | CommandError::UsedToken { .. } => Exit::Rejected,
        }
    }
}

impl CommandError {
    /// A document at `path` that verification or admission rejects.
    pub(crate) fn rejected<E: Into<Failure>>(path: &Path) -> impl FnOnce(E) -> CommandError {
        let path = path.to_owned();
        move |reason| CommandError::Rejected { path, reason: reason.into() }
    }
}

/// The message for the operator. It is one line, unless the command also reports what it did: text that is quoted from
/// a file cannot start a line.
pub(crate) fn message(failure: &Failure) -> String {
    match failure.find() {
        Some(CommandError::StateLost { .. } | CommandError::LastGood { .. }) => failure.to_string(),
        _ => shown(&failure.to_string()),
    }
}

/// Whether a failure only reports that a file is absent.
pub(crate) fn is_of_absence(failure: &Failure) -> bool {
    let input = failure.find().and_then(|error| match error {
        InputError::Unreadable { error, .. } => Some(error),
        _ => None,
    });
    let trust = failure.find().and_then(|error| match error {
        TrustError::Unreadable { error, .. } => Some(error),
        _ => None,
    });
    input.or(trust).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
