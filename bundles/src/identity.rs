//! What the kernel knows of files and processes besides their names: pinned contents, measured files, and what was seen
//! when a process executed its program.

use crate::record::{Words, record};

/// The stable id of a program: derived from its path by the compiler, the same in every policy. 0 means no program.
pub type ProgramId = u64;

record! {
    /// A file or directory as the kernel sees it, valid while its inode is in memory.
    #[derive(Default)]
    Inode: 16 {
        /// `inode.i_ino`
        inode: u64,
        /// `super_block.s_dev`
        device: u32,
        /// `inode.i_generation`: distinguishes two files that have the same number in turn.
        generation: u32,
    }
}

/// An fs-verity digest (SHA-256).
pub type Content = [u8; 32];

record! {
    /// The key of the map of digests.
    PinnedContent: 48 {
        /// The program.
        program: ProgramId,
        /// The file's role for the program.
        part: Part,
        /// A content that the file may have.
        digest: Content,
    }
}

record! {
    /// The key of the map of measured files.
    PinnedInode: 32 {
        /// The file. It has fs-verity, so its content never changes.
        inode: Inode,
        /// The program.
        program: ProgramId,
        /// The file's role for the program.
        part: Part,
    }
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

impl Words for Part {
    fn write(&self, out: &mut [u8]) -> usize {
        (*self as u64).write(out)
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u64::read(bytes)? {
            0 => Some(Part::Program),
            1 => Some(Part::Mapped),
            _ => None,
        }
    }
}

record! {
    /// What was seen when a process executed its program. Kept with each task beside its label, for later policies: a
    /// label is the result under one policy.
    #[derive(Default)]
    Executed: 32 {
        /// The file.
        file: Inode,
        /// The file's `struct dentry`, from which the kernel knows its name. It stays allocated while the process
        /// executes the file.
        dentry: u64,
        /// A set of the constants below.
        flags: u32,
        /// Reserved, zero.
        reserved: u32,
    }
}

impl Executed {
    /// The exec was seen, so the other members are valid.
    pub const SEEN: u32 = 1;
    /// Nothing cast doubt on the program's identity: no tracer, no supervisor, no user namespace, the host's own root,
    /// and the file in its place.
    pub const UNDOUBTED: u32 = 2;
    /// It runs in secure-exec mode, so its starter did not choose its libraries.
    pub const SECURE: u32 = 4;
}

record! {
    /// A process that was running when a policy was applied, and that does not hold the grants of its program. The
    /// iterator over all tasks reports it.
    #[derive(Default)]
    Withheld: 16 {
        /// The program.
        program: ProgramId,
        /// The process ID, as the host numbers it.
        process: u32,
        /// One of the constants below.
        why: u32,
    }
}

impl Withheld {
    /// It was started before its program was named, or without the protection of a named program. Its grants are
    /// withheld until it is restarted.
    pub const UNTIL_RESTARTED: u32 = 1;
    /// There was no memory for its label.
    pub const UNLABELLED: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn part_is_a_whole_word_of_a_key() {
        for part in [Part::Program, Part::Mapped] {
            let key = PinnedContent { program: 1, part, digest: [9; 32] };
            let mut bytes = key.to_bytes();
            assert_eq!(bytes.get(8..16), Some(&(part as u64).to_le_bytes()[..]));
            assert_eq!(PinnedContent::read_from(&bytes), Some(key));
            if let Some(word) = bytes.get_mut(8..16) {
                word.fill(2);
            }
            assert_eq!(PinnedContent::read_from(&bytes), None, "no such part");
        }
    }
}
