//! `clients` and `clients from D`: the peers that connected to a listening socket.
//!
//! Enters: the ports and the addresses beside the word. Leaves: destinations whose only protocol is
//! [`Protocol::Answer`], with the clients' addresses and the server's ports.
//!
//! Always: a policy whose text names `clients` nowhere has no such destination, so its tables are those of a language
//! without the word.

use bfp_bundle::request::Protocol;
use bfp_grammar::syntax::{self, Destinations, Span, Spanned, Statement};

use super::resolver::Resolver;
use super::{ResolveError, ranges};
use crate::policy::{Addresses, Destination, PortRange};

/// The name of the built-in host.
pub(super) const CLIENTS: &str = "clients";

/// Whether some statement names `clients`, also one that no rule uses.
pub(super) fn is_named(policy: &syntax::Policy) -> bool {
    policy.statements.iter().any(|statement| match &statement.node {
        Statement::Host(declaration) => names(&declaration.destinations.node),
        Statement::Rule(rule) => names(&rule.destinations.node),
        Statement::Test(test) => test.expectations.iter().any(|line| names(&line.node.destinations.node)),
        _ => false,
    })
}

fn names(destinations: &Destinations) -> bool {
    match destinations {
        Destinations::Clients { .. } => true,
        Destinations::Named { name, .. } => name.node == CLIENTS,
        Destinations::Set { elements, .. } => elements.iter().any(|element| names(&element.node)),
        Destinations::Except { base, removed } => names(&base.node) || names(&removed.node),
        Destinations::Any | Destinations::Endpoint { .. } | Destinations::Ranges { .. } => false,
    }
}

impl<'a> Resolver<'a> {
    /// The answers to clients from some addresses, or from all.
    pub(super) fn clients(
        &mut self,
        ports: Option<&'a Spanned<syntax::Ports>>,
        from: Option<&'a Spanned<Destinations>>,
        within: &mut Vec<&'a str>,
    ) -> Vec<Destination> {
        self.names_clients = true;
        let ports = ports.map_or_else(all, |ports| self.ports_of_server(ports));
        let addresses = match from {
            None => ranges::everything(),
            Some(from) => self.addresses_of_clients(from, within),
        };
        let has_address = |addresses: &Addresses| *addresses != Addresses::Raw;
        let clients = addresses.into_iter().filter(has_address);
        clients.map(|addresses| Destination { addresses, ports: ports.clone() }).collect()
    }

    fn ports_of_server(&mut self, ports: &'a Spanned<syntax::Ports>) -> Vec<PortRange> {
        let found = self.ports(Some(ports));
        let spelled = self.declarations.ports.spelled_out(&ports.node);
        let own = spelled.ranges.iter().filter_map(|range| range.node.protocol.as_ref());
        let other = spelled.protocol.iter().chain(own).find(|protocol| protocol.node != syntax::Protocol::Tcp);
        if let Some(other) = other {
            let (protocol, help) = match other.node {
                syntax::Protocol::Icmp => ("ICMP", "leave the protocol out: clients are peers of TCP connections"),
                _ => (
                    "UDP",
                    "name the clients' addresses instead, `10.0.0.0/8:*/udp`: a datagram's source can be forged",
                ),
            };
            self.fail(ResolveError::ClientsProtocol { protocol, help, span: ports.span });
        }
        let tcp = found.into_iter().filter(|range| range.protocol == Protocol::Tcp);
        tcp.map(|range| PortRange { protocol: Protocol::Answer, ..range }).collect()
    }

    fn addresses_of_clients(&mut self, from: &'a Spanned<Destinations>, within: &mut Vec<&'a str>) -> Vec<Addresses> {
        let found = self.destinations(from, within);
        let has_ports = found.iter().any(|destination| destination.ports != self.all_ports);
        let is_raw = found.iter().all(|destination| destination.addresses == Addresses::Raw);
        // What has no address was reported where it stands.
        if has_ports || is_raw && !found.is_empty() {
            self.fail(ResolveError::ClientsFromPorts { span: from.span });
        }
        found.into_iter().map(|destination| destination.addresses).collect()
    }

    /// What `read` returns, and whether it met `clients`.
    pub(super) fn noting_clients<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = std::mem::replace(&mut self.names_clients, false);
        let found = read(self);
        let names_clients = self.names_clients;
        self.names_clients |= before;
        (found, names_clients)
    }

    /// Rejects `clients` on either side of `except`. On the left, the addresses that are taken away would remain as
    /// addresses of clients; on the right, an answer would still be covered as a request to the client's address.
    pub(super) fn refuse_clients_in_except(&mut self, (left, right): (bool, bool), span: Span) {
        if left || right {
            let help = if left {
                "put the exception after `from`: `clients from { * except D }`"
            } else {
                "leave it out, and write `deny P -> clients` to deny answers"
            };
            self.fail(ResolveError::ClientsExcept { help, span });
        }
    }
}

/// Every port of a server.
fn all() -> Vec<PortRange> {
    vec![PortRange { protocol: Protocol::Answer, first: 0, last: u16::MAX }]
}
