//! Packets that are written byte by byte, and a socket that notes what it is asked.
#![expect(clippy::indexing_slicing, reason = "a test may fail loudly")]

use core::cell::{Cell, RefCell};
use std::vec::Vec;

use super::{Bytes, Sender, may_leave};
use crate::request::Address;

mod property;
mod v4;
mod v6;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// What a socket was asked about a packet: a destination, a port and a protocol.
type Asked = (Address, u32, u32);

/// A socket that may send anywhere but to one address, and notes each destination that it is asked about.
struct Socket {
    is_kernels_own: bool,
    is_raw: bool,
    is_governed: bool,
    forbidden: Option<Address>,
    asked: RefCell<Vec<Asked>>,
}

impl Socket {
    /// A socket of an unlisted program.
    fn unlisted() -> Socket {
        Socket {
            is_kernels_own: false,
            is_raw: false,
            is_governed: false,
            forbidden: None,
            asked: RefCell::new(Vec::new()),
        }
    }

    fn raw() -> Socket {
        Socket { is_raw: true, ..Socket::unlisted() }
    }

    fn governed() -> Socket {
        Socket { is_governed: true, ..Socket::unlisted() }
    }

    fn of_the_kernel() -> Socket {
        Socket { is_kernels_own: true, ..Socket::unlisted() }
    }

    fn not_to(self, forbidden: Address) -> Socket {
        Socket { forbidden: Some(forbidden), ..self }
    }

    fn asked_about(self) -> Vec<Asked> {
        self.asked.into_inner()
    }

    fn may_send(&self, address: Address, port: u32, protocol: u32) -> bool {
        self.asked.borrow_mut().push((address, port, protocol));
        self.forbidden != Some(address)
    }
}

impl Sender for Socket {
    fn is_kernels_own(&self) -> bool {
        self.is_kernels_own
    }

    fn is_raw(&self) -> bool {
        self.is_raw
    }

    fn is_governed(&self) -> bool {
        self.is_governed
    }

    fn may_send_v4(&self, address: u32, port: u32, protocol: u32) -> bool {
        self.may_send(Address::V4(address), port, protocol)
    }

    fn may_send_v6(&self, high: u64, low: u64, port: u32, protocol: u32) -> bool {
        self.may_send(Address::V6 { high, low }, port, protocol)
    }
}

/// A packet that counts how often it is read.
struct Counted<'a> {
    bytes: &'a [u8],
    reads: Cell<u32>,
}

impl Bytes for Counted<'_> {
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.load(at)
    }

    fn length(&self) -> u32 {
        self.bytes.length()
    }
}

/// What a socket is asked about a packet that it may send.
#[track_caller]
fn asked(packet: &[u8], socket: Socket) -> Vec<Asked> {
    assert!(may_leave(packet, &socket), "dropped: {packet:02x?}");
    socket.asked_about()
}

/// What a socket is asked about a packet that is dropped.
#[track_caller]
fn asked_in_vain(packet: &[u8], socket: Socket) -> Vec<Asked> {
    assert!(!may_leave(packet, &socket), "passed: {packet:02x?}");
    socket.asked_about()
}

/// An IPv4 header with options, padded with zeros, and what follows it.
fn ipv4(protocol: u8, destination: u32, options: &[u8], rest: &[u8]) -> Vec<u8> {
    let words = options.len().div_ceil(4);
    let mut packet = std::vec![0; 20 + words * 4];
    packet[0] = 0x40 | (5 + words) as u8;
    packet[9] = protocol;
    packet[16..20].copy_from_slice(&destination.to_be_bytes());
    packet[20..20 + options.len()].copy_from_slice(options);
    packet.extend(rest);
    packet
}

/// An IPv6 header, and what follows it.
fn ipv6(next: u8, destination: u128, rest: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![0; 24];
    packet[0] = 0x60;
    packet[6] = next;
    packet.extend(destination.to_be_bytes());
    packet.extend(rest);
    packet
}

/// The header of a protocol with ports, and four bytes of data.
fn to_port(port: u16) -> Vec<u8> {
    [[0x80, 0], port.to_be_bytes(), [0, 12], [0, 0], [1, 2], [3, 4]].concat()
}

/// A TCP segment.
fn tcp(flags: u8, port: u16, data: &[u8]) -> Vec<u8> {
    let mut segment = std::vec![0; 20];
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = flags;
    segment.extend(data);
    segment
}

/// A packet of each version to an address that is forbidden, and the address.
fn both(protocol: u8, rest: &[u8]) -> [(Vec<u8>, Address); 2] {
    let (v4, v6) = (0xc000_0201, 0x2001_0db8 << 96 | 1);
    [(ipv4(protocol, v4, &[], rest), Address::V4(v4)), (ipv6(protocol, v6, rest), Address::v6(v6))]
}

#[test]
fn ports_are_read_of_every_protocol_that_has_them() {
    for protocol in [UDP, UDPLITE, SCTP, DCCP] {
        for (packet, address) in both(protocol, &to_port(443)) {
            assert_eq!(asked(&packet, Socket::unlisted()), [(address, 443, protocol.into())]);
        }
    }
    for (packet, address) in both(TCP, &tcp(SYN, 443, &[])) {
        assert_eq!(asked(&packet, Socket::unlisted()), [(address, 443, 6)]);
    }
    for protocol in [ICMP, 2, 4, 41, 47, 50, ICMPV6, 59, 255] {
        for (packet, address) in both(protocol, &to_port(443)) {
            assert_eq!(asked(&packet, Socket::unlisted()), [(address, 0, protocol.into())]);
        }
    }
}

