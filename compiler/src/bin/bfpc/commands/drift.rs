//! `drift`: what DNS says now against what was locked, from the lock file or from a bundle.
//!
//! Always: a resolver that cannot be asked is no drift and no agreement, but an error; a name that rotates
//! may answer with a part of what was locked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use bfp_bundle::debug::{DebugAddress, DebugLocked, DebugName};
use bfp_bundle::envelope::Document;
use bfp_bundle::verify::{MAX_BUNDLE_BYTES, Refusal};
use bfp_compiler::diagnostics::findings::{Findings, boxed};
use bfp_compiler::names::dns::DnsError;
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{Dnssec, LockedName, Stability};
use bfp_compiler::resolve::{Bounds, ResolveError};
use bfp_compiler::source;
use bfp_grammar::syntax::Span;
use clap::Args;
use serde::Serialize;

use crate::commands::list_drift::{self, ComparedList, ListArguments, ListStatus};
use crate::commands::lock::ResolverArguments;
use crate::commands::lock::{self, Unresolved};
use crate::files::input::{Format, InputError, json};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::counted;
use crate::signing::refusal::refused;
use crate::signing::trust::TrustArguments;
use crate::signing::verified::{compiled, verified};
use crate::{Answer, Diagnostics, Failure};

#[derive(Args)]
pub(crate) struct DriftArguments {
    /// The policy, or the bundle (which requires `--trust`)
    pub(crate) file: PathBuf,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// For a bundle: the trusted public key, a directory of them (*.pem), or the trust set in force
    #[arg(long, value_name = "PATH")]
    pub(crate) trust: Option<PathBuf>,
    /// For a bundle that is not for every host: a tag of the host
    #[arg(long, value_name = "LABEL")]
    pub(crate) audience: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) resolvers: ResolverArguments,
    #[command(flatten)]
    pub(crate) lists: ListArguments,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum DriftError {
    #[error("a bundle has no lists to compare")]
    #[diagnostic(code(fetch::no_such_list), help("name the policy that it was built from"))]
    NoLists,
}

/// The version of the JSON; it changes when a reader of the old one would be misled.
const JSON_VERSION: u32 = 1;

/// What was locked for a name.
struct Locked {
    addresses: BTreeSet<IpAddr>,
    /// Those that were answered then. The others are kept for a time, and nobody expects them.
    current: BTreeSet<IpAddr>,
    stability: Stability,
    /// What a bundle does not record.
    dnssec: Dnssec,
    is_ipv4_only: bool,
    /// The rules cover a list, so it makes no difference which of its addresses are answered.
    is_within: bool,
}

#[derive(Serialize)]
struct Report {
    version: u32,
    drift: bool,
    names: Vec<Compared>,
    lists: Vec<ComparedList>,
}

#[derive(Serialize)]
struct Compared {
    name: String,
    status: Status,
    locked: Vec<IpAddr>,
    live: Vec<IpAddr>,
    added: Vec<IpAddr>,
    removed: Vec<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it was locked.
    Same,
    /// Other addresses.
    Changed,
    /// No address any more.
    Gone,
    /// The addresses change from answer to answer, and did not when they were locked.
    Rotating,
    /// An address is not in the list that the name is declared to be within.
    Outside,
    /// DNSSEC proved them, and does not any more.
    Unproven,
}

