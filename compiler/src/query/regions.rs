//! The requests that a policy distinguishes, as finitely many: one or several images → stretches of addresses and bands
//! of ports within which every image decides alike.
//!
//! Always: a stretch is of one family. Stretches are sorted and disjoint, and all addresses of one class have the same
//! bands, so one request of a band answers for all of it. Addresses that are judged as others are left out: the
//! unspecified and the mapped ones. Addresses under 64:ff9b::/96, which are judged twice, have stretches of their own.

use std::collections::{BTreeSet, HashMap};

use bfp_bundle::decide::{self, Verdict, decide, decide_raw};
use bfp_bundle::image::Image;
use bfp_bundle::label::Label;
use bfp_bundle::record::{FANOUT, Policy, Step};
use bfp_bundle::request::{Address, LAST_ANSWER_KEY, LAST_PORT_KEY, LOOPBACK_V4, Protocol, Request, port_key};

use crate::policy::model::Asked;
use crate::policy::{Addresses, Destination, PortRange};

/// The first and last address of 64:ff9b::/96.
pub(crate) const NAT64: (u128, u128) = (0x0064_ff9b << 96, (0x0064_ff9b << 96) | 0xffff_ffff);

/// The first and last address of ::ffff:0:0/96.
pub(crate) const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// All requests, divided into regions.
#[derive(Clone, Debug)]
pub struct Plane {
    // INVARIANT: sorted; raw is the last one.
    stretches: Vec<(Addresses, usize)>,
    classes: Vec<Class>,
    /// The last key that some image distinguishes.
    last_key: u32,
}

/// Addresses that no image distinguishes.
#[derive(Clone, Debug)]
struct Class {
    /// The last key of each band.
    ends: Vec<u32>,
}

/// A band of ports at a stretch of addresses: every image decides alike on all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The addresses.
    pub addresses: Addresses,
    /// The first and the last [`port_key`].
    pub keys: (u32, u32),
    /// Regions with the same number are decided alike, whatever their addresses.
    pub kind: (usize, usize),
}

impl Region {
    /// The first request of the region.
    pub fn sample(&self) -> Asked {
        let address = match self.addresses {
            Addresses::V4(first, _) => Address::V4(first),
            Addresses::V6(first, _) => Address::v6(first),
            Addresses::Raw => return Asked::Raw,
        };
        let (protocol, port) = cut_key(self.keys.0);
        Asked::Request(Request { address, port, protocol })
    }

    /// The whole region as a destination.
    pub fn destination(&self) -> Destination {
        Destination { addresses: self.addresses, ports: port_ranges(self.keys) }
    }
}

/// The verdict on a request.
pub fn judge(image: &Image, label: &Label, asked: Asked) -> Verdict {
    match asked {
        Asked::Request(request) => decide(image, label, &distinguished(image, request)),
        Asked::Raw => decide_raw(image, label),
    }
}

/// A port from which clients connect: the first of those that are for them (RFC 6335, 6).
const PORT_OF_CLIENT: u16 = 49_152;

/// The request by which an image judges an answer: where the policy does not name `clients`, a request to the port of
/// some client.
fn distinguished(image: &Image, request: Request) -> Request {
    if request.protocol == Protocol::Answer && !names_clients(image) {
        return Request { port: PORT_OF_CLIENT, protocol: Protocol::Tcp, ..request };
    }
    request
}

/// Whether an image distinguishes answers to clients.
pub(crate) fn names_clients(image: &Image) -> bool {
    image.policy.flags & Policy::CLIENTS != 0
}

/// The cells that decide a request: one, or two for an address behind NAT64.
pub fn cells(image: &Image, asked: Asked) -> Vec<u32> {
    let (cell, behind) = places(image, asked);
    [cell, behind.flatten()].into_iter().flatten().collect()
}

/// The cell of a request, and the one behind a NAT64 gateway where there is one. `None` in place of a cell: it is not
/// found, which is a fault.
pub(crate) fn places(image: &Image, asked: Asked) -> (Option<u32>, Option<Option<u32>>) {
    let Asked::Request(request) = asked else { return (Some(image.policy.raw_cell), None) };
    let request = distinguished(image, request);
    let behind = request.address.judged().behind_nat64();
    (decide::find_cell(image, &request), behind.map(|_| decide::find_embedded_cell(image, &request)))
}

