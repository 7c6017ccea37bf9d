//! `ptrace_access_check` and `ptrace_traceme`: tracing, `/proc/pid/mem`, `process_vm_writev`, `process_vm_readv`,
//! `pidfd_getfd`, `process_madvise` and the like all call this hook (kernel/ptrace.c, `__ptrace_may_access`), whatever
//! the user.
//!
//! It enforces two rules. No task accesses a protected program, or the enforcer under lockdown. And no task accesses a
//! task with fewer restrictions than its own, which could do for it what it may not do itself.
//!
//! A task's access to itself and to its own threads is not checked.

use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_uid_gid, macros::lsm, programs::LsmContext};

use bfp_bundle::{event::Kind, label::Label};

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::guard;
use crate::identity::labels;
use crate::kernel::arguments::arguments;
use crate::kernel::asm::{bit, opaque, sign_bit};
use crate::kernel::storage::Missing;

// include/linux/ptrace.h
/// More than reading what /proc shows of a task.
const MODE_ATTACH: u32 = 2;
/// Only omits part of a result if denied, such as a field of /proc/pid/stat.
const MODE_NOAUDIT: u32 = 4;

#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    arguments!(ctx, task: *mut task_struct, mode: u32);
    let other = labels::of(task, Missing::Leave);
    if mode & MODE_ATTACH == 0 {
        return judge_reading(other, mode);
    }
    if guard::is_guarded(other) {
        return refuse(Kind::Access);
    }
    let verdict = judge_reach(labels::of(labels::current(), Missing::Leave), other);
    if verdict != 0 {
        return verdict;
    }
    if enforcers::is_enforcer(task) { refuse(Kind::Locked) } else { 0 }
}

#[lsm(hook = "ptrace_traceme")]
pub fn ptrace_traceme(ctx: LsmContext) -> i32 {
    // The current task is the one that would be traced, by its parent.
    arguments!(ctx, parent: *mut task_struct);
    let own = labels::of(labels::current(), Missing::Leave);
    if guard::is_guarded(own) { refuse(Kind::Access) } else { judge_reach(labels::of(parent, Missing::Leave), own) }
}

/// What /proc shows of a protected task to its user (its environment, memory map and descriptors), and what perf
/// samples of it, is shown to root alone, as for set-uid programs. This hook cannot distinguish the two.
#[inline(always)]
fn judge_reading(other: *const Label, mode: u32) -> i32 {
    // SAFETY: takes nothing. The user is the one that the host sees.
    let user = unsafe { bpf_get_current_uid_gid() } as u32;
    if mode & MODE_NOAUDIT == 0 && user != 0 && guard::is_guarded(other) { refuse(Kind::Access) } else { 0 }
}

/// Whether one task may access another: 0 or -EPERM. A task without a label is unknown, so it may not access any task,
/// and no task may access it.
#[inline(always)]
fn judge_reach(from: *const Label, into: *const Label) -> i32 {
    if from.is_null() || into.is_null() {
        return refuse(Kind::NoLabel);
    }
    if bit(gains_nothing(from, into)) != 0 { 0 } else { refuse(Kind::Access) }
}

/// [`Label::is_at_most_as_restricted_as`] as a separate function, as in [`crate::decision::verdict`]: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn gains_nothing(from: *const Label, into: *const Label) -> i32 {
    // SAFETY: labels in a map's memory where they are not null, as the verifier checks at every call.
    match unsafe { (from.as_ref(), into.as_ref()) } {
        (Some(from), Some(into)) => {
            from.is_at_most_as_restricted_as(into, guard::is_restriction_enforced, opaque, sign_bit).into()
        }
        _ => 0,
    }
}