pub(crate) fn drift(arguments: &DriftArguments) -> Answer {
    let bytes = source::read_bytes(&arguments.file, MAX_BUNDLE_BYTES)?;
    if Document::of(&bytes).is_some() {
        arguments.settings.refuse_for(&arguments.file)?;
        let locked = locked_in_bundle(&bytes, arguments)?;
        // The bundle alone has no text to point into.
        let show = |findings: Findings| Failure::Input(Diagnostics::about_nothing(findings));
        if !arguments.lists.list.is_empty() {
            return Err(DriftError::NoLists.into());
        }
        return compare(&locked, &BTreeMap::new(), &Bounds::default(), Vec::new(), arguments, show);
    }
    let files = Files::read(&arguments.file)?.any(&arguments.settings)?;
    let names = lock::names_of(&files)?;
    let bounds = Bounds::of(&files.loaded);
    let mut missing = Vec::new();
    let mut locked = BTreeMap::new();
    for (name, span) in &names {
        match files.lock.names.get(name) {
            Some(entry) => {
                let LockedName { addresses, stability, dnssec, ipv4_only, .. } = entry;
                let (addresses, current) = (addresses.clone(), entry.current());
                let (stability, dnssec, is_ipv4_only) = (*stability, *dnssec, ipv4_only.is_some());
                let is_within = bounds.is_within(name);
                locked.insert(name.clone(), Locked { addresses, current, stability, dnssec, is_ipv4_only, is_within });
            }
            None => missing.push(ResolveError::NotLocked { name: name.clone(), span: *span }),
        }
    }
    if !missing.is_empty() {
        return Err(files.show(boxed(missing)));
    }
    let lists = list_drift::compare(&files, &arguments.lists)?;
    compare(&locked, &names, &bounds, lists, arguments, |findings| files.show(findings))
}

fn locked_in_bundle(bytes: &[u8], arguments: &DriftArguments) -> Result<BTreeMap<DnsName, Locked>, Failure> {
    let Some(trust) = &arguments.trust else {
        return Err(InputError::Trust { file: arguments.file.display().to_string() }.into());
    };
    let trust = TrustArguments { trust: trust.clone(), threshold: 1, audience: arguments.audience.clone() };
    let bundle = verified(bytes, &trust)?;
    let debug = compiled(&bundle)?.debug;
    let known = |name: &str| DnsName::parse(name).map_err(|_| refused(Refusal::BadDebug));
    let mut locked: BTreeMap<DnsName, Locked> = BTreeMap::new();
    for DebugName { address, name } in &debug.names {
        let plain = || Locked {
            addresses: BTreeSet::new(),
            current: BTreeSet::new(),
            stability: Stability::Stable,
            dnssec: Dnssec::Unproven,
            is_ipv4_only: false,
            is_within: false,
        };
        let entry = locked.entry(known(name)?).or_insert_with(plain);
        entry.addresses.insert(address.to_canonical());
        entry.current.insert(address.to_canonical());
    }
    for DebugLocked { name, is_rotating, is_ipv4_only, is_within, kept } in &debug.locked {
        let Some(entry) = locked.get_mut(&known(name)?) else { continue };
        entry.stability = if *is_rotating { Stability::Rotating } else { Stability::Stable };
        (entry.is_ipv4_only, entry.is_within) = (*is_ipv4_only, *is_within);
        for DebugAddress(address) in kept {
            entry.current.remove(&address.to_canonical());
        }
    }
    Ok(locked)
}

fn compare(
    locked: &BTreeMap<DnsName, Locked>,
    places: &BTreeMap<DnsName, Span>,
    bounds: &Bounds,
    lists: Vec<ComparedList>,
    arguments: &DriftArguments,
    show: impl Fn(Findings) -> Failure,
) -> Answer {
    let ipv4_only = locked.iter().filter(|(_, locked)| locked.is_ipv4_only).map(|(name, _)| name.clone()).collect();
    let mut told = lock::ask(&locked.keys().cloned().collect(), ipv4_only, &arguments.resolvers)?;
    let mut names = Vec::new();
    let mut errors: Findings = Vec::new();
    for (name, locked) in locked {
        match told.remove(name) {
            Some(Ok(live)) => {
                let status = if !bounds.strays(name, &live.addresses).is_empty() {
                    Status::Outside
                } else if locked.is_within {
                    proof(locked, &live)
                } else {
                    status(locked, &live)
                };
                names.push(compared(name, locked, status, live.addresses));
            }
            Some(Err(reason)) if reason.is_answer() => {
                names.push(compared(name, locked, Status::Gone, BTreeSet::new()));
            }
            failed => {
                let reason =
                    failed.and_then(Result::err).unwrap_or_else(|| DnsError::unanswered("the query was dropped"));
                errors.push(Box::new(Unresolved { name: name.clone(), reason, place: places.get(name).copied() }));
            }
        }
    }
    if !errors.is_empty() {
        return Err(show(errors));
    }
    let drift = names.iter().any(|compared| compared.status != Status::Same)
        || lists.iter().any(|list| list.status != ListStatus::Same);
    let said = match arguments.format {
        Format::Human => table(&arguments.file.display().to_string(), &names, &lists),
        Format::Json => json(&Report { version: JSON_VERSION, drift, names, lists }),
    };
    if drift { Err(Failure::Finding(said)) } else { Ok(said) }
}

