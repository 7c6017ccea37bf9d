//! `inode_rename` and `inode_unlink`: under lockdown, the directory of the pins keeps its name, and the enforcer's file
//! its place. Without either, the policy could never be unlocked again.
//!
//! Other processes cannot reach what is within the directory ([`crate::hooks::lockdown::inode_permission`]).

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::locked;
use crate::kernel::Pointer;
use crate::kernel::arguments::arguments;

#[lsm(hook = "inode_rename")]
pub fn inode_rename(ctx: LsmContext) -> i32 {
    arguments!(ctx, _from: Pointer, moved: Pointer, _to: Pointer, replaced: Pointer);
    // SAFETY: the `struct dentry *` of what is moved and of what is replaced, if anything is.
    let is_guarded = unsafe { locked::is_guarded(moved) || locked::is_guarded(replaced) };
    if is_guarded && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}

#[lsm(hook = "inode_unlink")]
pub fn inode_unlink(ctx: LsmContext) -> i32 {
    arguments!(ctx, _directory: Pointer, removed: Pointer);
    // SAFETY: a `struct dentry *`.
    let is_guarded = unsafe { locked::is_guarded(removed) };
    if is_guarded && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}
