//! Destinations → words for a report.
//!
//! Always: the same requests give the same words, in the order of the address space. AddressNames come from the lock. The
//! words never cover more than the destinations, except for addresses that are judged as others: the unspecified and
//! the mapped ones, and 64:ff9b::/96 where it only repeats IPv4.

mod clients;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bfp_bundle::debug::{Debug, DebugName};
use bfp_bundle::request::Protocol;

use crate::policy::{Addresses, Destination, PortRange};
use crate::query::regions::{MAPPED, NAT64, shared_ports};
use crate::resolve::coverage::{union, without};

/// The built-in host that stands for the peers of accepted connections.
const CLIENTS: &str = "clients";

/// The DNS names of addresses.
#[derive(Clone, Debug, Default)]
pub struct AddressNames(BTreeMap<IpAddr, Vec<String>>);

impl AddressNames {
    /// The names in a debug section.
    pub fn of(debug: &Debug) -> AddressNames {
        AddressNames::of_all([debug])
    }

    /// The names in several debug sections.
    pub fn of_all<'a>(debugs: impl IntoIterator<Item = &'a Debug>) -> AddressNames {
        let mut names: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
        for DebugName { address, name } in debugs.into_iter().flat_map(|debug| &debug.names) {
            let known = names.entry(address.to_canonical()).or_default();
            if !known.contains(name) {
                known.push(name.clone());
            }
        }
        AddressNames(names)
    }

    /// The names of one address.
    pub fn at(&self, address: IpAddr) -> &[String] {
        self.0.get(&address.to_canonical()).map_or(&[], Vec::as_slice)
    }

    /// The names of these addresses, if they are few and each has one.
    fn of_range(&self, addresses: Addresses) -> Vec<String> {
        const FEW: u128 = 16;
        let (first, last) = match addresses {
            Addresses::V4(first, last) => (u128::from(first), u128::from(last)),
            Addresses::V6(first, last) => (first, last),
            Addresses::Raw => return Vec::new(),
        };
        if last - first >= FEW {
            return Vec::new();
        }
        let at = |bits: u128| match addresses {
            Addresses::V4(..) => self.at(Ipv4Addr::from_bits(bits as u32).into()),
            _ => self.at(Ipv6Addr::from_bits(bits).into()),
        };
        let mut names: Vec<String> = Vec::new();
        for bits in first..=last {
            match at(bits) {
                [] => return Vec::new(),
                here => names.extend(here.iter().cloned()),
            }
        }
        names.sort();
        names.dedup();
        names
    }
}

/// A range of addresses and its ports, in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Described {
    /// `203.0.113.10`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, `[2001:db8::1]`, `raw`, as the language writes it.
    pub addresses: String,
    /// `443`, `443/tcp`; empty for every port of every protocol.
    pub ports: Vec<String>,
    /// The names of the addresses in the lock, if each address has one.
    pub names: Vec<String>,
}

impl Described {
    /// `203.0.113.10:443/tcp`, as a policy would write it.
    pub fn place(&self) -> String {
        // `clients from 10.0.0.0/8`: the ports are the server's.
        if let Some(from) = self.addresses.strip_prefix(CLIENTS) {
            return match self.ports.as_slice() {
                [] => self.addresses.clone(),
                [one] => format!("{CLIENTS}:{one}{from}"),
                several => format!("{CLIENTS}:{{{}}}{from}", several.join(", ")),
            };
        }
        match self.ports.as_slice() {
            [] => self.addresses.clone(),
            [one] if one == "icmp" => format!("{}/icmp", self.addresses),
            [one] => format!("{}:{one}", self.addresses),
            several => format!("{}:{{{}}}", self.addresses, several.join(", ")),
        }
    }

    /// `203.0.113.10:443/tcp (kms.internal)`
    pub fn text(&self) -> String {
        if self.names.is_empty() { self.place() } else { format!("{} ({})", self.place(), self.names.join(", ")) }
    }
}

/// Describes destinations, merged where they touch; answers to clients last.
pub fn describe(destinations: &[Destination], names: &AddressNames) -> Vec<Described> {
    let (requests, answers) = clients::divided(destinations);
    let mut described = describe_requests(&requests, names);
    described.extend(clients::describe(&answers, names));
    described
}

fn describe_requests(destinations: &[Destination], names: &AddressNames) -> Vec<Described> {
    let of = |to: &Destination| Described {
        addresses: range(to.addresses),
        ports: if to.addresses == Addresses::Raw { Vec::new() } else { ports(&to.ports) },
        names: names.of_range(to.addresses),
    };
    let tidied = tidy(destinations);
    // Addresses that are judged as others are shown only if there is nothing else.
    let shown = if tidied.is_empty() { union(destinations) } else { tidied };
    shown.iter().map(of).collect()
}

/// Describes destinations, one on each line; if nearly everything is covered, by the exceptions.
pub fn lines(destinations: &[Destination], names: &AddressNames) -> Vec<String> {
    let (requests, answers) = clients::divided(destinations);
    let mut lines = if requests.is_empty() && !answers.is_empty() { Vec::new() } else { of_requests(&requests, names) };
    lines.extend(clients::describe(&answers, names).iter().map(Described::text));
    lines
}

