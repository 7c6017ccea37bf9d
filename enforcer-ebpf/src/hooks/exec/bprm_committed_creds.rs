//! `bprm_committed_creds`: the kernel has committed an exec, so the task gets its label.
//!
//! `bprm_check_security` would be too early: an exec can still fail after it, and the old program would continue under
//! the new label (fs/exec.c, `begin_new_exec` is the point of no return).

use aya_ebpf::{helpers::generated::bpf_send_signal, macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::decision::events;
use crate::decision::socket_kind;
use crate::decision::verdict;
use crate::identity::descriptors;
use crate::identity::enforcers;
use crate::identity::labels;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, argument, member};

const SIGKILL: u32 = 9;

#[lsm(hook = "bprm_committed_creds")]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let task = labels::current();
    // SAFETY: the first argument is `struct linux_binprm *` (include/linux/lsm_hook_defs.h).
    unsafe {
        let bprm: Pointer = ctx.arg(0);
        let file: Pointer = member(bprm, &kernel::linux_binprm__file);
        if file.is_null() {
            return 0;
        }
        enforcers::note_executed(task, file);
        // Without a label the task would continue as its former program, or as an unlisted one. This hook cannot deny.
        if !labels::note_executed(argument(&ctx, 0).unwrap_or(0), task, file) {
            events::tell_of(core::ptr::null(), Kind::NoLabel);
            bpf_send_signal(SIGKILL);
            return 0;
        }
        // Nothing is asked when it sends by such a descriptor, so it must not begin to run. Descriptors that are closed
        // at exec are closed by now.
        let label = labels::of(task, Missing::Leave);
        if !verdict::may_use_raw(label)
            && descriptors::has_one_that_sends_unasked(labels::current_number())
            && socket_kind::judge_raw(label) != 0
        {
            bpf_send_signal(SIGKILL);
        }
    }
    0
}
