//! Kernel structures, read at offsets that are constants by the time the verifier looks.
//!
//! The enforcer writes each offset into read-only data before it loads the programs, after checking the
//! member's size against the running kernel's BTF. The verifier then knows the number and checks the
//! access against the same BTF, so a wrong offset to a pointer is rejected, and a read that faults yields
//! zero.

/// Single instructions that the compiler must not see through.
pub mod asm;

/// Values that the kernel keeps with tasks and sockets.
pub mod storage;

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{EbpfContext, Global, helpers::generated::bpf_probe_read_kernel, programs::LsmContext};

/// A pointer into the kernel whose type the verifier keeps.
pub type Pointer = *const c_void;

/// An offset that was not set leads nowhere, and is rejected.
const UNSET: u32 = 0xdead_0000;

macro_rules! offsets {
    ($($name:ident),* $(,)?) => { $(
        #[unsafe(no_mangle)]
        pub static $name: Global<u32> = Global::new(UNSET);
    )* };
}

// The names are `STRUCT__MEMBER`: the enforcer finds them in its own list (enforcer/src/host/offsets.rs).
offsets!(
    task_struct__pid,
    task_struct__tgid,
    task_struct__fs,
    task_struct__nsproxy,
    fs_struct__root,
    nsproxy__mnt_ns,
    task_struct__mm,
    task_struct__cred,
    task_struct__ptrace,
    task_struct__flags,
    task_struct__seccomp,
    seccomp__filter,
    seccomp_filter__prev,
    seccomp_filter__notif,
    cred__user_ns,
    user_namespace__level,
    mm_struct__exe_file,
    linux_binprm__file,
    file__f_path,
    path__dentry,
    dentry__d_name,
    dentry__d_hash,
    qstr__name,
    qstr__len,
    dentry__d_parent,
    dentry__d_inode,
    inode__i_ino,
    inode__i_sb,
    inode__i_generation,
    super_block__s_dev,
    super_block__s_root,
    vfsmount__mnt_sb,
    vfsmount__mnt_root,
    path__mnt,
    mount__mnt,
    mount__mnt_parent,
    mount__mnt_mountpoint,
    mount__mnt_ns,
    mount__mnt_group_id,
    mount__mnt_mounts,
    socket__sk,
    sock__sk_protocol,
    sock_common__skc_family,
    sock_common__skc_dport,
    sock_common__skc_daddr,
    sock_common__skc_rcv_saddr,
    sock_common__skc_v6_daddr,
    msghdr__msg_name,
    msghdr__msg_namelen,
);

/// The member of `base` at `offset`.
///
/// # Safety
/// `base` must be a pointer whose type the verifier knows to have a `T` at `offset`; the verifier rejects
/// the program otherwise.
#[inline(always)]
pub unsafe fn member<T: Copy>(base: Pointer, offset: &Global<u32>) -> T {
    // SAFETY: the caller's obligation. Volatile, so that the access stays as wide as it is written.
    unsafe { core::ptr::read_volatile(base.byte_add(offset.load() as usize).cast::<T>()) }
}

/// A word of kernel memory at an address that is a mere number; nothing where none is.
#[inline(always)]
pub fn word(address: u64) -> Option<u64> {
    let mut word = MaybeUninit::<u64>::uninit();
    // SAFETY: the helper reads as many bytes as it is told, and fails where there are none.
    unsafe {
        let read = bpf_probe_read_kernel(word.as_mut_ptr().cast(), size_of::<u64>() as u32, address as Pointer);
        if read == 0 { Some(word.assume_init()) } else { None }
    }
}

/// The address of the member at `offset` of what lies at an address.
#[inline(always)]
pub fn place(address: u64, offset: &Global<u32>) -> u64 {
    address.wrapping_add(u64::from(offset.load()))
}

/// An argument of a hook as a number: for those that may be null, and those that are followed as numbers.
#[inline(always)]
pub fn argument(ctx: &LsmContext, index: u64) -> Option<u64> {
    word(ctx.as_ptr() as u64 + index * 8)
}

/// The address of the member of `base` at `offset`.
#[inline(always)]
pub fn member_address(base: Pointer, offset: &Global<u32>) -> Pointer {
    base.wrapping_byte_add(offset.load() as usize)
}
