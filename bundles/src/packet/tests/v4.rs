//! IPv4: fragments, options and source routes.

use super::*;

const HERE: u32 = 0xc000_0201;
const THERE: u32 = 0xc633_6407;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE: u8 = 131;
const STRICT: u8 = 137;
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];

const MORE_FRAGMENTS: u16 = 0x2000;

/// A source route over some hops.
pub(super) fn route(kind: u8, hops: &[u32]) -> Vec<u8> {
    let mut option = std::vec![kind, (3 + hops.len() * 4) as u8, 4];
    option.extend(hops.iter().flat_map(|hop| hop.to_be_bytes()));
    option
}

/// A datagram to [`HERE`] with options.
fn datagram(options: &[u8]) -> Vec<u8> {
    ipv4(UDP, HERE, options, &to_port(53))
}

const DIRECT: Asked = (Address::V4(HERE), 53, 17);
const ROUTED: Asked = (Address::V4(THERE), 53, 17);

#[test]
fn last_hop_of_a_source_route_is_judged() {
    for kind in [LOOSE, STRICT] {
        for hops in [&[THERE][..], &[1, THERE], &[1, 2, 3, 4, 5, 6, 7, 8, THERE]] {
            let packet = datagram(&route(kind, hops));
            assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED], "{kind} {hops:x?}");
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(ROUTED.0)), [DIRECT, ROUTED]);
            assert_eq!(asked_in_vain(&packet, Socket::raw().not_to(ROUTED.0)), [DIRECT, ROUTED]);
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(DIRECT.0)), [DIRECT]);
        }
    }
}

#[test]
fn source_route_is_found_behind_every_other_option() {
    let others: [&[u8]; 8] = [
        &[NOP],
        &[NOP; 3],
        &ROUTER_ALERT,
        &[RECORD_ROUTE, 7, 4, 0, 0, 0, 0],
        &[TIMESTAMP, 8, 5, 0, 0, 0, 0, 0],
        &[130, 3, 0],
        &[222, 2],
        &[NOP, 222, 2, NOP, 222, 3, LOOSE, NOP],
    ];
    for other in others {
        let packet = datagram(&[other, &route(LOOSE, &[THERE])].concat());
        assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT, ROUTED], "{other:?}");
    }
}

#[test]
fn options_without_a_source_route_pass() {
    for options in [&[NOP; 40][..], &[NOP; 4], &ROUTER_ALERT, &[END, 0, 0, 0], &[TIMESTAMP, 40, 5], &[222, 255, 0, 0]] {
        assert_eq!(asked(&datagram(options), Socket::unlisted()), [DIRECT], "{options:?}");
    }
}

#[test]
fn nothing_is_an_option_behind_the_end_of_the_options() {
    let packet = datagram(&[&[NOP, END][..], &route(LOOSE, &[THERE])].concat());
    assert_eq!(asked(&packet, Socket::unlisted()), [DIRECT]);
}

#[test]
fn nothing_is_an_option_behind_the_header() {
    let packet = ipv4(UDP, HERE, &[NOP; 4], &route(LOOSE, &[THERE]));
    assert_eq!(asked(&packet, Socket::unlisted()).len(), 1);
}

#[test]
fn option_that_is_too_short_is_dropped() {
    for option in [[222, 0], [222, 1], [TIMESTAMP, 0], [RECORD_ROUTE, 1]] {
        let packet = datagram(&[&option[..], &[0, 0]].concat());
        assert_eq!(asked_in_vain(&packet, Socket::unlisted()), [DIRECT], "{option:?}");
    }
}

#[test]
fn source_route_that_ends_behind_the_header_is_judged() {
    // Its last hop is then in the datagram: receivers drop it, and it is no way out.
    for before in 0..=2 {
        let mut packet = datagram(&[&[NOP; 2][..before], &[LOOSE, 11 - before as u8][..]].concat());
        packet[27..31].copy_from_slice(&THERE.to_be_bytes());
        let addresses: Vec<_> = asked(&packet, Socket::unlisted()).into_iter().map(|(address, ..)| address).collect();
        assert_eq!(addresses, [DIRECT.0, ROUTED.0], "{before}");
    }
}

#[test]
fn source_route_that_ends_behind_the_packet_is_dropped() {
    let packet = datagram(&[LOOSE, 255, 4, 0]);
    assert_eq!(asked_in_vain(&packet, Socket::unlisted()), [DIRECT]);
}

#[test]
fn last_option_may_be_one_byte_at_the_end_of_the_packet() {
    assert_eq!(asked(&ipv4(ICMP, HERE, &[NOP; 4], &[]), Socket::unlisted()), [(DIRECT.0, 0, 1)]);
    assert_eq!(asked(&ipv4(ICMP, HERE, &[NOP, NOP, NOP, LOOSE], &[]), Socket::unlisted()), [(DIRECT.0, 0, 1)]);
}

#[test]
fn header_that_is_shorter_than_any_is_dropped() {
    for words in 0..5 {
        let mut packet = datagram(&[]);
        packet[0] = 0x40 | words;
        assert!(asked_in_vain(&packet, Socket::unlisted()).is_empty(), "{words}");
        assert!(asked_in_vain(&packet, Socket::of_the_kernel()).is_empty(), "{words}");
    }
}

#[test]
fn header_that_is_longer_than_the_packet_is_dropped() {
    for options in [&[NOP; 40][..], &[222, 8, 0, 0, 0, 0, 0, 0], &route(LOOSE, &[THERE])] {
        let packet = ipv4(UDP, HERE, options, &[]);
        for length in 20..packet.len() {
            assert!(asked_in_vain(&packet[..length], Socket::unlisted()).is_empty(), "{length}");
        }
        assert!(may_leave(&packet[..], &Socket::unlisted()));
    }
}

#[test]
fn options_of_a_governed_process_are_dropped() {
    for options in [&[NOP; 4][..], &ROUTER_ALERT, &[END; 4], &route(LOOSE, &[HERE]), &route(STRICT, &[THERE])] {
        assert_eq!(asked_in_vain(&datagram(options), Socket::governed()), [DIRECT], "{options:?}");
    }
    assert_eq!(asked(&datagram(&[]), Socket::governed()), [DIRECT]);
}

#[test]
fn fragment_has_ports_only_if_it_is_the_first() {
    for (flags_and_offset, port) in
        [(0, 53), (MORE_FRAGMENTS, 53), (0x4000, 53), (1, 0), (MORE_FRAGMENTS | 185, 0), (0x1fff, 0)]
    {
        let mut packet = datagram(&[]);
        packet[6..8].copy_from_slice(&u16::to_be_bytes(flags_and_offset));
        assert_eq!(asked(&packet, Socket::unlisted()), [(DIRECT.0, port, 17)], "{flags_and_offset:x}");
    }
}

#[test]
fn port_is_read_behind_the_options() {
    for words in 0..=10 {
        let options = std::vec![NOP; words * 4];
        assert_eq!(asked(&datagram(&options), Socket::unlisted()), [DIRECT], "{words}");
    }
}
