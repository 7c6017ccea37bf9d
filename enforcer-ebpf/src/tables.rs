//! The policy's tables: array maps that hold a bundle's sections byte for byte.
//!
//! The enforcer sets the number of entries from the section, copies it in and freezes the map. No program ever writes
//! these maps.
//!
//! The steps of a decision are global functions, like those of [`crate::decision::verdict`], and for the same reason.

use aya_ebpf::{bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use bfp_bundle::{
    decide::{self, Governance, Tables, Unless, Verdict, Whole},
    label::{Label, ProgramId},
    record::{Cell, NO_RULE, Node32, Node128, Pair, PairBucket, Policy, ProgramBucket},
};

use crate::kernel::asm;

/// Lets a section be copied in with one `memcpy`.
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
    fn cell_v4(&self, address: u32, port_key: u32) -> Option<u32> {
        number_from_bits(cell_v4(address, port_key))
    }

    #[inline(always)]
    fn cell_v6(&self, high: u64, low: u64, port_key: u32) -> Option<u32> {
        number_from_bits(cell_v6(high, low, port_key))
    }

    #[inline(always)]
    fn judge(&self, label: &Label, cell: u32, unless: Unless) -> Verdict {
        Verdict::from_bits(judge_cell(label, cell, unless as u32))
    }

    #[inline(always)]
    fn pair(&self, cell: u32, program: ProgramId) -> Option<Pair> {
        decide::pair_from_bits(pair(cell, program))
    }

    #[inline(always)]
    fn whole(&self, program: ProgramId) -> Option<Whole> {
        Whole::from_bits(whole(program))
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

/// An optional number as one number, which is all that a global BPF function can return.
#[inline(always)]
pub fn number_to_bits(number: Option<u32>) -> u64 {
    match number {
        Some(number) => u64::from(number),
        None => u64::MAX,
    }
}

/// From [`number_to_bits`].
#[inline(always)]
pub fn number_from_bits(bits: u64) -> Option<u32> {
    if bits > u64::from(u32::MAX) { None } else { Some(bits as u32) }
}

/// The cell of an IPv4 address and a port key, as [`number_to_bits`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cell_v4(address: u32, port_key: u32) -> u64 {
    number_to_bits(decide::cell_v4(&Maps, address, port_key))
}

/// As [`cell_v4`], for an IPv6 address in two halves.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn cell_v6(high: u64, low: u64, port_key: u32) -> u64 {
    number_to_bits(decide::cell_v6(&Maps, high, low, port_key))
}

/// The verdict for a cell, as [`Verdict::to_bits`]; `unless` is an [`Unless`] as a number.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_cell(label: *const Label, cell: u32, unless: u32) -> u64 {
    // SAFETY: a label in a map's memory where it is not null, as the verifier checks at every call.
    match unsafe { label.as_ref() } {
        Some(label) => decide::judge(&Maps, label, cell, Unless::from_number(unless)).to_bits(),
        None => Verdict::FAULT.to_bits(),
    }
}

/// What holds for a program in a cell, as [`decide::pair_to_bits`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pair(cell: u32, program: ProgramId) -> u64 {
    decide::pair_to_bits(decide::pair(&Maps, cell, program))
}

/// What holds for a program in every cell, as [`Whole::to_bits`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn whole(program: ProgramId) -> u64 {
    Whole::to_bits(decide::whole(&Maps, program))
}

/// Whether the policy governs the task with this label, as [`Governance::to_bits`]. A task without a label counts as
/// governed.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn governance(label: *const Label) -> u64 {
    // SAFETY: as above.
    let governance = match unsafe { label.as_ref() } {
        Some(label) => decide::governance(&Maps, label),
        None => Governance { is_enforced: true, audited: NO_RULE },
    };
    governance.to_bits()
}

/// Whether an enforced rule governs the task with this label: requests that cannot be judged are denied to it.
#[inline(always)]
pub fn is_governed(label: *const Label) -> bool {
    Governance::from_bits(governance(label)).is_enforced
}

/// The label of unlisted programs: zeros. The argument of a global function must be memory that could be written, which
/// a constant is not; the enforcer freezes this map.
#[btf_map]
static UNLISTED: Array<Label, 1> = Array::new();

/// The label of a socket, or that of unlisted programs if it has none, as for the kernel's own sockets.
#[inline(always)]
pub fn or_unlisted(label: *const Label) -> *const Label {
    if label.is_null() { UNLISTED.get_ptr(0).unwrap_or(core::ptr::null()) } else { label }
}