impl Plane {
    /// Divides all requests along the edges of these images.
    pub fn of(images: &[&Image]) -> Plane {
        let last_key = if images.iter().any(|image| names_clients(image)) { LAST_ANSWER_KEY } else { LAST_PORT_KEY };
        let trees: Vec<Tree> = images.iter().map(|image| Tree::of(image, last_key)).collect();
        let mut cuts_v4 = BTreeSet::from([u32::MAX]);
        let mut cuts_v6 = BTreeSet::from([NAT64.0 - 1, NAT64.1, MAPPED.0 - 1, MAPPED.1, u128::MAX]);
        for tree in &trees {
            cuts_v4.extend(tree.v4.iter().map(|(last, _)| *last));
            cuts_v6.extend(tree.v6.iter().map(|(last, _)| *last));
        }
        cuts_v6.extend(cuts_v4.iter().map(|last| NAT64.0 + u128::from(*last)));

        let mut classes: Vec<Class> = Vec::new();
        let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
        let mut class_of = |steps: Vec<u32>| {
            *known.entry(steps).or_insert_with_key(|steps| {
                let of = |(at, step): (usize, &u32)| trees.get(at % trees.len()).map(|tree| tree.ports(*step));
                let ends: BTreeSet<u32> = steps.iter().enumerate().filter_map(of).flatten().collect();
                classes.push(Class { ends: ends.into_iter().collect() });
                classes.len() - 1
            })
        };
        let mut stretches: Vec<(Addresses, usize)> = Vec::new();
        let mut first = 1;
        for last in cuts_v4 {
            if last >= first {
                let class = class_of(trees.iter().map(|tree| tree.step_v4(last)).collect());
                push(&mut stretches, Addresses::V4(first, last), class);
                first = last.saturating_add(1);
            }
        }
        let mut first = 1;
        for last in cuts_v6 {
            if last >= first {
                let mut steps: Vec<u32> = trees.iter().map(|tree| tree.step_v6(last)).collect();
                if let Some(embedded) = Address::v6(last).behind_nat64() {
                    steps.extend(trees.iter().map(|tree| tree.step_v4(embedded)));
                }
                let class = class_of(steps);
                if last != MAPPED.1 {
                    push(&mut stretches, Addresses::V6(first, last), class);
                }
                first = last.saturating_add(1);
            }
        }
        stretches.push((Addresses::Raw, classes.len()));
        classes.push(Class { ends: vec![last_key] });
        Plane { stretches, classes, last_key }
    }

    /// Every region.
    pub fn regions(&self) -> Vec<Region> {
        let all = |(addresses, class): &(Addresses, usize)| self.bands(*addresses, *class, (0, self.last_key));
        self.stretches.iter().flat_map(all).collect()
    }

    /// The regions in these destinations, cut to them. A range of IPv6 that is wider than 64:ff9b::/96 covers those
    /// addresses under it whose IPv4 address is in the destinations too.
    pub fn within(&self, destinations: &[Destination]) -> Vec<Region> {
        let mut found = Vec::new();
        let is_single = |to: &Destination| match to.addresses {
            Addresses::V4(first, last) => first == last,
            Addresses::V6(first, last) => first == last,
            Addresses::Raw => true,
        };
        // `[::]` alone means loopback; as a remainder of `* except [::1]` it means nothing.
        let are_single = destinations.iter().all(is_single);
        for Destination { addresses, ports } in destinations {
            match *addresses {
                Addresses::V4(0, 0) if are_single => {
                    self.collect(Addresses::V4(LOOPBACK_V4, LOOPBACK_V4), ports, &mut found);
                }
                Addresses::V6(0, 0) if are_single => self.collect(Addresses::V6(1, 1), ports, &mut found),
                Addresses::V6(first, last) if first <= NAT64.1 && last >= NAT64.0 && !is_nat64(first, last) => {
                    if first < NAT64.0 {
                        self.collect(Addresses::V6(first, NAT64.0 - 1), ports, &mut found);
                    }
                    for (behind, narrowed) in behind_nat64(destinations, ports) {
                        let Addresses::V6(from, to) = behind else { continue };
                        if from.max(first) <= to.min(last) {
                            self.collect(Addresses::V6(from.max(first), to.min(last)), &narrowed, &mut found);
                        }
                    }
                    if last > NAT64.1 {
                        self.collect(Addresses::V6(NAT64.1 + 1, last), ports, &mut found);
                    }
                }
                addresses => self.collect(addresses, ports, &mut found),
            }
        }
        found
    }

