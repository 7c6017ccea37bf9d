//! What a locked policy keeps others from: the records by which the kernel programs know it.
//!
//! Numbers of BPF objects are never given twice while the object is there (kernel/bpf/syscall.c,
//! `bpf_link_prime`, `bpf_map_alloc_id`, `bpf_prog_alloc_id`), and a place is an inode as the kernel sees it.

use crate::identity::Inode;

/// A place that is guarded, in the map of places.
pub type Place = Inode;

/// A folder of pins: others do not enter it.
pub const FOLDER: u64 = 1;
/// The enforcer's file: it is neither written nor taken out of its place.
pub const PROGRAM: u64 = 2;

/// Where the pins are mounted, as addresses in the kernel. They stay what they are for as long as the
/// filesystem is mounted there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// The filesystem: a `struct super_block`.
    pub super_block: u64,
    /// Where it is mounted: a `struct vfsmount`.
    pub mount: u64,
}

/// What a descriptor can be of.
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

const _: () = assert!(size_of::<Mounted>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_of_two_kinds_of_objects_is_two_keys() {
        let keys = [Object::Program, Object::Map, Object::Link].map(|object| object.key(7));
        assert_eq!(keys, [0x1_0000_0007, 0x2_0000_0007, 0x3_0000_0007]);
    }
}
