//! What lockdown guards: the policy's objects by their numbers, its pins and the enforcer's file by their inodes, and
//! the filesystem that has the pins.
//!
//! The enforcer writes and freezes all of it, except for one word: whether an enforcer is replacing the policy.

use aya_ebpf::{
    Global,
    bindings::BPF_F_RDONLY_PROG,
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use bfp_bundle::lockdown::{Mounted, Object, Place};

use crate::identity::files;
use crate::kernel::{self, Pointer, member};

const READ_ONLY: usize = BPF_F_RDONLY_PROG as usize;

/// The objects of which other processes get no descriptor, by [`Object::key`].
#[btf_map]
static OBJECTS: HashMap<u64, u64, 256, READ_ONLY> = HashMap::new();

/// The guarded places, with their kinds.
#[btf_map]
static PLACES: HashMap<Place, u64, 8, READ_ONLY> = HashMap::new();

/// Where the pins are mounted.
#[btf_map]
static MOUNTED: Array<Mounted, 1, READ_ONLY> = Array::new();

/// Nonzero while an enforcer creates objects that are not listed here yet.
#[btf_map]
static BUSY: Array<u64, 1> = Array::new();

/// The device of the filesystem that has the pins, so that almost every query is answered by a comparison.
#[unsafe(no_mangle)]
static PINS_DEVICE: Global<u32> = Global::new(0);

/// Whether other processes get no descriptor of an object.
#[inline(always)]
pub fn is_own(object: Object, number: u32) -> bool {
    // SAFETY: the word is only compared; the map is frozen.
    let is_busy = BUSY.get(0).is_none_or(|busy| *busy != 0);
    // SAFETY: as above.
    is_busy || unsafe { OBJECTS.get(&object.key(number)) }.is_some()
}

/// The kind of a place, if it is guarded.
#[inline(always)]
pub fn place(place: &Place) -> Option<u64> {
    // SAFETY: the map is frozen, so its values do not change.
    unsafe { PLACES.get(place) }.copied()
}

/// Whether the file or directory behind a dentry is guarded.
///
/// # Safety
/// `dentry` is a `struct dentry *` to the verifier, or null.
#[inline(always)]
pub unsafe fn is_guarded(dentry: Pointer) -> bool {
    // SAFETY: the caller's obligation.
    unsafe { files::inode(dentry) }.is_some_and(|inode| place(&inode).is_some())
}

/// Whether an inode is on the filesystem that has the pins.
///
/// # Safety
/// `inode` is a `struct inode *` to the verifier.
#[inline(always)]
pub unsafe fn is_beside_pins(inode: Pointer) -> bool {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let super_block: Pointer = member(inode, &kernel::inode__i_sb);
        !super_block.is_null() && has_pins(super_block)
    }
}

/// Whether a filesystem is the one that has the pins.
///
/// # Safety
/// `super_block` is a `struct super_block *` to the verifier.
#[inline(always)]
pub unsafe fn has_pins(super_block: Pointer) -> bool {
    // SAFETY: the caller's obligation, and the member is what its name says.
    let device: u32 = unsafe { member(super_block, &kernel::super_block__s_dev) };
    device == PINS_DEVICE.load()
}

/// Where the pins are mounted, if that is known.
#[inline(always)]
pub fn mounted() -> Option<Mounted> {
    MOUNTED.get(0).copied()
}
