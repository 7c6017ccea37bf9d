//! What holds for any packet.

use proptest::prelude::*;

use super::v4::route;
use super::v6::{self, Extension, authentication, chain, fragment, routing};
use super::*;

/// How often a packet is read at most: its version, its header, what its protocol tells, and every option or extension
/// header.
const READS_MAX: u32 = 48;

/// An address that no strategy makes.
const FORBIDDEN_V4: u32 = 0xc633_6407;
const FORBIDDEN_V6: u128 = 0x2001_0db8 << 96 | 7;

fn any_socket() -> impl Strategy<Value = (bool, bool, bool)> {
    (any::<bool>(), any::<bool>(), any::<bool>())
}

fn socket((is_kernels_own, is_raw, is_governed): (bool, bool, bool)) -> Socket {
    Socket { is_kernels_own, is_raw, is_governed: is_governed && !is_kernels_own, ..Socket::unlisted() }
}

/// Any bytes, and bytes that begin as a packet does.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![4 => prop::sample::select(&[0u8, 1, 2, 43, 44, 51, 60, 131, 137][..]), 1 => any::<u8>()];
    let version = prop_oneof![Just(0x45u8), 0x40..0x50u8, 0x60..0x70u8, any::<u8>()];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..128),
        (version, prop::collection::vec(small, 0..256)).prop_map(|(version, mut bytes)| {
            bytes.insert(0, version);
            bytes
        }),
    ]
}

/// An IPv4 option that is no source route and does not end the options.
fn other_option() -> impl Strategy<Value = Vec<u8>> {
    let kinds = any::<u8>().prop_filter("another kind", |kind| ![0, 1, 131, 137].contains(kind));
    let long = (kinds, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(kind, data)| {
        let length = data.len() as u8 + 2;
        [&[kind, length][..], &data].concat()
    });
    prop_oneof![Just(std::vec![1]), long]
}

/// As many of the options as fit beside `reserved` bytes.
fn fitting(options: Vec<Vec<u8>>, reserved: usize) -> Vec<Vec<u8>> {
    let mut used = reserved;
    options
        .into_iter()
        .filter(|option| {
            let fits = used + option.len() <= 40;
            used += if fits { option.len() } else { 0 };
            fits
        })
        .collect()
}

/// A protocol and what follows its header.
fn any_payload() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let protocol = prop_oneof![
        prop::sample::select(&[ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE][..]),
        any::<u8>().prop_filter("no extension header", |kind| !v6::EXTENSIONS.contains(kind)),
    ];
    (protocol, prop::collection::vec(any::<u8>(), 0..40))
}

/// An IPv4 packet to `destination`, perhaps by a source route to `last`; whether it is by one; and the port.
fn any_v4(destination: u32, last: u32) -> impl Strategy<Value = (Vec<u8>, bool, u32)> {
    (
        prop::collection::vec(other_option(), 0..6),
        prop::option::of((any::<bool>(), prop::collection::vec(1..9u32, 0..4), any::<prop::sample::Index>())),
        any_payload(),
        prop_oneof![3 => Just(0u16), 1 => any::<u16>()],
    )
        .prop_map(move |(others, routed, (protocol, rest), fragment)| {
            let source_route = routed.map(|(is_loose, mut hops, place)| {
                hops.push(last);
                (route(if is_loose { 131 } else { 137 }, &hops), place)
            });
            let mut options = fitting(others, source_route.as_ref().map_or(0, |(option, _)| option.len()));
            let is_routed = source_route.is_some();
            if let Some((option, place)) = source_route {
                options.insert(place.index(options.len() + 1), option);
            }
            let mut packet = ipv4(protocol, destination, &options.concat(), &rest);
            packet[6..8].copy_from_slice(&fragment.to_be_bytes());
            (packet, is_routed, port_of(protocol, fragment & 0x1fff == 0, &rest))
        })
}

fn port_of(protocol: u8, is_first: bool, rest: &[u8]) -> u32 {
    match rest {
        [_, _, high, low, ..] if is_first && [TCP, UDP, UDPLITE, SCTP, DCCP].contains(&protocol) => {
            u32::from(*high) << 8 | u32::from(*low)
        }
        _ => 0,
    }
}

/// An extension header. Of a routing header, the last address is `last`.
fn extension(last: u128) -> impl Strategy<Value = Extension> {
    prop_oneof![
        (1..20u8).prop_map(|eights| v6::options(v6::HOP_BY_HOP, eights)),
        (1..20u8).prop_map(|eights| v6::options(v6::DESTINATION_OPTIONS, eights)),
        (2..30u8).prop_map(authentication),
        (prop_oneof![Just(0), any::<u16>()], any::<bool>()).prop_map(|(offset, is_last)| fragment(offset, is_last)),
        (any::<u8>(), prop::collection::vec(1..9u128, 0..3))
            .prop_map(move |(kind, others)| routing(kind, last, &others)),
    ]
}

