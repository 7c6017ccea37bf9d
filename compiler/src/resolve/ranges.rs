//! Literals, lists and built-in hosts → ranges of addresses and ports, as requests to them are judged.
//!
//! Always: no range of IPv6 contains a mapped address, which is judged as the IPv4 address in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bfp_bundle::request::{Address, Protocol};
use bfp_grammar::syntax::{self, PortNumbers};

use super::coverage;
use super::network_list::{self, ListFault};
use crate::policy::{Addresses, PortRange};
use crate::source::load::ListFile;

/// The first and last address of ::ffff:0:0/96, which are judged as IPv4.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// All addresses that are not judged as others, and raw sockets, which have none.
pub(super) fn everything() -> Vec<Addresses> {
    let mut all = vec![Addresses::V4(0, u32::MAX)];
    all.extend(unmapped(Addresses::V6(0, u128::MAX)));
    all.push(Addresses::Raw);
    all
}

/// The network that contains an address, and its range.
pub(super) fn v4(bits: u32, length: u8) -> (u32, Addresses) {
    let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    (bits & !host, Addresses::V4(bits & !host, bits | host))
}

/// As [`v4`], for IPv6.
pub(super) fn v6(bits: u128, length: u8) -> (u128, Addresses) {
    let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (bits & !host, Addresses::V6(bits & !host, bits | host))
}

/// An IPv6 range as it is judged: mapped addresses become IPv4 addresses, and a wider range loses the mapped ones.
pub(super) fn unmapped(range: Addresses) -> Vec<Addresses> {
    let Addresses::V6(first, last) = range else { return vec![range] };
    if first >= MAPPED.0 && last <= MAPPED.1 {
        return vec![Addresses::V4(first as u32, last as u32)];
    }
    if first > MAPPED.1 || last < MAPPED.0 {
        return vec![range];
    }
    let mut beside = Vec::new();
    if first < MAPPED.0 {
        beside.push(Addresses::V6(first, MAPPED.0 - 1));
    }
    if last > MAPPED.1 {
        beside.push(Addresses::V6(MAPPED.1 + 1, last));
    }
    beside
}

/// The addresses of a network without host bits.
pub(super) fn of_network((address, length): (IpAddr, u8)) -> Vec<Addresses> {
    match address {
        IpAddr::V4(address) => vec![v4(address.to_bits(), length).1],
        IpAddr::V6(address) => unmapped(v6(address.to_bits(), length).1),
    }
}

/// The addresses of the networks of a list that pass the filters.
pub(super) fn of_list(
    list: &ListFile,
    filters: &[(syntax::Name, syntax::Quoted)],
) -> Result<Vec<Addresses>, ListFault> {
    let wanted: Vec<(&str, &str)> =
        filters.iter().map(|(key, value)| (key.node.as_str(), value.node.as_str())).collect();
    Ok(network_list::networks(&list.text, &wanted)?.into_iter().flat_map(of_network).collect())
}

/// The addresses of a built-in host; `None` if there is no such host.
pub(super) fn builtin(name: &str) -> Option<Vec<Addresses>> {
    let networks_v4: &[(u32, u8)] = match name {
        "loopback" => &[(0x7f00_0000, 8)],
        "link-local" => &[(0xa9fe_0000, 16)],
        "private" => &[(0x0a00_0000, 8), (0xac10_0000, 12), (0xc0a8_0000, 16)],
        "multicast" => &[(0xe000_0000, 4)],
        // AWS, Azure, Google Cloud and others share the first; the second is Alibaba Cloud's.
        "metadata" => &[(0xa9fe_a9fe, 32), (0x6464_64c8, 32)],
        _ => return None,
    };
    let networks_v6: &[(u128, u8)] = match name {
        "loopback" => &[(1, 128)],
        "link-local" => &[(0xfe80 << 112, 10)],
        "private" => &[(0xfc00 << 112, 7)],
        "multicast" => &[(0xff00 << 112, 8)],
        // AWS: fd00:ec2::254. Google Cloud: fd20:ce::254.
        _ => &[(0xfd00_0ec2 << 96 | 0x254, 128), (0xfd20_00ce << 96 | 0x254, 128)],
    };
    let v4 = networks_v4.iter().map(|(bits, length)| v4(*bits, *length).1);
    Some(v4.chain(networks_v6.iter().map(|(bits, length)| v6(*bits, *length).1)).collect())
}

/// The kind, in words, of an address that belongs to no host of a network, and that DNS has little reason to answer. A
/// mapped IPv4 address, and one behind a NAT64 gateway, is judged as IPv4.
///
/// Of the loopback addresses, only those that filtering resolvers return: others are given to services on purpose.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    let seen = match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let behind = || Address::v6(v6.to_bits()).behind_nat64().map(Ipv4Addr::from_bits);
            v6.to_ipv4_mapped().or_else(behind).map_or(address, IpAddr::V4)
        }
    };
    let is_of = |name| builtin(name).is_some_and(|ranges| ranges.into_iter().any(|range| coverage::holds(range, seen)));
    if is_of("metadata") {
        Some("where clouds give out credentials")
    } else if is_of("link-local") {
        Some("a link-local address")
    } else if is_of("multicast") || seen == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("a multicast or broadcast address")
    } else if seen == IpAddr::V4(Ipv4Addr::LOCALHOST) || seen == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        Some("this machine itself, as filtering resolvers answer for a blocked name")
    } else {
        None
    }
}

/// A port list without a protocol covers every protocol that has ports or may have them. ICMP has none: it is covered
/// as a whole, because a ping's port is 0. Names are replaced before. `all` are the protocols of a host whose ports are
/// `*`.
pub(super) fn ports(ports: &syntax::Ports, all: &[Protocol]) -> Vec<PortRange> {
    let of_all = ports.protocol.as_ref().map(|protocol| protocol.node);
    let mut found = Vec::new();
    for range in &ports.ranges {
        let own = range.node.protocol.as_ref().map(|protocol| protocol.node);
        let numbers = match range.node.numbers {
            PortNumbers::Every => None,
            PortNumbers::Range(first, last) => Some((first, last)),
            // Replaced before; one that is not declared is an error.
            PortNumbers::Named(_) => continue,
        };
        found.extend(ports_of(own.or(of_all), numbers, all));
    }
    if ports.ranges.is_empty() {
        found.extend(ports_of(of_all, None, all));
    }
    coverage::merge_ports(found)
}

fn ports_of(
    protocol: Option<syntax::Protocol>,
    numbers: Option<(u16, u16)>,
    all: &[Protocol],
) -> impl Iterator<Item = PortRange> {
    let protocols: &[Protocol] = match protocol {
        Some(syntax::Protocol::Tcp) => &[Protocol::Tcp],
        Some(syntax::Protocol::Udp) => &[Protocol::Udp],
        Some(syntax::Protocol::Icmp) => &[Protocol::Icmp],
        Some(syntax::Protocol::Other) => &[Protocol::Other],
        None if numbers.is_none() => all,
        None => &[Protocol::Tcp, Protocol::Udp, Protocol::Other],
    };
    let (first, last) = numbers.unwrap_or((0, u16::MAX));
    protocols.iter().map(move |&protocol| PortRange { protocol, first, last })
}
