//! `trust`, `recover`, `unlock` and `remove`: the commands that require the signers' consent.

use std::path::{Path, PathBuf};

use bfp_bundle::verify::{Act, Host, MAX_DOCUMENT_BYTES, Trust, VerifiedToken, verify_token, verify_trust_set};
use bfp_enforcer::admit::admission::HighestRevision;
use bfp_enforcer::admit::input;
use bfp_enforcer::admit::state::{Record, Recovered, UsedToken};
use bfp_enforcer::failure::Failure;
use bfp_enforcer::kernel::about::About;
use bfp_enforcer::kernel::lockdown;
use bfp_enforcer::kernel::pins::{Pins, ROOT};
use bfp_enforcer::report::shown::shown;
use clap::Args;

use crate::command_error::CommandError;
use crate::session::{ExclusiveSession, HostArguments, Session, lost_links};

#[derive(Args)]
pub(crate) struct TrustArguments {
    /// The trust set that `bfpc trust-set` and `bfpc sign` made
    set: PathBuf,
    #[command(flatten)]
    host: HostArguments,
}

#[derive(Args)]
pub(crate) struct RecoverArguments {
    /// The token that `bfpc token recover` and `bfpc sign` made
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    #[command(flatten)]
    host: HostArguments,
}

#[derive(Args)]
pub(crate) struct RemoveArguments {
    /// For a policy under lockdown: the token that `bfpc token release` and `bfpc sign` made
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    #[command(flatten)]
    host: HostArguments,
}

/// Replaces the current trust set with a signed one.
pub(crate) fn adopt(arguments: &TrustArguments, folder: &Path) -> Result<String, Failure> {
    let ExclusiveSession { state, session } = Session::open(folder, &arguments.host)?;
    let in_force = session.trust(&arguments.host)?;
    let bytes = input::read(&arguments.set, MAX_DOCUMENT_BYTES)?;
    let record = &session.rollback_state.record;
    if record.trust_sets.last().is_some_and(|(_, document)| *document == bytes) {
        return Ok(format!("version {} of the trust set is in force already\n", in_force.version()));
    }
    let new = verify_trust_set(&bytes, &in_force).map_err(CommandError::rejected(&arguments.set))?;
    let mut trust_sets = record.trust_sets.clone();
    trust_sets.push((new.version(), bytes));
    state.write(&Record { trust_sets, last_time: session.time.now, ..current_record(&session) })?;
    Ok(format!(
        "version {} of the trust set is in force: {} of {} keys must sign\n",
        new.version(),
        new.threshold(),
        new.keys().len()
    ))
}

/// Lowers the highest revision to the one that the signers permit.
pub(crate) fn recover(arguments: &RecoverArguments, folder: &Path) -> Result<String, Failure> {
    // With a damaged record, the highest revision is unknown: a token for a host that has enforced nothing is accepted
    // too.
    let ExclusiveSession { state, session } = Session::open_to_recover(folder, &arguments.host)?;
    let trust = session.trust(&arguments.host)?;
    // The time on record may be the fault, so the clock's is used.
    let host = Host { now: session.clock, ..session.host(&arguments.host)? };
    let verified = read_token(&arguments.token, &trust, &host)?;
    let token = verified.token();
    let Act::Recover { from, to } = token.act else {
        return Err(CommandError::WrongTokenKind { wanted: "recovery" }.into());
    };
    let revisions = session.rollback_state.revisions();
    let highest = revisions.of(&token.policy).map_or(0, |seen| seen.revision);
    let is_known = session.losses.is_empty() || session.rollback_state.enforced.is_some();
    if highest != from && (is_known || from != 0) {
        return Err(CommandError::TokenNotForThisRevision { policy: token.policy.clone(), from, highest }.into());
    }
    let mut record = current_record(&session);
    let used = UsedToken { digest: verified.digest(), expires: token.expires };
    if record.has_used(&used.digest) {
        return Err(CommandError::UsedToken { policy: token.policy.clone(), from }.into());
    }
    record.use_token(used, session.clock);
    record.seen.retain(|seen| seen.policy != token.policy);
    record.seen.push(HighestRevision { policy: token.policy.clone(), revision: to, manifest_digest: None });
    let recovered = Some(Recovered { policy: token.policy.clone(), from });
    // The kernel keeps reporting both until the policy in force is replaced.
    let time_taken_back = session.rollback_state.enforced.as_ref().map(|enforced| enforced.applied_at);
    let time_taken_back = time_taken_back.filter(|applied_at| *applied_at > session.clock);
    state.write(&Record { last_time: session.clock, recovered, time_taken_back, ..record })?;
    Ok(format!("this host accepts revision {to} of `{}` and higher ones again\n", shown(&token.policy)))
}

