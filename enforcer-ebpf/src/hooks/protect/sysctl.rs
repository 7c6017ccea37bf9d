//! `cgroup/sysctl` on the root cgroup: `kernel.ftrace_enabled` cannot be written while a policy is enforced.
//!
//! Before 7.3 the kernel calls LSM programs through its function tracer: with the value 0 it would call none of them
//! (kernel/trace/ftrace.c, `ftrace_enable_sysctl`).

use aya_ebpf::{helpers::generated::bpf_sysctl_get_name, macros::cgroup_sysctl, programs::SysctlContext};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// The name as the helper writes it, with its terminating zero.
const FTRACE_ENABLED: [u8; 22] = *b"kernel/ftrace_enabled\0";

#[cgroup_sysctl]
pub fn sysctl(ctx: SysctlContext) -> i32 {
    let mut name = [0u8; 24];
    // SAFETY: the context is the kernel's; the helper writes as many bytes as it is told.
    unsafe {
        if (*ctx.sysctl).write == 0 {
            return ALLOW;
        }
        bpf_sysctl_get_name(ctx.sysctl, name.as_mut_ptr().cast(), name.len() as _, 0);
    }
    let mut different = 0;
    for (byte, wanted) in name.iter().zip(&FTRACE_ENABLED) {
        different |= byte ^ wanted;
    }
    if different == 0 { REFUSE } else { ALLOW }
}
