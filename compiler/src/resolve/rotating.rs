//! Where a rule uses a name whose addresses rotate: (right side, declarations, lock) → the places.
//!
//! Always: a name is found however many declarations lie between it and the rule, and once for each way of
//! use; a circle of declarations, which is an error elsewhere, ends here.

use std::collections::{BTreeMap, BTreeSet};

use bfp_grammar::syntax::{Destinations, Host, HostDeclaration, Span, Spanned};

use crate::dns_name::DnsName;
use crate::lock::{Lock, Stability};
use crate::policy::Part;

pub(super) struct Found {
    pub(super) name: DnsName,
    pub(super) span: Span,
    pub(super) part: Part,
}

pub(super) fn names(
    destinations: &Spanned<Destinations>,
    hosts: &BTreeMap<&str, &HostDeclaration>,
    lock: &Lock,
) -> Vec<Found> {
    let mut search = Search { hosts, lock, seen: BTreeSet::new(), found: Vec::new() };
    if lock.names.values().any(|locked| locked.stability == Stability::Rotating) {
        search.look(destinations, Part::Covered);
    }
    search.found
}

struct Search<'a> {
    hosts: &'a BTreeMap<&'a str, &'a HostDeclaration>,
    lock: &'a Lock,
    /// The declarations that were looked into, each way.
    seen: BTreeSet<(&'a str, Part)>,
    found: Vec<Found>,
}

impl<'a> Search<'a> {
    fn look(&mut self, destinations: &'a Spanned<Destinations>, part: Part) {
        match &destinations.node {
            Destinations::Endpoint { host: Spanned { node: Host::Dns(written), span }, .. } => {
                let Ok(name) = DnsName::parse(written) else { return };
                if self.lock.names.get(&name).is_some_and(|locked| locked.stability == Stability::Rotating) {
                    self.found.push(Found { name, span: *span, part });
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
