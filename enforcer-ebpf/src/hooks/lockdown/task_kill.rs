//! `task_kill`: under lockdown, no process can kill or stop the enforcer (such as a reader of events) by a signal,
//! except itself and the first process of the host, which must be able to stop services.
//!
//! Signals of the kernel (a terminal's, a timer's, the out-of-memory killer's) do not call this hook (kernel/signal.c,
//! `check_kill_permission`).

use aya_ebpf::{helpers::generated::bpf_get_current_pid_tgid, macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::identity::enforcers;

#[lsm(hook = "task_kill")]
pub fn task_kill(ctx: LsmContext) -> i32 {
    // `(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    let signal: i32 = ctx.arg(2);
    // Signal 0 only tests whether a process exists.
    if signal == 0 || !enforcers::is_enforcer(ctx.arg(0)) || enforcers::is_current() {
        return 0;
    }
    // SAFETY: takes nothing. The number is the one that the host sees.
    let process = unsafe { bpf_get_current_pid_tgid() } >> 32;
    if process == 1 { 0 } else { refuse(Kind::Locked) }
}
