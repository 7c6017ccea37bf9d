//! Declared ports: `ports etcd = {2379, 2380}` → what stands for the name after a colon.
//!
//! Always: a declaration lists numbers and names no other one, so looking a name up takes one step.

use std::collections::BTreeMap;

use bfp_grammar::syntax::{self, Destinations, PortNumbers, PortsDeclaration, Protocol, Span, Spanned};

use super::resolver::Resolver;
use super::{ResolveError, ranges};
use crate::diagnostics::nearest::did_you_mean;
use crate::policy::PortRange;

/// What a policy calls them, in reports.
const KIND: &str = "set of ports";

/// The declared ports of a policy.
#[derive(Clone, Debug, Default)]
pub struct PortSets<'a>(BTreeMap<&'a str, &'a PortsDeclaration>);

impl<'a> PortSets<'a> {
    /// Those of a policy that resolves without an error.
    pub fn of(policy: &'a syntax::Policy) -> PortSets<'a> {
        let mut sets = PortSets::default();
        for statement in &policy.statements {
            if let syntax::Statement::Ports(declaration) = &statement.node {
                sets.add(declaration);
            }
        }
        sets
    }

    pub(super) fn add(&mut self, declaration: &'a PortsDeclaration) {
        self.0.insert(&declaration.name.node, declaration);
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a PortsDeclaration> {
        self.0.get(name).copied()
    }

    pub(super) fn declarations(&self) -> impl Iterator<Item = &'a PortsDeclaration> {
        self.0.values().copied()
    }

    /// The same ports, with numbers in place of names. A name that is not declared stands for nothing.
    pub fn spelled_out(&self, ports: &syntax::Ports) -> syntax::Ports {
        let mut ranges = Vec::new();
        for range in &ports.ranges {
            let PortNumbers::Named(name) = &range.node.numbers else {
                ranges.push(range.clone());
                continue;
            };
            for mut known in self.elements(name) {
                known.node.protocol = known.node.protocol.or_else(|| range.node.protocol.clone());
                ranges.push(known);
            }
        }
        syntax::Ports { ranges, protocol: ports.protocol.clone() }
    }

    /// The elements of a declaration, each with its protocol.
    fn elements(&self, name: &str) -> Vec<Spanned<syntax::PortRange>> {
        let Some(PortsDeclaration { ports: Spanned { node, span }, .. }) = self.get(name) else { return Vec::new() };
        if node.ranges.is_empty() {
            let every = syntax::PortRange { numbers: PortNumbers::Every, protocol: node.protocol.clone() };
            return vec![Spanned { node: every, span: *span }];
        }
        let mut elements = node.ranges.clone();
        for element in &mut elements {
            element.node.protocol = element.node.protocol.take().or_else(|| node.protocol.clone());
        }
        elements
    }

    /// The text of a destination as a reader without the declarations needs it.
    pub fn text(&self, text: &str, destinations: &Spanned<Destinations>) -> String {
        let mut named = Vec::new();
        collect(destinations, &mut named);
        named.sort_by_key(|(_, place, _)| *place);
        let (mut spelled, mut end) = (String::new(), destinations.span.start);
        for (name, place, ports) in named {
            let between = Span { start: end, end: place.start };
            spelled.push_str(between.text_in(text));
            spelled.push_str(&self.in_place_of(name, place.text_in(text), ports.text_in(text).starts_with('{')));
            end = place.end;
        }
        spelled.push_str(Span { start: end, end: destinations.span.end }.text_in(text));
        spelled
    }

    /// The numbers of a name, which is `written` with or without a protocol.
    fn in_place_of(&self, name: &str, written: &str, is_in_set: bool) -> String {
        let own = written.rsplit_once('/').map_or("", |(_, protocol)| protocol);
        let spelled = self.elements(name).into_iter().map(|Spanned { node, .. }| {
            let protocol = match node.protocol.map(|protocol| protocol.node) {
                Some(Protocol::Tcp) => "tcp",
                Some(Protocol::Udp) => "udp",
                Some(Protocol::Icmp) => return "icmp".to_owned(),
                Some(Protocol::Other) => "other",
                None => own,
            };
            let slash = if protocol.is_empty() { "" } else { "/" };
            match node.numbers {
                PortNumbers::Range(first, last) if first == last => format!("{first}{slash}{protocol}"),
                PortNumbers::Range(first, last) => format!("{first}-{last}{slash}{protocol}"),
                PortNumbers::Every | PortNumbers::Named(_) => format!("*{slash}{protocol}"),
            }
        });
        let spelled = spelled.collect::<Vec<_>>().join(", ");
        if is_in_set { spelled } else { format!("{{{spelled}}}") }
    }
}

/// The names of ports in a destination: each with its place and the place of the ports around it.
fn collect<'d>(destinations: &'d Spanned<Destinations>, found: &mut Vec<(&'d str, Span, Span)>) {
    let ports = match &destinations.node {
        Destinations::Any => return,
        Destinations::Except { base, removed } => {
            collect(base, found);
            return collect(removed, found);
        }
        Destinations::Set { elements, ports } => {
            elements.iter().for_each(|element| collect(element, found));
            ports
        }
        Destinations::Clients { ports, from } => {
            collect(from, found);
            ports
        }
        Destinations::Named { ports, .. }
        | Destinations::Endpoint { ports, .. }
        | Destinations::Ranges { ports, .. } => ports,
    };
    let Some(ports) = ports else { return };
    for range in &ports.node.ranges {
        if let PortNumbers::Named(name) = &range.node.numbers {
            found.push((name, range.span, ports.span));
        }
    }
}

impl<'a> Resolver<'a> {
    /// The ports after a host; without any, all of them.
    pub(super) fn ports(&mut self, ports: Option<&'a Spanned<syntax::Ports>>) -> Vec<PortRange> {
        let Some(ports) = ports else { return self.all_ports.clone() };
        for range in &ports.node.ranges {
            if let PortNumbers::Named(name) = &range.node.numbers {
                let behind = range.node.protocol.as_ref().or(ports.node.protocol.as_ref());
                self.use_ports(name, range.span, behind);
            }
        }
        let protocols: Vec<_> = self.all_ports.iter().map(|range| range.protocol).collect();
        ranges::ports(&self.declarations.ports.spelled_out(&ports.node), &protocols)
    }

