//! The lists that the DNS names of a policy must stay within: (declarations, lists) → which addresses are outside.
//!
//! Always: a list with an error holds no name, and is reported where it is resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_grammar::syntax::{self, Destinations, Span, Spanned, Statement};

use super::name_use::each_name;
use super::{ResolveError, coverage, ranges};
use crate::names::dns_name::DnsName;
use crate::policy::Addresses;
use crate::source::load::Loaded;

/// The lists of the names that are declared with `within`.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    lists: BTreeMap<DnsName, Vec<Bound>>,
    /// The names that a place outside tests uses without `within`.
    loose: BTreeSet<DnsName>,
}

#[derive(Clone, Debug)]
struct Bound {
    networks: Vec<Addresses>,
    /// Where the list is written.
    list: Span,
    /// Where the name is written.
    name: Span,
}

impl Bounds {
    /// Those of a policy, with its lists as they are now.
    pub fn of(loaded: &Loaded) -> Bounds {
        let mut bounds = Bounds::default();
        for statement in &loaded.syntax.statements {
            match &statement.node {
                Statement::Host(syntax::HostDeclaration { destinations, within: Some(list), .. }) => {
                    let Some(networks) = networks(loaded, list) else { continue };
                    each_name(destinations, &mut |name, span| {
                        let bound = Bound { networks: networks.clone(), list: list.span, name: span };
                        bounds.lists.entry(name).or_default().push(bound);
                    });
                }
                Statement::Host(syntax::HostDeclaration { destinations, within: None, .. }) => {
                    each_name(destinations, &mut |name, _| {
                        bounds.loose.insert(name);
                    });
                }
                Statement::Rule(rule) => {
                    each_name(&rule.destinations, &mut |name, _| {
                        bounds.loose.insert(name);
                    });
                }
                // A test grants nothing.
                _ => {}
            }
        }
        bounds
    }

    /// Whether every place outside tests that uses a name covers a list: which addresses it has makes no difference.
    pub fn is_within(&self, name: &DnsName) -> bool {
        self.lists.contains_key(name) && !self.loose.contains(name)
    }

    /// The first address of a name that is not in one of its lists, as an error.
    pub fn outside(&self, name: &DnsName, addresses: &BTreeSet<IpAddr>) -> Option<ResolveError> {
        self.lists.get(name)?.iter().find_map(|bound| {
            let address = *addresses.iter().find(|address| !holds(&bound.networks, **address))?;
            Some(ResolveError::OutsideRange { name: name.clone(), address, span: bound.name, list: bound.list })
        })
    }

    /// The addresses that are not in a list of their name.
    pub fn strays(&self, name: &DnsName, addresses: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let bounds = self.lists.get(name).map(Vec::as_slice).unwrap_or_default();
        let is_stray = |address: &IpAddr| bounds.iter().any(|bound| !holds(&bound.networks, *address));
        addresses.iter().copied().filter(is_stray).collect()
    }
}

/// Whether one of the ranges has the address.
pub(super) fn holds(networks: &[Addresses], address: IpAddr) -> bool {
    networks.iter().any(|network| coverage::holds(*network, address))
}

fn networks(loaded: &Loaded, list: &Spanned<Destinations>) -> Option<Vec<Addresses>> {
    let Destinations::Ranges { file, filters, .. } = &list.node else { return None };
    ranges::of_list(loaded.lists.get(&file.span)?, filters).ok()
}
