//! What the kernel knows of files and processes besides their names: pinned contents, measured files, and what was seen
//! when a process executed its program.

/// The stable id of a program: derived from its path by the compiler, the same in every policy. 0 means no program.
pub type ProgramId = u64;

/// A file or directory as the kernel sees it, valid while its inode is in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inode {
    /// `inode.i_ino`
    pub inode: u64,
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_generation`: distinguishes two files that have the same number in turn.
    pub generation: u32,
}

/// An fs-verity digest (SHA-256).
pub type Content = [u8; 32];

/// The key of the map of digests.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinnedContent {
    /// The program.
    pub program: ProgramId,
    /// The file's role for the program.
    pub part: Part,
    /// A content that the file may have.
    pub digest: Content,
}

/// The key of the map of measured files.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinnedInode {
    /// The file. It has fs-verity, so its content never changes.
    pub inode: Inode,
    /// The program.
    pub program: ProgramId,
    /// The file's role for the program.
    pub part: Part,
}

/// The role of a measured file for a program.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// It is the program, when a process executes it.
    Program = 0,
    /// A process of the program may map it for execution.
    Mapped = 1,
}

/// What was seen when a process executed its program. Kept with each task beside its label, for later policies: a label
/// is the result under one policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// The file.
    pub file: Inode,
    /// The file's `struct dentry`, from which the kernel knows its name. It stays allocated while the process executes
    /// the file.
    pub dentry: u64,
    /// A set of the constants below.
    pub flags: u32,
    /// Reserved, zero.
    pub reserved: u32,
}

impl Executed {
    /// The exec was seen, so the other members are valid.
    pub const SEEN: u32 = 1;
    /// Nothing cast doubt on the program's identity: no tracer, no supervisor, no user namespace, the host's own root,
    /// and the file in its place.
    pub const UNDOUBTED: u32 = 2;
    /// It runs in secure-exec mode, so its starter did not choose its libraries.
    pub const SECURE: u32 = 4;

    /// The size in the kernel's task storage, in bytes.
    pub const SIZE: usize = 32;
}

/// A process that was running when a policy was applied, and that does not hold the grants of its program. The iterator
/// over all tasks reports it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// The program.
    pub program: ProgramId,
    /// The process ID, as the host numbers it.
    pub process: u32,
    /// One of the constants below.
    pub why: u32,
}

impl Withheld {
    /// It was started before its program was named, or without the protection of a named program. Its grants are
    /// withheld until it is restarted.
    pub const UNTIL_RESTARTED: u32 = 1;
    /// There was no memory for its label.
    pub const UNLABELLED: u32 = 2;
}

const _: () = assert!(size_of::<Withheld>() == 16);
const _: () = assert!(size_of::<Inode>() == 16 && size_of::<Executed>() == Executed::SIZE);
const _: () = assert!(size_of::<PinnedContent>() == 48 && size_of::<PinnedInode>() == 32);