    /// The regions in these destinations exactly as a rule covers them.
    pub(crate) fn covered(&self, destinations: &[Destination]) -> Vec<Region> {
        let mut found = Vec::new();
        destinations.iter().for_each(|to| self.collect(to.addresses, &to.ports, &mut found));
        found
    }

    fn collect(&self, wanted: Addresses, ports: &[PortRange], found: &mut Vec<Region>) {
        let begin = self.stretches.partition_point(|(stretch, _)| ends_before(*stretch, wanted));
        for (stretch, class) in self.stretches.iter().skip(begin) {
            let Some(shared) = shared(*stretch, wanted) else { break };
            for range in ports {
                let keys = (port_key(range.protocol, range.first), port_key(range.protocol, range.last));
                // Raw sockets have no ports: one region covers them.
                let keys = if shared == Addresses::Raw { (0, self.last_key) } else { keys };
                found.extend(self.bands(shared, *class, keys));
                if shared == Addresses::Raw {
                    break;
                }
            }
        }
    }

    fn bands(&self, addresses: Addresses, class: usize, (first, last): (u32, u32)) -> Vec<Region> {
        let Some(Class { ends }) = self.classes.get(class) else { return Vec::new() };
        let mut regions = Vec::new();
        let mut from = first;
        // No image distinguishes answers.
        if first > self.last_key {
            return regions;
        }
        for (band, &end) in ends.iter().enumerate().skip(ends.partition_point(|end| *end < first)) {
            regions.push(Region { addresses, keys: (from, end.min(last)), kind: (class, band) });
            if end >= last {
                break;
            }
            from = end + 1;
        }
        regions
    }
}

/// The addresses from which a gateway forwards to the IPv4 addresses of these destinations, at ports in both.
fn behind_nat64(destinations: &[Destination], ports: &[PortRange]) -> Vec<(Addresses, Vec<PortRange>)> {
    let behind = |to: &Destination| match to.addresses {
        Addresses::V4(first, last) => {
            let shared = shared_ports(&to.ports, ports);
            Some((Addresses::V6(NAT64.0 + u128::from(first), NAT64.0 + u128::from(last)), shared))
        }
        _ => None,
    };
    destinations.iter().filter_map(behind).filter(|(_, ports)| !ports.is_empty()).collect()
}

/// The ports that are in both.
pub(crate) fn shared_ports(left: &[PortRange], right: &[PortRange]) -> Vec<PortRange> {
    let mut shared = Vec::new();
    for a in left {
        for b in right.iter().filter(|b| b.protocol == a.protocol) {
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if first <= last {
                shared.push(PortRange { protocol: a.protocol, first, last });
            }
        }
    }
    shared
}

fn is_nat64(first: u128, last: u128) -> bool {
    first >= NAT64.0 && last <= NAT64.1
}

fn push(stretches: &mut Vec<(Addresses, usize)>, next: Addresses, class: usize) {
    if let Some((previous, same)) = stretches.last_mut()
        && *same == class
    {
        let joined = match (*previous, next) {
            (Addresses::V4(first, end), Addresses::V4(begin, last)) if end + 1 == begin => Addresses::V4(first, last),
            (Addresses::V6(first, end), Addresses::V6(begin, last)) if end + 1 == begin => Addresses::V6(first, last),
            _ => return stretches.push((next, class)),
        };
        *previous = joined;
        return;
    }
    stretches.push((next, class));
}

/// Whether a stretch ends before `wanted` begins.
fn ends_before(stretch: Addresses, wanted: Addresses) -> bool {
    match (stretch, wanted) {
        (Addresses::V4(_, last), Addresses::V4(first, _)) => last < first,
        (Addresses::V6(_, last), Addresses::V6(first, _)) => last < first,
        (Addresses::Raw, Addresses::Raw) => false,
        (stretch, wanted) => stretch < wanted,
    }
}

