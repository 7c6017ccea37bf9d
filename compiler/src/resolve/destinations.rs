//! The right side of a rule: addresses, networks, DNS names with the lock's addresses, lists, declared hosts, and
//! ports.

use std::net::IpAddr;

use bfp_grammar::syntax::{self, Destinations, Host, Span, Spanned};
use miette::Diagnostic as _;

use super::clients::CLIENTS;
use super::list_source::ListSourceError;
use super::network_list::ListFault;
use super::resolver::{Resolver, WithinList};
use super::{BUILTIN, EVERYBODY, ResolveError, coverage, ranges, within};
use crate::diagnostics::nearest::did_you_mean;
use crate::names::dns_name::{DnsName, NameError};
use crate::policy::{Addresses, Destination, PortRange, SpecialAnswer, Unspecified};
use crate::source::load::ListFile;

impl<'a> Resolver<'a> {
    pub(super) fn destinations(
        &mut self,
        destinations: &'a Spanned<Destinations>,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        match &destinations.node {
            Destinations::Any => self.everything.clone(),
            Destinations::Ranges { file, filters, ports } => {
                let ports = self.ports(ports.as_ref());
                everywhere(self.listed(file, filters), &ports)
            }
            Destinations::Set { elements, ports } => {
                self.check_not_empty(elements, destinations.span);
                let mut found: Vec<_> = elements.iter().map(|element| self.destinations(element, within)).collect();
                if let Some(ports) = ports {
                    self.narrow_set(elements, &mut found, ports);
                }
                coverage::union(&found.concat())
            }
            Destinations::Except { base, removed } => {
                let (base, left) = self.noting_clients(|resolver| resolver.destinations(base, within));
                let (removed, right) = self.noting_clients(|resolver| resolver.destinations(removed, within));
                self.refuse_clients_in_except((left, right), destinations.span);
                let complete = !base.is_empty() && !removed.is_empty();
                let left = coverage::without(&base, &removed);
                if complete && left.is_empty() {
                    self.fail(ResolveError::NothingLeft { span: destinations.span });
                }
                left
            }
            Destinations::Endpoint { host, ports } => {
                let ports = self.ports(ports.as_ref());
                everywhere(self.host(host), &ports)
            }
            Destinations::Clients { ports, from } => self.clients(ports.as_ref(), Some(from), within),
            Destinations::Named { name, ports } => self.named(name, ports.as_ref(), within),
        }
    }

    fn named(
        &mut self,
        name: &'a syntax::Name,
        ports: Option<&'a Spanned<syntax::Ports>>,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        let written = name.node.as_str();
        if written == "raw" {
            if let Some(ports) = ports {
                let help = "write `raw`: it stands for every raw and packet socket".to_owned();
                self.fail(ResolveError::RawPorts { help, span: ports.span });
            }
            return vec![Destination { addresses: Addresses::Raw, ports: self.all_ports.clone() }];
        }
        if written == CLIENTS {
            return self.clients(ports, None, within);
        }
        if let Some(addresses) = ranges::builtin(written) {
            let ports = self.ports(ports);
            return addresses.into_iter().map(|addresses| Destination { addresses, ports: ports.clone() }).collect();
        }
        let Some((&declared, declaration)) = self.declarations.hosts.get_key_value(written) else {
            self.unknown_host(written, name.span);
            return Vec::new();
        };
        let mut found = self.declared_host(declared, declaration, name.span, within);
        if let Some(ports) = ports {
            let (what, declared, span) = (format!("`{written}`"), declaration.destinations.span, ports.span);
            if self.has_ports(&found) {
                let help = format!("leave them out here, or in the declaration of {what}");
                self.fail(ResolveError::PortsTwice { what: what.clone(), help, declared, span });
            }
            self.narrow(&mut found, ports, &what);
        }
        found
    }

    fn has_ports(&self, found: &[Destination]) -> bool {
        found.iter().any(|destination| destination.ports != self.all_ports)
    }

    /// The ports of a set are those of each element, which must have none.
    fn narrow_set(
        &mut self,
        elements: &'a [Spanned<Destinations>],
        found: &mut [Vec<Destination>],
        ports: &'a Spanned<syntax::Ports>,
    ) {
        let own = elements.iter().zip(&*found).find(|(_, found)| self.has_ports(found));
        if let Some((element, _)) = own {
            let help = "leave them out after the set, or write them on each element".to_owned();
            let what = "an element of the set".to_owned();
            self.fail(ResolveError::PortsTwice { what, help, declared: element.span, span: ports.span });
        }
        found.iter_mut().for_each(|found| self.narrow(found, ports, "the set"));
    }

    fn narrow(&mut self, found: &mut [Destination], ports: &'a Spanned<syntax::Ports>, what: &str) {
        // With ports, it would still be every raw socket.
        if found.iter().any(|destination| destination.addresses == Addresses::Raw) {
            let help = format!("{what} holds `raw`: leave it out there, or the ports and the protocol here");
            self.fail(ResolveError::RawPorts { help, span: ports.span });
        }
        let ranges = self.ports(Some(ports));
        found.iter_mut().for_each(|destination| destination.ports.clone_from(&ranges));
    }

    pub(super) fn declared_host(
        &mut self,
        name: &'a str,
        declaration: &'a syntax::HostDeclaration,
        span: Span,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        self.used.insert(name);
        if let Some(known) = self.known_hosts.get(name) {
            self.names_clients |= self.hosts_of_clients.contains(name);
            return known.clone();
        }
        if !self.enter(name, span, within) {
            return Vec::new();
        }
        // The places in a declaration are the policy's, whatever text names the declaration.
        let by_name = std::mem::replace(&mut self.known.lists_by_name, false);
        let list = declaration.within.as_ref().map(|list| {
            let networks = self.destinations(list, within).into_iter().map(|destination| destination.addresses);
            WithinList { networks: networks.collect(), span: list.span }
        });
        // A host that is declared elsewhere has its own.
        let outer = std::mem::replace(&mut self.within, list);
        let (found, names_clients) =
            self.noting_clients(|resolver| resolver.destinations(&declaration.destinations, within));
        if names_clients {
            self.hosts_of_clients.insert(name);
        }
        self.within = outer;
        self.known.lists_by_name = by_name;
        within.pop();
        self.known_hosts.insert(name, found.clone());
        found
    }

    fn unknown_host(&mut self, name: &'a str, span: Span) {
        if let Some(program) = self.declarations.programs.get(name) {
            return self.wrong_kind(name, "program", "host", span, Some(program.name.span));
        }
        if let Some(ports) = self.declarations.ports.get(name) {
            return self.wrong_kind(name, "set of ports", "host", span, Some(ports.name.span));
        }
        let near = did_you_mean(name, self.declarations.hosts.keys().copied().chain(BUILTIN));
        let help = near.or_else(|| what_is_called_otherwise(name)).unwrap_or_else(|| {
            format!("declare it: `host {name} = {name}.example.com:443`, or quote it if it is a DNS name")
        });
        self.fail(ResolveError::UnknownName { kind: "host", name: name.to_owned(), help, span });
    }

    fn host(&mut self, host: &Spanned<Host>) -> Vec<Addresses> {
        match &host.node {
            Host::V4(address, length) => {
                let (network, range) = ranges::v4(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("{}/{length}", std::net::Ipv4Addr::from_bits(network));
                    self.host_bits(format!("{address}/{length}"), format!("{right}` or `{address}"), host.span);
                }
                self.note_unspecified(&[range], None, host.span);
                vec![range]
            }
            Host::V6(address, length) => {
                let (network, range) = ranges::v6(address.to_bits(), *length);
                if network != address.to_bits() {
                    let right = format!("[{}/{length}]", std::net::Ipv6Addr::from_bits(network));
                    self.host_bits(format!("[{address}/{length}]"), format!("{right}` or `[{address}]"), host.span);
                }
                let found = ranges::unmapped(range);
                self.note_unspecified(&found, None, host.span);
                found
            }
            Host::V4Range(first, last) => {
                let range = Addresses::V4(first.to_bits(), last.to_bits());
                self.note_unspecified(&[range], None, host.span);
                vec![range]
            }
            Host::V6Range(first, last) => {
                let found = ranges::unmapped(Addresses::V6(first.to_bits(), last.to_bits()));
                self.note_unspecified(&found, None, host.span);
                found
            }
            Host::Dns(written) => {
                let name = match DnsName::parse(written) {
                    Ok(name) => name,
                    Err(reason) => {
                        self.fail(not_a_name(reason, host.span));
                        return Vec::new();
                    }
                };
                let known = self.known.addresses.get(name.as_str()).filter(|addresses| !addresses.is_empty());
                let Some(addresses) = known.cloned() else {
                    if self.is_needed {
                        self.fail(ResolveError::NotLocked { name, span: host.span });
                    }
                    return Vec::new();
                };
                let found = addresses.iter().flat_map(|address| match address {
                    IpAddr::V4(address) => vec![ranges::v4(address.to_bits(), 32).1],
                    IpAddr::V6(address) => ranges::unmapped(ranges::v6(address.to_bits(), 128).1),
                });
                let found: Vec<Addresses> = found.collect();
                self.note_unspecified(&found, Some(format!("the lock's answer for `{name}`")), host.span);
                // Of several, the first is reported.
                let special = addresses.iter().find_map(|address| {
                    let (name, kind) = (name.clone(), ranges::special(*address)?);
                    Some(SpecialAnswer { name, address: *address, kind, span: host.span })
                });
                self.special.extend(special);
                let found = match self.within.clone() {
                    Some(list) => self.held_within(&list, &name, &addresses, host.span),
                    None => found,
                };
                self.names.insert(name, addresses);
                found
            }
        }
    }

    /// What stands for a name that must be within a list: the list.
    fn held_within(&mut self, list: &WithinList, name: &DnsName, addresses: &[IpAddr], span: Span) -> Vec<Addresses> {
        let outside = addresses.iter().find(|address| !within::holds(&list.networks, **address));
        // A list that cannot be used has been reported.
        if let Some(address) = outside.filter(|_| !list.networks.is_empty()) {
            let (name, address, list) = (name.clone(), *address, list.span);
            self.fail(ResolveError::OutsideRange { name, address, span, list });
        }
        list.networks.to_vec()
    }

    /// The networks of a list that pass the filters.
    fn listed(&mut self, file: &'a syntax::Quoted, filters: &'a [(syntax::Name, syntax::Quoted)]) -> Vec<Addresses> {
        let Some((list, reviewed)) = self.known.list(file) else { return Vec::new() };
        match ranges::of_list(list, filters) {
            Ok(found) => {
                if self.is_needed {
                    self.compare_with_lock(list, reviewed, file.span);
                }
                self.note_unspecified(&found, Some(format!("the list `{}`", list.name)), file.span);
                found
            }
            Err(fault) => {
                let at = |index: usize, value: bool| match filters.get(index) {
                    Some((_, of)) if value => of.span,
                    Some((key, _)) => key.span,
                    None => file.span,
                };
                let span = match &fault {
                    ListFault::UnknownKey { filter, .. } => at(*filter, false),
                    ListFault::UnknownValue { filter, .. } => at(*filter, true),
                    _ => file.span,
                };
                let help = fault.help();
                self.fail(ResolveError::List { name: list.name.clone(), fault, help, span });
                Vec::new()
            }
        }
    }

    /// Refuses a list that is not the one that was reviewed.
    fn compare_with_lock(&mut self, list: &ListFile, reviewed: Option<&[u8; 32]>, span: Span) {
        let name = list.name.clone();
        let source = self.known.source(list);
        match (reviewed, source) {
            (None, None) => self.fail(ResolveError::ListNotLocked { name, span }),
            (Some(locked), _) if *locked != list.sha256() => {
                self.fail(ResolveError::list_changed(name, source.map(|(source, _)| source), span));
            }
            (_, Some((source, false))) => {
                self.fail(ListSourceError::NotFetched { name, span, url: source.url.span }.into());
            }
            (Some(_), _) | (None, Some((_, true))) => {}
        }
    }

    /// Records where the unspecified address is named: requests to it are judged as loopback, so such a destination has
    /// no effect.
    fn note_unspecified(&mut self, ranges: &[Addresses], holder: Option<String>, span: Span) {
        for range in ranges {
            let address = match range {
                Addresses::V4(0, 0) => "0.0.0.0",
                Addresses::V6(0, 0) => "[::]",
                _ => continue,
            };
            self.unspecified.push(Unspecified { address, holder: holder.clone(), span });
        }
    }

    fn host_bits(&mut self, written: String, right: String, span: Span) {
        self.fail(ResolveError::HostBits { written, help: format!("write `{right}`"), span });
    }
}

pub(super) fn everywhere(ranges: Vec<Addresses>, ports: &[PortRange]) -> Vec<Destination> {
    ranges.into_iter().map(|addresses| Destination { addresses, ports: ports.to_vec() }).collect()
}

/// Destinations that have a different name here than elsewhere.
fn what_is_called_otherwise(name: &str) -> Option<String> {
    match name {
        "localhost" | "localnet" | "lo" => Some("write `loopback` for 127.0.0.0/8 and ::1".to_owned()),
        "internet" | "world" | "anywhere" | "everywhere" => Some("write `*` for every destination".to_owned()),
        name if EVERYBODY.contains(&name) => Some("write `*` for every destination".to_owned()),
        "imds" => Some("write `metadata` for the addresses of the clouds' metadata services".to_owned()),
        _ => None,
    }
}

pub(super) fn not_a_name(reason: NameError, span: Span) -> ResolveError {
    let help = reason.help().map_or_else(String::new, |help| help.to_string());
    ResolveError::Name { reason, help, span }
}