    fn use_ports(&mut self, name: &'a str, span: Span, behind: Option<&Spanned<Protocol>>) {
        let Some(declaration) = self.declarations.ports.get(name) else { return self.unknown_ports(name, span) };
        self.used.insert(name);
        let declared = &declaration.ports;
        let has_protocol =
            declared.node.protocol.is_some() || declared.node.ranges.iter().any(|range| range.node.protocol.is_some());
        if let Some(behind) = behind.filter(|_| has_protocol) {
            let what = format!("`{name}`");
            let help = format!("leave the protocol out here, or in the declaration of {what}");
            self.fail(ResolveError::PortsTwice { what, help, declared: declared.span, span: behind.span });
        }
    }

    fn unknown_ports(&mut self, name: &'a str, span: Span) {
        let program = self.declarations.programs.get(name).map(|declaration| ("program", declaration.name.span));
        let host = self.declarations.hosts.get(name).map(|declaration| ("host", declaration.name.span));
        if let Some((actual, declared)) = program.or(host) {
            return self.wrong_kind(name, actual, KIND, span, Some(declared));
        }
        let near = did_you_mean(name, self.declarations.ports.declarations().map(|known| known.name.node.as_str()));
        let help = near.unwrap_or_else(|| match (name, bfp_grammar::usual_port(name)) {
            ("icmp", _) => "write `/icmp` right after the host: ICMP has no ports".to_owned(),
            (_, Some(port)) => format!("write the number of the port: `{name}` is usually {port}"),
            _ => format!("declare it: `ports {name} = {{2379, 2380}}`, or write the number of the port"),
        });
        self.fail(ResolveError::UnknownName { kind: KIND, name: name.to_owned(), help, span });
    }
}
