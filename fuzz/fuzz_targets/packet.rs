//! Any bytes as a packet of any socket: whether it may leave, and the destinations that are judged, are what a second
//! reader finds, which follows slices to their end and has no bounds of its own.
#![no_main]

use std::cell::RefCell;

use bfp_bundle::packet::{Sender, may_leave};
use libfuzzer_sys::fuzz_target;

/// A destination as the bytes of its address, a port and a protocol.
type Destination = (Vec<u8>, u32, u32);

/// A socket that may send to addresses whose last byte is even, or to any; and what it was asked.
struct Socket {
    is_kernels_own: bool,
    is_raw: bool,
    is_governed: bool,
    is_restricted: bool,
    asked: RefCell<Vec<Destination>>,
}

impl Socket {
    fn of(mode: u8) -> Socket {
        let is_kernels_own = mode & 1 != 0;
        Socket {
            is_kernels_own,
            is_raw: mode & 2 != 0,
            is_governed: mode & 4 != 0 && !is_kernels_own,
            is_restricted: mode & 8 != 0,
            asked: RefCell::default(),
        }
    }

    fn may_send(&self, address: &[u8], port: u32, protocol: u32) -> bool {
        self.asked.borrow_mut().push((address.to_vec(), port, protocol));
        !self.is_restricted || address.last().is_some_and(|byte| byte % 2 == 0)
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
        self.may_send(&address.to_be_bytes(), port, protocol)
    }

    fn may_send_v6(&self, high: u64, low: u64, port: u32, protocol: u32) -> bool {
        self.may_send(&[high.to_be_bytes(), low.to_be_bytes()].concat(), port, protocol)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, packet)) = bytes.split_first() else { return };
    let (found, expected) = (Socket::of(*mode), Socket::of(*mode));
    let may_leave = may_leave(packet, &found);
    assert_eq!(may_leave, expect(packet, &expected).is_some(), "{packet:02x?}");
    assert_eq!(found.asked, expected.asked, "{packet:02x?}");
});

/// `Some` if the packet may leave.
fn expect(packet: &[u8], socket: &Socket) -> Option<()> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => expect_v4(packet, socket),
        Some(6) => expect_v6(packet, socket),
        _ => socket.is_kernels_own.then_some(()),
    }
}

fn expect_v4(packet: &[u8], socket: &Socket) -> Option<()> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let end = usize::from(header[0] & 15) * 4;
    if !(20..=packet.len()).contains(&end) {
        return None;
    }
    let is_first = header[6] & 0x1f == 0 && header[7] == 0;
    let protocol = header[9];
    if is_exempt(packet, end, protocol, socket) {
        return Some(());
    }
    let port = if is_first { port(packet, end, protocol) } else { 0 };
    let judge = |address: &[u8]| socket.may_send(address, port, protocol.into()).then_some(());
    judge(&header[16..])?;
    if end > 20 && socket.is_governed {
        return None;
    }
    let mut at = 20;
    while at < end {
        let Some([kind, length]) = packet.get(at..).and_then(<[u8]>::first_chunk) else { break };
        match (kind, usize::from(*length)) {
            (0, _) => break,
            (1, _) => at += 1,
            (131 | 137, length) => return judge(packet.get(at + length - 4.min(at + length)..)?.first_chunk::<4>()?),
            (_, 0 | 1) => return None,
            (_, length) => at += length,
        }
    }
    Some(())
}

fn expect_v6(packet: &[u8], socket: &Socket) -> Option<()> {
    let mut protocol = *packet.get(6)?;
    let (mut at, mut last, mut is_first) = (40, None, true);
    for left in (0..8).rev() {
        let length = |byte: u8| usize::from(byte);
        let header = packet.get(at..).and_then(<[u8]>::first_chunk::<4>);
        let step = match (protocol, header) {
            (0 | 43 | 44 | 51 | 60, None) => return None,
            (0 | 60, Some(header)) => 8 + length(header[1]) * 8,
            (43, Some(header)) => {
                last = Some(at + 8);
                8 + length(header[1]) * 8
            }
            (44, Some(header)) => {
                is_first &= header[2] == 0 && header[3] & 0xf8 == 0;
                8
            }
            (51, Some(header)) => 8 + length(header[1]) * 4,
            _ => break,
        };
        at += step;
        protocol = header?[0];
        if at > 4095 || left == 0 {
            return None;
        }
    }
    if last.is_some() && socket.is_governed {
        return None;
    }
    if is_exempt(packet, at, protocol, socket) {
        return Some(());
    }
    let port = if is_first { port(packet, at, protocol) } else { 0 };
    for place in [Some(24), last].into_iter().flatten() {
        let address: &[u8; 16] = packet.get(place..)?.first_chunk()?;
        socket.may_send(address, port, protocol.into()).then_some(())?;
    }
    Some(())
}

/// Whether a packet is not a process's.
fn is_exempt(packet: &[u8], at: usize, protocol: u8, socket: &Socket) -> bool {
    match protocol {
        6 => {
            let control = packet.get(at + 12..).and_then(<[u8]>::first_chunk::<2>);
            let is_bare = control.is_some_and(|[length, flags]| {
                let opens = flags & 2 != 0 && flags & 16 == 0;
                !opens && packet.len() <= at + usize::from(length >> 4) * 4
            });
            is_bare && (socket.is_kernels_own || !socket.is_raw)
        }
        17 | 136 => false,
        _ => socket.is_kernels_own,
    }
}

fn port(packet: &[u8], at: usize, protocol: u8) -> u32 {
    match packet.get(at..) {
        Some([_, _, high, low, ..]) if [6, 17, 33, 132, 136].contains(&protocol) => {
            u32::from(u16::from_be_bytes([*high, *low]))
        }
        _ => 0,
    }
}