fn status(locked: &Locked, live: &LockedName) -> Status {
    let part = live.addresses.is_subset(&locked.addresses);
    let rotates = live.stability == Stability::Rotating;
    let expected = match locked.stability {
        Stability::Rotating => part,
        Stability::Stable => part && locked.current.is_subset(&live.addresses),
    };
    if !expected {
        Status::Changed
    } else if rotates && locked.stability == Stability::Stable {
        Status::Rotating
    } else {
        proof(locked, live)
    }
}

fn proof(locked: &Locked, live: &LockedName) -> Status {
    if locked.dnssec == Dnssec::Secure && live.dnssec == Dnssec::Unproven { Status::Unproven } else { Status::Same }
}

fn compared(name: &DnsName, locked: &Locked, status: Status, live: BTreeSet<IpAddr>) -> Compared {
    Compared {
        name: name.to_string(),
        status,
        locked: locked.addresses.iter().copied().collect(),
        added: live.difference(&locked.addresses).copied().collect(),
        removed: locked.addresses.difference(&live).copied().collect(),
        live: live.into_iter().collect(),
    }
}

/// What drifted, and how much of all did.
fn table(file: &str, names: &[Compared], lists: &[ComparedList]) -> String {
    let drifted_names = names.iter().filter(|compared| compared.status != Status::Same).count();
    let drifted_lists = lists.iter().filter(|list| list.status != ListStatus::Same).count();
    let numbers = [(drifted_names, names.len(), "name"), (drifted_lists, lists.len(), "list")];
    // A policy without lists is told nothing about lists, and the other way round.
    let is_told = |number: &(usize, usize, &str)| number.1 > 0 || (number.2 == "name" && lists.is_empty());
    let numbers: Vec<_> = numbers.into_iter().filter(is_told).collect();
    if drifted_names + drifted_lists == 0 {
        let all: Vec<String> = numbers.iter().map(|(_, all, what)| counted(*all, what)).collect();
        return format!("{file}: {}, as locked\n", all.join(" and "));
    }
    let told: Vec<String> =
        numbers.iter().map(|(drifted, all, what)| format!("{drifted} of {}", counted(*all, what))).collect();
    let parts = [rows(names), list_drift::table(lists)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n{file}: {} drifted\n", parts.join("\n"), told.join(" and "))
}

/// A row for each address of each name that drifted.
fn rows(names: &[Compared]) -> String {
    let drifted: Vec<&Compared> = names.iter().filter(|compared| compared.status != Status::Same).collect();
    if drifted.is_empty() {
        return String::new();
    }
    let mut rows = vec![["name", "locked", "live", ""].map(str::to_owned)];
    for compared in &drifted {
        let mut name = compared.name.clone();
        let all: BTreeSet<&IpAddr> = compared.locked.iter().chain(&compared.live).collect();
        for address in all {
            let shown = |there: bool| if there { address.to_string() } else { "-".to_owned() };
            let change = match (compared.added.contains(address), compared.removed.contains(address)) {
                (true, _) => "added",
                (_, true) => "removed",
                _ => "",
            };
            let (locked, live) = (compared.locked.contains(address), compared.live.contains(address));
            rows.push([std::mem::take(&mut name), shown(locked), shown(live), change.to_owned()]);
        }
        let note = match compared.status {
            Status::Same | Status::Changed => continue,
            Status::Gone => "it has no address any more",
            Status::Rotating => "its addresses rotate now",
            Status::Outside => "it has left the list that it is within",
            Status::Unproven => "DNSSEC does not prove it any more",
        };
        rows.push([name, String::new(), String::new(), note.to_owned()]);
    }
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut said = String::new();
    for [name, locked, live, note] in &rows {
        let line = format!("{name:<0$}  {locked:<1$}  {live:<2$}  {note}", widths[0], widths[1], widths[2]);
        // Writing to a string cannot fail.
        let _ = writeln!(said, "{}", line.trim_end());
    }
    said
}
