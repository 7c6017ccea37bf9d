//! Applies an admitted bundle: completely, or not at all.
//!
//! The new generation is attached before the old one is detached. While both are attached, the stricter verdict wins.
//! An error on the way leaves the old generation unchanged. The rollback state is written last, when only naming the
//! new generation can still fail: a host that goes down between the two has recorded what it was about to enforce, and
//! enforces it at the next boot.

pub mod rollback_state;

pub mod remains;

pub mod unchanged;

use std::fs::File;

use bfp_bundle::identity::Withheld;
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::manifest::{Need, SectionKind};
use bfp_bundle::names::Match;
use bfp_bundle::names::build::BuildError;
use bfp_bundle::record::Record as _;
use bfp_bundle::verify::{Trust, VerifiedBundle};

use crate::admit::admission::AdmittedBundle;
use crate::admit::state::{LastGood, Record, Recovered, State, StateError};
use crate::apply::rollback_state::RollbackState;
use crate::failure::{Actionable, Failure};
use crate::host;
use crate::host::btf::Btf;
use crate::host::folders::{Folders, ThisHost};
use crate::host::followed::FollowedLink;
use crate::host::offsets::Kernel;
use crate::kernel::about::{About, Circumstances};
use crate::kernel::canary::{self, Canary};
use crate::kernel::content;
use crate::kernel::lack::Lack;
use crate::kernel::links::{self, Followed, Survey};
use crate::kernel::load::{self, Constants, LoadError, Running, Tables};
use crate::kernel::lockdown::{self, ReplacementGuard};
use crate::kernel::object::LABELLING_HOOKS;
use crate::kernel::pins::{Pins, PinsError};

/// Why a bundle is not applied, or not completely, beside the errors of the layers below.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum ApplyError {
    #[error("no tables can be built for the names behind symbolic links on this host: {0}")]
    Links(BuildError),
    #[error("running processes can be adopted only before a host's first policy, and one is enforced")]
    AdoptedLate,
    #[error("the new policy is active, but processes that executed a program meanwhile may lack its label: {0}")]
    LateLabelling(LoadError),
    #[error("the new policy is active, but the previous generation was not fully removed: {0}")]
    Older(PinsError),
}

impl Actionable for ApplyError {
    fn help(&self) -> &'static str {
        match self {
            ApplyError::Links(_) => "name the files themselves in the policy, not links to them",
            ApplyError::AdoptedLate => "restart the processes that `status` names",
            ApplyError::LateLabelling(_) | ApplyError::Older(_) => "apply it again",
        }
    }
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// The policy that is enforced now.
    pub about: About,
    /// The written paths that lead elsewhere by symbolic links, which were followed.
    pub followed: Vec<Followed>,
    /// The parts of the policy that do not hold on this host.
    pub lacks: Vec<Lack>,
}

/// How a bundle was accepted, for the host to record.
pub struct Acceptance<'a> {
    /// The bytes of the bundle.
    pub bytes: &'a [u8],
    /// The trust set whose signatures it has.
    pub trust: &'a Trust,
    /// The host's tags.
    pub tags: &'a [String],
    /// The time of acceptance, in seconds since 1970-01-01 UTC.
    pub now: u64,
    /// How to treat processes that are already running.
    pub running: Running,
}

/// Has the kernel enforce an admitted bundle. `object` is the compiled BPF object, an ELF file.
///
/// # Preconditions
/// `rollback_state` was recalled from `state`, and the bundle was admitted against it.
///
/// # Returns
/// The record of the enforced policy, the symbolic links that were followed, and the parts of the policy that do not
/// hold on this host.
///
/// # Errors
/// - [`ApplyError::Older`] and [`ApplyError::LateLabelling`]: the new policy is enforced, but the previous generation
///   was not fully removed, or running processes were not all labelled.
/// - Every other error: the new policy is not enforced, and the previous generation stays in force.
///   A [`host::HostError`] is among them, if the host does not meet a requirement.
pub fn apply(
    object: &[u8],
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    state: &State,
    rollback_state: &RollbackState,
) -> Result<Applied, Failure> {
    let host = host::check()?;
    if admitted.bundle().manifest().requires(Need::Units) {
        host::check_units()?;
    }
    let kernel = Kernel::of(&Btf::parse(&host.types)?)?;
    let pins = Pins::make()?;
    let enforced = rollback_state.enforced.as_ref();
    let has_adopted = enforced.is_some_and(|about| about.adopted_running);
    let earlier = enforced.map(|about| [about.links.as_slice(), &about.earlier].concat()).unwrap_or_default();
    let programs =
        Prepared { object, kernel: &kernel, types: &host.types, cgroups: &host.cgroups, earlier, has_adopted };
    let record_enforced = || record_enforced(admitted, acceptance, state, rollback_state);
    let applied = apply_with_pins(&programs, admitted, acceptance, record_enforced, &pins);
    // After a success there is nothing to clean up. After a failure its own cause matters more.
    if applied.is_err() {
        let _ = pins.tidy().and_then(|()| lockdown::forget_marks(&pins));
    }
    applied
}

/// What the programs are built from and attached to.
struct Prepared<'a> {
    object: &'a [u8],
    kernel: &'a Kernel,
    types: &'a [u8],
    cgroups: &'a File,
    /// Where links led under the enforced policy, and before it.
    earlier: Vec<FollowedLink>,
    /// Processes were adopted, and may still run.
    has_adopted: bool,
}

