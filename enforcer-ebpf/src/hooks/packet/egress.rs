//! `cgroup_skb/egress` on the root cgroup, the egress filter: checks the real destination of each packet against the
//! label of its socket.
//!
//! The address that a call named has been judged. Another destination gets onto the wire by source routes and routing
//! headers in control messages (which `sendmmsg` does not show to a hook), by headers that a raw socket includes, by
//! address translation on this host, and by connections that the kernel opens itself (MPTCP). Packet sockets do not
//! pass here.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use bfp_bundle::{decide::Tables, label::Label};

use crate::decision::verdict;
use crate::identity::owners;
use crate::kernel::asm::bit;
use crate::tables::{self, Maps};

const PASS: i32 = 1;
const DROP: i32 = 0;

// IP protocols and IPv6 extension headers.
const HOP_BY_HOP: u32 = 0;
const TCP: u32 = 6;
const UDP: u32 = 17;
const ROUTING: u32 = 43;
const FRAGMENT: u32 = 44;
const AUTHENTICATION: u32 = 51;
const DESTINATION_OPTIONS: u32 = 60;
const DCCP: u32 = 33;
const SCTP: u32 = 132;
const UDPLITE: u32 = 136;

/// A bound on extension headers: a host sends each at most once, except destination options (RFC 8200, 4.1).
const EXTENSION_HEADERS_MAX: u32 = 8;

/// The most bytes of an IPv4 header after the first twenty.
const OPTIONS_MAX: u32 = 40;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u32 = 1;
const LOOSE_SOURCE_ROUTE: u32 = 131;
const STRICT_SOURCE_ROUTE: u32 = 137;

/// The bound of offsets in the headers. They are masked although they were compared, so that the verifier sees the same
/// range in every iteration of a loop.
const LENGTH_MASK_V4: u32 = 127;
const LENGTH_MASK_V6: u32 = 4095;

/// include/linux/net.h
const SOCK_RAW: u32 = 3;

