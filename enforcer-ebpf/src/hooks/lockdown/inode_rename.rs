//! `inode_rename` and `inode_unlink`: under lockdown, the directory of the pins keeps its name, and the enforcer's file
//! its place. Without either, the policy could never be unlocked again.
//!
//! Other processes cannot reach what is within the directory ([`crate::hooks::lockdown::inode_permission`]).

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::locked;

#[lsm(hook = "inode_rename")]
pub fn inode_rename(ctx: LsmContext) -> i32 {
    // `(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry *new_dentry)`
    let earlier: i32 = ctx.arg(4);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: the dentries of what is moved and of what is replaced, if anything is.
    let is_guarded = unsafe { locked::is_guarded(ctx.arg(1)) || locked::is_guarded(ctx.arg(3)) };
    if is_guarded && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}

#[lsm(hook = "inode_unlink")]
pub fn inode_unlink(ctx: LsmContext) -> i32 {
    // `(struct inode *dir, struct dentry *dentry)`
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: the dentry of what is removed.
    let is_guarded = unsafe { locked::is_guarded(ctx.arg(1)) };
    if is_guarded && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}
