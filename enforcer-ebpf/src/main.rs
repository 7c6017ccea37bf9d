//! The programs that decide in the kernel, one hook a file.
//!
//! Each of the deciding hooks reads alike: honour an earlier refusal, build a request from what the
//! kernel holds (never from user memory), decide, count. Who asks was noted when the task executed its
//! program ([`labels`]).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

/// Reading kernel structures at offsets that the enforcer takes from the running kernel's BTF.
mod kernel;

/// The policy's tables, as frozen array maps.
mod tables;

/// Values that the kernel keeps with tasks and sockets.
mod storage;

/// Labels in task storage, and who a file is.
mod labels;

/// Verdicts, by the tables.
mod verdict;

/// From a socket call to the requests that it makes, and their verdicts.
mod socket;

mod bprm_committed_creds;
mod inode_getattr;
mod iter_task;
mod socket_connect;
mod socket_sendmsg;
mod task_alloc;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier rejects a program in which it could be.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
