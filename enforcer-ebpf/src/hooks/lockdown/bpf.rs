//! `bpf`: other processes get no descriptor of the objects of a policy under lockdown, and so cannot detach, update or
//! write them.
//!
//! A descriptor in the arguments is not resolved: another thread could replace it before the kernel reads it. The
//! number of an object is in the kernel's own copy of the arguments (kernel/bpf/syscall.c, `__sys_bpf`), and the other
//! way to a descriptor is a pin, whose directory other processes cannot enter
//! ([`crate::hooks::lockdown::inode_permission`]).

use core::mem::MaybeUninit;

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel, macros::lsm, programs::LsmContext};
use bfp_bundle::{event::Kind, lockdown::Object};

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::locked;
use crate::kernel::Pointer;

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const PROG_LOAD: i32 = 5;
const PROG_GET_FD_BY_ID: i32 = 13;
const MAP_GET_FD_BY_ID: i32 = 14;
const LINK_GET_FD_BY_ID: i32 = 30;

/// `BPF_PROG_TYPE_TRACING` and `BPF_MODIFY_RETURN`: a program that replaces the return value of a kernel function. For
/// `security_bpf` any positive value would do: `__sys_bpf` takes it for consent, and no module is called.
const TRACING: u32 = 26;
const MODIFY_RETURN: u32 = 26;

/// `BPF_PROG_TYPE_LSM`: from 6.12 on the verifier rejects a program that returns more than a hook may
/// (kernel/bpf/bpf_lsm.c, `bpf_lsm_get_retval_range`). Before, a program on this very hook would run first, and its
/// positive value is consent.
const LSM: u32 = 29;

/// Whether the kernel accepts such programs.
#[unsafe(no_mangle)]
static LSM_MAY_CONSENT: Global<u32> = Global::new(0);

/// The part of `union bpf_attr` that is read, in words of 32 bits.
const WORDS: usize = 18;
const NUMBER: usize = 0;
const PROGRAM_TYPE: usize = 0;
const EXPECTED_ATTACH_TYPE: usize = 17;

#[lsm(hook = "bpf")]
pub fn bpf(ctx: LsmContext) -> i32 {
    // `(int cmd, union bpf_attr *attr, unsigned int size)`, and from 6.15 on `bool kernel`. A call that an earlier
    // program denied does not get here (arch/x86/net/bpf_jit_comp.c, `invoke_bpf_mod_ret`).
    let command: i32 = ctx.arg(0);
    if !matches!(command, PROG_LOAD | PROG_GET_FD_BY_ID | MAP_GET_FD_BY_ID | LINK_GET_FD_BY_ID) {
        return 0;
    }
    if enforcers::is_current() {
        return 0;
    }
    let mut place = MaybeUninit::<[u32; WORDS]>::uninit();
    // SAFETY: the helper writes as many bytes as it is told, or reports that it could not.
    let words = unsafe {
        let attributes: Pointer = ctx.arg(1);
        if bpf_probe_read_kernel(place.as_mut_ptr().cast(), size_of::<[u32; WORDS]>() as u32, attributes) != 0 {
            return refuse(Kind::Locked);
        }
        place.assume_init()
    };
    let is_refused = match command {
        PROG_LOAD => match words[PROGRAM_TYPE] {
            TRACING => words[EXPECTED_ATTACH_TYPE] == MODIFY_RETURN,
            LSM => LSM_MAY_CONSENT.load() != 0,
            _ => false,
        },
        PROG_GET_FD_BY_ID => locked::is_own(Object::Program, words[NUMBER]),
        MAP_GET_FD_BY_ID => locked::is_own(Object::Map, words[NUMBER]),
        _ => locked::is_own(Object::Link, words[NUMBER]),
    };
    if is_refused { refuse(Kind::Locked) } else { 0 }
}
