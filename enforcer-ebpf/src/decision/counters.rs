//! What is counted, for `status`.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use bfp_bundle::counter::{AUDITED, COUNTERS, DROPPED, HELD, LOST};
use bfp_bundle::decide::Verdict;
use bfp_bundle::record::NO_RULE;

/// How many requests got each reason, indexed by its number; the audited ones; dropped packets; events that are lost,
/// and held back.
#[btf_map]
static VERDICTS: PerCpuArray<u64, { COUNTERS as usize }> = PerCpuArray::new();

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
