//! Lockdown: the records by which the kernel programs recognise what they guard.
//!
//! The number of a BPF object is not reused while the object exists (kernel/bpf/syscall.c, `bpf_link_prime`,
//! `bpf_map_alloc_id`, `bpf_prog_alloc_id`), and a place is an inode as the kernel sees it.

use crate::identity::Inode;
use crate::record::record;

/// A guarded place, in the map of places.
pub type Place = Inode;

/// A directory of pins: other processes cannot enter it.
pub const FOLDER: u64 = 1;
/// The enforcer's file: it can be neither written nor moved or removed.
pub const PROGRAM: u64 = 2;

record! {
    /// Where the pins are mounted, as kernel addresses. They are valid while the filesystem is mounted there.
    #[derive(Default)]
    Mounted: 16 {
        /// The filesystem: a `struct super_block`.
        super_block: u64,
        /// Its mount: a `struct vfsmount`.
        mount: u64,
    }
}

/// The kinds of BPF objects that a descriptor can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Object {
    /// A program.
    Program = 1,
    /// A map.
    Map = 2,
    /// A link.
    Link = 3,
}

impl Object {
    /// The key in the map of objects.
    #[inline(always)]
    pub const fn key(self, number: u32) -> u64 {
        (self as u64) << 32 | number as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_of_two_kinds_of_objects_is_two_keys() {
        let keys = [Object::Program, Object::Map, Object::Link].map(|object| object.key(7));
        assert_eq!(keys, [0x1_0000_0007, 0x2_0000_0007, 0x3_0000_0007]);
    }
}
