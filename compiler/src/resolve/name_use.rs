//! The DNS names that a policy uses, and where a rule uses them: (right side, declarations) → the places.
//!
//! Always: a name is found through any number of declarations, and once for each way of use. A cycle of declarations,
//! which is reported elsewhere, ends the search.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_grammar::syntax::{self, Destinations, Host, HostDeclaration, Span, Spanned, Statement};

use super::ResolveError;
use super::destinations::not_a_name;
use crate::names::dns_name::DnsName;
use crate::names::lock::{Lock, Stability};
use crate::policy::Part;

/// Every DNS name that a policy uses, with its first place.
///
/// # Errors
///
/// Every text that is written as a DNS name and is not one.
pub fn dns_names(policy: &syntax::Policy) -> Result<BTreeMap<DnsName, Span>, Vec<ResolveError>> {
    let (mut names, mut errors) = (BTreeMap::new(), Vec::new());
    let mut found = |name: &str, span| match DnsName::parse(name) {
        Ok(name) => drop(names.entry(name).or_insert(span)),
        Err(reason) => errors.push(not_a_name(reason, span)),
    };
    for statement in &policy.statements {
        match &statement.node {
            Statement::Host(declaration) => collect_names(&declaration.destinations, &mut found),
            Statement::Rule(rule) => collect_names(&rule.destinations, &mut found),
            Statement::Test(test) => {
                test.expectations.iter().for_each(|line| collect_names(&line.node.destinations, &mut found));
            }
            _ => {}
        }
    }
    if errors.is_empty() { Ok(names) } else { Err(errors) }
}

fn collect_names(destinations: &Spanned<Destinations>, found: &mut dyn FnMut(&str, Span)) {
    match &destinations.node {
        Destinations::Endpoint { host: Spanned { node: Host::Dns(name), span }, .. } => found(name, *span),
        Destinations::Set(elements) => elements.iter().for_each(|element| collect_names(element, found)),
        Destinations::Except { base, removed } => {
            collect_names(base, found);
            collect_names(removed, found);
        }
        _ => {}
    }
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
    let mut search = Search { hosts, noted, seen: BTreeSet::new(), found: Vec::new() };
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
}

impl<'a> Search<'a> {
    fn look(&mut self, destinations: &'a Spanned<Destinations>, part: Part) {
        match &destinations.node {
            Destinations::Endpoint { host: Spanned { node: Host::Dns(written), span }, .. } => {
                // A text that is not a name is reported where it is resolved.
                if let Some(name) = DnsName::parse(written).ok().filter(|name| self.noted.contains(name)) {
                    self.found.push(Use { name, span: *span, part });
                }
            }
            Destinations::Set(elements) => elements.iter().for_each(|element| self.look(element, part)),
            Destinations::Except { base, removed } => {
                self.look(base, part);
                self.look(removed, part.opposite());
            }
            Destinations::Named { name, .. } => {
                if let Some((name, declaration)) = self.hosts.get_key_value(name.node.as_str())
                    && self.seen.insert((name, part))
                {
                    self.look(&declaration.destinations, part);
                }
            }
            _ => {}
        }
    }
}