fn read_token(path: &Path, trust: &Trust, host: &Host) -> Result<VerifiedToken, Failure> {
    Ok(verify_token(&input::read(path, MAX_DOCUMENT_BYTES)?, trust, host).map_err(CommandError::rejected(path))?)
}

/// The disk's record, combined with the kernel's.
fn current_record(session: &Session) -> Record {
    Record { seen: session.rollback_state.revisions().seen, ..session.rollback_state.record.clone() }
}

/// Stops enforcement.
pub(crate) fn remove(arguments: &RemoveArguments, folder: &Path) -> Result<String, Failure> {
    let ExclusiveSession { state, session } = Session::open(folder, &arguments.host)?;
    if let Some(about) = session.under_lockdown() {
        consent(about, arguments.token.as_deref(), &session, &arguments.host)?;
    }
    let lost = lost_links()?;
    let removed = |done: String| match lost {
        None => Ok(done + "\n"),
        Some(lost) => Err(CommandError::LinksRemain { done, lost }.into()),
    };
    let Some(pins) = Pins::find()? else {
        return removed("nothing is enforced, so nothing was removed".to_owned());
    };
    // First the kernel, then the record of what to enforce after a restart. A command that is killed between the two
    // has removed nothing permanently.
    pins.remove_all()?;
    state.write(&Record { current: None, last_time: session.time.now, ..current_record(&session) })?;
    removed(match &session.rollback_state.enforced {
        Some(about) => format!("removed policy `{}` revision {} and all labels", shown(&about.policy), about.revision),
        None => format!("removed `{ROOT}`"),
    })
}

/// Ends lockdown. The policy stays enforced.
pub(crate) fn unlock(arguments: &RemoveArguments, folder: &Path) -> Result<String, Failure> {
    let ExclusiveSession { state: _state, session } = Session::open(folder, &arguments.host)?;
    let (Some(about), Some(pins)) = (session.under_lockdown(), Pins::find()?) else {
        return Ok("no policy is under lockdown\n".to_owned());
    };
    consent(about, arguments.token.as_deref(), &session, &arguments.host)?;
    for generation in lockdown::generations(&pins)? {
        lockdown::end(&generation)?;
    }
    Ok(format!(
        "policy `{}` revision {} is no longer under lockdown, and stays enforced\n",
        shown(&about.policy),
        about.revision
    ))
}

/// Checks that the signers permit the end of lockdown.
fn consent(about: &About, token: Option<&Path>, session: &Session, host: &HostArguments) -> Result<(), Failure> {
    let locked = || CommandError::UnderLockdown { policy: about.policy.clone(), revision: about.revision };
    let path = token.ok_or_else(locked)?;
    let verified = read_token(path, &session.trust(host)?, &session.host(host)?)?;
    let token = verified.token();
    match token.act {
        Act::Release { revision } if token.policy == about.policy && revision >= about.revision => Ok(()),
        Act::Release { revision } => Err(CommandError::TokenForOtherRevision {
            policy: token.policy.clone(),
            revision,
            enforced: about.policy.clone(),
            enforced_revision: about.revision,
        }
        .into()),
        Act::Recover { .. } => Err(CommandError::WrongTokenKind { wanted: "release" }.into()),
    }
}
