//! Every packet of the guest, from every sender. What enters: a forbidden address. What leaves: whether a packet was on
//! its way there. What always holds: only packets count that could carry a message, by the packet's own header or by
//! the end of its source route: not the kernel's own answers to a connection from there, unless they have a mark in
//! their headers.

use std::net::IpAddr;
use std::num::NonZero;
use std::os::fd::OwnedFd;

use bfp_kernel_tests::attack::MARK;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// include/uapi/linux/if_ether.h, in network order.
const EVERY_PROTOCOL: u32 = (0x0003u16.to_be()) as u32;
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// A packet socket, from its opening on.
pub(crate) struct Sniffer {
    socket: OwnedFd,
}

impl Sniffer {
    pub(crate) fn open() -> Result<Sniffer, String> {
        let protocol = NonZero::new(EVERY_PROTOCOL).map(Protocol::from_raw);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, protocol);
        Ok(Sniffer { socket: socket.map_err(|error| format!("cannot open a packet socket: {error}"))? })
    }

    /// Discards what was seen so far.
    pub(crate) fn clear(&self) {
        self.saw(IpAddr::from([0, 0, 0, 0]), Carrying::Data);
    }

    /// Whether a packet was on its way to `address` since the last query.
    pub(crate) fn saw(&self, address: IpAddr, carrying: Carrying) -> bool {
        let mut packet = [0; 512];
        let mut seen = false;
        while let Ok(length) = rustix::io::read(&self.socket, &mut packet) {
            seen |= packet.get(..length.min(packet.len())).is_some_and(|packet| carries_to(packet, address, carrying));
        }
        seen
    }
}

/// Which packets count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrying {
    /// Data, and the opening of a connection.
    Anything,
    /// Data alone: another program opened the connection.
    Data,
    /// Neither: a segment without data, whose time to live or type of service is [`MARK`].
    Mark,
}

fn carries_to(packet: &[u8], address: IpAddr, carrying: Carrying) -> bool {
    let word = |at: usize| packet.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let (protocol, header, total, way) = match (packet.first().map(|byte| byte >> 4), address) {
        (Some(4), IpAddr::V4(_)) => {
            let header = usize::from(packet.first().map_or(0, |byte| byte & 15)) * 4;
            (packet.get(9), header, word(2).map(usize::from), packet.get(16..header))
        }
        (Some(6), IpAddr::V6(_)) => {
            // A routing header, if there is one, follows at once.
            let routed = if packet.get(6) == Some(&43) {
                40 + packet.get(41).map_or(0, |n| (usize::from(*n) + 1) * 8)
            } else {
                40
            };
            let protocol = if routed > 40 { packet.get(40) } else { packet.get(6) };
            (protocol, routed, word(4).map(|length| usize::from(length) + 40), packet.get(24..routed))
        }
        _ => return false,
    };
    let wanted = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    if !way.is_some_and(|way| way.windows(wanted.len()).any(|window| window == wanted)) {
        return false;
    }
    if protocol != Some(&TCP) {
        return carrying != Carrying::Mark;
    }
    let flags = packet.get(header + 13).copied().unwrap_or(0);
    let data = header + usize::from(packet.get(header + 12).map_or(0, |byte| byte >> 4)) * 4;
    let has_data = total.is_some_and(|total| total > data);
    match carrying {
        Carrying::Anything => has_data || flags & (SYN | ACK) == SYN,
        Carrying::Data => has_data,
        Carrying::Mark => !has_data && flags & SYN == 0 && is_marked(packet, address),
    }
}

fn is_marked(packet: &[u8], address: IpAddr) -> bool {
    let byte = |at: usize| packet.get(at).copied().unwrap_or(0);
    let (service, life) = match address {
        IpAddr::V4(_) => (byte(1), byte(8)),
        IpAddr::V6(_) => (byte(0) << 4 | byte(1) >> 4, byte(7)),
    };
    service == MARK || life == MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(flags: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40 + data.len() as u8, 0, 0, 0, 0, 64, TCP, 0, 0, 127, 0, 0, 1, 192, 0, 2, 1];
        packet.extend([0; 12]);
        packet.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet.extend(data);
        packet
    }

    #[test]
    fn a_connection_that_is_opened_and_data_count_and_an_answer_does_not() {
        let there = IpAddr::from([192, 0, 2, 1]);
        assert!(carries_to(&tcp(SYN, b""), there, Carrying::Anything));
        assert!(carries_to(&tcp(ACK, b"x"), there, Carrying::Anything));
        assert!(!carries_to(&tcp(SYN | ACK, b""), there, Carrying::Anything));
        assert!(!carries_to(&tcp(ACK, b""), there, Carrying::Anything));
        assert!(!carries_to(&tcp(SYN, b""), IpAddr::from([127, 0, 0, 1]), Carrying::Anything));
        assert!(!carries_to(&tcp(SYN, b""), there, Carrying::Data));
        assert!(carries_to(&tcp(ACK, b"x"), there, Carrying::Data));
    }

    #[test]
    fn a_mark_counts_in_what_has_no_data() {
        let there = IpAddr::from([192, 0, 2, 1]);
        for marked_at in [1, 8] {
            let mark = |(at, byte)| if at == marked_at { MARK } else { byte };
            let marked = |flags, data: &[u8]| tcp(flags, data).into_iter().enumerate().map(mark).collect::<Vec<_>>();
            assert!(carries_to(&marked(ACK, b""), there, Carrying::Mark));
            assert!(!carries_to(&marked(ACK, b""), there, Carrying::Data));
            assert!(!carries_to(&marked(ACK, b"x"), there, Carrying::Mark));
            assert!(!carries_to(&marked(SYN | ACK, b""), there, Carrying::Mark));
        }
        assert!(!carries_to(&tcp(ACK, b""), there, Carrying::Mark));
        let there = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let IpAddr::V6(address) = there else { return };
        for (version, service, life) in [(0x65, 0x40, 64), (0x60, 0, MARK)] {
            let mut packet = vec![version, service, 0, 0, 0, 20, TCP, life];
            packet.extend([0; 16]);
            packet.extend(address.octets());
            packet.extend(tcp(ACK, b"").into_iter().skip(20));
            assert!(carries_to(&packet, there, Carrying::Mark));
        }
    }

    #[test]
    fn the_end_of_a_source_route_counts() {
        let mut packet = vec![0x47, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 192, 0, 2, 9];
        packet.extend([131, 7, 4, 192, 0, 2, 1, 0]);
        assert!(carries_to(&packet, IpAddr::from([192, 0, 2, 1]), Carrying::Data));
        assert!(carries_to(&packet, IpAddr::from([192, 0, 2, 9]), Carrying::Data));
    }

    #[test]
    fn bytes_that_are_no_packet_carry_nothing() {
        for length in 0..48 {
            assert!(!carries_to(&vec![0x45; length], IpAddr::from([192, 0, 2, 1]), Carrying::Data));
        }
    }
}