#[test]
fn port_beyond_the_end_is_unknown() {
    for protocol in [TCP, UDP, UDPLITE, SCTP, DCCP] {
        for length in 0..4 {
            for (packet, address) in both(protocol, &to_port(443)[..length]) {
                assert_eq!(asked(&packet, Socket::unlisted()), [(address, 0, protocol.into())], "{length}");
            }
        }
    }
}

#[test]
fn forbidden_destination_is_dropped() {
    for protocol in [ICMP, TCP, UDP, SCTP, 255] {
        for (packet, address) in both(protocol, &to_port(443)) {
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(address)).len(), 1);
            assert_eq!(asked_in_vain(&packet, Socket::governed().not_to(address)).len(), 1);
        }
    }
}

#[test]
fn header_that_ends_too_early_is_dropped_at_every_length() {
    for (packet, _) in both(UDP, &[]) {
        for length in 1..packet.len() {
            assert!(asked_in_vain(&packet[..length], Socket::unlisted()).is_empty(), "{length}");
        }
        assert_eq!(asked(&packet, Socket::unlisted()).len(), 1);
    }
}

#[test]
fn packets_of_no_known_version_leave_from_the_kernels_own_sockets_alone() {
    for version in (0..16u8).filter(|version| ![4, 6].contains(version)) {
        let packet = [&[version << 4 | 5][..], &[0; 60]].concat();
        assert!(asked_in_vain(&packet, Socket::unlisted()).is_empty());
        assert!(asked(&packet, Socket::of_the_kernel()).is_empty());
    }
    assert!(asked_in_vain(&[], Socket::unlisted()).is_empty());
    assert!(asked(&[], Socket::of_the_kernel()).is_empty());
}

#[test]
fn segment_without_data_that_opens_no_connection_is_not_a_process_s() {
    for flags in [0, FIN, RST, ACK, ACK | FIN, ACK | PUSH, SYN | ACK] {
        for (packet, address) in both(TCP, &tcp(flags, 443, &[])) {
            assert!(asked(&packet, Socket::unlisted().not_to(address)).is_empty(), "{flags}");
            assert!(asked(&packet, Socket::governed().not_to(address)).is_empty(), "{flags}");
            assert!(asked(&packet, Socket::of_the_kernel().not_to(address)).is_empty(), "{flags}");
        }
    }
}

#[test]
fn segment_with_data_is_a_process_s() {
    for flags in [0, ACK, ACK | FIN, SYN | ACK] {
        for (packet, address) in both(TCP, &tcp(flags, 443, &[1])) {
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(address)), [(address, 443, 6)], "{flags}");
        }
    }
    // With options, the header is longer: what is behind its length is data.
    let mut segment = tcp(ACK, 443, &[1, 1, 1, 0, 9]);
    segment[12] = 6 << 4;
    for (packet, address) in both(TCP, &segment) {
        assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(address)).len(), 1);
        let without = &packet[..packet.len() - 1];
        assert!(asked(without, Socket::unlisted().not_to(address)).is_empty());
    }
}

#[test]
fn segment_that_opens_a_connection_is_a_process_s() {
    for flags in [SYN, SYN | FIN, SYN | PUSH] {
        for (packet, address) in both(TCP, &tcp(flags, 443, &[])) {
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(address)), [(address, 443, 6)], "{flags}");
        }
    }
}

#[test]
fn segment_without_its_flags_is_a_process_s() {
    for length in 0..14 {
        for (packet, address) in both(TCP, &tcp(ACK, 443, &[])[..length]) {
            assert_eq!(asked_in_vain(&packet, Socket::unlisted().not_to(address)).len(), 1, "{length}");
        }
    }
}

#[test]
fn segment_of_a_raw_socket_is_a_process_s_unless_the_socket_is_the_kernels() {
    for flags in [FIN, RST, ACK, SYN | ACK] {
        for (packet, address) in both(TCP, &tcp(flags, 443, &[])) {
            assert_eq!(asked_in_vain(&packet, Socket::raw().not_to(address)), [(address, 443, 6)]);
            let kernels = Socket { is_raw: true, ..Socket::of_the_kernel().not_to(address) };
            assert!(asked(&packet, kernels).is_empty());
        }
    }
}

#[test]
fn kernels_own_sockets_are_judged_for_tcp_and_udp_alone() {
    for protocol in [ICMP, 2, SCTP, ICMPV6, 255] {
        for (packet, address) in both(protocol, &to_port(443)) {
            assert!(asked(&packet, Socket::of_the_kernel().not_to(address)).is_empty(), "{protocol}");
        }
    }
    for (protocol, rest) in [(TCP, tcp(SYN, 443, &[])), (UDP, to_port(443)), (UDPLITE, to_port(443))] {
        for (packet, address) in both(protocol, &rest) {
            let expected = [(address, 443, protocol.into())];
            assert_eq!(asked_in_vain(&packet, Socket::of_the_kernel().not_to(address)), expected);
        }
    }
}
