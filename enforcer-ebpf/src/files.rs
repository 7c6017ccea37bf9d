//! Who a file is: the directory that holds it and its name there, or its inode.

use aya_ebpf::{
    bindings::BPF_F_RDONLY_PROG, btf_maps::HashMap, helpers::generated::bpf_probe_read_kernel_str, macros::btf_map,
};
use bfp_bundle::identity::{Directory, Executable, ExecutableKey, NAME_SIZE};

use crate::kernel::{self, Pointer, member};

/// The executables that the policy names, filled by the enforcer and frozen.
#[btf_map]
static EXECUTABLES: HashMap<ExecutableKey, Executable, 1, { BPF_F_RDONLY_PROG as usize }> = HashMap::new();

/// Whether the policy restricts whoever executes `file`.
///
/// # Safety
/// `file` is a `struct file *` to the verifier.
#[inline(always)]
pub unsafe fn is_restricted(file: Pointer) -> bool {
    // SAFETY: the caller's obligation.
    unsafe { executable(file) }.is_some_and(|executable| executable.flags & Executable::RESTRICTED != 0)
}

/// What the policy says of a file, by the directory that holds it and its name there.
///
/// # Safety
/// `file` is a `struct file *` to the verifier.
#[inline(always)]
pub unsafe fn executable(file: Pointer) -> Option<Executable> {
    // SAFETY: the members are what their names say; `name` is as long as the helper is told.
    unsafe {
        let dentry: Pointer = member(kernel::member_address(file, &kernel::file__f_path), &kernel::path__dentry);
        if dentry.is_null() {
            return None;
        }
        let parent: Pointer = member(dentry, &kernel::dentry__d_parent);
        let mut key = ExecutableKey { directory: inode(parent)?, name: [0; NAME_SIZE] };
        let name: Pointer = member(kernel::member_address(dentry, &kernel::dentry__d_name), &kernel::qstr__name);
        if bpf_probe_read_kernel_str(key.name.as_mut_ptr().cast(), NAME_SIZE as u32, name) < 0 {
            return None;
        }
        EXECUTABLES.get(&key).copied()
    }
}

/// The identity of the directory, or of the file, behind a dentry.
///
/// # Safety
/// `dentry` is a `struct dentry *` to the verifier, or null.
#[inline(always)]
pub unsafe fn inode(dentry: Pointer) -> Option<Directory> {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        if dentry.is_null() {
            return None;
        }
        let inode: Pointer = member(dentry, &kernel::dentry__d_inode);
        if inode.is_null() { None } else { identity(inode) }
    }
}

/// The identity of an inode.
///
/// # Safety
/// `inode` is a `struct inode *` to the verifier.
#[inline(always)]
pub unsafe fn identity(inode: Pointer) -> Option<Directory> {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let super_block: Pointer = member(inode, &kernel::inode__i_sb);
        if super_block.is_null() {
            return None;
        }
        Some(Directory {
            inode: member(inode, &kernel::inode__i_ino),
            device: member(super_block, &kernel::super_block__s_dev),
            generation: member(inode, &kernel::inode__i_generation),
        })
    }
}
