//! `cgroup_skb/egress` on the root cgroup, the egress filter: checks the real destination of each packet against the
//! label of its socket.
//!
//! The address that a call named has been judged. Another destination gets onto the wire by source routes and routing
//! headers in control messages (which `sendmmsg` does not show to a hook), by headers that a raw socket includes, by
//! address translation on this host, and by connections that the kernel opens itself (MPTCP). Packet sockets do not
//! pass here.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use bfp_bundle::{
    label::Label,
    packet::{self, Bytes},
    socket_kind::SOCK_RAW,
};

use crate::decision::verdict;
use crate::identity::owners;
use crate::kernel::asm::{self, bit};
use crate::tables;

const PASS: i32 = 1;
const DROP: i32 = 0;

#[cgroup_skb(egress)]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context is the kernel's, and the verifier checks what is read of it.
    let (packet, sender) = unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return PASS;
        }
        // A closed connection sends no data.
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return PASS;
        }
        let label = owners::of(sk.cast_const().cast());
        let client = if owners::is_accepted(label) { sk.cast_const() } else { ptr::null() };
        (Packet { skb }, Sender { label, is_raw: (*sk).type_ == SOCK_RAW as u32, client })
    };
    if packet::may_leave(&packet, &sender) { PASS } else { DROP }
}

/// A packet in the kernel.
struct Packet {
    skb: *mut __sk_buff,
}

impl Bytes for Packet {
    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let mut place = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes as many bytes as it is told, or fails.
        unsafe {
            let failed = bpf_skb_load_bytes(self.skb.cast_const().cast(), at, place.as_mut_ptr().cast(), N as u32);
            if failed == 0 { Some(place.assume_init()) } else { None }
        }
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the kernel's.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn opaque(number: u32) -> u32 {
        asm::opaque(number)
    }

    #[inline(always)]
    fn sign_bit(word: u64) -> u64 {
        asm::sign_bit(word)
    }
}

/// The socket of a packet.
struct Sender {
    /// Null for the kernel's own sockets.
    label: *const Label,
    is_raw: bool,
    /// The socket, if the kernel made it for a client that connected; otherwise null.
    client: *const bpf_sock,
}

/// `IPPROTO_TCP`
const TCP: u32 = 6;

impl Sender {
    /// The ports and the protocol by which a packet is judged. A segment to the client of an accepted socket is an
    /// answer; one to anywhere else, as by address translation or a source route, is a request.
    #[inline(always)]
    fn judged(&self, port: u32, protocol: u32, is_client: impl FnOnce(&bpf_sock) -> bool) -> (u32, u32) {
        // SAFETY: a socket of the kernel's where it is not null, and the verifier checks what is read of it.
        let Some(client) = (unsafe { self.client.as_ref() }) else { return (port, protocol) };
        let is_answer = protocol == TCP && u16::from_be(client.dst_port) == port as u16 && is_client(client);
        if is_answer { (verdict::ports(port, client.src_port), protocol | verdict::ANSWER) } else { (port, protocol) }
    }
}

impl packet::Sender for Sender {
    #[inline(always)]
    fn is_kernels_own(&self) -> bool {
        self.label.is_null()
    }

    #[inline(always)]
    fn is_raw(&self) -> bool {
        self.is_raw
    }

    #[inline(always)]
    fn is_governed(&self) -> bool {
        !self.label.is_null() && tables::is_governed(self.label)
    }

    #[inline(always)]
    fn may_send_v4(&self, address: u32, port: u32, protocol: u32) -> bool {
        let (ports, protocol) = self.judged(port, protocol, |client| u32::from_be(client.dst_ip4) == address);
        bit(verdict::judge_packet_v4(self.label, address, ports, protocol)) != 0
    }

    #[inline(always)]
    fn may_send_v6(&self, high: u64, low: u64, port: u32, protocol: u32) -> bool {
        let (ports, protocol) = self.judged(port, protocol, |client| {
            let [a, b, c, d] = client.dst_ip6.map(|part| u64::from(u32::from_be(part)));
            a << 32 | b == high && c << 32 | d == low
        });
        bit(verdict::judge_packet_v6(self.label, high, low, ports, protocol)) != 0
    }
}
