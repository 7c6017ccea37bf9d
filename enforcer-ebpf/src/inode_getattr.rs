//! `inode_getattr`: tells an enforcer the identity of a directory or a file that it has opened.
//!
//! Attached while a policy is applied, and only then. The enforcer marks its own task, calls `fstat` on
//! it and reads the answer from the map.

use aya_ebpf::{
    btf_maps::Array,
    macros::{btf_map, lsm},
    programs::LsmContext,
};
use bfp_bundle::{identity::Directory, label::Label};

use crate::{
    files,
    kernel::{self, Pointer, member},
    labels,
};

/// The last answer.
#[btf_map]
static LEARNED: Array<Directory, 1> = Array::new();

#[lsm(hook = "inode_getattr")]
pub fn inode_getattr(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 || labels::current_label().flags & Label::LEARNER == 0 {
        return earlier;
    }
    // SAFETY: the first argument is `const struct path *`; the answer is the map's memory.
    unsafe {
        let path: Pointer = ctx.arg(0);
        if let (Some(inode), Some(answer)) = (files::inode(member(path, &kernel::path__dentry)), LEARNED.get_ptr_mut(0))
        {
            // The first answer counts: until 6.6 overlayfs asks again about the file below.
            if (*answer).inode == 0 {
                *answer = inode;
            }
        }
    }
    0
}
