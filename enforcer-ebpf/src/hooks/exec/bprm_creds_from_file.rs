//! `bprm_creds_from_file`: runs protected programs, and the enforcer under lockdown, in secure-exec mode, as for
//! set-uid programs, so that the dynamic loader ignores LD_PRELOAD, LD_AUDIT and LD_LIBRARY_PATH.
//!
//! A protected program that was not run in this mode holds no grant once the exec is committed.
//!
//! Of the hooks before the point of no return, this one sees the file that will run: at `bprm_creds_for_exec` it could
//! still be a script, whose interpreter is the program.

use aya_ebpf::{bindings::linux_binprm, helpers::generated::bpf_bprm_opts_set, macros::lsm, programs::LsmContext};
use bfp_bundle::names::Match;

use crate::identity::enforcers;
use crate::identity::labels;
use crate::identity::names;
use crate::kernel::arguments::arguments;
use crate::kernel::{Pointer, argument};

/// `BPF_F_BPRM_SECUREEXEC`, include/uapi/linux/bpf.h.
const SECURE_EXEC: u64 = 1;

#[lsm(hook = "bprm_creds_from_file")]
pub fn bprm_creds_from_file(ctx: LsmContext) -> i32 {
    arguments!(ctx, bprm: *mut linux_binprm, file: Pointer);
    // SAFETY: the verifier knows the type of each.
    unsafe {
        let place = argument(&ctx, 1).and_then(names::place_of);
        let task = labels::current_number();
        let found = place.and_then(|(mount, dentry)| names::identify(mount, dentry, task)).and_then(|found| found.own);
        let is_guarded = found.is_some_and(|found| found.flags & Match::GUARDED != 0);
        if is_guarded || enforcers::is_file(file) {
            bpf_bprm_opts_set(bprm, SECURE_EXEC);
        }
    }
    0
}
