//! `sb_umount` and `sb_remount`: under lockdown, the filesystem that has the pins stays mounted and writable. The pins
//! would go with its last mount.
//!
//! It is also unmounted with a mount below it that is detached together with everything on it (`umount -l /sys`), and
//! with copies of such mounts elsewhere, if the mounts are shared: in another mount namespace, or by a recursive bind
//! mount (fs/namespace.c, `umount_tree`; fs/pnode.c, `propagate_umount`). A namespace of mounts that are not shared,
//! such as a container's, loses only its own.

use aya_ebpf::{Global, macros::lsm, programs::LsmContext};
use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::identity::enforcers;
use crate::identity::locked;
use crate::kernel::arguments::arguments;
use crate::kernel::asm::{bit, opaque};
use crate::kernel::{self, Pointer, argument, place, word};

/// `MNT_DETACH`, include/linux/fs.h.
const DETACH: i32 = 2;

/// A bound on the depth of stacked mounts.
const DEPTH_MAX: u32 = 32;
/// A bound on the mounts of one filesystem, counted over all mount namespaces.
const COPIES_MAX: u32 = 1024;

/// The member that links a mount with the others of its filesystem, and the next one from there.
#[unsafe(no_mangle)]
static MOUNT_NODE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static MOUNT_NEXT: Global<u32> = Global::new(0);
/// The member of a filesystem that has its first mount.
#[unsafe(no_mangle)]
static FIRST_MOUNT: Global<u32> = Global::new(0);
/// Whether the last mount leads back to the filesystem (before 6.18), or nowhere.
#[unsafe(no_mangle)]
static MOUNTS_ARE_A_RING: Global<u32> = Global::new(0);

#[lsm(hook = "sb_umount")]
pub fn sb_umount(ctx: LsmContext) -> i32 {
    arguments!(ctx, _mount: Pointer, flags: i32);
    if enforcers::is_current() {
        return 0;
    }
    let target = argument(&ctx, 0).unwrap_or(0).wrapping_sub(u64::from(kernel::mount__mnt.load()));
    if bit(takes_pins(target, flags)) != 0 { refuse(Kind::Locked) } else { 0 }
}

#[lsm(hook = "sb_remount")]
pub fn sb_remount(ctx: LsmContext) -> i32 {
    arguments!(ctx, super_block: Pointer, _options: Pointer);
    // SAFETY: a `struct super_block *`.
    let has_pins = unsafe { locked::has_pins(super_block) };
    if has_pins && !enforcers::is_current() { refuse(Kind::Locked) } else { 0 }
}

/// Whether unmounting the `struct mount` at this address would or could unmount the pins: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn takes_pins(target: u64, flags: i32) -> i32 {
    let Some(pins) = locked::mounted() else { return 1 };
    let own = pins.mount.wrapping_sub(u64::from(kernel::mount__mnt.load()));
    let (Some(mountpoint), Some(group)) =
        (word(place(target, &kernel::mount__mnt_mountpoint)), group_of_parent(target))
    else {
        return 1;
    };
    // The mounts that the pins are on, and those at the same place in a shared copy.
    let mut at = own;
    let mut left = DEPTH_MAX;
    while left != 0 {
        if at == target {
            return 1;
        }
        let Some(parent) = word(place(at, &kernel::mount__mnt_parent)) else { return 1 };
        if parent == at {
            break;
        }
        let Some(own_mountpoint) = word(place(at, &kernel::mount__mnt_mountpoint)) else { return 1 };
        if own_mountpoint == mountpoint && group != 0 {
            return 1;
        }
        at = parent;
        left = opaque(left - 1);
    }
    if left == 0 {
        return 1;
    }
    let filesystem = word(place(place(target, &kernel::mount__mnt), &kernel::vfsmount__mnt_sb));
    let children = place(target, &kernel::mount__mnt_mounts);
    let (Some(filesystem), Some(first)) = (filesystem, word(children)) else { return 1 };
    if first == children {
        // Nothing is mounted on it.
        if filesystem != pins.super_block {
            return 0;
        }
    } else if flags & DETACH == 0 {
        return 0; // The kernel refuses to unmount what others stand on (`propagate_mount_busy`).
    }
    takes_copy(target, pins.super_block)
}

/// Whether a copy of the pins' mount is on the target, or is the target, so that unmounting it also unmounts the pins'
/// mount: 1 or 0.
#[inline(always)]
fn takes_copy(target: u64, super_block: u64) -> i32 {
    let head = place(super_block, &FIRST_MOUNT);
    let end = if MOUNTS_ARE_A_RING.load() != 0 { head } else { 0 };
    let Some(mut node) = word(head) else { return 1 };
    let mut left = COPIES_MAX;
    while left != 0 {
        if node == end {
            return 0;
        }
        if bit(is_propagated(node.wrapping_sub(u64::from(MOUNT_NODE.load())), target)) != 0 {
            return 1;
        }
        let Some(next) = word(place(node, &MOUNT_NEXT)) else { return 1 };
        node = next;
        left = opaque(left - 1);
    }
    // More mounts than can be checked.
    1
}

/// Whether a mount is on a shared mount, and on the target or is the target: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_propagated(mount: u64, target: u64) -> i32 {
    match group_of_parent(mount) {
        Some(0) => return 0,
        Some(_) => {}
        None => return 1,
    }
    let mut at = mount;
    let mut left = DEPTH_MAX;
    while left != 0 {
        if at == target {
            return 1;
        }
        let Some(parent) = word(place(at, &kernel::mount__mnt_parent)) else { return 1 };
        if parent == at {
            return 0; // A root.
        }
        at = parent;
        left = opaque(left - 1);
    }
    1
}

/// The peer group of a mount's parent. 0 if the parent is not shared.
#[inline(always)]
fn group_of_parent(mount: u64) -> Option<u32> {
    let parent = word(place(mount, &kernel::mount__mnt_parent))?;
    word(place(parent, &kernel::mount__mnt_group_id)).map(|group| group as u32)
}