/// As [`any_v4`], with extension headers.
fn any_v6(destination: u128, last: u128) -> impl Strategy<Value = (Vec<u8>, bool, u32)> {
    (prop::collection::vec(extension(last), 0..=7), any_payload()).prop_map(move |(extensions, (protocol, rest))| {
        let is_routed = extensions.iter().any(|(kind, _)| *kind == v6::ROUTING);
        let is_first =
            extensions.iter().all(|(kind, bytes)| *kind != v6::FRAGMENT || (bytes[2] == 0 && bytes[3] & 0xf8 == 0));
        let packet = chain(destination, &extensions, protocol, &rest);
        (packet, is_routed, port_of(protocol, is_first, &rest))
    })
}

/// What is judged of a packet, without the protocol.
fn judged(asked: &[Asked]) -> Vec<(Address, u32)> {
    asked.iter().map(|(address, port, _)| (*address, *port)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_a_bounded_number_of_times(bytes in any_bytes(), sender in any_socket()) {
        let packet = Counted { bytes: &bytes, reads: Cell::new(0) };
        let sender = socket(sender);
        may_leave(&packet, &sender);
        prop_assert!(packet.reads.get() <= READS_MAX, "{}", packet.reads.get());
        prop_assert!(sender.asked.borrow().len() <= 2);
    }

    #[test]
    fn what_a_process_writes_leaves_only_if_it_was_judged(bytes in any_bytes(), governed in any::<bool>()) {
        let sender = Socket { is_governed: governed, ..Socket::raw() };
        if may_leave(&bytes[..], &sender) {
            prop_assert!(!sender.asked_about().is_empty());
        }
    }

    #[test]
    fn no_destination_that_is_judged_is_overruled(bytes in any_bytes(), sender in any_socket()) {
        let first = socket(sender);
        may_leave(&bytes[..], &first);
        for (address, _, _) in first.asked_about() {
            prop_assert!(!may_leave(&bytes[..], &socket(sender).not_to(address)));
        }
    }

    #[test]
    fn every_source_route_is_found((packet, is_routed, port) in any_v4(0xc000_0201, FORBIDDEN_V4)) {
        let (direct, routed) = ((Address::V4(0xc000_0201), port), (Address::V4(FORBIDDEN_V4), port));
        let sender = Socket::raw();
        prop_assert!(may_leave(&packet[..], &sender));
        let expected = if is_routed { std::vec![direct, routed] } else { std::vec![direct] };
        prop_assert_eq!(judged(&sender.asked_about()), expected);
        prop_assert_eq!(may_leave(&packet[..], &Socket::raw().not_to(routed.0)), !is_routed);
        prop_assert_eq!(may_leave(&packet[..], &Socket { is_raw: true, ..Socket::governed() }), packet[0] == 0x45);
    }

    #[test]
    fn every_chain_of_headers_is_followed_to_its_end(
        (packet, is_routed, port) in any_v6(0x2001_0db8 << 96 | 1, FORBIDDEN_V6)
    ) {
        let (direct, routed) = ((Address::v6(0x2001_0db8 << 96 | 1), port), (Address::v6(FORBIDDEN_V6), port));
        let sender = Socket::raw();
        prop_assert!(may_leave(&packet[..], &sender));
        let expected = if is_routed { std::vec![direct, routed] } else { std::vec![direct] };
        prop_assert_eq!(judged(&sender.asked_about()), expected);
        prop_assert_eq!(may_leave(&packet[..], &Socket::raw().not_to(routed.0)), !is_routed);
        prop_assert_eq!(may_leave(&packet[..], &Socket { is_raw: true, ..Socket::governed() }), !is_routed);
    }

    #[test]
    fn truncation_never_allows(
        (v4, _, _) in any_v4(FORBIDDEN_V4, FORBIDDEN_V4), (v6, _, _) in any_v6(FORBIDDEN_V6, FORBIDDEN_V6),
        (routed_v4, is_routed_v4, _) in any_v4(0xc000_0201, FORBIDDEN_V4),
        (routed_v6, is_routed_v6, _) in any_v6(0x2001_0db8 << 96 | 1, FORBIDDEN_V6),
    ) {
        for (packet, is_forbidden, forbidden) in [
            (v4, true, Address::V4(FORBIDDEN_V4)),
            (v6, true, Address::v6(FORBIDDEN_V6)),
            (routed_v4, is_routed_v4, Address::V4(FORBIDDEN_V4)),
            (routed_v6, is_routed_v6, Address::v6(FORBIDDEN_V6)),
        ] {
            for length in 0..=packet.len() {
                let may_leave = may_leave(&packet[..length], &Socket::raw().not_to(forbidden));
                prop_assert!(!(may_leave && is_forbidden), "{} of {}", length, packet.len());
            }
        }
    }
}
