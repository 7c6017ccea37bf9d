//! IPv6: extension headers, fragments and routing headers.

use core::slice;

use super::super::v6::HEADERS_MAX;
use super::*;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
pub(super) const DESTINATION_OPTIONS: u8 = 60;
pub(super) const EXTENSIONS: [u8; 5] = [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS];

const MOBILE: u8 = 2;
const SEGMENTS: u8 = 4;

const HERE: u128 = 0x2001_0db8 << 96 | 1;
const THERE: u128 = 0x2001_0db8_000f << 80 | 2;

const DIRECT: Asked = (Address::v6(HERE), 53, 17);
const ROUTED: Asked = (Address::v6(THERE), 53, 17);

/// An extension header without the number of the next one, which is its first byte.
pub(super) type Extension = (u8, Vec<u8>);

/// Options of `8 * eights` bytes.
pub(super) fn options(kind: u8, eights: u8) -> Extension {
    let mut bytes = std::vec![0; usize::from(eights) * 8];
    bytes[1] = eights - 1;
    (kind, bytes)
}

/// An authentication header of `4 * fours` bytes.
pub(super) fn authentication(fours: u8) -> Extension {
    let mut bytes = std::vec![0xff; usize::from(fours) * 4];
    bytes[1] = fours - 2;
    (AUTHENTICATION, bytes)
}

/// A fragment at an offset in bytes.
pub(super) fn fragment(offset: u16, is_last: bool) -> Extension {
    let [high, low] = (offset & 0xfff8 | u16::from(!is_last)).to_be_bytes();
    (FRAGMENT, std::vec![0, 0xff, high, low, 0, 0, 0, 1])
}

/// A routing header, whose last address is the first in it.
pub(super) fn routing(kind: u8, last: u128, others: &[u128]) -> Extension {
    let addresses = 1 + others.len();
    let mut bytes = std::vec![0, (addresses * 2) as u8, kind, addresses as u8, 0, 0, 0, 0];
    bytes.extend(last.to_be_bytes());
    bytes.extend(others.iter().flat_map(|address| address.to_be_bytes()));
    (ROUTING, bytes)
}

/// A packet with extension headers.
pub(super) fn chain(destination: u128, extensions: &[Extension], protocol: u8, rest: &[u8]) -> Vec<u8> {
    let next = extensions.iter().map(|(kind, _)| *kind).chain([protocol]).collect::<Vec<_>>();
    let mut body = Vec::new();
    for ((_, bytes), next) in extensions.iter().zip(&next[1..]) {
        body.push(*next);
        body.extend(&bytes[1..]);
    }
    body.extend(rest);
    ipv6(next[0], destination, &body)
}

/// A datagram to [`HERE`] with extension headers.
fn datagram(extensions: &[Extension]) -> Vec<u8> {
    chain(HERE, extensions, UDP, &to_port(53))
}

#[test]
fn every_extension_header_is_skipped() {
    let extensions = [
        options(HOP_BY_HOP, 1),
        options(HOP_BY_HOP, 2),
        options(DESTINATION_OPTIONS, 1),
        options(DESTINATION_OPTIONS, 255),
        authentication(2),
        authentication(6),
        authentication(255),
        fragment(0, true),
        fragment(0, false),
    ];
    for extension in extensions {
        assert_eq!(asked(&datagram(slice::from_ref(&extension)), Socket::unlisted()), [DIRECT], "{extension:?}");
        assert_eq!(asked(&datagram(slice::from_ref(&extension)), Socket::governed()), [DIRECT], "{extension:?}");
    }
}

#[test]
fn last_address_of_a_routing_header_is_judged() {
    for kind in [MOBILE, SEGMENTS] {
        for others in [&[][..], &[3], &[3, 4, 5, 6, 7, 8]] {
            let packet = datagram(&[routing(kind, THERE, others)]);
            assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED], "{kind} {others:?}");
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(ROUTED.0)), [DIRECT, ROUTED]);
            assert_eq!(asked_in_vain(&packet, Socket::raw().not_to(ROUTED.0)), [DIRECT, ROUTED]);
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(DIRECT.0)), [DIRECT]);
        }
    }
}

