//! The policy's tables: array maps that hold a bundle's sections byte for byte.
//!
//! The enforcer sets the number of entries from the section, copies it in and freezes the map. Nothing
//! here is ever written by a program.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use bfp_bundle::{
    decide::{self, Tables, Unless, Verdict},
    label::{Label, ProgramId},
    record::{Cell, NO_RULE, Node32, Node128, Pair, PairBucket, Policy, ProgramBucket},
};

use crate::verdict;

/// So that a section is copied in with one `memcpy`.
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map]
static POLICY: Array<Policy, 1, MMAPABLE> = Array::new();
#[btf_map]
static NODES32: Array<Node32, 1, MMAPABLE> = Array::new();
#[btf_map]
static NODES128: Array<Node128, 1, MMAPABLE> = Array::new();
#[btf_map]
static CELLS: Array<Cell, 1, MMAPABLE> = Array::new();
#[btf_map]
static PROGRAMS: Array<ProgramBucket, 1, MMAPABLE> = Array::new();
#[btf_map]
static PAIRS: Array<PairBucket, 1, MMAPABLE> = Array::new();

/// The index in [`VERDICTS`] of requests that are allowed, and that an `audit` rule would refuse.
const AUDITED: u32 = 8;

/// The index of packets that the backstop dropped.
const DROPPED: u32 = 9;

/// The index of events for which the ring had no room.
const LOST: u32 = 10;

/// How many requests got each reason, indexed by its number; the audited ones; dropped packets; lost events.
#[btf_map]
static VERDICTS: PerCpuArray<u64, 11> = PerCpuArray::new();

/// The maps as tables.
pub struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn policy(&self) -> Option<&Policy> {
        POLICY.get(0)
    }
    #[inline(always)]
    fn node32(&self, index: u32) -> Option<&Node32> {
        NODES32.get(index)
    }
    #[inline(always)]
    fn node128(&self, index: u32) -> Option<&Node128> {
        NODES128.get(index)
    }
    #[inline(always)]
    fn cell(&self, index: u32) -> Option<&Cell> {
        CELLS.get(index)
    }
    #[inline(always)]
    fn program_bucket(&self, index: u32) -> Option<&ProgramBucket> {
        PROGRAMS.get(index)
    }
    #[inline(always)]
    fn pair_bucket(&self, index: u32) -> Option<&PairBucket> {
        PAIRS.get(index)
    }

    #[inline(always)]
    fn judge(&self, label: &Label, cell: u32, unless: Unless) -> Verdict {
        Verdict::from_bits(verdict::judge_cell(label, cell, (unless == Unless::Granted).into()))
    }

    #[inline(always)]
    fn pair(&self, cell: u32, program: ProgramId) -> Option<Pair> {
        decide::pair_from_bits(verdict::pair(cell, program))
    }

    #[inline(always)]
    fn opaque(number: u32) -> u32 {
        let mut same = u64::from(number);
        // SAFETY: one instruction that changes nothing in the register it is given.
        unsafe { core::arch::asm!("{0} |= 0", inout(reg) same, options(pure, nomem, nostack, preserves_flags)) };
        same as u32
    }

    /// LLVM turns a shifted difference back into a comparison and a branch, unless it cannot see the
    /// shift. An empty `asm!` would do as well, but breaks the BTF line info.
    #[inline(always)]
    fn sign_bit(word: u64) -> u64 {
        let mut bit = word;
        // SAFETY: one instruction that shifts the register it is given.
        unsafe { core::arch::asm!("{0} >>= 63", inout(reg) bit, options(pure, nomem, nostack, preserves_flags)) };
        bit
    }
}

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

#[inline(always)]
fn count_one(index: u32) {
    if let Some(counter) = VERDICTS.get_ptr_mut(index) {
        // SAFETY: the map's own memory, of this processor; a program is not preempted by itself here.
        unsafe { *counter += 1 };
    }
}
