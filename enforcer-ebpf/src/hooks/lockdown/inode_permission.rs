//! `inode_permission`: other processes cannot enter the directories with the pins of a policy under lockdown, and no
//! process can write to the enforcer's file.
//!
//! Every way to a pin leads through its directory: to open it (kernel/bpf/inode.c, `bpf_obj_do_get`), to remove or
//! rename it and to replace it (fs/namei.c, `may_lookup` and `may_delete`). The same holds for writing to a file:
//! opening and truncating it both ask for the permission to write (fs/namei.c, `may_open`; fs/open.c, `vfs_truncate`).
//! A process that had it open for writing before would have kept it from being executed, or is kept from writing now.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::{
    event::Kind,
    lockdown::{FOLDER, PROGRAM},
};

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::files;
use crate::identity::locked;
use crate::kernel::Pointer;
use crate::kernel::arguments::arguments;

/// `MAY_WRITE`, include/linux/fs.h.
const MAY_WRITE: i32 = 2;

#[lsm(hook = "inode_permission")]
pub fn inode_permission(ctx: LsmContext) -> i32 {
    arguments!(ctx, inode: Pointer, mask: i32);
    // SAFETY: a `struct inode *`.
    unsafe {
        // Called for every step of every path: inodes that are not guarded return at once.
        if mask & MAY_WRITE == 0 && !locked::is_beside_pins(inode) {
            return 0;
        }
        let Some(place) = files::identity(inode) else { return 0 };
        match locked::place(&place) {
            Some(FOLDER) if !enforcers::is_current() => refuse(Kind::Locked),
            Some(PROGRAM) if mask & MAY_WRITE != 0 => refuse(Kind::Locked),
            _ => 0,
        }
    }
}
