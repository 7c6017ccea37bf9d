//! From a socket call to the requests that it makes, and their verdicts.
//!
//! What counts is the family of the address, never that of the socket: an IPv6 socket sends to an
//! AF_INET name. Every address that the call could send to is judged, and the strictest verdict wins.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};
use bfp_bundle::event::Kind;

use crate::decision::events;
use crate::decision::socket_kind::{judge_kind, kind};
use crate::decision::verdict;
use crate::identity::labels;
use crate::identity::owners;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, member};
use crate::tables;

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The low half of ::ffff:0.0.0.0.
const MAPPED_UNSPECIFIED: u64 = 0xffff_0000_0000;

// Protocols, include/uapi/linux/in.h.
const ICMP: u16 = 1;
const TCP: u16 = 6;
const UDP: u16 = 17;
const ICMPV6: u16 = 58;
const UDPLITE: u16 = 136;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
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
    let port = u16::from_be(name.port);
    match name.family {
        AF_UNIX => judge_canary(&name),
        AF_UNSPEC if call == Call::Connect => 0,
        AF_UNSPEC if tables::is_governed(labels::of(labels::current(), Missing::Leave)) => {
            events::refuse(Kind::Unjudged)
        }
        AF_INET | AF_UNSPEC if length < 16 => -EINVAL,
        // SAFETY: the caller's obligation.
        AF_INET | AF_UNSPEC => unsafe { judge_named_v4(sk, u32::from_be(name.v4), port) },
        AF_INET6 if length < 24 => -EINVAL,
        AF_INET6 => {
            let [a, b, c, d] = name.v6.map(|word| u64::from(u32::from_be(word)));
            // SAFETY: the caller's obligation.
            unsafe { judge_named_v6(sk, a << 32 | b, c << 32 | d, port) }
        }
        _ => 0,
    }
}

// IPv4 and IPv6 stay apart until the request is in memory: the register that only one of them uses would
// be uninitialised where their paths meet, and the verifier refuses to see it copied.

/// Judges an IPv4 address that a call named, and where the kernel sends what is for no address.
#[inline(always)]
unsafe fn judge_named_v4(sk: Pointer, bits: u32, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let verdict = judge_v4(sk, bits, port);
        if verdict != 0 || bits != 0 { verdict } else { judge_source(sk, port) }
    }
}

/// As [`judge_named_v4`].
#[inline(always)]
unsafe fn judge_named_v6(sk: Pointer, high: u64, low: u64, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let verdict = judge_v6(sk, high, low, port);
        let unspecified = high == 0 && (low == 0 || low == MAPPED_UNSPECIFIED);
        if verdict != 0 || !unspecified { verdict } else { judge_source(sk, port) }
    }
}

/// An unspecified address is the bound source where there is one (net/ipv4/route.c,
/// `ip_route_output_key_hash_rcu`: a destination of zero becomes the source).
#[inline(always)]
unsafe fn judge_source(sk: Pointer, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let source: u32 = member(sk, &kernel::sock_common__skc_rcv_saddr);
        if source == 0 { 0 } else { judge_v4(sk, u32::from_be(source), port) }
    }
}

/// Judges a task's use of a socket by its peer, and notes whose the socket is; 0 or a negative errno. Sockets
/// that were connected before the policy, passed from another process or inherited are caught here.
///
/// # Safety
/// `sk` is a `struct sock *` to the verifier.
#[inline(always)]
pub unsafe fn judge_use(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation.
    unsafe {
        let verdict = judge_peer(sk);
        if verdict != 0 { verdict } else { note_use(sk) }
    }
}

/// Notes whose a socket is; 0 or a negative errno.
///
/// # Safety
/// `sk` is a `struct sock *` to the verifier.
#[inline(always)]
pub unsafe fn note_use(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation.
    let family: u16 = unsafe { member(sk, &kernel::sock_common__skc_family) };
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    let task = labels::current();
    if owners::is_kernel_thread(task) {
        return 0;
    }
    let label = labels::of(task, Missing::Leave);
    // SAFETY: a label in the map's memory where it is not null.
    let Some(noted) = (unsafe { label.as_ref() }) else {
        return events::refuse(Kind::NoLabel);
    };
    if owners::note(sk, noted) {
        return 0;
    }
    // SAFETY: the caller's obligation.
    let protocol: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    // What the backstop alone judges it takes for the kernel's own where it has no label.
    let is_judged = matches!(protocol, TCP | UDP | UDPLITE | ICMP | ICMPV6);
    if is_judged && !tables::is_governed(label) {
        return 0;
    }
    events::tell_of(noted, Kind::NoLabel);
    -ENOMEM
}

/// Judges the peer of a connected socket; 0 or a negative errno. What has no peer that could be judged is
/// judged as when it was made (`socket_create`), since it may have been handed on.
#[inline(always)]
unsafe fn judge_peer(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation; `struct sock` begins with its `struct sock_common`.
    unsafe {
        let family: u16 = member(sk, &kernel::sock_common__skc_family);
        let port = u16::from_be(member(sk, &kernel::sock_common__skc_dport));
        match family {
            AF_INET => {
                let address: u32 = member(sk, &kernel::sock_common__skc_daddr);
                if address == 0 { 0 } else { judge_v4(sk, u32::from_be(address), port) }
            }
            AF_INET6 => {
                let address: [u64; 2] = member(sk, &kernel::sock_common__skc_v6_daddr);
                let [high, low] = address.map(u64::from_be);
                if high | low == 0 { 0 } else { judge_v6(sk, high, low, port) }
            }
            _ => judge_kind(owners::user_of(sk), kind(family.into(), 0, 0)),
        }
    }
}

/// Judges one address for the task that runs now; 0 or a negative errno.
#[inline(always)]
unsafe fn judge_v4(sk: Pointer, bits: u32, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    let ipproto: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    verdict::errno(verdict::judge_v4(owners::user_of(sk), bits, port.into(), ipproto.into()))
}

/// As [`judge_v4`].
#[inline(always)]
unsafe fn judge_v6(sk: Pointer, high: u64, low: u64, port: u16) -> i32 {
    // SAFETY: the callers' obligation.
    let ipproto: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    verdict::errno(verdict::judge_v6(owners::user_of(sk), high, low, port.into(), ipproto.into()))
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
