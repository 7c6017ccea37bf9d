//! A command's view of the host: its rollback state, under an exclusive lock, its trust set, and the time.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bfp_bundle::manifest::Need;
use bfp_bundle::verify::refusal::Utc;
use bfp_bundle::verify::{Host, Trust};
use bfp_enforcer::admit::host_tags::{self, TAGS_FILE};
use bfp_enforcer::admit::state::{self, Condition, Found, State, StateError};
use bfp_enforcer::apply::remains;
use bfp_enforcer::apply::rollback_state::{self, RollbackState, Time};
use bfp_enforcer::failure::Failure;
use bfp_enforcer::kernel::about::About;
use bfp_enforcer::kernel::health;
use bfp_enforcer::kernel::pins::{Pins, PinsError};
use bfp_enforcer::report::shown::shown;
use clap::Args;

use crate::command_error::CommandError;

/// What these programs can enforce. A policy that needs more is rejected, never weakened.
const CAPABILITIES: [Need; 7] =
    [Need::BpfLsm, Need::Verity, Need::RawSockets, Need::Libraries, Need::WithheldGrants, Need::Units, Need::Clients];

/// The keys that a command trusts, and the tags of its host.
#[derive(Args, Default)]
pub(crate) struct HostArguments {
    /// A public key in PEM, or a directory of *.pem with a file `threshold`; only if this host has adopted no trust
    /// set. The default is /etc/bfp/trust
    #[arg(long, value_name = "PATH")]
    trust: Option<PathBuf>,
    /// How many trusted keys must sign, if that is more than the host's own threshold
    #[arg(long, value_name = "N")]
    threshold: Option<usize>,
    /// A tag of this host, in addition to its name and the lines of /etc/bfp/labels
    #[arg(long, value_name = "TAG")]
    audience: Vec<String>,
}

/// What a command knows about the host.
pub(crate) struct Session {
    pub(crate) rollback_state: RollbackState,
    pub(crate) time: Time,
    pub(crate) clock: u64,
    /// Why the rollback state may be incomplete.
    pub(crate) losses: Vec<String>,
}

/// A session that holds the exclusive lock of the rollback state, and may write it.
pub(crate) struct ExclusiveSession {
    pub(crate) state: State,
    pub(crate) session: Session,
}

impl Session {
    /// Locks the state, and reads disk and kernel.
    pub(crate) fn open(folder: &Path, host: &HostArguments) -> Result<ExclusiveSession, Failure> {
        let state = State::open(folder)?;
        let found = state.read()?;
        let session = Session::recall(folder, &found, host)?;
        match found.whole() {
            // A damaged record can be restored from a kernel that enforces a policy, and from nowhere else.
            Err(StateError::Damaged(_)) if session.rollback_state.enforced.is_some() => {}
            whole => drop(whole?),
        }
        session.warn_of_losses();
        if session.rollback_state.disk_has_forgotten() {
            warn(
                "this host's state lacks the policy that the kernel enforces: it was lost, or set back to an earlier \
                 day. The kernel's record is used",
                "find out what happened to /var/lib/bfp",
            );
        }
        Ok(ExclusiveSession { state, session })
    }

    /// Like `open`, for a command that brings the signers' consent to a reset: a damaged record is not an error.
    pub(crate) fn open_to_recover(folder: &Path, host: &HostArguments) -> Result<ExclusiveSession, Failure> {
        let state = State::open(folder)?;
        let found = state.read()?;
        match found.whole() {
            Err(StateError::Damaged(_)) => {}
            whole => drop(whole?),
        }
        let session = Session::recall(folder, &found, host)?;
        session.warn_of_losses();
        Ok(ExclusiveSession { state, session })
    }

    /// Like `open`, at boot: any fault of the state is reported, but is not an error.
    pub(crate) fn come_up(folder: &Path, host: &HostArguments) -> Result<ExclusiveSession, Failure> {
        let state = State::come_up(folder);
        let unusable = state.unwritten();
        // Files that other users may write to are not read.
        let (found, unreadable) = match (&unusable, state.read()) {
            (Some(StateError::Input(_)), _) => (Found::nothing(), None),
            (_, Ok(found)) => (found, None),
            (_, Err(error)) => (Found::nothing(), Some(error)),
        };
        let mut session = Session::recall(folder, &found, host)?;
        session.losses.extend(unusable.or(unreadable).map(|error| error.to_string()));
        Ok(ExclusiveSession { state, session })
    }

