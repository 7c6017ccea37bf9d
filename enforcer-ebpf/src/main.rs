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

/// Single instructions that the compiler must not see through.
mod asm;

/// The policy's tables, as frozen array maps.
mod tables;

/// Values that the kernel keeps with tasks and sockets.
mod storage;

/// Which file it is.
mod files;

/// The name of a file, from the host's root.
mod names;

/// Labels in task storage.
mod labels;

/// Whether a file has a pinned content.
mod content;

/// Labels in socket storage: who uses a socket.
mod owners;

/// Which processes are the enforcer's own.
mod enforcers;

/// What a locked policy guards.
mod locked;

/// Who must not be reached into, and who executes nothing that is not pinned.
mod guard;

/// What is counted.
mod counters;

/// A limit on what is told.
mod flood;

/// What is told of a refusal.
mod events;

/// Verdicts, by the tables.
mod verdict;

/// Which sockets can be judged by their sends.
mod socket_kind;

/// From a socket call to the requests that it makes, and their verdicts.
mod socket;

// Who a process is.
mod bprm_committed_creds;
mod iter_task;
mod task_alloc;

// Whose a socket is.
mod iter_task_file;
mod socket_post_create;

// What a process may do.
mod inet_sendpage;
mod socket_connect;
mod socket_create;
mod socket_sendmsg;
mod socket_setsockopt;
mod tun_dev;

// Where packets really go.
mod egress;

// That nothing gets around these programs.
mod bprm_creds_from_file;
mod libraries;
mod ptrace;
mod sysctl;

// That nobody takes a locked policy apart.
mod bpf;
mod inode_permission;
mod inode_rename;
mod sb_umount;
mod task_kill;

// Asked while a policy is applied.
mod inode_getattr;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier rejects a program in which it could be.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
