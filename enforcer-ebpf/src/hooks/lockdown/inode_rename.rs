//! `inode_rename` and `inode_unlink`: the folder of the pins keeps its name, and the enforcer's file its place, while
//! the policy is locked: without either, nobody could unlock it any more.
//!
//! What is within the folder is out of reach of others ([`crate::hooks::lockdown::inode_permission`]).

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
    // SAFETY: the dentries of what moves and of what is there already, if anything is.
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
    // SAFETY: the dentry of what goes.
    let is_guarded = unsafe { locked::is_guarded(ctx.arg(1)) };
    if is_guarded && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}