const SYN: u8 = 2;
const ACK: u8 = 16;

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's, and the verifier checks what is read of it.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return PASS;
        }
        // A closed connection sends no data.
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return PASS;
        }
        let packet = Packet { skb, label: owners::of(sk.cast_const().cast()), is_raw: (*sk).type_ == SOCK_RAW };
        match load::<u8>(skb, 0) {
            Some(first) if first >> 4 == 4 => packet.judge_v4(),
            Some(first) if first >> 4 == 6 => packet.judge_v6(),
            _ if packet.label.is_null() => PASS,
            _ => DROP,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct HeaderV4 {
    version_and_length: u8,
    service: u8,
    total_length: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    time_to_live: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
}

/// The offset of the next header in an IPv6 header, and that of the destination.
const NEXT_V6: u32 = 6;
const DESTINATION_V6: u32 = 24;

/// The start of every protocol header with ports.
#[repr(C)]
#[derive(Clone, Copy)]
struct Ports {
    source: [u8; 2],
    destination: [u8; 2],
}

/// The part of a TCP header that says whether it opens a connection, and how long the header is.
#[repr(C)]
#[derive(Clone, Copy)]
struct TcpControl {
    length: u8,
    flags: u8,
}

#[derive(Clone, Copy)]
struct Packet {
    skb: *mut __sk_buff,
    /// The label of the socket; null for the kernel's own.
    label: *const Label,
    /// Whether its socket builds headers itself.
    is_raw: bool,
}

impl Packet {
    #[inline(always)]
    fn is_governed(self) -> bool {
        !self.label.is_null() && tables::is_governed(self.label)
    }

    /// Whether the packet is not a process's: a TCP segment without data that opens no connection (an answer to a
    /// connection from outside, or the end of one that is older than the policy); and, on the kernel's own sockets,
    /// everything but TCP and UDP, such as neighbour discovery. For connections in their last states the kernel sends
    /// through raw sockets of its own, which have no label (net/ipv4/tcp_ipv4.c, `tcp_v4_send_ack`); a process's raw
    /// sockets have one.
    #[inline(always)]
    fn is_kernels_own(self, protocol: u32, at: u32) -> bool {
        match protocol {
            TCP if self.is_raw && !self.label.is_null() => false,
            TCP => match load::<TcpControl>(self.skb, at + 12) {
                Some(TcpControl { length, flags }) => {
                    let header = at + u32::from(length >> 4) * 4;
                    // SAFETY: the context is the kernel's.
                    let whole = unsafe { (*self.skb).len };
                    flags & (SYN | ACK) != SYN && whole <= header
                }
                None => false,
            },
            UDP | UDPLITE => false,
            _ => self.label.is_null(),
        }
    }

    /// The destination port of a packet, whose protocol's header is at `at`.
    #[inline(always)]
    fn port(self, protocol: u32, at: u32) -> u32 {
        match protocol {
            TCP | UDP | UDPLITE | SCTP | DCCP => match load::<Ports>(self.skb, at) {
                Some(ports) => u16::from_be_bytes(ports.destination).into(),
                None => 0,
            },
            _ => 0,
        }
    }

    #[inline(always)]
    fn judge_v4(self) -> i32 {
        let Some(header) = load::<HeaderV4>(self.skb, 0) else { return DROP };
        let at = u32::from(header.version_and_length & 15) * 4;
        // Only the first fragment has ports; the kernel fragments packets after this hook.
        let is_first = (u16::from_be_bytes(header.fragment) & 0x1fff) == 0;
        let protocol = u32::from(header.protocol);
        if self.is_kernels_own(protocol, at) {
            return PASS;
        }
        let port = if is_first { self.port(protocol, at) } else { 0 };
        let destination = u32::from_be_bytes(header.destination);
        if bit(verdict::judge_packet_v4(self.label, destination, port, protocol)) == 0 {
            return DROP;
        }
        if at <= 20 {
            return PASS;
        }
        if self.is_governed() {
            return DROP;
        }
        match self.last_hop(at) {
            SourceRoute::None => PASS,
            SourceRoute::To(last) => bit(verdict::judge_packet_v4(self.label, last, port, protocol)),
            SourceRoute::Malformed => DROP,
        }
    }

    /// The last hop of the source route among the options of an IPv4 header.
    #[inline(always)]
    fn last_hop(self, end: u32) -> SourceRoute {
        let mut at = 20;
        let mut left = OPTIONS_MAX;
        while left != 0 {
            left = Maps::opaque(left - 1);
            // The shortest source route is longer, so a truncated option here cannot be one.
            let Some([kind, length]) = load::<[u8; 2]>(self.skb, at) else { return SourceRoute::None };
            if kind == END_OF_OPTIONS {
                return SourceRoute::None;
            }
            let (kind, length) = (u32::from(kind), u32::from(length));
            if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
                return match load::<[u8; 4]>(self.skb, (at + length).saturating_sub(4)) {
                    Some(last) => SourceRoute::To(u32::from_be_bytes(last)),
                    None => SourceRoute::Malformed,
                };
            }
            let pads = equal(kind, NO_OPERATION);
            if pads | length < 2 {
                return SourceRoute::Malformed;
            }
            let next = at + (pads & 1 | !pads & length);
            if next >= end {
                return SourceRoute::None;
            }
            at = next & LENGTH_MASK_V4;
        }
        SourceRoute::None
    }

    #[inline(always)]
    fn judge_v6(self) -> i32 {
        let Some([next]) = load::<[u8; 1]>(self.skb, NEXT_V6) else { return DROP };
        let (mut protocol, mut at, mut fragment_offset) = (u32::from(next), 40, 0);
        // Addresses are read where they are judged: the stack has no room to keep them.
        let mut destination = DESTINATION_V6;
        let mut left = EXTENSION_HEADERS_MAX;
        while left != 0 {
            left = Maps::opaque(left - 1);
            let fragment = equal(protocol, FRAGMENT);
            let authentication = equal(protocol, AUTHENTICATION);
            let routing = equal(protocol, ROUTING);
            let options = equal(protocol, HOP_BY_HOP) | equal(protocol, DESTINATION_OPTIONS);
            if fragment | authentication | routing | options == 0 {
                return self.judge_reached_v6(destination, protocol, at, fragment_offset);
            }
            let Some([next, length, high, low]) = load::<[u8; 4]>(self.skb, at) else { return DROP };
            // Types 2 and 4, which sockets can send, have the last address first (RFC 6275, 6.4; RFC 8754, 2).
            destination = routing & (at + 8) | !routing & destination;
            fragment_offset |= fragment & (u32::from(high) << 8 | u32::from(low)) & 0xfff8;
            let length = u32::from(length);
            let step = fragment & 8 | authentication & ((length + 2) * 4) | (routing | options) & ((length + 1) * 8);
            if at + step > LENGTH_MASK_V6 {
                return DROP;
            }
            at = (at + step) & LENGTH_MASK_V6;
            protocol = next.into();
        }
        DROP
    }

    /// Judges the address in the header, and the last address of a routing header, which is at `last`.
    #[inline(always)]
    fn judge_reached_v6(self, last: u32, protocol: u32, at: u32, fragment_offset: u32) -> i32 {
        let is_routed = last != DESTINATION_V6;
        if is_routed && self.is_governed() {
            return DROP;
        }
        if self.is_kernels_own(protocol, at) {
            return PASS;
        }
        let port = if fragment_offset == 0 { self.port(protocol, at) } else { 0 };
        if self.judge_one_v6(DESTINATION_V6, port, protocol) == 0 {
            return DROP;
        }
        if is_routed { self.judge_one_v6(last, port, protocol) } else { PASS }
    }

    #[inline(always)]
    fn judge_one_v6(self, at: u32, port: u32, protocol: u32) -> i32 {
        let Some(address) = load::<[u8; 16]>(self.skb, at) else { return DROP };
        let bits = u128::from_be_bytes(address);
        bit(verdict::judge_packet_v6(self.label, (bits >> 64) as u64, bits as u64, port, protocol))
    }
}

/// All ones if two numbers of at most 32 bits are equal, otherwise zero: a branch would double the verifier's work with
/// each iteration of a loop.
#[inline(always)]
fn equal(one: u32, other: u32) -> u32 {
    let different = u64::from(one ^ other);
    (Maps::sign_bit(different.wrapping_neg()) as u32).wrapping_sub(1)
}

enum SourceRoute {
    None,
    To(u32),
    Malformed,
}

/// Bytes of the packet. `None` if it has fewer.
#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut place = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes as many bytes as it is told or fails; each `T` here is bytes.
    unsafe {
        let failed = bpf_skb_load_bytes(skb.cast_const().cast(), at, place.as_mut_ptr().cast(), size_of::<T>() as u32);
        if failed == 0 { Some(place.assume_init()) } else { None }
    }
}
