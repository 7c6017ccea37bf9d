//! The unit of systemd in which a task runs: the name of the first cgroup from the root that is not a slice's.
//!
//! Walked from the root down, because a user may make cgroups of any name below the unit that was delegated to that
//! user, and nobody but root may make one above. A chain of slices is the manager's own: it delegates none. Names and
//! not numbers are compared: the cgroup of a unit is made anew when the unit starts again. A cgroup cannot be renamed
//! (kernel/cgroup/cgroup.c, `cgroup1_rename` is of version 1).
//!
//! The cgroups of a task are freed after a grace period of RCU, in which this program runs. They are followed as
//! numbers, so that what cannot be read is a fault.

use aya_ebpf::{btf_maps::Array, helpers::generated::bpf_probe_read_kernel_str, macros::btf_map};

use crate::kernel::asm;
use crate::kernel::{self, Pointer, half_word, place, word};

/// The most slices above a unit, and the unit. Deeper ones count as no unit.
const LEVELS: u32 = 10;

/// The longest name, and the zero byte after it.
const NAME_SIZE: u32 = 256;

/// ".sli" and "lice": a name ends in `.slice`.
const FOURTH_TO_LAST: u32 = u32::from_le_bytes(*b"lice");
const SIXTH_TO_LAST: u32 = u32::from_le_bytes(*b".sli");

/// Where names are copied to, to find their ends. What it holds is never read.
#[btf_map]
static COPIED: Array<[u8; NAME_SIZE as usize], 1> = Array::new();

/// A task without a unit: a kernel thread, a helper of the kernel, or a task on a host whose cgroups are not made by
/// systemd.
pub const NONE: u64 = 0;

/// The cgroups of the task cannot be read.
pub const FAULT: u64 = u64::MAX;

/// The address of the name of a task's unit, [`NONE`] or [`FAULT`].
#[inline(always)]
pub fn name_of(task: u64) -> u64 {
    unit_name(task)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn unit_name(task: u64) -> u64 {
    find(task).unwrap_or(FAULT)
}

#[inline(always)]
fn find(task: u64) -> Option<u64> {
    let set = word(place(task, &kernel::task_struct__cgroups))?;
    let cgroup = word(place(set, &kernel::css_set__dfl_cgrp))?;
    let level = half_word(place(cgroup, &kernel::cgroup__level))?;
    let ancestors = place(cgroup, &kernel::cgroup__ancestors);
    let mut at = 1;
    while at <= LEVELS {
        if at > level {
            break;
        }
        let ancestor = word(ancestors.wrapping_add(u64::from(at) * 8))?;
        let node = word(place(ancestor, &kernel::cgroup__kn))?;
        let name = word(place(node, &kernel::kernfs_node__name))?;
        let length = length_of(name)?;
        if !is_slice(name, length)? {
            return Some(name);
        }
        at = asm::opaque(at + 1);
    }
    Some(NONE)
}

/// The length of a name in bytes, at least 1.
#[inline(always)]
pub fn length_of(name: u64) -> Option<u32> {
    let copied = COPIED.get_ptr_mut(0)?;
    // SAFETY: the helper writes at most as many bytes as it is told, which is the size of the map's value.
    let read = unsafe { bpf_probe_read_kernel_str(copied.cast(), NAME_SIZE, name as Pointer) };
    if read < 2 { None } else { Some(read as u32 - 1) }
}

/// Whether a name is that of a slice's cgroup.
#[inline(always)]
fn is_slice(name: u64, length: u32) -> Option<bool> {
    if length < 6 {
        return Some(false);
    }
    let end = name.wrapping_add(u64::from(length));
    Some(half_word(end.wrapping_sub(6))? == SIXTH_TO_LAST && half_word(end.wrapping_sub(4))? == FOURTH_TO_LAST)
}
