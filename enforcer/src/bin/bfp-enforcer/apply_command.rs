//! `apply`, `boot` and `verify`: from a bundle file to an enforced policy.

use std::path::{Path, PathBuf};

use bfp_bundle::manifest::Need;
use bfp_bundle::verify::refusal::Utc;
use bfp_bundle::verify::{Host, MAX_BUNDLE_BYTES, Trust, VerifiedBundle, verify};
use bfp_enforcer::admit::admission::{AdmittedBundle, Expectation, OnOtherPolicy, admit};
use bfp_enforcer::admit::input;
use bfp_enforcer::admit::state::LastGood;
use bfp_enforcer::apply::unchanged::unchanged;
use bfp_enforcer::apply::{Acceptance, Applied, apply, record_enforced};
use bfp_enforcer::failure::{Actionable, Failure};
use bfp_enforcer::host;
use bfp_enforcer::kernel::lack::Lack;
use bfp_enforcer::kernel::links::{Followed, Survey};
use bfp_enforcer::kernel::load::Running;
use bfp_enforcer::report::doctor::{Problem, Prospect};
use bfp_enforcer::report::shown::shown;
use bfp_enforcer::report::status;
use clap::Args;

use crate::PROGRAMS;
use crate::command_error::{CommandError, is_of_absence};
use crate::session::{ExclusiveSession, HostArguments, LOST_LINKS, Session, lost_links, warn};

/// The default path of the bundle.
const BUNDLE: &str = "/etc/bfp/policy.bfpb";

#[derive(Args)]
pub(crate) struct BundleArguments {
    /// The bundle
    bundle: PathBuf,
    #[command(flatten)]
    host: HostArguments,
    /// Reject a lower revision than this one: a host that has seen no revision cannot tell an old bundle from the
    /// newest
    #[arg(long, value_name = "N")]
    expect_revision: Option<u64>,
    /// Replace the enforced policy even if it has another name
    #[arg(long)]
    replace: bool,
}

#[derive(Args)]
pub(crate) struct ApplyArguments {
    #[command(flatten)]
    bundle: BundleArguments,
    /// Before a host's first policy: give running processes the grants of the programs that they appear to be. Only for
    /// a host whose processes are trusted: until now, a process could take any program's name
    #[arg(long)]
    adopt_running: bool,
    /// Apply the bundle even if it is enforced already and nothing would change
    #[arg(long)]
    again: bool,
}

#[derive(Args)]
pub(crate) struct BootArguments {
    /// The bundle
    #[arg(default_value = BUNDLE)]
    bundle: PathBuf,
    #[command(flatten)]
    host: HostArguments,
}

impl BundleArguments {
    fn expectation(&self) -> Expectation {
        let on_other_policy = if self.replace { OnOtherPolicy::Replace } else { OnOtherPolicy::Keep };
        Expectation { revision: self.expect_revision, on_other_policy }
    }
}

pub(crate) fn apply_bundle(arguments_of_apply: &ApplyArguments, folder: &Path) -> Result<String, Failure> {
    let running = if arguments_of_apply.adopt_running { Running::Adopted } else { Running::Restricted };
    let arguments = &arguments_of_apply.bundle;
    let machine = Session::open(folder, &arguments.host)?;
    // The revisions of another policy prove nothing about the one under lockdown: any old signed bundle would do.
    if let Some(about) = machine.session.under_lockdown().filter(|_| arguments.replace) {
        return Err(CommandError::UnderLockdown { policy: about.policy.clone(), revision: about.revision }.into());
    }
    if let Some(lost) = lost_links()? {
        warn(&format!("{lost}, in addition to the policy that is applied now"), LOST_LINKS);
    }
    let attempt =
        Attempt { machine: &machine, expectation: arguments.expectation(), running, again: arguments_of_apply.again };
    attempt.apply_file(&arguments.bundle, &arguments.host)
}

/// How a bundle is applied, and to which host.
struct Attempt<'a> {
    machine: &'a ExclusiveSession,
    expectation: Expectation,
    running: Running,
    again: bool,
}

