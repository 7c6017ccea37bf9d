//! Applies a verified bundle: everything in order, or nothing at all.
//!
//! The new generation is attached before the old one is detached; while both are, the stricter verdict
//! wins. An error on the way leaves the old generation as it was.

use std::fs::File;

use bfp_bundle::verify::{Refusal, VerifiedBundle};

use crate::about::{About, AboutError, RevisionError};
use crate::btf::{Btf, BtfError};
use crate::canary::{self, Canary, CanaryError};
use crate::content::Impostor;
use crate::directory::{self, DirectoryError};
use crate::host::{self, HostError};
use crate::load::{self, Constants, LABELLING_HOOKS, LoadError};
use crate::lockdown::{self, AtWork, LockdownError};
use crate::offsets::{Kernel, OffsetError};
use crate::pins::{Pins, PinsError};

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
    /// Something newer, or other, is enforced.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// The record of what is enforced.
    #[error(transparent)]
    About(#[from] AboutError),
    /// The programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The executables.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
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
}

impl ApplyError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            ApplyError::Refused(error) => error.help(),
            ApplyError::Host(error) => error.help(),
            ApplyError::Btf(error) => error.help(),
            ApplyError::Offsets(error) => error.help(),
            ApplyError::Revision(error) => error.help(),
            ApplyError::About(error) => error.help(),
            ApplyError::Load(error) => error.help(),
            ApplyError::Directory(error) => error.help(),
            ApplyError::Canary(error) => error.help(),
            ApplyError::Pins(error) => error.help(),
            ApplyError::Lockdown(error) => error.help(),
            ApplyError::LateLabelling(_) => "apply it again",
        }
    }

    /// The verifier's last lines, where it said something.
    pub fn log(&self) -> Option<&str> {
        match self {
            ApplyError::Load(error) | ApplyError::Directory(DirectoryError::Load(error)) => error.log(),
            _ => None,
        }
    }
}

/// What was applied.
#[derive(Debug)]
pub struct Applied {
    /// The policy.
    pub about: About,
    /// The files whose content is none that the policy pins.
    pub impostors: Vec<Impostor>,
}

/// Has the kernel enforce a bundle. `object` holds the programs.
pub fn apply(object: &[u8], bundle: &VerifiedBundle<'_>, now: u64) -> Result<Applied, ApplyError> {
    let host = host::check()?;
    let kernel = Kernel::of(&Btf::parse(&host.types)?)?;
    let pins = Pins::make()?;
    let applied = apply_locked(object, bundle, now, (&kernel, &host.cgroups), &pins);
    // After a success there is nothing to tidy, and after a failure its own reason matters more.
    if applied.is_err() {
        let _ = pins.tidy();
    }
    applied
}

fn apply_locked(
    object: &[u8],
    bundle: &VerifiedBundle<'_>,
    now: u64,
    (kernel, cgroups): (&Kernel, &File),
    pins: &Pins,
) -> Result<Applied, ApplyError> {
    let about = About::of(bundle, now);
    let newest = pins.generations()?.last().copied();
    if let Some(number) = newest {
        about.may_follow(&About::read(&pins.generation(number).join("about"))?)?;
    }
    if bundle.manifest().lockdown {
        lockdown::check_own_file()?;
    }
    pins.remove_unfinished()?;
    // What is made from here on is not known yet to what guards the older generations.
    let at_work = AtWork::announce(pins)?;

    let canary = Canary::random()?;
    let constants = Constants {
        kernel,
        canary: &canary,
        labels: &pins.labels(),
        sockets: &pins.sockets(),
        enforcers: &pins.enforcers(),
        pins_device: lockdown::device_of(pins)?,
    };
    let executables = bundle.executables()?;
    let mut programs = load::load(object, bundle, &executables, &constants)?;
    let impostors = directory::bind(&mut programs, &executables)?;

    // First what keeps labels, so that no task comes into being without one; then those that are missing;
    // and only then what decides by them.
    for hook in LABELLING_HOOKS {
        programs.attach(hook)?;
    }
    programs.label_running()?;
    programs.attach_deciding(cgroups)?;
    canary::try_out(&canary)?;

    let number = newest.unwrap_or(0) + 1;
    let folder = pins.begin(number)?;
    about.pin(&folder.join("about"))?;
    programs.pin(&folder)?;
    if bundle.manifest().lockdown {
        lockdown::lock(&mut programs, pins, &folder)?;
    } else {
        lockdown::leave_open(&programs)?;
    }
    pins.complete(number)?;
    pins.remove_older(number)?;
    drop(at_work);
    // While both were attached, the older one had the last word on what an exec makes of a label.
    programs.label_running().map_err(ApplyError::LateLabelling)?;
    Ok(Applied { about, impostors })
}
