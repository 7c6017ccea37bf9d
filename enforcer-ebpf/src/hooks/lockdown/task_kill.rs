//! `task_kill`: under lockdown, no process can kill or stop the enforcer (such as a reader of events) by a signal,
//! except itself and the first process of the host, which must be able to stop services.
//!
//! Signals of the kernel (a terminal's, a timer's, the out-of-memory killer's) do not call this hook (kernel/signal.c,
//! `check_kill_permission`).

use aya_ebpf::{
    bindings::task_struct, helpers::generated::bpf_get_current_pid_tgid, macros::lsm, programs::LsmContext,
};
use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::kernel::Pointer;
use crate::kernel::arguments::arguments;

#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    arguments!(ctx, task: *mut task_struct, _info: Pointer, signal: i32, _sender: Pointer);
    // Signal 0 only tests whether a process exists.
    if signal == 0 || !enforcers::is_enforcer(task) || enforcers::is_current() {
        return 0;
    }
    // SAFETY: takes nothing. The number is the one that the host sees.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    if process == 1 { 0 } else { refuse(Kind::Locked) }
}
