//! What `check` and `build` can demand of a lock beside that it is enough: `--locked` and `--max-age`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bfp_compiler::diagnostics::findings::boxed;
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{Lock, LockedName, ResolvedAt};
use bfp_compiler::resolve;
use bfp_compiler::source::{self, Disk, Read as _};
use clap::Args;
use miette::{Diagnostic, SourceSpan};
use time::OffsetDateTime;

use crate::commands::lock::names_of;
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::counted;
use crate::{Failure, in_file};

/// Why a lock is not as demanded.
#[derive(Debug, thiserror::Error, Diagnostic)]
enum Unmet {
    #[error("`{name}` was resolved {} ago, and `--max-age` allows {}", age(*seconds), age(*max))]
    #[diagnostic(code(lock::too_old), help("run `bfpc lock {policy} --update {name}`, and review what has changed"))]
    TooOld {
        name: String,
        seconds: u64,
        max: u64,
        policy: String,
        #[label("an old answer")]
        place: Option<SourceSpan>,
    },
    #[error("`{name}` was resolved at {resolved_at}, but it is {now}")]
    #[diagnostic(
        code(lock::from_the_future),
        help("check this machine's clock; if it is right, `bfpc lock {policy} --update {name}` resolves it now")
    )]
    FromTheFuture {
        name: String,
        resolved_at: String,
        now: String,
        policy: String,
        #[label("in the future")]
        place: Option<SourceSpan>,
    },
    #[error("the lock file has `{name}`, which the policy does not use")]
    #[diagnostic(code(lock::stale), help("run `bfpc lock FILE`, and commit the lock file"))]
    Stale {
        name: String,
        #[label("not used")]
        place: Option<SourceSpan>,
    },
}

/// What a lock must be, beside enough.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockDemands {
    /// Fail if `bfpc lock` would change the lock file: a name is missing in it, or no longer used
    #[arg(long)]
    locked: bool,
    /// Fail if an answer in the lock file is older than this, such as 30d or 12h, by this machine's clock
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,
}

impl LockDemands {
    /// Refuses a lock that is not as demanded. A name that is missing is told when it is resolved.
    pub(crate) fn check(self, files: &Files, policy: &Path) -> Result<(), Failure> {
        let mut faults = if self.locked { stale(files)? } else { Vec::new() };
        if let Some(max) = self.max_age {
            faults.extend(outdated(&files.lock, &files.lock_text, max, &Disk.shown(policy)));
        }
        if faults.is_empty() {
            return Ok(());
        }
        let lock = Disk.shown(&source::lock_path(policy));
        Err(Failure::Input(in_file(boxed(faults), &lock, &files.lock_text)))
    }
}

/// What a lock holds that the policy does not use.
fn stale(files: &Files) -> Result<Vec<Unmet>, Failure> {
    // One lock serves all values of parameters.
    let files = &files.clone().any(&Settings::default())?;
    let names = names_of(files)?;
    let places = Lock::places(&files.lock_text);
    let unused = files.lock.names.keys().filter(|name| !names.contains_key(name));
    let stale_name = |name: &DnsName| Unmet::Stale { name: name.to_string(), place: places.get(name).copied() };
    let mut stale: Vec<Unmet> = unused.map(stale_name).collect();
    let lists: BTreeSet<&str> = resolve::lists(&files.loaded).map(|list| list.name.as_str()).collect();
    let unlisted = files.lock.files.keys().filter(|path| !lists.contains(path.as_str()));
    stale.extend(unlisted.map(|path| Unmet::Stale { name: path.clone(), place: None }));
    Ok(stale)
}

/// How far the clock of the machine that resolved may be ahead of this one's.
const SKEW: Duration = Duration::from_mins(5);

/// What was resolved too long ago, or will have been.
fn outdated(lock: &Lock, text: &str, max: Duration, policy: &str) -> Vec<Unmet> {
    let places = Lock::places(text);
    let now = OffsetDateTime::now_utc();
    let fault = |(name, locked): (&DnsName, &LockedName)| {
        let (name, place, policy) = (name.to_string(), places.get(name).copied(), policy.to_owned());
        let resolved_at = locked.resolved_at;
        if resolved_at.moment() > now + SKEW {
            let (resolved_at, now) = (resolved_at.to_string(), ResolvedAt::new(now).to_string());
            return Some(Unmet::FromTheFuture { name, resolved_at, now, policy, place });
        }
        let seconds = u64::try_from((now - resolved_at.moment()).whole_seconds()).unwrap_or(0);
        let max = max.as_secs();
        (seconds > max).then_some(Unmet::TooOld { name, seconds, max, policy, place })
    };
    lock.names.iter().filter_map(fault).collect()
}

/// A number of seconds as days, hours, minutes or seconds: the largest of them that says it, without the rest.
fn age(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let unit = UNITS.into_iter().find(|(length, _)| seconds >= *length);
    let (length, unit) = unit.unwrap_or((1, "second"));
    counted(usize::try_from(seconds / length).unwrap_or(usize::MAX), unit)
}
