//! Verdicts: the only place where the programs consult the tables.
//!
//! These are global functions: the verifier checks each of them once for a program, for every argument, and not again
//! at each call (kernel/bpf/verifier.c, `do_check_subprogs`). So a hook may judge as many addresses as it needs at no
//! cost in the verifier's limits.

use bfp_bundle::{
    decide::{Verdict, decide, decide_answer, decide_raw},
    event::Kind,
    label::Label,
    packet::TCP,
    request::{Address, Protocol, Request},
};

use crate::decision::counters::{count, count_dropped};
use crate::decision::events;
use crate::kernel::asm::bit;
use crate::tables::{Maps, or_unlisted};

/// The return value of a hook for a verdict: 0 for 1, and -1, which is -EPERM, for everything else.
///
/// Arithmetic, because the verifier does not know what a global function returns, requires a hook's errno within its
/// bounds, and tracks sums where it does not track a negation.
#[inline(always)]
pub fn errno(allowed: i32) -> i32 {
    bit(allowed) - 1
}

/// Beside a protocol: the request is an answer to a client, on an accepted connection. A function has room for five
/// arguments, and an IPv6 address takes two.
pub const ANSWER: u32 = 1 << 16;

/// A remote port, and the local port, which counts for answers alone.
#[inline(always)]
pub const fn ports(port: u32, local: u32) -> u32 {
    local << 16 | port & 0xffff
}

/// Judges an IPv4 address that a call names, for a task with this label: 1 if allowed. Without a label it is denied.
/// `ports` is a [`ports`], and `ipproto` may contain [`ANSWER`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_v4(label: *const Label, address: u32, ports: u32, ipproto: u32) -> i32 {
    let verdict = judge(label, Address::V4(address), ports, ipproto);
    count(verdict);
    events::tell_verdict(
        label,
        0,
        events::mapped(address),
        events::about(unless_missing(label, kind_of(ipproto)), ports, ipproto),
        verdict,
    );
    i32::from(verdict.is_allowed())
}

/// As [`judge_v4`], for an IPv6 address in two halves.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_v6(label: *const Label, high: u64, low: u64, ports: u32, ipproto: u32) -> i32 {
    let verdict = judge(label, Address::V6 { high, low }, ports, ipproto);
    count(verdict);
    let about = events::about(unless_missing(label, kind_of(ipproto)), ports, ipproto);
    events::tell_verdict(label, high, low, about, verdict);
    i32::from(verdict.is_allowed())
}

/// Judges the IPv4 destination of a packet as a request. Packets are not counted unless they are dropped. The kernel's
/// own sockets have no label, and are judged as an unlisted program.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_packet_v4(label: *const Label, address: u32, port: u32, ipproto: u32) -> i32 {
    let verdict = judge_request(or_unlisted(label), Address::V4(address), port, ipproto);
    pass(label, 0, events::mapped(address), events::about(Kind::Packet, port, ipproto), verdict)
}

/// As [`judge_packet_v4`], for an IPv6 address in two halves.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_packet_v6(label: *const Label, high: u64, low: u64, port: u32, ipproto: u32) -> i32 {
    let verdict = judge_request(or_unlisted(label), Address::V6 { high, low }, port, ipproto);
    pass(label, high, low, events::about(Kind::Packet, port, ipproto), verdict)
}

/// Judges a packet on an accepted connection as an answer; `ports` is a [`ports`].
///
/// Not a part of [`judge_packet_v4`]: on Linux 6.1, the calls from the filter to the look-up of a pair take the whole
/// stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_packet_answer_v4(label: *const Label, address: u32, ports: u32) -> i32 {
    let verdict = judge_answer(label, Address::V4(address), ports);
    pass(label, 0, events::mapped(address), events::about(Kind::Packet, ports, TCP | ANSWER), verdict)
}

/// As [`judge_packet_answer_v4`], for an IPv6 address in two halves.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_packet_answer_v6(label: *const Label, high: u64, low: u64, ports: u32) -> i32 {
    let verdict = judge_answer(label, Address::V6 { high, low }, ports);
    pass(label, high, low, events::about(Kind::Packet, ports, TCP | ANSWER), verdict)
}

#[inline(always)]
fn pass(label: *const Label, high: u64, low: u64, about: u64, verdict: Verdict) -> i32 {
    if verdict.is_allowed() {
        return 1;
    }
    count_dropped();
    events::tell_packet(label, high, low, about, verdict.to_bits());
    0
}

/// Judges raw and packet sockets.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_raw(label: *const Label) -> i32 {
    // SAFETY: a label in a map's memory where it is not null.
    let verdict = match unsafe { label.as_ref() } {
        Some(label) => decide_raw(&Maps, label),
        None => Verdict::FAULT,
    };
    count(verdict);
    events::tell_verdict(label, 0, 0, events::about(unless_missing(label, Kind::Raw), 0, 0), verdict);
    i32::from(verdict.is_allowed())
}

/// Whether a task with this label may use raw sockets. Nothing is counted or reported: it has not asked to.
#[inline(always)]
pub fn may_use_raw(label: *const Label) -> bool {
    // SAFETY: as in `judge_raw`.
    unsafe { label.as_ref() }.is_some_and(|label| decide_raw(&Maps, label).is_allowed())
}

/// The kind of event for a verdict. A missing label is reported as such.
#[inline(always)]
fn unless_missing(label: *const Label, kind: Kind) -> Kind {
    if label.is_null() { Kind::NoLabel } else { kind }
}

/// The kind of event for a request, or for an answer.
#[inline(always)]
fn kind_of(ipproto: u32) -> Kind {
    if ipproto & ANSWER == 0 { Kind::Request } else { Kind::Answer }
}

#[inline(always)]
fn judge(label: *const Label, address: Address, ports: u32, ipproto: u32) -> Verdict {
    if ipproto & ANSWER == 0 || ipproto & 0xffff != TCP {
        judge_request(label, address, ports, ipproto)
    } else {
        judge_answer(label, address, ports)
    }
}

#[inline(always)]
fn judge_request(label: *const Label, address: Address, port: u32, ipproto: u32) -> Verdict {
    // SAFETY: a label in a map's memory where it is not null, as the verifier checks at every call.
    let Some(label) = (unsafe { label.as_ref() }) else { return Verdict::FAULT };
    let protocol = Protocol::from_ipproto(ipproto as u16);
    // An address has room for a port even if the protocol has none.
    let port = if matches!(protocol, Protocol::Icmp) { 0 } else { port as u16 };
    decide(&Maps, label, &Request { address, port, protocol })
}

#[inline(always)]
fn judge_answer(label: *const Label, address: Address, ports: u32) -> Verdict {
    // SAFETY: as in `judge_request`.
    let Some(label) = (unsafe { label.as_ref() }) else { return Verdict::FAULT };
    let request = Request { address, port: ports as u16, protocol: Protocol::Tcp };
    decide_answer(&Maps, label, &request, (ports >> 16) as u16)
}
