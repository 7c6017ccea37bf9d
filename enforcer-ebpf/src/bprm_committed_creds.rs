//! `bprm_committed_creds`: the kernel has committed an exec, so the task gets its label.
//!
//! `bprm_check_security` would be too early: an exec can still fail after it, and the old program would
//! go on under the new label (fs/exec.c, `begin_new_exec` is the point of no return).

use aya_ebpf::{helpers::generated::bpf_send_signal, macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::{
    enforcers, events, files,
    kernel::{self, Pointer, member},
    labels,
    storage::Missing,
};

const SIGKILL: u32 = 9;

#[lsm(hook = "bprm_committed_creds")]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let task = labels::current();
    // SAFETY: the first argument is `struct linux_binprm *` (include/linux/lsm_hook_defs.h), and the label
    // is the map's memory when it is not null.
    unsafe {
        let bprm: Pointer = ctx.arg(0);
        let file: Pointer = member(bprm, &kernel::linux_binprm__file);
        if file.is_null() {
            return 0;
        }
        enforcers::note_executed(task, file);
        match labels::of(task, Missing::Create).as_mut() {
            Some(label) => labels::note_executed(label, task, file),
            // No memory for a label. This hook cannot refuse, but a program whose restrictions could not
            // be noted must not run.
            None if files::is_restricted(file) => {
                events::tell_of(core::ptr::null(), Kind::NoLabel);
                bpf_send_signal(SIGKILL);
            }
            None => {}
        }
    }
    0
}
