//! `lock --refresh`: what DNS answers now, merged with what was locked, for a job that runs without a person.
//!
//! Always: the lock file is written whole or not at all. It is not written if any name has no answer, or if any change
//! needs a review: then the exit code is 3.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use bfp_compiler::diagnostics::findings::{Findings, boxed};
use bfp_compiler::names::dns::DnsError;
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{self as locks, Changes, Lock, LockedName, Refreshed, Review};
use bfp_compiler::resolve::{self, Bounds, ResolveError};
use bfp_compiler::source;
use bfp_grammar::syntax::Span;
use miette::Diagnostic;

use crate::commands::lock::{self, LockArguments, LockCommandError, Unresolved, listed};
use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::counted;
use crate::{Answer, Failure, in_sources};

/// A change that must not enter the lock file by itself.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{name}` needs a review: {change}")]
#[diagnostic(code(lock::needs_review))]
struct NeedsReview {
    name: DnsName,
    change: String,
    #[help]
    help: String,
    #[label("{label}")]
    place: Span,
    label: &'static str,
}

impl NeedsReview {
    fn outside(name: &DnsName, strays: &BTreeSet<IpAddr>, place: Span) -> NeedsReview {
        NeedsReview {
            name: name.clone(),
            change: format!("it answers {}, outside of the list that it is within", listed(strays)),
            help: "get the provider's list as it is now, review it, and lock it with `bfpc lock FILE`".to_owned(),
            place,
            label: "may not leave its list",
        }
    }
}

pub(crate) fn refresh(arguments: &LockArguments) -> Answer {
    if source::is_standard_input(&arguments.policy) {
        return Err(LockCommandError::Nowhere.into());
    }
    let files = Files::read(&arguments.policy)?.any(&Settings::default())?;
    let names = lock::names_of(&files)?;
    let before = locked_entries(&files, &names)?;
    let ipv4_only = before.iter().filter(|(_, locked)| locked.ipv4_only.is_some()).map(|(name, _)| (*name).clone());
    let live = lock::ask(&names.keys().cloned().collect(), ipv4_only.collect(), &arguments.resolvers)?;
    let live = answered(&files, &names, live)?;

    let bounds = Bounds::of(&files.loaded);
    let changing = resolve::changing_names(&files.loaded.syntax);
    let policy = arguments.policy.display().to_string();
    let path = source::lock_path(&arguments.policy);
    let mut said = String::new();
    let mut reviews: Findings = Vec::new();
    // A list is not read again: one that has changed is an error of the next build.
    let is_used = |path: &str| files.loaded.lists.values().any(|list| list.name == path);
    let lists = files.lock.files.iter().filter(|(path, _)| is_used(path));
    let mut lock = Lock {
        files: lists.map(|(path, digest)| (path.clone(), *digest)).collect(),
        fetched: lock::fetched(&files, &files.lock),
        ..Lock::default()
    };
    let mut waiting = 0;
    for (name, live) in live {
        let Some(before) = before.get(&name) else { continue };
        let changes = if changing.contains(&name) { Changes::Allowed } else { Changes::Frozen };
        let refreshed = locks::refresh(before, live, changes, arguments.keep);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(said, "{name}  {}", in_words(&refreshed));
        let place = names.get(&name).copied().unwrap_or_default();
        let mut found = findings(&name, &refreshed, changes, &policy, place);
        let strays = bounds.strays(&name, &refreshed.entry.current());
        if !strays.is_empty() {
            found.push(NeedsReview::outside(&name, &strays, place));
        }
        waiting += usize::from(!found.is_empty());
        reviews.extend(boxed(found));
        lock.names.insert(name, refreshed.entry);
    }
    for dropped in files.lock.names.keys().filter(|name| !names.contains_key(name)) {
        let _ = writeln!(said, "{dropped}  no longer used");
    }
    let number = counted(lock.names.len(), "name");
    if !reviews.is_empty() {
        let need = if waiting == 1 { "needs" } else { "need" };
        let _ = writeln!(said, "{}: not changed, because {waiting} of {number} {need} a review", path.display());
        let diagnostics = in_sources(reviews, &files.file, &files.loaded.sources);
        return Err(Failure::Some { words: said, diagnostics, code: 3 });
    }
    if lock != files.lock {
        output::write(&path, lock.to_text().into_bytes(), Kind::Lock)?;
    }
    let _ = writeln!(said, "{}: {number} refreshed", path.display());
    Ok(said)
}

