//! What is counted, for `status`.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use bfp_bundle::{decide::Verdict, record::NO_RULE};

/// The index in [`VERDICTS`] of requests that are allowed, and that an `audit` rule would refuse.
const AUDITED: u32 = 8;

/// The index of packets that the backstop dropped.
const DROPPED: u32 = 9;

/// The index of events for which the ring had no room.
const LOST: u32 = 10;

/// The index of events that are held back, for there were many of their kind.
const HELD: u32 = 11;

/// How many requests got each reason, indexed by its number; the audited ones; dropped packets; events that are lost,
/// and held back.
#[btf_map]
static VERDICTS: PerCpuArray<u64, 12> = PerCpuArray::new();

/// Counts a verdict.
#[inline(always)]
pub fn count(verdict: Verdict) {
    count_one(verdict.reason as u32);
    if verdict.is_allowed() && verdict.audited != NO_RULE {
        count_one(AUDITED);
    }
}

/// Counts a packet that goes elsewhere than what was judged.
#[inline(always)]
pub fn count_dropped() {
    count_one(DROPPED);
}

/// Counts an event that nobody will read.
#[inline(always)]
pub fn count_lost() {
    count_one(LOST);
}

/// Counts an event that is held back.
#[inline(always)]
pub fn count_held() {
    count_one(HELD);
}

#[inline(always)]
fn count_one(index: u32) {
    if let Some(counter) = VERDICTS.get_ptr_mut(index) {
        // SAFETY: the map's own memory, of this processor; a program is not preempted by itself here.
        unsafe { *counter += 1 };
    }
}
