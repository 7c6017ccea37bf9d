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

/// What was seen when a process executed its program. Kept with each task beside its label, for policies that come
/// later: a label says what one policy makes of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// The file.
    pub file: Inode,
    /// Where the kernel keeps its name: a `struct dentry`. It stays where it is as long as the process executes the
    /// file.
    pub dentry: u64,
    /// A set of the constants below.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

impl Executed {
    /// The exec was seen: the other members say something.
    pub const SEEN: u32 = 1;
    /// Nothing cast doubt on who it is: no tracer, no supervisor, no user namespace, the host's own root, a file in
    /// its place.
    pub const UNDOUBTED: u32 = 2;
    /// It runs in secure-exec mode, so nobody chose its libraries.
    pub const SECURE: u32 = 4;

    /// The size in the kernel's task storage.
    pub const SIZE: usize = 32;
}

/// A process that was running when a policy was applied and does not hold what the policy grants to its program, as the
/// walk over all tasks tells it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// The program.
    pub program: ProgramId,
    /// The process, as the host numbers it.
    pub process: u32,
    /// One of the constants below.
    pub why: u32,
}

impl Withheld {
    /// It was started before its program was named, or without the protection of one that is: until it is started again.
    pub const UNTIL_RESTARTED: u32 = 1;
    /// There was no memory for its label.
    pub const UNLABELLED: u32 = 2;
}

const _: () = assert!(size_of::<Withheld>() == 16);
const _: () = assert!(size_of::<Inode>() == 16 && size_of::<Executed>() == Executed::SIZE);
const _: () = assert!(size_of::<PinnedContent>() == 48 && size_of::<PinnedInode>() == 32);