/// The entries of the policy's names. A new name is not refreshed but locked, with a person who reviews it.
fn locked_entries<'a>(
    files: &'a Files,
    names: &'a BTreeMap<DnsName, Span>,
) -> Result<BTreeMap<&'a DnsName, &'a LockedName>, Failure> {
    let (mut entries, mut missing) = (BTreeMap::new(), Vec::new());
    for (name, span) in names {
        match files.lock.names.get(name) {
            Some(locked) => drop(entries.insert(name, locked)),
            None => missing.push(ResolveError::NotLocked { name: name.clone(), span: *span }),
        }
    }
    if missing.is_empty() { Ok(entries) } else { Err(files.show(boxed(missing))) }
}

/// The answers, if every name has one.
fn answered(
    files: &Files,
    names: &BTreeMap<DnsName, Span>,
    live: BTreeMap<DnsName, Result<LockedName, DnsError>>,
) -> Result<BTreeMap<DnsName, LockedName>, Failure> {
    let (mut answers, mut errors) = (BTreeMap::new(), Findings::new());
    for (name, answer) in live {
        match answer {
            Ok(answer) => drop(answers.insert(name, answer)),
            Err(reason) => {
                let place = names.get(&name).copied();
                errors.push(Box::new(Unresolved { name, reason, place }));
            }
        }
    }
    if errors.is_empty() { Ok(answers) } else { Err(files.show(errors)) }
}

fn findings(name: &DnsName, refreshed: &Refreshed, changes: Changes, policy: &str, place: Span) -> Vec<NeedsReview> {
    let update = format!("review it, then run `bfpc lock {policy} --update {name}`, and commit the lock file");
    let label = match changes {
        Changes::Allowed => "may change, but not so",
        Changes::Frozen => "may not change by itself",
    };
    let finding = |change, help: &str| NeedsReview { name: name.clone(), change, help: help.to_owned(), place, label };
    let declare = format!("{update}; or let it change by itself: `host … = {name}:443 may change`");
    let review = |review: &Review| match review {
        Review::Added(added) => finding(format!("it answers {}, which is not locked", listed(added)), &declare),
        Review::Gone(gone) => finding(format!("it no longer answers {}", listed(gone)), &declare),
        Review::Rotates => finding("its addresses rotate now".to_owned(), &declare),
        Review::Unproven => finding("DNSSEC does not prove it any more".to_owned(), &update),
    };
    let mut found: Vec<NeedsReview> = refreshed.reviews.iter().map(review).collect();
    let special = |address: &IpAddr| Some((*address, kind(*address)?));
    for (address, kind) in refreshed.added.iter().filter_map(special) {
        found.push(finding(format!("it answers {address}, {kind}"), &update));
    }
    found
}

/// Why an address must not be locked without a person, whatever the policy says.
fn kind(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("which is judged as loopback");
    }
    resolve::special_answer(address)
}

/// What came, what stays, what went.
fn in_words(refreshed: &Refreshed) -> String {
    let Refreshed { added, same, kept, removed, .. } = refreshed;
    let parts: [(&str, &BTreeSet<_>); 4] = [("added", added), ("same", same), ("kept", kept), ("removed", removed)];
    if added.is_empty() && kept.is_empty() && removed.is_empty() {
        return "as locked".to_owned();
    }
    let parts = parts.into_iter().filter(|(_, addresses)| !addresses.is_empty());
    parts.map(|(word, addresses)| format!("{word} {}", listed(addresses))).collect::<Vec<_>>().join("; ")
}
