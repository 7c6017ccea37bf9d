//! IPv4: the destination in the header, and the last hop of a source route among the options (RFC 791, 3.1).

use super::{Bytes, Sender, equal, is_kernels_own, port};

/// The length of a header without options.
const HEADER: u32 = 20;

/// The most bytes of options.
const OPTIONS_MAX: u32 = 40;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u32 = 1;
const LOOSE_SOURCE_ROUTE: u32 = 131;
const STRICT_SOURCE_ROUTE: u32 = 137;

/// The bound of offsets in a header. They are masked although they were compared, so that the verifier sees the same
/// range in every iteration of a loop.
const OFFSET_MASK: u32 = 127;

/// The offset of a fragment, without its flags.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// As [`super::may_leave`], for a packet of this version.
#[inline(always)]
pub(super) fn may_leave<B: Bytes + ?Sized, S: Sender>(packet: &B, sender: &S) -> bool {
    let Some(header) = packet.load::<{ HEADER as usize }>(0) else { return false };
    let [version_and_length, _, _, _, _, _, high, low, _, protocol, ..] = header;
    let [.., a, b, c, d] = header;
    let at = u32::from(version_and_length & 15) * 4;
    if at < HEADER || packet.length() < at {
        return false;
    }
    // Only the first fragment has ports; the kernel fragments packets after the egress filter.
    let is_first = u16::from_be_bytes([high, low]) & FRAGMENT_OFFSET == 0;
    let protocol = u32::from(protocol);
    if is_kernels_own(packet, sender, protocol, at) {
        return true;
    }
    let port = if is_first { port(packet, protocol, at) } else { 0 };
    if !sender.may_send_v4(u32::from_be_bytes([a, b, c, d]), port, protocol) {
        return false;
    }
    if at <= HEADER {
        return true;
    }
    if sender.is_governed() {
        return false;
    }
    match last_hop(packet, at) {
        SourceRoute::None => true,
        SourceRoute::To(last) => sender.may_send_v4(last, port, protocol),
        SourceRoute::Malformed => false,
    }
}

enum SourceRoute {
    None,
    To(u32),
    Malformed,
}

/// The last hop of the source route among the options of a header that ends at `end`.
#[inline(always)]
fn last_hop<B: Bytes + ?Sized>(packet: &B, end: u32) -> SourceRoute {
    let mut at = HEADER;
    let mut left = OPTIONS_MAX;
    while left != 0 {
        left = B::opaque(left - 1);
        // The whole header is there: this is its last byte, and a source route is longer.
        let Some([kind, length]) = packet.load(at) else { return SourceRoute::None };
        if kind == END_OF_OPTIONS {
            return SourceRoute::None;
        }
        let (kind, length) = (u32::from(kind), u32::from(length));
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            return match packet.load((at + length).saturating_sub(4)) {
                Some(last) => SourceRoute::To(u32::from_be_bytes(last)),
                None => SourceRoute::Malformed,
            };
        }
        let pads = equal::<B>(kind, NO_OPERATION);
        if pads | length < 2 {
            return SourceRoute::Malformed;
        }
        let next = at + (pads & 1 | !pads & length);
        if next >= end {
            return SourceRoute::None;
        }
        at = next & OFFSET_MASK;
    }
    SourceRoute::None
}
