//! `cgroup_skb/egress` on the root cgroup, the egress filter: checks the real destination of each packet against the
//! label of its socket.
//!
//! The address that a call named has been judged. Another destination gets onto the wire by source routes and routing
//! headers in control messages (which `sendmmsg` does not show to a hook), by headers that a raw socket includes, by
//! address translation on this host, and by connections that the kernel opens itself (MPTCP). Packet sockets do not
//! pass here.

use core::mem::MaybeUninit;

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
        (Packet { skb }, Sender { label: owners::of(sk.cast_const().cast()), sk: &*sk })
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
struct Sender<'a> {
    /// Null for the kernel's own sockets.
    label: *const Label,
    sk: &'a bpf_sock,
}

impl Sender<'_> {
    /// Whether a packet is an answer: a segment to the client of an accepted socket. One to anywhere else, as by address
    /// translation or a source route, is a request.
    #[inline(always)]
    fn answers(&self, port: u32, protocol: u32, is_client: impl FnOnce(&bpf_sock) -> bool) -> bool {
        protocol == packet::TCP
            && owners::is_accepted(self.label)
            && u16::from_be(self.sk.dst_port) == port as u16
            && is_client(self.sk)
    }

    /// Both ports of an answer.
    #[inline(always)]
    fn ports(&self, port: u32) -> u32 {
        verdict::ports(port, self.sk.src_port)
    }
}

impl packet::Sender for Sender<'_> {
    #[inline(always)]
    fn is_kernels_own(&self) -> bool {
        self.label.is_null()
    }

    #[inline(always)]
    fn is_raw(&self) -> bool {
        self.sk.type_ == SOCK_RAW as u32
    }

    #[inline(always)]
    fn is_governed(&self) -> bool {
        !self.label.is_null() && tables::is_governed(self.label)
    }

    #[inline(always)]
    fn may_send_v4(&self, address: u32, port: u32, protocol: u32) -> bool {
        let allowed = if self.answers(port, protocol, |sk| u32::from_be(sk.dst_ip4) == address) {
            verdict::judge_packet_answer_v4(self.label, address, self.ports(port))
        } else {
            verdict::judge_packet_v4(self.label, address, port, protocol)
        };
        bit(allowed) != 0
    }

    #[inline(always)]
    fn may_send_v6(&self, high: u64, low: u64, port: u32, protocol: u32) -> bool {
        let is_client = |sk: &bpf_sock| {
            let [a, b, c, d] = sk.dst_ip6.map(|part| u64::from(u32::from_be(part)));
            a << 32 | b == high && c << 32 | d == low
        };
        let allowed = if self.answers(port, protocol, is_client) {
            verdict::judge_packet_answer_v6(self.label, high, low, self.ports(port))
        } else {
            verdict::judge_packet_v6(self.label, high, low, port, protocol)
        };
        bit(allowed) != 0
    }
}
