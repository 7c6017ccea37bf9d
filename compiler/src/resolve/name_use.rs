//! The DNS names that a policy uses, and where a rule uses them: (right side, declarations) → the places.
//!
//! Always: a name is found through any number of declarations, and once for each way of use. A cycle of declarations,
//! which is reported elsewhere, ends the search.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_grammar::syntax::{Destinations, Host, HostDeclaration, Span, Spanned, Statement};

use super::ResolveError;
use super::destinations::not_a_name;
use crate::names::dns_name::DnsName;
use crate::names::lock::{Lock, Stability};
use crate::policy::Part;
use crate::source::load::{ListFile, Loaded};

/// Every DNS name that a policy uses, with its first place.
///
/// # Errors
///
/// Every text that is written as a DNS name and is not one.
pub fn dns_names(loaded: &Loaded) -> Result<BTreeMap<DnsName, Span>, Vec<ResolveError>> {
    let (mut names, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, span) in Needed::of(loaded).names {
        match DnsName::parse(name) {
            Ok(name) => drop(names.entry(name).or_insert(span)),
            Err(reason) => errors.push(not_a_name(reason, span)),
        }
    }
    if errors.is_empty() { Ok(names) } else { Err(errors) }
}

/// The lists that a policy uses, in the order of the text.
pub fn lists(loaded: &Loaded) -> impl Iterator<Item = &ListFile> {
    Needed::of(loaded).lists.into_iter().filter_map(|span| loaded.lists.get(&span))
}

/// What the lock file must have: what rules, tests and the declarations of the policy's own file name, directly or
/// through other declarations. What else included files declare is for other policies.
#[derive(Default)]
struct Needed<'a> {
    /// DNS names, as written, in the order of the text.
    names: Vec<(&'a str, Span)>,
    /// The places that name lists, in the order of the text.
    lists: Vec<Span>,
}

impl<'a> Needed<'a> {
    fn of(loaded: &'a Loaded) -> Needed<'a> {
        let mut needed = Needed::default();
        let mut included: BTreeMap<&str, &HostDeclaration> = BTreeMap::new();
        let mut waiting: Vec<&Spanned<Destinations>> = Vec::new();
        for Spanned { node, span } in &loaded.syntax.statements {
            match node {
                Statement::Host(declaration) if loaded.sources.is_in_policy(span.start) => {
                    waiting.extend(parts(declaration));
                }
                Statement::Host(declaration) => {
                    included.entry(&declaration.name.node).or_insert(declaration);
                }
                Statement::Rule(rule) => waiting.push(&rule.destinations),
                Statement::Test(test) => {
                    waiting.extend(test.expectations.iter().map(|line| &line.node.destinations));
                }
                _ => {}
            }
        }
        // Not by recursion: a chain of declarations can be long.
        while let Some(destinations) = waiting.pop() {
            match &destinations.node {
                Destinations::Endpoint { host: Spanned { node: Host::Dns(name), span }, .. } => {
                    needed.names.push((name, *span));
                }
                Destinations::Ranges { file, .. } => needed.lists.push(file.span),
                Destinations::Set { elements, .. } => waiting.extend(elements),
                Destinations::Clients { from, .. } => waiting.push(from),
                Destinations::Except { base, removed } => waiting.extend([&**base, &**removed]),
                // Once: it is then no longer there.
                Destinations::Named { name, .. } => {
                    waiting.extend(included.remove(name.node.as_str()).into_iter().flat_map(parts));
                }
                Destinations::Any | Destinations::Endpoint { .. } => {}
            }
        }
        needed.names.sort_by_key(|(_, span)| *span);
        needed.lists.sort();
        needed
    }
}

/// What a declaration names: its destinations, and the list that its names must lie in.
fn parts(declaration: &HostDeclaration) -> impl Iterator<Item = &Spanned<Destinations>> {
    std::iter::once(&declaration.destinations).chain(&declaration.within)
}

/// A use of a name.
pub(super) struct Use {
    pub(super) name: DnsName,
    pub(super) span: Span,
    pub(super) part: Part,
}

/// The names that checks need: those with addresses that may be unknown, and those that share one.
pub(super) fn noted(lock: &Lock) -> BTreeSet<&DnsName> {
    let mut owners: BTreeMap<IpAddr, &DnsName> = BTreeMap::new();
    let mut noted = BTreeSet::new();
    for (name, locked) in &lock.names {
        if locked.stability == Stability::Rotating || locked.ipv4_only.is_some() {
            noted.insert(name);
        }
        for address in &locked.addresses {
            if let Some(other) = owners.insert(address.to_canonical(), name)
                && other != name
            {
                noted.extend([name, other]);
            }
        }
    }
    noted
}

pub(super) fn names(
    destinations: &Spanned<Destinations>,
    hosts: &BTreeMap<&str, &HostDeclaration>,
    noted: &BTreeSet<&DnsName>,
) -> Vec<Use> {
    let mut search = Search { hosts, noted, seen: BTreeSet::new(), found: Vec::new(), is_within: false };
    // Most locks have none, and a set may be long.
    if !noted.is_empty() {
        search.look(destinations, Part::Covered);
    }
    search.found
}

struct Search<'a> {
    hosts: &'a BTreeMap<&'a str, &'a HostDeclaration>,
    noted: &'a BTreeSet<&'a DnsName>,
    /// The declarations that were searched, with the way of use.
    seen: BTreeSet<(&'a str, Part)>,
    found: Vec<Use>,
    /// The declaration that is searched covers a whole list, whatever its names answer.
    is_within: bool,
}

impl<'a> Search<'a> {
    fn look(&mut self, destinations: &'a Spanned<Destinations>, part: Part) {
        match &destinations.node {
            Destinations::Endpoint { .. } if self.is_within => {}
            Destinations::Endpoint { host: Spanned { node: Host::Dns(written), span }, .. } => {
                // A text that is not a name is reported where it is resolved.
                if let Some(name) = DnsName::parse(written).ok().filter(|name| self.noted.contains(name)) {
                    self.found.push(Use { name, span: *span, part });
                }
            }
            Destinations::Set { elements, .. } => elements.iter().for_each(|element| self.look(element, part)),
            Destinations::Clients { from, .. } => self.look(from, part),
            Destinations::Except { base, removed } => {
                self.look(base, part);
                self.look(removed, part.opposite());
            }
            Destinations::Named { name, .. } => {
                if let Some((name, declaration)) = self.hosts.get_key_value(name.node.as_str())
                    && self.seen.insert((name, part))
                {
                    let outer = std::mem::replace(&mut self.is_within, declaration.within.is_some());
                    self.look(&declaration.destinations, part);
                    self.is_within = outer;
                }
            }
            _ => {}
        }
    }
}

/// Passes on each DNS name that is written in a destination, with its place, and returns how many are written. A text
/// that is not a name counts, and is reported where it is resolved.
pub(super) fn each_name(destinations: &Spanned<Destinations>, found: &mut impl FnMut(DnsName, Span)) -> usize {
    match &destinations.node {
        Destinations::Endpoint { host: Spanned { node: Host::Dns(written), span }, .. } => {
            if let Ok(name) = DnsName::parse(written) {
                found(name, *span);
            }
            1
        }
        Destinations::Set { elements, .. } => elements.iter().map(|element| each_name(element, found)).sum(),
        Destinations::Clients { from, .. } => each_name(from, found),
        Destinations::Except { base, removed } => each_name(base, found) + each_name(removed, found),
        _ => 0,
    }
}
