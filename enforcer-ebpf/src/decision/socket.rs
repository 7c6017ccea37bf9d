//! From a socket call to its requests and their verdicts.
//!
//! Every address that the call could send to is judged, and the strictest verdict wins.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel};
use bfp_bundle::{
    event::Kind,
    request::Address,
    sockaddr::{Call, Name, Named, named},
    socket_kind::{self, AF_INET, AF_INET6, kind},
};

use crate::decision::events;
use crate::decision::socket_kind::judge_kind;
use crate::decision::verdict;
use crate::identity::labels;
use crate::identity::owners;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, member};
use crate::tables;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const EINVAL: i32 = 22;

/// Sixteen random bytes that the enforcer chose. The abstract Unix address that starts with them is denied to every
/// process, which proves to the enforcer that the kernel calls these programs.
#[unsafe(no_mangle)]
static CANARY_HIGH: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static CANARY_LOW: Global<u64> = Global::new(0);

/// Judges an address of `length` bytes in kernel memory that a call on `sock` gave; 0 or a negative errno.
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
    match named(call, &name, length, || tables::is_governed(labels::of(labels::current(), Missing::Leave))) {
        Named::Nothing => 0,
        Named::Unix { high, low } => judge_canary(high, low),
        Named::TooShort => -EINVAL,
        Named::Unjudged => events::refuse(Kind::Unjudged),
        // SAFETY: the caller's obligation.
        Named::V4 { address, port } => unsafe { judge_named_v4(sk, address, port.into()) },
        // SAFETY: the caller's obligation.
        Named::V6 { high, low, port } => unsafe { judge_named_v6(sk, high, low, port.into()) },
    }
}

// IPv4 and IPv6 stay apart until the request is in memory: the register that only one of them uses would be
// uninitialised where their paths meet, and the verifier rejects a copy of it.

/// Judges an IPv4 address that a call named, and for an unspecified one the address that the kernel sends to.
#[inline(always)]
unsafe fn judge_named_v4(sk: Pointer, bits: u32, port: u32) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let verdict = judge_v4(sk, bits, port, REQUEST);
        if verdict != 0 || !Address::V4(bits).is_unspecified() { verdict } else { judge_source(sk, port) }
    }
}

/// As [`judge_named_v4`].
#[inline(always)]
unsafe fn judge_named_v6(sk: Pointer, high: u64, low: u64, port: u32) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let verdict = judge_v6(sk, high, low, port, REQUEST);
        if verdict != 0 || !(Address::V6 { high, low }).is_unspecified() { verdict } else { judge_source(sk, port) }
    }
}

/// An unspecified address means the bound source, if there is one (net/ipv4/route.c, `ip_route_output_key_hash_rcu`: a
/// destination of zero becomes the source).
#[inline(always)]
unsafe fn judge_source(sk: Pointer, port: u32) -> i32 {
    // SAFETY: the callers' obligation.
    unsafe {
        let source: u32 = member(sk, &kernel::sock_common__skc_rcv_saddr);
        if source == 0 { 0 } else { judge_v4(sk, u32::from_be(source), port, REQUEST) }
    }
}

/// Judges a task's use of a socket by its peer, and notes the task as the socket's user; 0 or a negative errno. This
/// covers sockets that were connected before the policy, passed from another process or inherited.
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

/// Notes the current task as the user of a socket; 0 or a negative errno.
///
/// # Safety
/// `sk` is a `struct sock *` to the verifier.
#[inline(always)]
pub unsafe fn note_use(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation.
    let family = unsafe { family(sk) };
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
    // The egress filter alone judges such a socket, and takes one without a label for the kernel's own.
    if socket_kind::has_judged_requests(protocol.into()) && !tables::is_governed(label) {
        return 0;
    }
    events::tell_of(noted, Kind::NoLabel);
    -ENOMEM
}

/// Judges the peer of a connected socket; 0 or a negative errno. A socket without a peer that can be judged is judged
/// as at its creation (`socket_create`), since it may have been passed on.
#[inline(always)]
unsafe fn judge_peer(sk: Pointer) -> i32 {
    // SAFETY: the caller's obligation; `struct sock` begins with its `struct sock_common`.
    unsafe {
        let family = family(sk);
        let port = u32::from(u16::from_be(member(sk, &kernel::sock_common__skc_dport)));
        let answer = if owners::is_accepted(owners::of(sk)) { verdict::ANSWER } else { REQUEST };
        let local: u16 = member(sk, &kernel::sock_common__skc_num);
        let ports = verdict::ports(port, local.into());
        match family {
            AF_INET => {
                let address: u32 = member(sk, &kernel::sock_common__skc_daddr);
                if address == 0 { 0 } else { judge_v4(sk, u32::from_be(address), ports, answer) }
            }
            AF_INET6 => {
                let address: [u64; 2] = member(sk, &kernel::sock_common__skc_v6_daddr);
                let [high, low] = address.map(u64::from_be);
                if high | low == 0 { 0 } else { judge_v6(sk, high, low, ports, answer) }
            }
            _ => judge_kind(owners::user_of(sk), kind(family, 0, 0)),
        }
    }
}

/// A request that is not an answer: see [`verdict::ANSWER`].
const REQUEST: u32 = 0;

/// Judges one address for the current task; 0 or a negative errno.
#[inline(always)]
unsafe fn judge_v4(sk: Pointer, bits: u32, ports: u32, answer: u32) -> i32 {
    // SAFETY: the callers' obligation.
    let ipproto: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    verdict::errno(verdict::judge_v4(owners::user_of(sk), bits, ports, u32::from(ipproto) | answer))
}

/// As [`judge_v4`].
#[inline(always)]
unsafe fn judge_v6(sk: Pointer, high: u64, low: u64, ports: u32, answer: u32) -> i32 {
    // SAFETY: the callers' obligation.
    let ipproto: u16 = unsafe { member(sk, &kernel::sock__sk_protocol) };
    verdict::errno(verdict::judge_v6(owners::user_of(sk), high, low, ports, u32::from(ipproto) | answer))
}

/// Denies the canary, the Unix address that the enforcer made up: its family and a zero byte, then the random bytes. The
/// first of them is not compared, since it shares a word with the zero.
#[inline(always)]
fn judge_canary(high: u64, low: u64) -> i32 {
    if CANARY_HIGH.load() != 0 && high == CANARY_HIGH.load() && low == CANARY_LOW.load() { -EPERM } else { 0 }
}

/// The family of a socket.
#[inline(always)]
unsafe fn family(sk: Pointer) -> i32 {
    // SAFETY: the callers' obligation; `struct sock` begins with its `struct sock_common`.
    unsafe { member::<u16>(sk, &kernel::sock_common__skc_family) }.into()
}
