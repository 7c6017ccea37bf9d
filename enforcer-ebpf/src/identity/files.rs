//! The identity of a file while its inode is in memory. Not for longer: inode numbers change and are reused.

use bfp_bundle::identity::Inode;

use crate::kernel::{self, Pointer, member, place, word};

/// The inode of an open file.
///
/// # Safety
/// `file` is a `struct file *` to the verifier.
#[inline(always)]
pub unsafe fn inode_of(file: Pointer) -> Option<Inode> {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe { inode(member(kernel::member_address(file, &kernel::file__f_path), &kernel::path__dentry)) }
}

/// The inode behind a dentry that is given as a number.
#[inline(always)]
pub fn inode_at(dentry: u64) -> Option<Inode> {
    let inode = word(place(dentry, &kernel::dentry__d_inode)).filter(|inode| *inode != 0)?;
    let super_block = word(place(inode, &kernel::inode__i_sb)).filter(|found| *found != 0)?;
    Some(Inode {
        inode: word(place(inode, &kernel::inode__i_ino))?,
        device: word(place(super_block, &kernel::super_block__s_dev))? as u32,
        generation: word(place(inode, &kernel::inode__i_generation))? as u32,
    })
}

/// Whether two inodes are the same.
#[inline(always)]
pub fn is_same(one: &Inode, other: &Inode) -> bool {
    one.inode == other.inode && one.device == other.device && one.generation == other.generation
}

/// The inode behind a dentry.
///
/// # Safety
/// `dentry` is a `struct dentry *` to the verifier, or null.
#[inline(always)]
pub unsafe fn inode(dentry: Pointer) -> Option<Inode> {
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
pub unsafe fn identity(inode: Pointer) -> Option<Inode> {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let super_block: Pointer = member(inode, &kernel::inode__i_sb);
        if super_block.is_null() {
            return None;
        }
        Some(Inode {
            inode: member(inode, &kernel::inode__i_ino),
            device: member(super_block, &kernel::super_block__s_dev),
            generation: member(inode, &kernel::inode__i_generation),
        })
    }
}
