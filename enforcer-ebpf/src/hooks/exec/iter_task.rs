//! `iter/task`: labels the tasks that run when a policy is applied, one after the other.
//!
//! The enforcer first attaches the hooks for fork and exec, and before that finds the first process, whose root is the
//! host's. What was seen at a process's exec is evaluated again under each policy. A process that holds no grants until
//! it is restarted is written to the reader of the iterator, as a [`Withheld`].

use core::ffi::c_void;

use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_seq_write};
use bfp_bundle::{identity::Withheld, label::Label};

use crate::identity::labels::{self, Running};
use crate::identity::names;
use crate::kernel;
use crate::kernel::storage::Missing;

/// `struct bpf_iter__task`, kernel/bpf/task_iter.c.
#[repr(C)]
pub struct Context {
    meta: *mut Meta,
    task: *mut task_struct,
}

/// `struct bpf_iter_meta`, include/linux/bpf.h.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// The number of the first process, in the initial PID namespace.
const FIRST: u32 = 1;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn iter_first_process(ctx: *mut Context) -> i32 {
    // SAFETY: the kernel passes this context; `task` is null once, at the end.
    unsafe {
        let task = (*ctx).task;
        if !task.is_null() && kernel::member::<u32>(task.cast_const().cast(), &kernel::task_struct__pid) == FIRST {
            names::note_first_process(task_number(ctx));
        }
    }
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn iter_task(ctx: *mut Context) -> i32 {
    // SAFETY: the kernel passes this context; `task` is null once, at the end.
    unsafe {
        let task = (*ctx).task;
        if task.is_null() {
            return 0;
        }
        let process: u32 = kernel::member(task.cast_const().cast(), &kernel::task_struct__tgid);
        let thread: u32 = kernel::member(task.cast_const().cast(), &kernel::task_struct__pid);
        let Some(label) = labels::of(task, Missing::Create).as_mut() else {
            tell(ctx, process, Withheld::UNLABELLED, 0);
            return 0;
        };
        // Labelling is not an exec: the mark of an enforcer is kept.
        let learner = label.flags & Label::LEARNER;
        let running = labels::note_running(label, task, task_number(ctx));
        label.flags |= learner;
        if running == Running::Withheld && process == thread {
            tell(ctx, process, Withheld::UNTIL_RESTARTED, label.program);
        }
    }
    0
}

/// The task as a number, so that the verifier knows nothing about it.
#[inline(always)]
fn task_number(ctx: *mut Context) -> u64 {
    kernel::word(ctx as u64 + size_of::<*mut Meta>() as u64).unwrap_or(0)
}

#[inline(always)]
unsafe fn tell(ctx: *mut Context, process: u32, why: u32, program: u64) {
    let withheld = Withheld { program, process, why };
    // SAFETY: the kernel passes this context; the helper copies as many bytes as it is told.
    unsafe {
        let meta = (*ctx).meta;
        bpf_seq_write((*meta).seq.cast(), (&raw const withheld).cast_mut().cast(), size_of::<Withheld>() as u32);
    }
}