fn of_requests(destinations: &[Destination], names: &AddressNames) -> Vec<String> {
    let tidied = tidy(destinations);
    let all = |addresses| Destination { addresses, ports: PortRange::all() };
    let everything = [Addresses::V4(0, u32::MAX), Addresses::V6(0, u128::MAX), Addresses::Raw].map(all);
    let missing = without(&everything, &tidied);
    let text = |destinations: &[Destination]| -> Vec<String> {
        describe(destinations, names).iter().map(Described::text).collect()
    };
    match missing.as_slice() {
        [] => vec!["everything".to_owned()],
        missing if missing.len() < tidied.len() => vec![format!("everything but {}", text(missing).join(", "))],
        _ => text(&tidied),
    }
}

/// Merges ranges that touch, and drops those that only repeat others.
pub(crate) fn tidy(destinations: &[Destination]) -> Vec<Destination> {
    let mut found = union(destinations);
    let outside = [nat64(PortRange::all())];
    let translated = without(&found, &without(&found, &outside));
    if !translated.is_empty() {
        found = without(&found, &outside);
        found.extend(behind(&found, translated));
    }
    for to in &mut found {
        match &mut to.addresses {
            Addresses::V4(first @ 1, last) if *last > 1 => *first = 0,
            Addresses::V6(first @ 1, last) if *last > 1 => *first = 0,
            _ => {}
        }
    }
    let end = |wanted: u128, last: bool| {
        found.iter().find(|to| match to.addresses {
            Addresses::V6(from, to) => wanted == if last { to } else { from },
            _ => false,
        })
    };
    if let (Some(before), Some(after)) = (end(MAPPED.0 - 1, true), end(MAPPED.1 + 1, false)) {
        let ports = shared_ports(&before.ports, &after.ports);
        found.push(Destination { addresses: Addresses::V6(MAPPED.0, MAPPED.1), ports });
    }
    found.retain(|to| !to.ports.is_empty());
    union(&found)
}

fn nat64(ports: Vec<PortRange>) -> Destination {
    Destination { addresses: Addresses::V6(NAT64.0, NAT64.1), ports }
}

/// The part of 64:ff9b::/96 that must be shown beside `found`.
fn behind(found: &[Destination], translated: Vec<Destination>) -> Vec<Destination> {
    let at = |address: u128| {
        let here = found.iter().find(|to| matches!(to.addresses, Addresses::V6(a, b) if (a..=b).contains(&address)));
        here.map_or(&[] as &[PortRange], |to| &to.ports)
    };
    let around = shared_ports(at(NAT64.0 - 1), at(NAT64.1 + 1));
    let carried: Vec<Destination> = found
        .iter()
        .filter_map(|to| match to.addresses {
            Addresses::V4(first, last) => Some(Destination {
                addresses: Addresses::V6(NAT64.0 + u128::from(first), NAT64.0 + u128::from(last)),
                ports: to.ports.clone(),
            }),
            _ => None,
        })
        .collect();
    // A plane does not contain 0.0.0.0, but contains the address that embeds it.
    let carried = union(&[carried, vec![zero(&translated)]].concat());
    if around.is_empty() {
        return without(&translated, &carried);
    }
    let expected: Vec<Destination> = carried
        .iter()
        .map(|to| Destination { addresses: to.addresses, ports: shared_ports(&to.ports, &around) })
        .filter(|to| !to.ports.is_empty())
        .collect();
    if union(&expected) == translated { vec![nat64(around)] } else { translated }
}

/// The destinations at the address that embeds 0.0.0.0.
fn zero(translated: &[Destination]) -> Destination {
    let at = |to: &&Destination| matches!(to.addresses, Addresses::V6(first, _) if first == NAT64.0);
    let ports = translated.iter().find(at).map_or_else(Vec::new, |to| to.ports.clone());
    Destination { addresses: Addresses::V6(NAT64.0, NAT64.0), ports }
}

/// A range of addresses; as a network where it is one.
pub fn range(addresses: Addresses) -> String {
    let network = |first: u128, last: u128, width: u32| {
        let size = last - first;
        let free = u128::BITS - size.leading_zeros();
        let is_network = (size == u128::MAX || (size + 1).is_power_of_two()) && first & size == 0;
        is_network.then(|| width - free)
    };
    match addresses {
        Addresses::V4(first, last) => {
            let (from, to) = (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last));
            match network(first.into(), last.into(), 32) {
                Some(32) => from.to_string(),
                Some(length) => format!("{from}/{length}"),
                None => format!("{from}-{to}"),
            }
        }
        Addresses::V6(first, last) => {
            let (from, to) = (Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last));
            match network(first, last, 128) {
                Some(128) => format!("[{from}]"),
                Some(length) => format!("[{from}/{length}]"),
                None => format!("[{from}-{to}]"),
            }
        }
        Addresses::Raw => "raw".to_owned(),
    }
}

