//! Set operations on destinations: union, intersection and difference over address × port.
//!
//! Always: the result is sorted and disjoint, and neighbours with the same ports are merged, so two lists cover the
//! same requests exactly if they are equal. The work is one sweep over the ends of the ranges, not a comparison of
//! every pair.

use std::net::IpAddr;

use bfp_bundle::request::{Protocol, port_key};

use crate::policy::{Addresses, Destination, PortRange};

/// The requests that one of these covers.
pub(crate) fn union(of: &[Destination]) -> Vec<Destination> {
    sweep(of, &[], |ports, _| ports.to_vec())
}

/// The requests that `base` covers and `removed` does not.
pub(crate) fn without(base: &[Destination], removed: &[Destination]) -> Vec<Destination> {
    sweep(base, removed, ports_without)
}

/// Whether both cover some request. Both must be unions; the shorter one is looked up in the longer.
pub(crate) fn overlaps(a: &[Destination], b: &[Destination]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let shared = |ports: &[PortRange], other: &[PortRange]| ports_without(ports, other) != ports;
    short.iter().any(|one| meeting(long, one.addresses).iter().any(|other| shared(&one.ports, &other.ports)))
}

/// Whether a request to an address is covered on some port.
pub(crate) fn covers_address(of: &[Destination], address: IpAddr) -> bool {
    of.iter().any(|destination| holds(destination.addresses, address) && !destination.is_of_clients())
}

/// Whether a range contains an address, as it is judged.
pub(super) fn holds(range: Addresses, address: IpAddr) -> bool {
    match (range, address.to_canonical()) {
        (Addresses::V4(first, last), IpAddr::V4(address)) => (first..=last).contains(&address.to_bits()),
        (Addresses::V6(first, last), IpAddr::V6(address)) => (first..=last).contains(&address.to_bits()),
        _ => false,
    }
}

/// Whether `outer` covers everything that `inner` covers. Both must be unions.
pub(crate) fn contains(outer: &[Destination], inner: &[Destination]) -> bool {
    inner.iter().all(|one| without(std::slice::from_ref(one), meeting(outer, one.addresses)).is_empty())
}

/// The part of a union that shares an address with a range.
fn meeting(union: &[Destination], range: Addresses) -> &[Destination] {
    let ends = |addresses: Addresses| match addresses {
        Addresses::V4(first, last) => (0, u128::from(first), u128::from(last)),
        Addresses::V6(first, last) => (1, first, last),
        Addresses::Raw => (2, 0, 0),
    };
    let (family, first, last) = ends(range);
    let place = |destination: &Destination| ends(destination.addresses);
    let start = union.partition_point(|one| (place(one).0, place(one).2) < (family, first));
    let end = union.partition_point(|one| (place(one).0, place(one).1) <= (family, last));
    union.get(start..end).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

#[derive(Clone, Copy)]
struct Interval<'a> {
    first: u128,
    last: u128,
    side: Side,
    ports: &'a [PortRange],
}

fn sweep(
    left: &[Destination],
    right: &[Destination],
    keep: impl Fn(&[PortRange], &[PortRange]) -> Vec<PortRange>,
) -> Vec<Destination> {
    let (mut v4, mut v6, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let left = left.iter().map(|destination| (Side::Left, destination));
    for (side, Destination { addresses, ports }) in left.chain(right.iter().map(|hole| (Side::Right, hole))) {
        match *addresses {
            Addresses::V4(first, last) => v4.push(Interval { first: first.into(), last: last.into(), side, ports }),
            Addresses::V6(first, last) => v6.push(Interval { first, last, side, ports }),
            Addresses::Raw => raw.push(Interval { first: 0, last: 0, side, ports }),
        }
    }
    let v4 = segments(v4, &keep)
        .into_iter()
        .map(|(first, last, ports)| Destination { addresses: Addresses::V4(first as u32, last as u32), ports });
    let v6 = segments(v6, &keep)
        .into_iter()
        .map(|(first, last, ports)| Destination { addresses: Addresses::V6(first, last), ports });
    let raw = segments(raw, &keep).into_iter().map(|(_, _, ports)| Destination { addresses: Addresses::Raw, ports });
    v4.chain(v6).chain(raw).collect()
}

/// Cuts the addresses wherever a range begins or ends; between two cuts the same ranges cover all.
fn segments(
    mut intervals: Vec<Interval<'_>>,
    keep: &impl Fn(&[PortRange], &[PortRange]) -> Vec<PortRange>,
) -> Vec<(u128, u128, Vec<PortRange>)> {
    intervals.sort_by_key(|interval| interval.first);
    let ends = intervals.iter().filter_map(|interval| interval.last.checked_add(1));
    let mut cuts: Vec<u128> = intervals.iter().map(|interval| interval.first).chain(ends).collect();
    cuts.sort_unstable();
    cuts.dedup();

    let mut waiting = intervals.into_iter().peekable();
    let mut open: Vec<Interval<'_>> = Vec::new();
    let mut kept: Vec<(u128, u128, Vec<PortRange>)> = Vec::new();
    let mut next = cuts.iter().skip(1);
    for &first in &cuts {
        let last = next.next().map_or(u128::MAX, |next| next - 1);
        open.retain(|interval| interval.last >= first);
        while let Some(interval) = waiting.next_if(|interval| interval.first <= first) {
            open.push(interval);
        }
        let of = |side| {
            let ports = open.iter().filter(|interval| interval.side == side).flat_map(|interval| interval.ports);
            merge_ports(ports.copied().collect())
        };
        let ports = keep(&of(Side::Left), &of(Side::Right));
        if ports.is_empty() {
            continue;
        }
        match kept.last_mut() {
            Some((_, end, same)) if end.checked_add(1) == Some(first) && *same == ports => *end = last,
            _ => kept.push((first, last, ports)),
        }
    }
    kept
}

/// Sorts ports, and merges ranges that touch.
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
