//! Ranges of addresses and ports: built-in hosts, prefixes, and what is left when some are removed.

use bfp_bundle::request::{Protocol, port_key};

use crate::policy::{Addresses, Destination, PortRange};

/// The first and last address of ::ffff:0:0/96, which are judged as IPv4.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// Every address that is judged as what it is.
pub(super) fn everything() -> Vec<Addresses> {
    let mut all = vec![Addresses::V4(0, u32::MAX)];
    all.extend(unmapped(Addresses::V6(0, u128::MAX)));
    all
}

/// The network of an address, and its range.
pub(super) fn v4(bits: u32, length: u8) -> (u32, Addresses) {
    let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    (bits & !host, Addresses::V4(bits & !host, bits | host))
}

/// As [`v4`].
pub(super) fn v6(bits: u128, length: u8) -> (u128, Addresses) {
    let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
    (bits & !host, Addresses::V6(bits & !host, bits | host))
}

/// An IPv6 range as it is judged: a range of mapped addresses is a range of IPv4 addresses, and a
/// wider range is what lies beside the mapped ones.
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

/// The addresses of a built-in host.
pub(super) fn builtin(name: &str) -> Option<Vec<Addresses>> {
    let networks_v4: &[(u32, u8)] = match name {
        "loopback" => &[(0x7f00_0000, 8)],
        "link-local" => &[(0xa9fe_0000, 16)],
        "private" => &[(0x0a00_0000, 8), (0xac10_0000, 12), (0xc0a8_0000, 16)],
        "multicast" => &[(0xe000_0000, 4)],
        // AWS, Azure, Google Cloud and others share this one.
        "metadata" => &[(0xa9fe_a9fe, 32)],
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

/// Sorts ports and joins ranges that touch.
pub(super) fn merge_ports(mut ports: Vec<PortRange>) -> Vec<PortRange> {
    ports.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ports {
        match merged.last_mut() {
            Some(last) if last.protocol == range.protocol && u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// What is left of `base` without `removed`.
pub(crate) fn subtract(base: Vec<Destination>, removed: &[Destination]) -> Vec<Destination> {
    removed.iter().fold(base, |left, hole| left.into_iter().flat_map(|from| without(from, hole)).collect())
}

fn without(from: Destination, hole: &Destination) -> Vec<Destination> {
    let (beside, inside): (Vec<Addresses>, Addresses) = match (from.addresses, hole.addresses) {
        (Addresses::V4(first, last), Addresses::V4(start, end)) if start <= last && first <= end => {
            let mut beside = Vec::new();
            if first < start {
                beside.push(Addresses::V4(first, start - 1));
            }
            if end < last {
                beside.push(Addresses::V4(end + 1, last));
            }
            (beside, Addresses::V4(first.max(start), last.min(end)))
        }
        (Addresses::V6(first, last), Addresses::V6(start, end)) if start <= last && first <= end => {
            let mut beside = Vec::new();
            if first < start {
                beside.push(Addresses::V6(first, start - 1));
            }
            if end < last {
                beside.push(Addresses::V6(end + 1, last));
            }
            (beside, Addresses::V6(first.max(start), last.min(end)))
        }
        _ => return vec![from],
    };
    let mut left: Vec<Destination> =
        beside.into_iter().map(|addresses| Destination { addresses, ports: from.ports.clone() }).collect();
    let ports = ports_without(&from.ports, &hole.ports);
    if !ports.is_empty() {
        left.push(Destination { addresses: inside, ports });
    }
    left
}

fn ports_without(ports: &[PortRange], holes: &[PortRange]) -> Vec<PortRange> {
    let key = |range: &PortRange| (port_key(range.protocol, range.first), port_key(range.protocol, range.last));
    let mut left: Vec<PortRange> = ports.to_vec();
    for hole in holes {
        let (start, end) = key(hole);
        left = left
            .into_iter()
            .flat_map(|range| {
                let (first, last) = key(&range);
                if end < first || last < start {
                    return vec![range];
                }
                let part = |protocol: Protocol, first: u32, last: u32| PortRange {
                    protocol,
                    first: first as u16,
                    last: last as u16,
                };
                let mut parts = Vec::new();
                if first < start {
                    parts.push(part(range.protocol, first, start - 1));
                }
                if end < last {
                    parts.push(part(range.protocol, end + 1, last));
                }
                parts
            })
            .collect();
    }
    left
}
