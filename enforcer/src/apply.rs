//! Applies an admitted bundle: everything in order, or nothing at all.
//!
//! The new generation is attached before the old one is detached; while both are, the stricter verdict
//! wins. An error on the way leaves the old generation as it was. What the host remembers on disk is written
//! when nothing can fail any more but giving the new generation its name: a host that goes down between the two
//! remembers what it was about to enforce, and enforces it when it comes up.

pub mod memory;

pub mod remains;

pub mod unchanged;

use std::fs::File;

use bfp_bundle::identity::Withheld;
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::names::Match;
use bfp_bundle::names::build::BuildError;
use bfp_bundle::record::Record as _;
use bfp_bundle::verify::{Refusal, Trust, VerifiedBundle};

use crate::admit::admission::AdmittedBundle;
use crate::admit::state::{Current, Record, Recovered, State, StateError};
use crate::apply::memory::Remembered;
use crate::host::btf::{Btf, BtfError};
use crate::host::folders::{Folders, ThisHost};
use crate::host::followed::FollowedLink;
use crate::host::offsets::{Kernel, OffsetError};
use crate::host::{self, HostError};
use crate::kernel::about::{About, AboutError, Circumstances};
use crate::kernel::canary::{self, Canary, CanaryError};
use crate::kernel::content;
use crate::kernel::lack::Lack;
use crate::kernel::learn::LearnError;
use crate::kernel::links::{self, Followed, Survey};
use crate::kernel::load::{self, Constants, LABELLING_HOOKS, LoadError, Running, Tables};
use crate::kernel::lockdown::{self, AtWork, LockdownError};
use crate::kernel::pins::{Pins, PinsError};

/// Why a bundle is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The bundle's executables.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Its type information is malformed.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// Its structures are others.
    #[error(transparent)]
    Offsets(#[from] OffsetError),
    /// What the host is to remember.
    #[error(transparent)]
    State(#[from] StateError),
    /// The record of what is enforced.
    #[error(transparent)]
    About(#[from] AboutError),
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The files that the kernel is asked about.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The names that links of this host lead to.
    #[error("the names that symbolic links of this host lead to cannot be told apart: {0}")]
    Links(#[from] BuildError),
    /// What runs already would be believed beside a policy that is enforced.
    #[error("processes are adopted on a host's first day alone, and a policy is enforced here")]
    AdoptedLate,
    /// The kernel does not ask.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The lock.
    #[error(transparent)]
    Lockdown(#[from] LockdownError),
    /// In force, but not for all.
    #[error("the policy is enforced, but processes that executed a program meanwhile may lack its label: {0}")]
    LateLabelling(LoadError),
    /// In force, but so is the one before.
    #[error("the policy is enforced, but what was enforced before is not all gone: {0}")]
    Older(PinsError),
}

impl ApplyError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            ApplyError::Refused(error) => error.help(),
            ApplyError::Host(error) => error.help(),
            ApplyError::Btf(error) => error.help(),
            ApplyError::Offsets(error) => error.help(),
            ApplyError::State(error) => error.help(),
            ApplyError::About(error) => error.help(),
            ApplyError::Load(error) => error.help(),
            ApplyError::Learn(error) => error.help(),
            ApplyError::Links(_) => "name the files themselves in the policy",
            ApplyError::AdoptedLate => "restart the processes that `status` names",
            ApplyError::Canary(error) => error.help(),
            ApplyError::Pins(error) => error.help(),
            ApplyError::Lockdown(error) => error.help(),
            ApplyError::LateLabelling(_) | ApplyError::Older(_) => "apply it again",
        }
    }

    /// The verifier's last lines, where it said something.
    pub fn log(&self) -> Option<&str> {
        match self {
            ApplyError::Load(error) | ApplyError::Learn(LearnError::Load(error)) => error.log(),
            _ => None,
        }
    }
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// The policy.
    pub about: About,
    /// The written paths that lead elsewhere by links, which were followed.
    pub followed: Vec<Followed>,
    /// What of it does not hold on this host.
    pub lacks: Vec<Lack>,
}

/// How a bundle came to be accepted, for the host to remember.
pub struct Acceptance<'a> {
    /// The bytes of the bundle.
    pub bytes: &'a [u8],
    /// By whose signatures.
    pub trust: &'a Trust,
    /// On a host with which labels.
    pub labels: &'a [String],
    /// When, in seconds since 1970-01-01 UTC.
    pub now: u64,
    /// What to believe of processes that run already.
    pub running: Running,
}

/// Has the kernel enforce a bundle. `object` holds the programs.
pub fn apply(
    object: &[u8],
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    (state, remembered): (&State, &Remembered),
) -> Result<Applied, ApplyError> {
    let host = host::check()?;
    let kernel = Kernel::of(&Btf::parse(&host.types)?)?;
    let pins = Pins::make()?;
    let enforced = remembered.enforced.as_ref();
    let has_adopted = enforced.is_some_and(|about| about.adopted_running);
    let earlier = enforced.map(|about| [about.links.as_slice(), &about.earlier].concat()).unwrap_or_default();
    let programs =
        Prepared { object, kernel: &kernel, types: &host.types, cgroups: &host.cgroups, earlier, has_adopted };
    let remember = || remember(admitted, acceptance, (state, remembered));
    let applied = apply_locked(&programs, admitted, acceptance, remember, &pins);
    // After a success there is nothing to tidy, and after a failure its own reason matters more.
    if applied.is_err() {
        let _ = pins.tidy().and_then(|()| lockdown::forget_marks(&pins));
    }
    applied
}