/// Ports and protocols: `443`, `443/tcp`, `icmp`. Empty for all ports of all protocols.
pub fn ports(ranges: &[PortRange]) -> Vec<String> {
    if ranges == PortRange::all() {
        return Vec::new();
    }
    let of = |protocol: Protocol| -> Vec<(u16, u16)> {
        ranges.iter().filter(|range| range.protocol == protocol).map(|range| (range.first, range.last)).collect()
    };
    let number = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let mut words = Vec::new();
    let (tcp, udp, other) = (of(Protocol::Tcp), of(Protocol::Udp), of(Protocol::Other));
    // This is what a policy writes without a protocol.
    let together = tcp == udp && udp == other;
    if together {
        words.extend(tcp.iter().map(number));
    }
    for (protocol, of) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp), (Protocol::Other, other)] {
        if !together {
            words.extend(of.iter().map(|range| format!("{}/{}", all_or(range, &number), protocol_name(protocol))));
        }
    }
    // Pings have no port to write.
    if !of(Protocol::Icmp).is_empty() {
        words.push("icmp".to_owned());
    }
    words
}

fn all_or(range: &(u16, u16), number: &dyn Fn(&(u16, u16)) -> String) -> String {
    if *range == (0, u16::MAX) { "*".to_owned() } else { number(range) }
}

/// The name of a protocol in the language.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
        Protocol::Other => "other",
        Protocol::Answer => "answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(first: u32, last: u32) -> Destination {
        Destination { addresses: Addresses::V4(first, last), ports: PortRange::all() }
    }

    fn said(destinations: &[Destination]) -> Vec<String> {
        describe(destinations, &AddressNames::default()).iter().map(Described::text).collect()
    }

    #[test]
    fn ranges_are_networks_where_they_are_networks() {
        assert_eq!(said(&[v4(0x0a00_0000, 0x0aff_ffff)]), ["10.0.0.0/8"]);
        assert_eq!(said(&[v4(0x0a00_0000, 0x0a00_0000), v4(0x0a00_0001, 0x0a00_0002)]), ["10.0.0.0-10.0.0.2"]);
        assert_eq!(range(Addresses::V6(0, u128::MAX)), "[::/0]");
        assert_eq!(range(Addresses::V4(0, u32::MAX)), "0.0.0.0/0");
        assert_eq!(range(Addresses::V6(1, 1)), "[::1]");
    }

    #[test]
    fn addresses_that_are_judged_as_others_are_not_told_apart() {
        let v6 = |first, last| Destination { addresses: Addresses::V6(first, last), ports: PortRange::all() };
        let all = [v4(1, u32::MAX), v6(1, MAPPED.0 - 1), v6(MAPPED.1 + 1, u128::MAX)];
        assert_eq!(said(&all), ["0.0.0.0/0", "[::/0]"]);
        let nat64 = v6(NAT64.0 + 0x0a00_0000, NAT64.0 + 0x0a00_0000);
        assert_eq!(said(&[v4(0x0a00_0000, 0x0a00_0000), nat64.clone()]), ["10.0.0.0"]);
        assert_eq!(said(&[nat64]), ["[64:ff9b::a00:0]"]);
    }

    #[test]
    fn what_is_nearly_everything_is_told_by_what_is_missing() {
        let v6 = Destination { addresses: Addresses::V6(0, u128::MAX), ports: PortRange::all() };
        let raw = Destination { addresses: Addresses::Raw, ports: PortRange::all() };
        let said = |destinations: &[Destination]| lines(destinations, &AddressNames::default());
        let most = [v4(0, 0x0a00_0000), v4(0x0a00_0002, u32::MAX), v6.clone()];
        assert_eq!(said(&[&most[..], std::slice::from_ref(&raw)].concat()), ["everything but 10.0.0.1"]);
        assert_eq!(said(&most), ["everything but 10.0.0.1, raw"]);
        assert_eq!(said(&[v4(0, u32::MAX), v6, raw]), ["everything"]);
        assert_eq!(said(&[]), Vec::<String>::new());
    }

    #[test]
    fn ports_are_written_as_a_policy_writes_them() {
        let range = |protocol, first, last| PortRange { protocol, first, last };
        assert_eq!(ports(&PortRange::all()), Vec::<String>::new());
        let bare = [Protocol::Tcp, Protocol::Udp, Protocol::Other].map(|protocol| range(protocol, 443, 443));
        assert_eq!(ports(&bare), ["443"]);
        let without_icmp = PortRange::all().into_iter().filter(|range| range.protocol != Protocol::Icmp);
        assert_eq!(ports(&without_icmp.collect::<Vec<_>>()), ["0-65535"]);
        assert_eq!(
            ports(&[range(Protocol::Tcp, 0, u16::MAX), range(Protocol::Udp, 53, 54), range(Protocol::Icmp, 0, 0)]),
            ["*/tcp", "53-54/udp", "icmp"]
        );
    }
}
