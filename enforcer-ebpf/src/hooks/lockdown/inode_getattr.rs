//! `inode_getattr`: reports to an enforcer the identity of a directory or file that it has opened.
//!
//! Attached only while a policy is applied. The enforcer marks its own task, calls `fstat` on the file and reads the
//! answer from the map.

use aya_ebpf::{
    btf_maps::Array,
    macros::{btf_map, lsm},
    programs::LsmContext,
};
use bfp_bundle::{identity::Inode, label::Label, lockdown::Mounted};

use crate::identity::files;
use crate::identity::labels;
use crate::kernel::arguments::arguments;
use crate::kernel::{self, Pointer, member, place, word};

/// The last answer.
#[btf_map]
static LEARNED: Array<Inode, 1> = Array::new();

/// Where the last file is: the filesystem and the mount.
#[btf_map]
static LEARNED_MOUNT: Array<Mounted, 1> = Array::new();

#[lsm(hook = "inode_getattr")]
pub fn inode_getattr(ctx: LsmContext) -> i32 {
    arguments!(ctx, path: Pointer);
    if labels::current_label().flags & Label::LEARNER == 0 {
        return 0;
    }
    // SAFETY: a `const struct path *`; the answer is the map's memory.
    unsafe {
        let dentry: Pointer = member(path, &kernel::path__dentry);
        let (Some(inode), Some(answer)) = (files::inode(dentry), LEARNED.get_ptr_mut(0)) else { return 0 };
        // The first answer counts: until 6.6 overlayfs queries the file below again.
        if (*answer).inode != 0 {
            return 0;
        }
        *answer = inode;
        if let Some(answer) = LEARNED_MOUNT.get_ptr_mut(0) {
            let mount = place(path as u64, &kernel::path__mnt);
            let inode = place(dentry as u64, &kernel::dentry__d_inode);
            let super_block = word(inode).and_then(|inode| word(place(inode, &kernel::inode__i_sb)));
            *answer = Mounted { super_block: super_block.unwrap_or(0), mount: word(mount).unwrap_or(0) };
        }
    }
    0
}