fn apply_with_pins(
    prepared: &Prepared<'_>,
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    record_enforced: impl FnOnce() -> Result<(), StateError>,
    pins: &Pins,
) -> Result<Applied, Failure> {
    let bundle = admitted.bundle();
    let newest = pins.generations()?.last().copied();
    if acceptance.running == Running::Adopted && newest.is_some() {
        return Err(ApplyError::AdoptedLate.into());
    }
    if bundle.manifest().lockdown {
        lockdown::check_own_file()?;
    }
    pins.remove_leftovers()?;
    // Lockdown of the older generations does not list the objects that are made from here on.
    let guard = ReplacementGuard::begin(pins)?;

    let canary = Canary::random()?;
    let constants = Constants {
        kernel: prepared.kernel,
        types: prepared.types,
        canary: &canary,
        labels: &pins.labels(),
        executed: &pins.executed(),
        sockets: &pins.sockets(),
        enforcers: &pins.enforcers(),
        pins_device: lockdown::device_of(pins)?,
        running: acceptance.running,
    };
    let executables = bundle.executables()?;
    let derived = bundle.derived()?;
    let surveyed = survey(bundle, &executables, &prepared.earlier).map_err(ApplyError::Links)?;
    let links = surveyed.links();
    let Survey { followed, earlier, aliases, mut lacks } = surveyed;
    let contents: Vec<_> = content::pinned(&executables).collect();
    let tables = Tables { bundle, derived: derived.as_ref(), aliases: aliases.as_ref(), contents: &contents };
    let mut programs = load::load(prepared.object, &tables, &constants)?;
    lacks.extend(content::bind(&mut programs, &contents)?);

    // First the hooks that keep labels, so that no task starts without one; then the labels of running tasks; and last
    // the hooks that decide by labels.
    programs.find_first_process()?;
    for hook in LABELLING_HOOKS {
        programs.attach(hook)?;
    }
    programs.label_running()?;
    programs.attach_deciding(prepared.cgroups)?;
    canary::try_out(&canary)?;

    let number = newest.unwrap_or(0) + 1;
    let folder = pins.begin(number)?;
    let attached = programs.attached();
    let circumstances = Circumstances {
        now: acceptance.now,
        links,
        earlier,
        adopted_running: acceptance.running == Running::Adopted || prepared.has_adopted,
        attached,
    };
    let about = About::of(bundle, acceptance.trust, acceptance.tags, circumstances);
    about.pin(&folder.join("about"))?;
    programs.pin(&folder)?;
    if bundle.manifest().lockdown {
        lockdown::begin(&mut programs, pins, &folder)?;
    } else {
        lockdown::freeze_unused(&programs)?;
    }
    record_enforced()?;
    pins.complete(number)?;
    pins.remove_older(number).map_err(ApplyError::Older)?;
    drop(guard);
    let forgotten = lockdown::forget_marks(pins);
    // While both were attached, the older generation labelled last at each exec.
    let withheld = programs.label_running().map_err(ApplyError::LateLabelling)?;
    forgotten.map_err(ApplyError::Older)?;
    lacks.extend(withheld.iter().map(|one| lack_of(one, &executables)));
    Ok(Applied { about, followed, lacks })
}

/// Looks for the programs of a bundle on this host. `earlier` is where its links led before.
pub(crate) fn survey(
    bundle: &VerifiedBundle<'_>,
    executables: &[NamedExecutable],
    earlier: &[FollowedLink],
) -> Result<Survey, BuildError> {
    let section = bundle.section(SectionKind::Matches);
    let mut matches: Vec<Match> = section.chunks_exact(Match::SIZE).filter_map(Match::read_from).collect();
    // A bundle of the first format has none.
    if matches.is_empty() {
        matches = executables.iter().map(NamedExecutable::alone).collect();
    }
    links::survey(executables, &matches, earlier, &mut Folders::new(ThisHost))
}

/// A process that must be restarted, with its path and unit.
fn lack_of(withheld: &Withheld, executables: &[NamedExecutable]) -> Lack {
    let named = executables.iter().find(|executable| executable.program == withheld.program);
    let unit = std::fs::read_to_string(format!("/proc/{}/cgroup", withheld.process)).ok();
    let unit = unit.and_then(|lines| {
        lines.lines().find_map(|line| line.strip_prefix("0::/")).filter(|path| !path.is_empty()).map(str::to_owned)
    });
    let path = named.map(|executable| executable.path.clone()).unwrap_or_default();
    Lack::Withheld { process: withheld.process, path, unit }
}

/// Records a bundle that is enforced, or is about to be.
///
/// # Errors
/// The rollback state cannot be written, or another user may change it.
pub fn record_enforced(
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    state: &State,
    rollback_state: &RollbackState,
) -> Result<(), StateError> {
    let record = enforced_record(admitted, acceptance, rollback_state);
    state.keep(&admitted.bundle().manifest_digest(), acceptance.bytes, &record)
}

/// What the host records once a bundle is enforced.
fn enforced_record(
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    rollback_state: &RollbackState,
) -> Record {
    let record = &rollback_state.record;
    let new = admitted.seen();
    let mut revisions = rollback_state.revisions();
    revisions.see(new.clone());
    let manifest_digest = admitted.bundle().manifest_digest();
    // A bundle that was accepted before keeps the time and trust of that acceptance.
    let before = record.current.as_ref().filter(|current| current.manifest_digest == manifest_digest);
    let current = before.cloned().unwrap_or_else(|| LastGood {
        policy: new.policy.clone(),
        revision: new.revision,
        manifest_digest,
        accepted_at: acceptance.now,
        trust: acceptance.trust.to_set(),
        tags: acceptance.tags.to_vec(),
    });
    let outlived = |recovered: &Recovered| recovered.policy == new.policy && new.revision >= recovered.from;
    Record {
        seen: revisions.seen,
        current: Some(current),
        last_time: acceptance.now,
        recovered: record.recovered.clone().filter(|recovered| !outlived(recovered)),
        // From now on the kernel reports a time that was not rolled back.
        time_taken_back: None,
        ..record.clone()
    }
}