#[test]
fn routing_header_is_found_behind_every_other_one() {
    let others = [options(HOP_BY_HOP, 3), options(DESTINATION_OPTIONS, 2), authentication(7), fragment(0, false)];
    for other in others {
        let packet = datagram(&[other.clone(), routing(MOBILE, THERE, &[]), other.clone()]);
        assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED], "{other:?}");
    }
}

#[test]
fn of_two_routing_headers_the_second_decides() {
    let packet = datagram(&[routing(MOBILE, 9, &[]), routing(SEGMENTS, THERE, &[])]);
    assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED]);
}

#[test]
fn routing_header_of_a_governed_process_is_dropped() {
    for kind in [MOBILE, SEGMENTS] {
        assert!(asked_in_vain(&datagram(&[routing(kind, HERE, &[])]), Socket::governed()).is_empty());
        // Even on a segment that is not a process's.
        let segment = chain(HERE, &[routing(kind, HERE, &[])], TCP, &tcp(ACK, 443, &[]));
        assert!(asked_in_vain(&segment, Socket::governed()).is_empty());
        assert!(asked(&segment, Socket::unlisted()).is_empty());
    }
}

#[test]
fn fragment_has_ports_only_if_it_is_the_first() {
    for (offset, is_last, port) in [(0, true, 53), (0, false, 53), (8, true, 0), (1448, false, 0), (0xfff8, true, 0)] {
        let packet = datagram(&[fragment(offset, is_last)]);
        assert_eq!(asked(&packet, Socket::unlisted()), [(DIRECT.0, port, 17)], "{offset}");
    }
    // One fragment in another: no part of the packet can be trusted to be a port.
    let packet = datagram(&[fragment(8, true), fragment(0, true)]);
    assert_eq!(asked(&packet, Socket::unlisted()), [(DIRECT.0, 0, 17)]);
}

#[test]
fn more_headers_than_a_host_sends_are_dropped() {
    let most = HEADERS_MAX as usize - 1;
    for kind in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        let extensions = std::vec![options(kind, 1); most];
        assert_eq!(asked(&datagram(&extensions), Socket::unlisted()), [DIRECT]);
        let extensions = std::vec![options(kind, 1); most + 1];
        assert!(asked_in_vain(&datagram(&extensions), Socket::unlisted()).is_empty());
    }
}

#[test]
fn headers_that_are_longer_than_a_page_are_dropped() {
    let long = options(DESTINATION_OPTIONS, 255);
    assert_eq!(asked(&datagram(slice::from_ref(&long)), Socket::unlisted()), [DIRECT]);
    assert!(asked_in_vain(&datagram(&[long.clone(), long]), Socket::unlisted()).is_empty());
}

#[test]
fn extension_header_that_ends_too_early_is_dropped() {
    let extensions = [options(HOP_BY_HOP, 1), routing(MOBILE, THERE, &[]), authentication(3), fragment(0, true)];
    let packet = datagram(&extensions);
    let whole = packet.len() - to_port(53).len();
    for length in 1..=whole - 5 {
        assert!(asked_in_vain(&packet[..length], Socket::unlisted()).is_empty(), "{length}");
    }
    assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED]);
}

#[test]
fn routing_header_without_its_address_is_dropped() {
    let (_, whole) = routing(MOBILE, THERE, &[]);
    // It is the last header, and the packet ends in its address.
    for length in 8..whole.len() {
        let packet = chain(HERE, &[(ROUTING, whole[..length].to_vec())], 59, &[]);
        assert_eq!(asked_in_vain(&packet, Socket::unlisted()).len(), 1, "{length}");
    }
}