/// What the programs are made of, and attached to.
struct Prepared<'a> {
    object: &'a [u8],
    kernel: &'a Kernel,
    types: &'a [u8],
    cgroups: &'a File,
    /// Where links led under what is enforced, and before.
    earlier: Vec<FollowedLink>,
    /// Processes were adopted, and still run.
    has_adopted: bool,
}

fn apply_locked(
    prepared: &Prepared<'_>,
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    remember: impl FnOnce() -> Result<(), StateError>,
    pins: &Pins,
) -> Result<Applied, ApplyError> {
    let bundle = admitted.bundle();
    let newest = pins.generations()?.last().copied();
    if acceptance.running == Running::Adopted && newest.is_some() {
        return Err(ApplyError::AdoptedLate);
    }
    if bundle.manifest().lockdown {
        lockdown::check_own_file()?;
    }
    pins.remove_leftovers()?;
    // What is made from here on is not known yet to what guards the older generations.
    let at_work = AtWork::announce(pins)?;

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
    let surveyed = survey(bundle, &executables, &prepared.earlier)?;
    let links = surveyed.links();
    let Survey { followed, earlier, aliases, mut lacks } = surveyed;
    let contents: Vec<_> = content::pinned(&executables).collect();
    let tables = Tables { bundle, derived: derived.as_ref(), aliases: aliases.as_ref(), contents: &contents };
    let mut programs = load::load(prepared.object, &tables, &constants)?;
    lacks.extend(content::bind(&mut programs, &contents)?);

    // First what keeps labels, so that no task comes into being without one; then those that are missing;
    // and only then what decides by them.
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
    let about = About::of(bundle, acceptance.trust, acceptance.labels, circumstances);
    about.pin(&folder.join("about"))?;
    programs.pin(&folder)?;
    if bundle.manifest().lockdown {
        lockdown::lock(&mut programs, pins, &folder)?;
    } else {
        lockdown::leave_open(&programs)?;
    }
    remember()?;
    pins.complete(number)?;
    pins.remove_older(number).map_err(ApplyError::Older)?;
    drop(at_work);
    let forgotten = lockdown::forget_marks(pins);
    // While both were attached, the older one had the last word on what an exec makes of a label.
    let withheld = programs.label_running().map_err(ApplyError::LateLabelling)?;
    forgotten.map_err(ApplyError::Older)?;
    lacks.extend(withheld.iter().map(|one| lack_of(one, &executables)));
    Ok(Applied { about, followed, lacks })
}

/// Looks for the programs of a bundle on this host.
/// `earlier` is where its links led before.
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

/// A process that must be started again, as people know it.
fn lack_of(withheld: &Withheld, executables: &[NamedExecutable]) -> Lack {
    let named = executables.iter().find(|executable| executable.program == withheld.program);
    let unit = std::fs::read_to_string(format!("/proc/{}/cgroup", withheld.process)).ok();
    let unit = unit.and_then(|lines| {
        lines.lines().find_map(|line| line.strip_prefix("0::/")).filter(|path| !path.is_empty()).map(str::to_owned)
    });
    let path = named.map(|executable| executable.path.clone()).unwrap_or_default();
    Lack::Withheld { process: withheld.process, path, unit }
}

/// Has the host remember a bundle that is enforced, or is about to be.
pub fn remember(
    admitted: &AdmittedBundle<'_, '_>,
    acceptance: &Acceptance<'_>,
    (state, remembered): (&State, &Remembered),
) -> Result<(), StateError> {
    let kept = (&admitted.bundle().manifest_digest(), acceptance.bytes);
    state.keep(kept, &remembering(admitted, acceptance, remembered))
}

/// What the host remembers once a bundle is enforced.
fn remembering(admitted: &AdmittedBundle<'_, '_>, acceptance: &Acceptance<'_>, remembered: &Remembered) -> Record {
    let record = &remembered.record;
    let new = admitted.seen();
    let mut memory = remembered.memory();
    memory.see(new.clone());
    let manifest_digest = admitted.bundle().manifest_digest();
    // What was accepted once stays as good as it was then.
    let before = record.current.as_ref().filter(|current| current.manifest_digest == manifest_digest);
    let current = before.cloned().unwrap_or_else(|| Current {
        policy: new.policy.clone(),
        revision: new.revision,
        manifest_digest,
        accepted_at: acceptance.now,
        trust: acceptance.trust.to_set(),
        labels: acceptance.labels.to_vec(),
    });
    let outlived = |recovered: &Recovered| recovered.policy == new.policy && new.revision >= recovered.from;
    Record {
        seen: memory.seen,
        current: Some(current),
        last_time: acceptance.now,
        recovered: record.recovered.clone().filter(|recovered| !outlived(recovered)),
        // What the kernel tells from now on is a time that was not taken back.
        time_taken_back: None,
        ..record.clone()
    }
}
