//! `ptrace_access_check` and `ptrace_traceme`: tracing, `/proc/pid/mem`, `process_vm_writev`,
//! `process_vm_readv`, `pidfd_getfd`, `process_madvise` and the like all ask here
//! (kernel/ptrace.c, `__ptrace_may_access`), whoever they are.
//!
//! The enforcer of a locked policy is guarded as programs with an exclusive grant are.
//!
//! A task's access to itself and to its own threads is not asked about.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use bfp_bundle::event::Kind;

use crate::{enforcers, events::refuse, guard, labels, storage::Missing};

/// `PTRACE_MODE_ATTACH`, include/linux/ptrace.h: more than reading what /proc shows of a task.
const MODE_ATTACH: u32 = 2;

#[lsm(hook = "ptrace_access_check")]
pub fn ptrace_access_check(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    let mode: u32 = ctx.arg(1);
    if earlier != 0 || mode & MODE_ATTACH == 0 {
        return earlier;
    }
    // `(struct task_struct *child, unsigned int mode)`
    if guard::is_guarded(labels::of(ctx.arg(0), Missing::Leave)) {
        return refuse(Kind::Access);
    }
    if enforcers::is_enforcer(ctx.arg(0)) { refuse(Kind::Locked) } else { 0 }
}

#[lsm(hook = "ptrace_traceme")]
pub fn ptrace_traceme(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    // The one that asks is the one that would be traced.
    if guard::is_guarded(labels::of(labels::current(), Missing::Leave)) { refuse(Kind::Access) } else { 0 }
}