    /// Reads disk and kernel without a lock, for display only.
    pub(crate) fn look(folder: &Path, host: &HostArguments) -> Result<Session, Failure> {
        let found = state::read(folder)?;
        let session = Session::recall(folder, &found, host)?;
        match found.whole() {
            Err(StateError::Damaged(_)) if session.rollback_state.enforced.is_some() => {}
            whole => drop(whole?),
        }
        Ok(session)
    }

    fn recall(folder: &Path, found: &Found, host: &HostArguments) -> Result<Session, Failure> {
        let clock = clock()?;
        let mut losses = Vec::new();
        let mut record = found.record.clone();
        let what = found.condition.words();
        if found.condition.has_forgotten() {
            let first = remains::first_keys(host.trust.as_deref());
            let as_of =
                Host { now: clock, tags: host_tags(host).unwrap_or_default(), capabilities: Session::capabilities() };
            let gathered = remains::gather(record.trust_sets, &state::kept_bundles(folder), first, &as_of);
            record = gathered.record;
            losses.extend(what);
            losses.extend(gathered.unusable);
        } else if let Some(what) = what {
            match found.condition {
                Condition::OneCopy(_) => warn(&what, "find out what happened to /var/lib/bfp"),
                _ => losses.push(what),
            }
        }
        let rollback_state = rollback_state::recall(record)?;
        if rollback_state.is_unreadable {
            warn(
                "a newer enforcer applied the policy, and its record cannot be read: only the state on disk is used",
                "install the enforcer that applied it, or a later one",
            );
        }
        let time = rollback_state.time(clock);
        if let Some(clock) = time.set_back_to {
            let words = format!(
                "this host's clock says {}, but it has been {} before: the later time is used",
                Utc(clock),
                Utc(time.now)
            );
            warn(&words, "set the clock, and find out who set it back");
        }
        Ok(Session { rollback_state, time, clock, losses })
    }

    pub(crate) fn warn_of_losses(&self) {
        for loss in &self.losses {
            warn(loss, "find out what happened to /var/lib/bfp");
        }
    }

    /// The enforced policy, if it is under lockdown.
    pub(crate) fn under_lockdown(&self) -> Option<&About> {
        self.rollback_state.enforced.as_ref().filter(|_| self.rollback_state.is_under_lockdown)
    }

    /// What these programs can enforce.
    pub(crate) fn capabilities() -> Vec<Need> {
        CAPABILITIES.to_vec()
    }

    /// The host's trust set.
    pub(crate) fn trust(&self, arguments: &HostArguments) -> Result<Trust, Failure> {
        let trust = self.rollback_state.trust(arguments.trust.as_deref())?;
        Ok(trust.demanding(arguments.threshold.unwrap_or(0)).map_err(CommandError::UnmetThreshold)?)
    }

    /// The time, tags and capabilities that documents are checked against.
    pub(crate) fn host(&self, arguments: &HostArguments) -> Result<Host, Failure> {
        // Root can write the file and the arguments. A policy under lockdown keeps the tags of its first application.
        let tags = match self.under_lockdown() {
            Some(about) => about.tags.clone(),
            None => host_tags(arguments)?,
        };
        Ok(Host { now: self.time.now, tags, capabilities: Session::capabilities() })
    }
}

fn host_tags(arguments: &HostArguments) -> Result<Vec<String>, Failure> {
    Ok(host_tags::read(Path::new(TAGS_FILE), &arguments.audience)?)
}

/// The clock's time, in seconds since 1970-01-01 UTC.
pub(crate) fn clock() -> Result<u64, CommandError> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map(|since| since.as_secs()).map_err(|_| CommandError::Clock)
}

/// The help for links that have lost their pins.
pub(crate) const LOST_LINKS: &str =
    "find the pin or process that holds them (`bpftool -f link`) and remove it, or restart the host";

/// The deciding links that have lost their pins. Without CAP_SYS_ADMIN, which the systemd units do not have, the kernel
/// cannot be queried; `status` reports them then.
pub(crate) fn lost_links() -> Result<Option<String>, PinsError> {
    Ok(health::lost(Pins::find()?.as_ref()).unwrap_or(None))
}

/// Prints a warning. If standard error is closed, the command continues.
pub(crate) fn warn(words: &str, help: &str) {
    let _ = writeln!(io::stderr(), "bfp-enforcer: warning: {}\n  help: {help}", shown(words));
}
