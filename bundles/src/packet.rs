//! Packets: whether one may leave, by the destinations in its headers.
//!
//! Enter: the bytes of a packet, from its IP header on, and the socket that sends it. Leaves: whether the packet may
//! leave. The egress filter calls this over the packet in the kernel, the tests and a fuzz target over a slice.
//!
//! The destination in the header is judged, and the last hop of a source route (IPv4) or routing header (IPv6): what
//! the process that sends wrote there is not trusted. Whatever the bytes are, a bounded number of them is read.
//!
//! **Invariant:** unknown means deny. A header that cannot be read, or of which the length cannot be right, is denied.
//!
//! As in [`decide`](mod@crate::decide), what a loop decides is arithmetic where the kernel's verifier would have to
//! follow both outcomes: a branch would double its work with each iteration.

mod v4;
mod v6;

#[cfg(test)]
mod tests;

/// The bytes of a packet, from its IP header on.
pub trait Bytes {
    /// The bytes at an offset. `None` if the packet has fewer.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;

    /// The length of the packet.
    fn length(&self) -> u32;

    /// The same number: see [`Tables::opaque`](crate::decide::Tables::opaque).
    #[inline(always)]
    fn opaque(number: u32) -> u32 {
        number
    }

    /// The highest bit, as 0 or 1: see [`Tables::sign_bit`](crate::decide::Tables::sign_bit).
    #[inline(always)]
    fn sign_bit(word: u64) -> u64 {
        word >> 63
    }
}

impl Bytes for [u8] {
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.get(at as usize..)?.first_chunk().copied()
    }

    fn length(&self) -> u32 {
        self.len().try_into().unwrap_or(u32::MAX)
    }
}

/// The socket that sends a packet, and what its label means under the policy.
pub trait Sender {
    /// Whether it is a socket of the kernel's own, which has no label.
    fn is_kernels_own(&self) -> bool;

    /// Whether it is a raw socket, whose user can write the headers of its packets.
    fn is_raw(&self) -> bool;

    /// Whether an enforced rule governs its user: what cannot be judged is denied to it. False for the kernel's own.
    fn is_governed(&self) -> bool;

    /// Whether it may send to an IPv4 destination. The port is 0 if it is unknown, or the protocol has none.
    fn may_send_v4(&self, address: u32, port: u32, protocol: u32) -> bool;

    /// As [`Sender::may_send_v4`], for an IPv6 address in two halves.
    fn may_send_v6(&self, high: u64, low: u64, port: u32, protocol: u32) -> bool;
}

/// Whether a packet may leave.
///
/// # Returns
/// True if its sender may send to every destination in its headers, or if the packet is not a process's. A packet that
/// is neither IPv4 nor IPv6 may leave from the kernel's own sockets alone.
#[inline(always)]
pub fn may_leave<B: Bytes + ?Sized, S: Sender>(packet: &B, sender: &S) -> bool {
    match packet.load(0) {
        Some([first]) if first >> 4 == 4 => v4::may_leave(packet, sender),
        Some([first]) if first >> 4 == 6 => v6::may_leave(packet, sender),
        _ => sender.is_kernels_own(),
    }
}

// Protocols, include/uapi/linux/in.h.
/// `IPPROTO_TCP`
pub const TCP: u32 = 6;
const UDP: u32 = 17;
const DCCP: u32 = 33;
const SCTP: u32 = 132;
const UDPLITE: u32 = 136;

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The offset of a TCP header's length and flags.
const TCP_CONTROL: u32 = 12;

/// Whether the packet is not a process's: a TCP segment without data that opens no connection (an answer to a
/// connection from outside, or the end of one that is older than the policy); and, on the kernel's own sockets,
/// everything but TCP and UDP, such as neighbour discovery. For connections in their last states the kernel sends
/// through raw sockets of its own, which have no label (net/ipv4/tcp_ipv4.c, `tcp_v4_send_ack`); a process's raw
/// sockets have one.
///
/// The header of its protocol is at `at`.
#[inline(always)]
fn is_kernels_own<B: Bytes + ?Sized, S: Sender>(packet: &B, sender: &S, protocol: u32, at: u32) -> bool {
    match protocol {
        TCP if sender.is_raw() && !sender.is_kernels_own() => false,
        TCP => match packet.load(at + TCP_CONTROL) {
            Some([length, flags]) => {
                let header = at + u32::from(length >> 4) * 4;
                flags & (SYN | ACK) != SYN && packet.length() <= header
            }
            None => false,
        },
        UDP | UDPLITE => false,
        _ => sender.is_kernels_own(),
    }
}

/// The destination port in the header of a protocol, which is at `at`. 0 if the protocol has none, or the packet ends
/// before it.
#[inline(always)]
fn port<B: Bytes + ?Sized>(packet: &B, protocol: u32, at: u32) -> u32 {
    match protocol {
        TCP | UDP | UDPLITE | SCTP | DCCP => match packet.load(at) {
            Some([_, _, high, low]) => u16::from_be_bytes([high, low]).into(),
            None => 0,
        },
        _ => 0,
    }
}

/// All ones if two numbers are equal, otherwise zero.
#[inline(always)]
fn equal<B: Bytes + ?Sized>(one: u32, other: u32) -> u32 {
    let different = u64::from(one ^ other);
    (B::sign_bit(different.wrapping_neg()) as u32).wrapping_sub(1)
}
