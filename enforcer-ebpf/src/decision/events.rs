//! Events: denials are reported in a ring buffer.
//!
//! Nothing waits for a reader. If the ring buffer is full, the event is counted as lost, and the denial stands. Of many
//! similar events most are suppressed ([`crate::decision::flood`]).

use aya_ebpf::{
    btf_maps::RingBuf,
    helpers::generated::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
    },
    macros::btf_map,
};
use bfp_bundle::{
    decide::Verdict,
    event::{Event, Kind},
    label::{Label, ProgramId},
    record::NO_RULE,
};

use crate::decision::counters::count_lost;
use crate::decision::flood;
use crate::identity::labels::current_label;

const EPERM: i32 = 1;

/// About 2 900 events, each with a header of 8 bytes. The size must be a power of two and whole pages.
const SIZE: usize = 256 * 1024;

#[btf_map]
static EVENTS: RingBuf<Event, SIZE> = RingBuf::new();

/// The number of the kind of event for audited rules.
const AUDITED: u64 = Kind::Audited as u64;

/// The low half of an IPv4 address as an IPv4-mapped IPv6 address.
#[inline(always)]
pub const fn mapped(address: u32) -> u64 {
    0xffff_0000_0000 | address as u64
}

/// The kind of event, port and protocol of a request, in one argument.
#[inline(always)]
pub const fn about(kind: Kind, port: u32, ipproto: u32) -> u64 {
    (kind as u64) << 32 | (ipproto as u64 & 0xffff) << 16 | port as u64 & 0xffff
}

/// Reports a verdict on a request of the current task, if it is a denial or has an audited rule.
#[inline(always)]
pub fn tell_verdict(label: *const Label, high: u64, low: u64, about: u64, verdict: Verdict) {
    if !verdict.is_allowed() || verdict.audited != NO_RULE {
        tell_request(label, high, low, about, verdict.to_bits());
    }
}

// Separate functions, as in `verdict`: their stack is then not added to that of the search.

/// Reports a request of the current task, with its verdict as [`Verdict::to_bits`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_request(label: *const Label, high: u64, low: u64, about: u64, verdict: u64) -> i32 {
    let verdict = Verdict::from_bits(verdict);
    // SAFETY: takes nothing.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let kind = if verdict.is_allowed() { AUDITED } else { about >> 32 };
    let held = flood::admit(program_of(label), high, low, kind, process);
    if held == flood::HOLD {
        return 0;
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        count_lost();
        return 0;
    };
    // SAFETY: the entry is as large as an event, and every member is written.
    unsafe {
        let event = entry.as_mut_ptr();
        write(event, label, high, low, about, verdict, held);
        if verdict.is_allowed() {
            (*event).kind = AUDITED as u16;
            (*event).rule = verdict.audited;
        }
        write_task(event);
    }
    entry.submit(0);
    0
}

/// Reports a packet. It may leave while any task runs, so the event names no task.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_packet(label: *const Label, high: u64, low: u64, about: u64, verdict: u64) -> i32 {
    let held = flood::admit(program_of(label), high, low, about >> 32, 0);
    if held == flood::HOLD {
        return 0;
    }
    let Some(mut entry) = EVENTS.reserve(0) else {
        count_lost();
        return 0;
    };
    // SAFETY: the entry is as large as an event, and every member is written.
    unsafe {
        let event = entry.as_mut_ptr();
        write(event, label, high, low, about, Verdict::from_bits(verdict), held);
        (*event).process = 0;
        (*event).user = 0;
        (*event).thread = [0; 16];
    }
    entry.submit(0);
    0
}

/// Reports a denial that no table decided.
#[inline(always)]
pub fn tell_of(label: *const Label, kind: Kind) {
    // SAFETY: takes nothing.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    let held = flood::admit(program_of(label), 0, 0, kind as u64, process);
    if held == flood::HOLD {
        return;
    }
    let Some(mut entry) = EVENTS.reserve(0) else { return count_lost() };
    // SAFETY: the entry is as large as an event, and every member is written.
    unsafe {
        let event = entry.as_mut_ptr();
        write(event, label, 0, 0, about(kind, 0, 0), Verdict::FAULT, held);
        write_task(event);
    }
    entry.submit(0);
}

/// Denies the current task what no table decides, and reports it.
#[inline(always)]
pub fn refuse(kind: Kind) -> i32 {
    tell_of(current_label(), kind);
    -EPERM
}

/// The program that made the request. 0 if the policy does not name it.
#[inline(always)]
fn program_of(label: *const Label) -> ProgramId {
    // SAFETY: a label is in a map's memory where it is not null.
    unsafe { label.as_ref() }.map_or(0, |label| label.program)
}

/// Writes the members that every event has.
#[inline(always)]
unsafe fn write(event: *mut Event, label: *const Label, high: u64, low: u64, about: u64, verdict: Verdict, held: u64) {
    // SAFETY: the callers' obligation; a label is in a map's memory where it is not null.
    unsafe {
        (*event).since_boot = bpf_ktime_get_boot_ns();
        (*event).program = program_of(label);
        (*event).label = label.as_ref().map_or(0, |label| label.flags);
        (*event).high = high;
        (*event).low = low;
        (*event).rule = verdict.rule;
        (*event).kind = (about >> 32) as u16;
        (*event).reason = verdict.reason as u16;
        (*event).protocol = (about >> 16) as u16;
        (*event).port = about as u16;
        (*event).held = held;
    }
}

/// Writes the members for the current task.
#[inline(always)]
unsafe fn write_task(event: *mut Event) {
    // SAFETY: the callers' obligation; the name has the room that the helper is told.
    unsafe {
        (*event).process = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*event).user = bpf_get_current_uid_gid() as u32;
        (*event).thread = [0; 16];
        // The helper leaves zeros if it fails.
        bpf_get_current_comm((&raw mut (*event).thread).cast(), 16);
    }
}
