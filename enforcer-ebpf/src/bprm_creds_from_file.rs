//! `bprm_creds_from_file`: a program that holds an exclusive grant, and the enforcer of a locked policy, run in secure-exec mode, as
//! set-uid programs do, so that the dynamic loader ignores LD_PRELOAD, LD_AUDIT and LD_LIBRARY_PATH.
//!
//! Of the hooks before the point of no return this is the one that sees the file that will run: at
//! `bprm_creds_for_exec` it could still be a script, whose interpreter is the program.

use aya_ebpf::{bindings::linux_binprm, helpers::generated::bpf_bprm_opts_set, macros::lsm, programs::LsmContext};
use bfp_bundle::identity::Executable;

use crate::{enforcers, files, kernel::Pointer};

/// `BPF_F_BPRM_SECUREEXEC`, include/uapi/linux/bpf.h.
const SECURE_EXEC: u64 = 1;

#[lsm(hook = "bprm_creds_from_file")]
pub fn bprm_creds_from_file(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: `(struct linux_binprm *bprm, const struct file *file)`
    unsafe {
        let bprm: *mut linux_binprm = ctx.arg(0);
        let file: Pointer = ctx.arg(1);
        let holds_grant = files::executable(file).is_some_and(|found| found.flags & Executable::GUARDED != 0);
        if holds_grant || enforcers::is_file(file) {
            bpf_bprm_opts_set(bprm, SECURE_EXEC);
        }
    }
    0
}
