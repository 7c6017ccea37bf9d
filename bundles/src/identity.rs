//! How the kernel recognises a program's file at exec: the directory that holds it, and its name there.
//!
//! A path that is a string can be shown by any mount namespace or chroot. The directory's inode and the
//! last component cannot: they match a file that an upgrade renamed into place, and match neither a
//! bind mount over the path, nor a chroot, nor a copy, nor a hard link elsewhere. The enforcer learns the
//! directory's key from the kernel, since `stat` shows other numbers on some filesystems (btrfs,
//! overlayfs).

/// The stable id of a program: derived from its path by the compiler, the same in every policy.
/// 0 is no program.
pub type ProgramId = u64;

/// A directory, as the kernel sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Directory {
    /// `inode.i_ino`
    pub inode: u64,
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_generation`: tells apart two directories that bear the same number in turn.
    pub generation: u32,
}

/// The longest name in a directory, with its terminating zero (NAME_MAX + 1).
pub const NAME_SIZE: usize = 256;

/// The key of the executables' map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExecutableKey {
    /// The directory,
    pub directory: Directory,
    /// and the name in it, filled up with zeros.
    pub name: [u8; NAME_SIZE],
}

/// The value of the executables' map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Executable {
    /// The program.
    pub program: ProgramId,
    /// A set of the constants below.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

impl Executable {
    /// The policy restricts it, and with it what it starts.
    pub const RESTRICTED: u32 = 1;
    /// What it starts inherits its grants.
    pub const WITH_CHILDREN: u32 = 2;
    /// It holds an exclusive grant: nobody may reach into it.
    pub const GUARDED: u32 = 4;
    /// Grants need one of its pinned contents. Set by the enforcer where there are any.
    pub const PINNED: u32 = 8;
    /// It may map for execution nothing but itself and the libraries that are pinned for it. Likewise.
    pub const LIBRARIES: u32 = 16;
}

/// An fs-verity digest (SHA-256).
pub type Content = [u8; 32];

/// The key of the map of digests.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinnedContent {
    /// The program,
    pub program: ProgramId,
    /// what the file is to it,
    pub part: Part,
    /// and a content that the file may have.
    pub digest: Content,
}

/// The key of the map of measured files.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinnedInode {
    /// The file: what tells a directory tells a file too.
    pub inode: Directory,
    /// The program,
    pub program: ProgramId,
    /// and what the file is to it.
    pub part: Part,
}

/// What a measured file is to a program.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// It is the program, when a process executes it.
    Program = 0,
    /// A process of the program may map it for execution.
    Mapped = 1,
}

const _: () = assert!(size_of::<Directory>() == 16 && size_of::<ExecutableKey>() == 272);
const _: () = assert!(size_of::<Executable>() == 16);
const _: () = assert!(size_of::<PinnedContent>() == 48 && size_of::<PinnedInode>() == 32);