impl<'a> Attempt<'a> {
    /// At boot, no policy is known to be in force.
    fn at_boot(machine: &'a ExclusiveSession, expectation: Expectation) -> Attempt<'a> {
        Attempt { machine, expectation, running: Running::Restricted, again: false }
    }

    fn apply_file(&self, path: &Path, arguments: &HostArguments) -> Result<String, Failure> {
        let session = &self.machine.session;
        let (trust, host) = (session.trust(arguments)?, session.host(arguments)?);
        self.apply_bytes(path, &input::read(path, MAX_BUNDLE_BYTES)?, &trust, &host)
    }

    fn apply_bytes(&self, path: &Path, bytes: &[u8], trust: &Trust, host: &Host) -> Result<String, Failure> {
        let ExclusiveSession { state, session } = self.machine;
        let bundle = verify(bytes, trust, host).map_err(CommandError::rejected(path))?;
        let admitted = admit_file(path, &bundle, self.expectation, session)?;
        let acceptance = Acceptance { bytes, trust, tags: &host.tags, now: session.time.now, running: self.running };
        let rollback_state = &session.rollback_state;
        let stays = !self.again && rollback_state.is_under_lockdown == bundle.manifest().lockdown;
        let enforced = rollback_state.enforced.as_ref().filter(|_| stays);
        let unchanged = enforced.and_then(|about| unchanged(&bundle, about).transpose()).transpose();
        if let Some(Survey { followed, lacks, .. }) = unchanged.map_err(CommandError::rejected(path))? {
            // This restores what the disk has lost, and updates the time.
            record_enforced(&admitted, &acceptance, state, rollback_state)?;
            return report(&bundle, "is enforced already", &followed, &lacks);
        }
        let Applied { about: _, followed, lacks } = apply(PROGRAMS, &admitted, &acceptance, state, rollback_state)?;
        report(&bundle, "is enforced", &followed, &lacks)
    }
}

/// Reports the outcome for a bundle, and the parts of it that do not hold on this host.
fn report(bundle: &VerifiedBundle<'_>, what: &str, followed: &[Followed], lacks: &[Lack]) -> Result<String, Failure> {
    followed.iter().for_each(warn_of_link);
    lacks.iter().for_each(|lack| warn(&lack.to_string(), lack.help()));
    let manifest = bundle.manifest();
    let done = format!("policy `{}` revision {} {what}\n", shown(&manifest.policy), manifest.revision);
    match lacks.iter().filter(|lack| lack.is_of_the_policy()).count() {
        0 => Ok(done),
        lacks => Err(CommandError::Incomplete { done, lacks }.into()),
    }
}

/// Admits the bundle in a file, and warns if the host has no revision to compare it with.
fn admit_file<'a, 'b>(
    path: &Path,
    bundle: &'b VerifiedBundle<'a>,
    expectation: Expectation,
    session: &Session,
) -> Result<AdmittedBundle<'a, 'b>, Failure> {
    let revisions = session.rollback_state.revisions();
    let admitted = admit(bundle, &revisions, expectation).map_err(CommandError::rejected(path))?;
    if admitted.is_first_contact() {
        let manifest = bundle.manifest();
        warn(
            &format!(
                "first contact: this host has seen no revision of `{}` before, so it cannot tell whether revision {} \
                 is the newest",
                manifest.policy, manifest.revision
            ),
            "compare it with the latest release, or give `--expect-revision N` on a host's first day",
        );
    }
    Ok(admitted)
}

/// Warns that a link was followed, and suggests what to write instead: a user who can change the link decides which
/// program it names.
fn warn_of_link(followed: &Followed) {
    let Followed { path, links, to, also_written, link: _ } = followed;
    let also =
        if *also_written { ", another program of the policy, which is restricted by the rules of both" } else { "" };
    warn(
        &format!("`{path}` leads to `{to}` by the link `{}`{also}: both are names of the program", links.join("`, `")),
        &format!("write `{}` in the policy, which needs no link", followed.pattern()),
    );
}

/// What applying the bundle at the default path would do, by this host's keys, tags and rollback state.
pub(crate) fn prospect(folder: &Path) -> Prospect {
    let (bundle, host) = (BUNDLE.into(), HostArguments::default());
    let arguments = BundleArguments { bundle, host, expect_revision: None, replace: false };
    let applicable = || -> Result<String, Failure> {
        let (done, names_units) = verify_for_this_host(&arguments, folder)?;
        if names_units {
            host::check_units()?;
        }
        Ok(done)
    };
    match applicable() {
        Ok(done) => Prospect::Applied(done.lines().next().unwrap_or_default().to_owned()),
        Err(failure) => {
            let problem = Problem { message: shown(&failure.to_string()), help: failure.help().to_owned() };
            if is_of_absence(&failure) { Prospect::NotYet(problem) } else { Prospect::Refused(problem) }
        }
    }
}

pub(crate) fn verify_bundle(arguments: &BundleArguments, folder: &Path) -> Result<String, Failure> {
    Ok(verify_for_this_host(arguments, folder)?.0)
}

/// What was verified, and whether the policy names units of systemd.
fn verify_for_this_host(arguments: &BundleArguments, folder: &Path) -> Result<(String, bool), Failure> {
    let session = Session::look(folder, &arguments.host)?;
    let (trust, host) = (session.trust(&arguments.host)?, session.host(&arguments.host)?);
    let bytes = input::read(&arguments.bundle, MAX_BUNDLE_BYTES)?;
    let path = &arguments.bundle;
    let bundle = verify(&bytes, &trust, &host).map_err(CommandError::rejected(path))?;
    admit_file(path, &bundle, arguments.expectation(), &session)?;
    let manifest = bundle.manifest();
    let signers: Vec<String> = bundle.signers().iter().map(ToString::to_string).collect();
    let parameters =
        manifest.parameters.iter().map(|parameter| format!("parameter {}\n", shown(&parameter.to_string())));
    let done = format!(
        "policy `{}` revision {} is signed by {}\nmanifest sha256:{}\n{}",
        shown(&manifest.policy),
        manifest.revision,
        signers.join(", "),
        status::hex(&bundle.manifest_digest()),
        parameters.collect::<String>()
    );
    Ok((done, manifest.requires(Need::Units)))
}

/// Applies the bundle at the default path, or, if that is not possible, the last good one. The exit code reports which.
/// A host that boots gets the best protection available, and its operator is informed.
pub(crate) fn boot(arguments: &BootArguments, folder: &Path) -> Result<String, Failure> {
    let machine = Session::come_up(folder, &arguments.host)?;
    let ExclusiveSession { state, session } = &machine;
    let in_force = |done: String| {
        let mut losses = session.losses.clone();
        losses.extend(state.unwritten().map(|error| format!("{error}, so a restart will not know this policy")));
        if losses.is_empty() { Ok(done) } else { Err(CommandError::StateLost { done, losses }.into()) }
    };
    let attempt = Attempt::at_boot(&machine, Expectation::default());
    let failure = match attempt.apply_file(&arguments.bundle, &arguments.host) {
        Ok(done) => return in_force(done),
        Err(failure) => failure,
    };
    session.warn_of_losses();
    // The policy is enforced as far as this host supports it.
    if let Some(CommandError::Incomplete { .. }) = failure.find() {
        return Err(failure);
    }
    // A policy under lockdown stays in force. The last good bundle counts only by what the disk says, and root can
    // write the disk.
    let current = session.rollback_state.record.current.as_ref().filter(|_| session.under_lockdown().is_none());
    let Some(current) = current else { return Err(failure) };
    match apply_last_good(current, &machine) {
        Ok(done) => {
            if let Some(error) = state.unwritten() {
                warn(&error.to_string(), error.help());
            }
            Err(CommandError::LastGood { failure, done }.into())
        }
        Err(other) => {
            warn(&format!("the last good bundle cannot be applied either: {other}"), other.help());
            Err(failure)
        }
    }
}

/// Applies what was enforced last. Its signatures are verified as of the day when it was accepted: neither its expiry
/// nor a later change of keys invalidates it.
fn apply_last_good(current: &LastGood, machine: &ExclusiveSession) -> Result<String, Failure> {
    let path = machine.state.bundle_path(current);
    let bytes = machine.state.kept_bundle(current)?;
    let trust = Trust::of_set(&current.trust).map_err(CommandError::rejected(&path))?;
    let host = Host { now: current.accepted_at, tags: current.tags.clone(), capabilities: Session::capabilities() };
    let expectation = Expectation { on_other_policy: OnOtherPolicy::Replace, ..Expectation::default() };
    let done = Attempt::at_boot(machine, expectation).apply_bytes(&path, &bytes, &trust, &host)?;
    Ok(format!("{} (accepted at {})", done.trim_end(), Utc(current.accepted_at)))
}
