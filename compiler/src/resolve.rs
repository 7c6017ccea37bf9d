//! Names → their meaning: (syntax tree, lock) → [`ResolvedPolicy`], or every error of this stage.
//!
//! Two passes: [`declarations`] collects what the statements declare, and [`resolver`] reads everything else with it.
//!
//! Always: the destinations of a rule are sorted, disjoint address ranges with ports. A name without an address is an
//! error at its place. A construct of a later edition is rejected by name, never skipped. All errors are reported
//! together, in the order of the text.

mod classes;
mod clients;
pub(crate) mod coverage;
mod declarations;
mod destinations;
mod error;
mod list_change;
mod list_source;
mod may_change;
mod name_use;
pub(crate) mod network_list;
mod port_sets;
pub(crate) mod program_path;
mod programs;
mod question;
mod ranges;
mod resolver;
mod shared;
#[cfg(test)]
mod tests;
mod unit_name;
mod within;

pub use self::error::ResolveError;
pub use self::list_change::{ListChange, list_changes, list_faults};
pub use self::list_source::{ListSourceError, list_sources};
pub use self::may_change::changing_names;
pub use self::name_use::{dns_names, lists};
pub use self::port_sets::PortSets;
pub use self::question::{Names, destinations};
pub use self::within::Bounds;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bfp_bundle::names::build::Automaton;
use bfp_grammar::syntax::{self, Span, Spanned};

use self::declarations::Declarations;
use self::resolver::{Known, Resolver};
use crate::names::dns_name::DnsName;
use crate::names::lock::{Lock, LockedName, Stability};
use crate::policy::{Default, Program, ResolvedPolicy};
use crate::source::load::Loaded;

/// The kind, in words, of an address that belongs to no host of a network, and that DNS has little reason to answer.
pub fn special_answer(address: IpAddr) -> Option<&'static str> {
    ranges::special(address)
}

const BUILTIN: [&str; 7] = ["loopback", "link-local", "private", "multicast", "metadata", "clients", "raw"];

/// Words that authors try in place of `*`.
const EVERYBODY: [&str; 7] = ["all", "any", "anybody", "anyone", "everybody", "everyone", "everything"];

/// The input of resolving: the text of a policy, and the addresses of its names.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The policy, as read.
    pub loaded: &'a Loaded,
    /// The name of the policy, if the text gives none.
    pub stem: &'a str,
    /// The text of its lock file; empty where there is none.
    pub lock_text: &'a str,
    /// The answers in the lock file.
    pub lock: &'a Lock,
}

/// Resolves a policy. `stem` names it if the text does not.
///
/// # Errors
///
/// Every error of this stage, in the order of the text.
pub fn resolve(loaded: &Loaded, stem: &str, lock: &Lock) -> Result<ResolvedPolicy, Vec<ResolveError>> {
    let policy = &loaded.syntax;
    let (declarations, mut errors) = Declarations::of(policy, &loaded.sources);
    let faults =
        may_change::faults(policy).into_iter().chain(list_source::faults(loaded).into_iter().map(ResolveError::from));
    faults.for_each(|fault| errors.add(fault));
    let clients = clients::is_named(policy);
    let mut resolver = Resolver::new(&declarations, Known::of(loaded, lock), errors);
    if clients {
        resolver.distinguish_answers();
    }
    let (rules, name_uses) = resolver.rules(policy, lock);
    // What only a test or an unused declaration names is not the rules'.
    let ruled = resolver.paths.len();
    let unspecified = std::mem::take(&mut resolver.unspecified);
    let special = std::mem::take(&mut resolver.special);
    resolver.ask_about_requests();
    let tests = resolver.tests(policy);
    let accepted = resolver.accepted(policy, &loaded.sources);
    let names = std::mem::take(&mut resolver.names);
    resolver.refuse_unused(&loaded.sources);
    resolver.resolve_unused(&loaded.sources);
    let Resolver { errors, paths: mut programs, known_programs, .. } = resolver;
    errors.none()?;

    let unlisted = programs.split_off(ruled);
    refuse_patterns(&unlisted)?;
    let mut resolved = ResolvedPolicy {
        name: declarations.name.map_or_else(|| stem.to_owned(), |name| name.node.clone()),
        programs,
        unlisted,
        declared_programs: known_programs.into_iter().map(|(name, programs)| (name.to_owned(), programs)).collect(),
        rules,
        default: match declarations.default {
            Some(Spanned { node: syntax::Default::Deny, span }) => Default::Deny(span),
            _ => Default::Allow,
        },
        names,
        name_uses,
        unspecified,
        special,
        rotating: names_of(lock, |locked| locked.stability == Stability::Rotating),
        ipv4_only: names_of(lock, |locked| locked.ipv4_only.is_some()),
        tests,
        accepted,
        kinds: Vec::new(),
        clients,
    };
    let sets = overlaps(&resolved.programs)?;
    let errors = classes::add(&mut resolved, &sets);
    if errors.is_empty() { Ok(resolved) } else { Err(errors) }
}

/// A pattern that only a test names matches no file of a rule, so it says nothing.
fn refuse_patterns(unlisted: &[Program]) -> Result<(), Vec<ResolveError>> {
    let patterns = unlisted.iter().filter(|program| program.is_pattern());
    let errors: Vec<ResolveError> = patterns
        .map(|program| ResolveError::PatternInTest { path: program.written.clone(), span: program.span })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// The names in a lock whose entry satisfies `wanted`.
fn names_of(lock: &Lock, wanted: impl Fn(&LockedName) -> bool) -> BTreeSet<DnsName> {
    lock.names.iter().filter(|(_, locked)| wanted(locked)).map(|(name, _)| name.clone()).collect()
}

/// Errors in a file of declarations alone, which policies include. It has no rules, declarations may be unused, and
/// addresses and lists are locked beside the policies.
pub fn faults_of_library(loaded: &Loaded) -> Vec<ResolveError> {
    let of_policies = |error: &ResolveError| {
        matches!(
            error,
            ResolveError::Empty
                | ResolveError::Unused { .. }
                | ResolveError::NotLocked { .. }
                | ResolveError::ListNotLocked { .. }
                | ResolveError::ListSource(ListSourceError::NotFetched { .. } | ListSourceError::UnusedSource { .. })
        )
    };
    let errors = resolve(loaded, "library", &Lock::default()).err().unwrap_or_default();
    errors.into_iter().filter(|error| !of_policies(error)).collect()
}

/// The sets of programs that one file can match at once.
fn overlaps(programs: &[Program]) -> Result<Vec<Vec<usize>>, Vec<ResolveError>> {
    let texts: Vec<&str> = programs.iter().map(|program| program.path.as_str()).collect();
    match Automaton::of(&texts) {
        Ok(automaton) => Ok(automaton.accepts().to_vec()),
        Err(error) => {
            let pattern = programs.iter().find(|program| program.is_pattern()).or(programs.first());
            let span = pattern.map_or_else(Span::default, |program| program.span);
            Err(vec![ResolveError::PatternCapacity { reason: error.to_string(), span }])
        }
    }
}
