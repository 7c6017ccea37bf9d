//! IPv6: the destination in the header, and the last address of a routing header among the extension headers (RFC 8200,
//! 4).

use super::{Bytes, Sender, equal, is_kernels_own, port};

/// The length of the fixed header.
const HEADER: u32 = 40;

/// The offset of the number of the next header, and that of the destination.
const NEXT: u32 = 6;
const DESTINATION: u32 = 24;

// Extension headers, include/uapi/linux/in6.h and in.h.
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;

/// A bound on the headers behind the fixed one, the protocol's included. A host sends each extension header at most
/// once, except destination options (RFC 8200, 4.1).
pub(super) const HEADERS_MAX: u32 = 8;

/// The bound of offsets in the headers. They are masked although they were compared, so that the verifier sees the same
/// range in every iteration of a loop.
const OFFSET_MASK: u32 = 4095;

/// The offset of a fragment, without its flags.
const FRAGMENT_OFFSET: u32 = 0xfff8;

/// As [`super::may_leave`], for a packet of this version.
#[inline(always)]
pub(super) fn may_leave<B: Bytes + ?Sized, S: Sender>(packet: &B, sender: &S) -> bool {
    let Some([next]) = packet.load(NEXT) else { return false };
    let (mut protocol, mut at, mut fragment_offset) = (u32::from(next), HEADER, 0);
    // Addresses are read where they are judged: a BPF program's stack has no room to keep them.
    let mut destination = DESTINATION;
    let mut left = HEADERS_MAX;
    while left != 0 {
        left = B::opaque(left - 1);
        let fragment = equal::<B>(protocol, FRAGMENT);
        let authentication = equal::<B>(protocol, AUTHENTICATION);
        let routing = equal::<B>(protocol, ROUTING);
        let options = equal::<B>(protocol, HOP_BY_HOP) | equal::<B>(protocol, DESTINATION_OPTIONS);
        if fragment | authentication | routing | options == 0 {
            return may_reach(packet, sender, destination, protocol, at, fragment_offset);
        }
        let Some([next, length, high, low]) = packet.load(at) else { return false };
        // Types 2 and 4, which sockets can send, have the last address first (RFC 6275, 6.4; RFC 8754, 2).
        destination = routing & (at + 8) | !routing & destination;
        fragment_offset |= fragment & (u32::from(high) << 8 | u32::from(low)) & FRAGMENT_OFFSET;
        let length = u32::from(length);
        let step = fragment & 8 | authentication & ((length + 2) * 4) | (routing | options) & ((length + 1) * 8);
        if at + step > OFFSET_MASK {
            return false;
        }
        at = (at + step) & OFFSET_MASK;
        protocol = next.into();
    }
    false
}

/// Whether a packet may go to the address in the header, and to the last one of a routing header, which is at `last`.
#[inline(always)]
fn may_reach<B: Bytes + ?Sized, S: Sender>(
    packet: &B,
    sender: &S,
    last: u32,
    protocol: u32,
    at: u32,
    fragment_offset: u32,
) -> bool {
    let is_routed = last != DESTINATION;
    if is_routed && sender.is_governed() {
        return false;
    }
    if is_kernels_own(packet, sender, protocol, at) {
        return true;
    }
    let port = if fragment_offset == 0 { port(packet, protocol, at) } else { 0 };
    if !may_send(packet, sender, DESTINATION, port, protocol) {
        return false;
    }
    if is_routed { may_send(packet, sender, last, port, protocol) } else { true }
}

/// Whether a packet may go to the address that is at `at`.
#[inline(always)]
fn may_send<B: Bytes + ?Sized, S: Sender>(packet: &B, sender: &S, at: u32, port: u32, protocol: u32) -> bool {
    let Some(address) = packet.load(at) else { return false };
    let bits = u128::from_be_bytes(address);
    sender.may_send_v6((bits >> 64) as u64, bits as u64, port, protocol)
}