fn shared(a: Addresses, b: Addresses) -> Option<Addresses> {
    match (a, b) {
        (Addresses::V4(a, b), Addresses::V4(c, d)) if a.max(c) <= b.min(d) => Some(Addresses::V4(a.max(c), b.min(d))),
        (Addresses::V6(a, b), Addresses::V6(c, d)) if a.max(c) <= b.min(d) => Some(Addresses::V6(a.max(c), b.min(d))),
        (Addresses::Raw, Addresses::Raw) => Some(Addresses::Raw),
        _ => None,
    }
}

fn cut_key(key: u32) -> (Protocol, u16) {
    (Protocol::from_number(key >> 16), key as u16)
}

/// A range of port keys, protocol by protocol.
fn port_ranges((first, last): (u32, u32)) -> Vec<PortRange> {
    let of = |protocol: Protocol| {
        let (from, to) = (port_key(protocol, 0).max(first), port_key(protocol, u16::MAX).min(last));
        (from <= to).then_some(PortRange { protocol, first: from as u16, last: to as u16 })
    };
    Protocol::WITH_ANSWERS.into_iter().filter_map(of).collect()
}

/// The leaves of an image's search trees: the last key of each, and the step that it ends in.
struct Tree<'a> {
    image: &'a Image,
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u32)>,
    last_key: u32,
}

impl<'a> Tree<'a> {
    fn of(image: &'a Image, last_key: u32) -> Tree<'a> {
        let mut tree = Tree { image, v4: Vec::new(), v6: Vec::new(), last_key };
        leaves32(image, Step(image.policy.root_v4), Step::ADDRESS_DONE, (0, u32::MAX), &mut tree.v4);
        leaves128(image, Step(image.policy.root_v6), (0, u128::MAX), &mut tree.v6);
        tree
    }

    fn step_v4(&self, address: u32) -> u32 {
        let at = self.v4.partition_point(|(last, _)| *last < address);
        self.v4.get(at).map_or(0, |(_, step)| *step)
    }

    fn step_v6(&self, address: u128) -> u32 {
        let at = self.v6.partition_point(|(last, _)| *last < address);
        self.v6.get(at).map_or(0, |(_, step)| *step)
    }

    /// The last key of each band of ports after a step.
    fn ports(&self, step: u32) -> Vec<u32> {
        let mut leaves = Vec::new();
        let own_last = if names_clients(self.image) { LAST_ANSWER_KEY } else { LAST_PORT_KEY };
        leaves32(self.image, Step(step), Step::PORT_DONE, (0, own_last), &mut leaves);
        let mut ends: Vec<u32> = leaves.into_iter().map(|(last, _)| last).collect();
        // Another image distinguishes answers, and this one judges all of them alike.
        if own_last < self.last_key {
            ends.push(self.last_key);
        }
        ends
    }
}

// The depth is bounded: `Image::decode` rejects deeper trees, and the compiler writes none.
fn leaves32(image: &Image, step: Step, done: u32, (first, last): (u32, u32), leaves: &mut Vec<(u32, u32)>) {
    if step.0 & done != 0 {
        match leaves.last_mut() {
            Some((end, same)) if *same == step.0 => *end = last,
            _ => leaves.push((last, step.0)),
        }
        return;
    }
    let Some(node) = image.nodes32.get(step.index() as usize) else { return };
    let mut from = first;
    for (&end, &next) in node.ends.iter().zip(&node.next).take(FANOUT) {
        if end < from {
            continue;
        }
        leaves32(image, Step(next), done, (from, end.min(last)), leaves);
        if end >= last {
            return;
        }
        from = end + 1;
    }
}

fn leaves128(image: &Image, step: Step, (first, last): (u128, u128), leaves: &mut Vec<(u128, u32)>) {
    if step.0 & Step::ADDRESS_DONE != 0 {
        match leaves.last_mut() {
            Some((end, same)) if *same == step.0 => *end = last,
            _ => leaves.push((last, step.0)),
        }
        return;
    }
    let Some(node) = image.nodes128.get(step.index() as usize) else { return };
    let mut from = first;
    for ((&high, &low), &next) in node.ends_high.iter().zip(&node.ends_low).zip(&node.next) {
        let end = u128::from(high) << 64 | u128::from(low);
        if end < from {
            continue;
        }
        leaves128(image, Step(next), (from, end.min(last)), leaves);
        if end >= last {
            return;
        }
        from = end + 1;
    }
}

#[cfg(test)]
pub(crate) mod tests;
