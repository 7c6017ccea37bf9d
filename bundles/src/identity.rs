//! What the kernel knows of files and processes beside their names: the contents that a policy pins, the files that
//! were measured, and what was seen when a process executed its program.

/// The stable id of a program: derived from its path by the compiler, the same in every policy.
/// 0 is no program.
pub type ProgramId = u64;

/// A file or a folder, as the kernel sees it, for as long as its inode is in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inode {
    /// `inode.i_ino`
    pub inode: u64,
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_generation`: tells apart two that bear the same number in turn.
    pub generation: u32,
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
    /// The file: one with fs-verity, whose content never changes.
    pub inode: Inode,
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

const _: () = assert!(size_of::<Inode>() == 16);
const _: () = assert!(size_of::<PinnedContent>() == 48 && size_of::<PinnedInode>() == 32);
