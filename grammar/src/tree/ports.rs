//! Ports after a host, and declared ones.

use super::{Pair, Reader};
use crate::error::SyntaxError;
use crate::expected;
use crate::literal;
use crate::matcher::Rule;
use crate::syntax::{Name, PortNumbers, PortRange, Ports, PortsDeclaration, Protocol, Span, Spanned};

impl Reader<'_> {
    pub(crate) fn declared_ports(&mut self, line: Pair<'_>) -> Option<PortsDeclaration> {
        let (mut name, mut ports) = (None, None);
        for part in line.into_inner() {
            match part.as_rule() {
                Rule::name => name = self.ports_name(&part),
                Rule::declared_ports => ports = self.port_numbers(part),
                _ => {}
            }
        }
        Some(PortsDeclaration { name: name?, ports: ports? })
    }

    /// A name for ports: after a colon, none of these would be one.
    fn ports_name(&mut self, pair: &Pair<'_>) -> Option<Name> {
        let name = self.name(pair)?;
        if matches!(name.node.as_str(), "icmp" | "tcp" | "udp") {
            let help = format!("choose another name, such as `{}-ports`", name.node);
            return self.refuse(SyntaxError::ReservedWord { word: name.node, span: name.span, help });
        }
        Some(name)
    }

    /// `443`, `{2379, 2380}/tcp`, `{443/tcp, icmp}`: without names, so that no declaration leads to another.
    fn port_numbers(&mut self, pair: Pair<'_>) -> Option<Spanned<Ports>> {
        let span = self.span(&pair);
        let (mut ranges, mut protocol) = (None, Some(None));
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::protocol => protocol = self.protocol(part).map(Some),
                Rule::port_range => ranges = self.port_range(part).map(|range| vec![range]),
                _ => ranges = self.elements(part, Rule::port_element, Self::port_element),
            }
        }
        let (ranges, protocol): (_, Option<Spanned<Protocol>>) = (ranges?, protocol?);
        for range in &ranges {
            if let PortNumbers::Named(name) = &range.node.numbers {
                let number = expected::usual_port(name)
                    .map(|port| format!("write the number of the port: `{name}` is usually {port}"));
                let help = number
                    .unwrap_or_else(|| "write its numbers here: a declaration of ports cannot name others".to_owned());
                let (expected, found) = ("a port".to_owned(), format!("`{name}`"));
                return self.refuse(SyntaxError::Unexpected { expected, found, span: range.span, help });
            }
        }
        if let Some(icmp) = protocol.as_ref().filter(|protocol| protocol.node == Protocol::Icmp) {
            let help = "write `icmp` alone, as an element of the set".to_owned();
            return self.refuse(SyntaxError::PortsOnIcmp { span: icmp.span, help });
        }
        Some(Spanned { node: self.one_protocol(ranges, protocol)?, span })
    }

    /// Reads the ports and the protocol after a host; their place leaves out the colon.
    pub(super) fn ports(&mut self, pair: Pair<'_>, host: &str) -> Option<Spanned<Ports>> {
        let (mut place, mut ranges, mut protocol) = (None, None, Some(None));
        // The numbers with their colon, and a protocol without numbers before it.
        let (mut numbers, mut bare): (Option<Span>, Option<Span>) = (None, None);
        for part in pair.into_inner() {
            let span = self.span(&part);
            match part.as_rule() {
                Rule::colon => {
                    numbers = Some(span);
                    continue;
                }
                Rule::protocol => {
                    bare = numbers.is_none().then_some(span);
                    protocol = self.protocol(part).map(Some);
                }
                _ => {
                    numbers = numbers.map(|colon| Span { end: span.end, ..colon });
                    ranges = match part.as_rule() {
                        Rule::any => Some(Vec::new()),
                        Rule::port_range => self.port_range(part).map(|range| vec![range]),
                        Rule::port_name => self.port_name(&part).map(|range| vec![range]),
                        _ => self.elements(part, Rule::port_element, Self::port_element),
                    };
                }
            }
            place = Some(Span { start: place.map_or(span.start, |place: Span| place.start), ..span });
        }
        let protocol: Option<Spanned<Protocol>> = protocol?;
        let span = place?;
        match (protocol.as_ref().map(|protocol| protocol.node), numbers, bare) {
            (Some(Protocol::Icmp), Some(span), _) => {
                self.refuse(SyntaxError::PortsOnIcmp { span, help: without_ports(host) })
            }
            (Some(Protocol::Icmp), None, _) => Some(Spanned { node: Ports { ranges: Vec::new(), protocol }, span }),
            (Some(_), _, Some(span)) => {
                let protocol = span.text_in(self.text).trim_start_matches('/').to_owned();
                self.refuse(SyntaxError::ProtocolWithoutPort { protocol, span })
            }
            _ => {
                let node = self.one_protocol(ranges?, protocol)?;
                Some(Spanned { node, span })
            }
        }
    }

    /// `:{443/tcp, 80/tcp}` is `:{443, 80}/tcp`. An element with a protocol of its own takes none from the one after
    /// the set.
    fn one_protocol(
        &mut self,
        mut ranges: Vec<Spanned<PortRange>>,
        protocol: Option<Spanned<Protocol>>,
    ) -> Option<Ports> {
        let Some(own) = ranges.iter().find_map(|range| range.node.protocol.clone()) else {
            return Some(Ports { ranges, protocol });
        };
        if let Some(behind) = protocol {
            return self.refuse(SyntaxError::ProtocolTwice { inside: own.span, behind: behind.span });
        }
        let is_same = |range: &Spanned<PortRange>| range.node.protocol.as_ref().is_some_and(|it| it.node == own.node);
        if !ranges.iter().all(is_same) {
            return Some(Ports { ranges, protocol: None });
        }
        if ranges.iter().any(|range| range.node.numbers == PortNumbers::Every) {
            if ranges.iter().any(|range| matches!(range.node.numbers, PortNumbers::Named(_))) {
                // A name is kept, so that it is looked up.
                return Some(Ports { ranges, protocol: None });
            }
            // Every port of the protocol, whatever else is listed.
            ranges.clear();
        }
        ranges.iter_mut().for_each(|range| range.node.protocol = None);
        Some(Ports { ranges, protocol: Some(own) })
    }

    /// `443`, `8000-8010/tcp`, `*/udp`, `icmp`
    fn port_element(&mut self, pair: Pair<'_>) -> Option<Spanned<PortRange>> {
        let span = self.span(&pair);
        let (mut numbers, mut protocol) = (Some(PortNumbers::Every), Some(None));
        for part in pair.into_inner() {
            match part.as_rule() {
                Rule::icmp_kw => {
                    let protocol = Some(Spanned { node: Protocol::Icmp, span });
                    return Some(Spanned { node: PortRange { numbers: PortNumbers::Every, protocol }, span });
                }
                Rule::port_range => numbers = self.port_range(part).map(|range| range.node.numbers),
                Rule::port_name => numbers = self.port_name(&part).map(|range| range.node.numbers),
                Rule::protocol => protocol = self.protocol(part).map(Some),
                _ => {}
            }
        }
        let (numbers, protocol) = (numbers?, protocol?);
        if protocol.as_ref().is_some_and(|protocol: &Spanned<Protocol>| protocol.node == Protocol::Icmp) {
            let help = "write `icmp` alone, as an element of the set".to_owned();
            return self.refuse(SyntaxError::PortsOnIcmp { span, help });
        }
        Some(Spanned { node: PortRange { numbers, protocol }, span })
    }

    fn port_range(&mut self, pair: Pair<'_>) -> Option<Spanned<PortRange>> {
        let span = self.span(&pair);
        let mut ends = Vec::with_capacity(2);
        for number in pair.into_inner().filter(|part| part.as_rule() == Rule::number) {
            let place = self.span(&number);
            let port = literal::port(number.as_str(), place);
            ends.push(self.keep(port));
        }
        let (first, last) = match *ends.as_slice() {
            [only] => (only?, only?),
            [first, last] => (first?, last?),
            _ => return None,
        };
        if last < first {
            return self.refuse(SyntaxError::ReversedPorts { first, last, span });
        }
        Some(Spanned { node: PortRange { numbers: PortNumbers::Range(first, last), protocol: None }, span })
    }

    /// `etcd`: ports that the policy declares.
    fn port_name(&mut self, pair: &Pair<'_>) -> Option<Spanned<PortRange>> {
        let name = self.name(pair)?;
        Some(Spanned { node: PortRange { numbers: PortNumbers::Named(name.node), protocol: None }, span: name.span })
    }

    fn protocol(&mut self, pair: Pair<'_>) -> Option<Spanned<Protocol>> {
        let word = pair.into_inner().next()?;
        let span = self.span(&word);
        let protocol = literal::protocol(word.as_str(), span, self.kind);
        Some(Spanned { node: self.keep(protocol)?, span })
    }
}

/// What to write instead of ICMP ports after this host.
fn without_ports(host: &str) -> String {
    let can_be_pasted = host.len() <= 60 && !host.starts_with(['*', '{']) && !host.contains('\n');
    let place = if can_be_pasted { format!("`{host}/icmp`") } else { "`/icmp` right behind each host".to_owned() };
    format!("write {place}; the ports of other protocols stand in an element of their own")
}
