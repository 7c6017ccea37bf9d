//! `iter/task`: labels the tasks that run when a policy is applied, one after the other.
//!
//! The enforcer attaches fork and exec first. A label that was made at exec stays, since it is better
//! evidence than what the task's memory map says now; only a task that the earlier policies did not name
//! is looked at again.

use core::ffi::c_void;

use aya_ebpf::bindings::task_struct;
use bfp_bundle::label::Label;

use crate::{labels, storage::Missing};

/// `struct bpf_iter__task`, kernel/bpf/task_iter.c.
#[repr(C)]
pub struct Context {
    meta: *mut c_void,
    task: *mut task_struct,
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
        if let Some(label) = labels::of(task, Missing::Create).as_mut()
            && label.program == 0
        {
            // Labelling is no exec: an enforcer's own mark stays.
            let learner = label.flags & Label::LEARNER;
            labels::note_running(label, task.cast_const().cast());
            label.flags |= learner;
        }
    }
    0
}
