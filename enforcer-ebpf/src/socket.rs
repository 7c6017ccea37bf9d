//! From a socket call to the requests that it makes, and their verdicts.
//!
//! What counts is the family of the address, never that of the socket: an IPv6 socket sends to an
//! AF_INET name. Every address that the call could send to is judged, and the strictest verdict wins.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};
use bfp_bundle::{
    decide::{Verdict, decide},
    label::Label,
    request::{Address, Protocol, Request},
};

use crate::{
    kernel::{self, Pointer, member},
    labels,
    tables::{Maps, count},
};

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const EPERM: i32 = 1;
const EINVAL: i32 = 22;

/// Sixteen random bytes that the enforcer chose: the abstract Unix address that begins with them is
/// refused to everyone, which proves to the enforcer that the kernel asks these programs at all.
#[unsafe(no_mangle)]
static CANARY_HIGH: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static CANARY_LOW: Global<u64> = Global::new(0);

/// The beginning of a `struct sockaddr_storage`: as much as `sockaddr_in6` has.
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    family: u16,
    port: u16,
    /// AF_INET: the address. AF_INET6: the flow label.
    v4: u32,
    v6: [u32; 4],
    scope: u32,
}

/// What the call that is judged does with a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// An AF_UNSPEC name dissolves the connection.
    Connect,
    /// An AF_UNSPEC name is taken for an AF_INET one (net/ipv4/udp.c, `udp_sendmsg`).
    Send,
}

/// Judges a name of `length` bytes in kernel memory that a call on `sock` gave; 0 or a negative errno.
///
/// # Safety
/// `sk` is a `struct sock *` to the verifier.
#[inline(always)]
pub unsafe fn judge_name(call: Call, sk: Pointer, name: Pointer, length: i32) -> i32 {
    let mut place = MaybeUninit::<Name>::uninit();
    // SAFETY: the helper writes as many bytes as it is told, zeroes if it cannot read.
    let read = unsafe { bpf_probe_read_kernel(place.as_mut_ptr().cast::<c_void>(), size_of::<Name>() as u32, name) };
    if read != 0 {
        return -EPERM;
    }
    // SAFETY: written by the helper.
    let name = unsafe { place.assume_init() };
    if length < 2 {
        return 0; // Too short for a family: the protocol refuses it.
    }
    let (address, needed) = match name.family {
        AF_INET => (Address::V4(u32::from_be(name.v4)), 16),
        AF_INET6 => (v6(name.v6), 24),
        AF_UNIX => return judge_canary(&name),
        AF_UNSPEC if call == Call::Connect => return 0,
        AF_UNSPEC if labels::current_label().is_governed() => return -EPERM,
        AF_UNSPEC => (Address::V4(u32::from_be(name.v4)), 16),
        _ => return 0,
    };
    if length < needed {
        return -EINVAL;
    }
    // SAFETY: the caller's obligation.
    unsafe {
        let port = u16::from_be(name.port);
        let verdict = judge(sk, address, port);
        if verdict != 0 || address.judged() == address {
            return verdict;
        }
        // An unspecified address is the bound source where there is one (net/ipv4/route.c,
        // `ip_route_output_key_hash_rcu`: a destination of zero becomes the source).
        let source: u32 = member(sk, &kernel::sock_common__skc_rcv_saddr);
        match address {
            Address::V4(0) if source != 0 => judge(sk, Address::V4(u32::from_be(source)), port),
            Address::V6 { high: 0, low } if low as u32 == 0 && source != 0 => {
                judge(sk, Address::V4(u32::from_be(source)), port)
            }
            _ => 0,
        }
    }
}

/// Judges the peer of a connected socket; 0 or a negative errno. Sockets that were connected before the
/// policy, passed from another process or inherited are caught here.
///
/// # Safety
/// `sk` is a `struct sock *` to the verifier.
#[inline(always)]
pub unsafe fn judge_peer(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation; `struct sock` begins with its `struct sock_common`.
    unsafe {
        let family: u16 = member(sk, &kernel::sock_common__skc_family);
        let port = u16::from_be(member(sk, &kernel::sock_common__skc_dport));
        match family {
            AF_INET => {
                let address: u32 = member(sk, &kernel::sock_common__skc_daddr);
                if address == 0 { 0 } else { judge(sk, Address::V4(u32::from_be(address)), port) }
            }
            AF_INET6 => {
                let address: [u64; 2] = member(sk, &kernel::sock_common__skc_v6_daddr);
                let [high, low] = address.map(u64::from_be);
                if high | low == 0 { 0 } else { judge(sk, Address::V6 { high, low }, port) }
            }
            _ => 0,
        }
    }
}

#[inline(always)]
fn v6(words: [u32; 4]) -> Address {
    let [a, b, c, d] = words.map(|word| u64::from(u32::from_be(word)));
    Address::V6 { high: a << 32 | b, low: c << 32 | d }
}

/// Judges one address; 0 or a negative errno.
#[inline(always)]
unsafe fn judge(sk: Pointer, address: Address, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    let number: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    let request = Request { address, port, protocol: Protocol::from_ipproto(number) };
    let label = labels::current_label();
    decide_and_count(&label, &request)
}

/// A program of its own within the program, so that the verifier's work is not repeated in the text.
#[inline(never)]
fn decide_and_count(label: &Label, request: &Request) -> i32 {
    let verdict: Verdict = decide(&Maps, label, request);
    count(verdict);
    if verdict.is_allowed() { 0 } else { -EPERM }
}

/// Refuses the one Unix address that the enforcer made up.
#[inline(always)]
fn judge_canary(name: &Name) -> i32 {
    // The path begins after the family with a zero byte, then the random bytes; `port` holds the zero
    // and the first of them, which are left out of the comparison.
    let [a, b, c, d] = name.v6;
    let high = u64::from(a) << 32 | u64::from(b);
    let low = u64::from(c) << 32 | u64::from(d);
    if CANARY_HIGH.load() != 0 && high == CANARY_HIGH.load() && low == CANARY_LOW.load() { -EPERM } else { 0 }
}
