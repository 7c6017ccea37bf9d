//! Pinned contents: their digests, and the files that have one of them now.
//!
//! If the kernel reports the fs-verity digest of a file to programs (since 6.8), the digests suffice. The files are
//! measured anyway: for kernels that do not, for processes that are already running, and to report which file differs
//! or cannot be measured. None of these prevents enforcement: a file that cannot be measured holds no grants.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use bfp_bundle::identity::{Inode, Part, PinnedContent, PinnedInode};
use bfp_bundle::image::NamedExecutable;

use crate::host::syscall;
use crate::kernel::lack::{Lack, Pinned};
use crate::kernel::learn::{self, LearnError};
use crate::kernel::load::Programs;
use crate::kernel::object::{DIGESTS, INODES};

/// A file whose content the policy pins.
pub struct Content<'a> {
    /// Its path on the host. `None` for a pattern.
    pub path: Option<&'a str>,
    /// The path of the program that it belongs to.
    pub program_path: &'a str,
    /// The identifier of that program.
    pub program: u64,
    /// Its role for the program.
    pub part: Part,
    /// The digests that it may have.
    pub pins: &'a [[u8; 32]],
}

/// Every content that the policy pins: of programs, and of the libraries that they may map.
pub fn pinned(executables: &[NamedExecutable]) -> impl Iterator<Item = Content<'_>> {
    let pinned = executables.iter().filter(|executable| !executable.pins.is_empty() || executable.libraries.is_some());
    pinned.flat_map(|executable| {
        let of = |path, part, pins| Content {
            path,
            program_path: executable.path.as_str(),
            program: executable.program,
            part,
            pins,
        };
        let file = file_of(executables, executable);
        let own = move |part| of(file, part, executable.pins.as_slice());
        let libraries = executable.libraries.iter().flatten();
        let libraries =
            libraries.map(move |library| of(Some(library.path.as_str()), Part::Mapped, library.pins.as_slice()));
        // The kernel maps the program's own file as it maps its libraries.
        let itself = executable.libraries.iter().map(move |_| own(Part::Mapped));
        std::iter::once(own(Part::Program)).chain(itself).chain(libraries)
    })
}

/// The one file of an executable that has a literal path; for a class, that of one of its members.
fn file_of<'a>(executables: &'a [NamedExecutable], executable: &'a NamedExecutable) -> Option<&'a str> {
    let members = executable.members.iter().filter_map(|member| executables.get(*member as usize));
    let written = std::iter::once(executable).filter(|executable| executable.is_written()).chain(members);
    written.map(NamedExecutable::file).find(|path| !path.contains('*'))
}

/// Fills the maps of digests and of measured files, and freezes them. Returns what does not hold.
pub(crate) fn bind(programs: &mut Programs, contents: &[Content<'_>]) -> Result<Vec<Lack>, LearnError> {
    let digests =
        contents.iter().flat_map(|content| content.pins.iter().map(|pin| content_key(content, pin).to_bytes()));
    programs.insert_all(DIGESTS, &digests.collect::<Vec<_>>())?;
    let mut lacks = Vec::new();
    let mut keys = Vec::new();
    if contents.iter().any(|content| content.path.is_some()) {
        learn::while_learning(programs, |programs| {
            for content in contents {
                match measure(content) {
                    Ok(Measured::Listed(file)) => {
                        let inode = learn::ask(programs, &file, Path::new(content.program_path))?;
                        keys.push(inode_key(content, inode).to_bytes());
                    }
                    Ok(Measured::ByTheKernel) => {}
                    Err(lack) => lacks.extend(lack),
                }
            }
            Ok(())
        })?;
    }
    programs.insert_all(INODES, &keys)?;
    for table in [DIGESTS, INODES] {
        programs.freeze(table)?;
    }
    Ok(lacks)
}

/// The result of measuring a pinned content.
enum Measured {
    /// This file has one of the digests.
    Listed(File),
    /// A pattern: the kernel identifies the file at exec.
    ByTheKernel,
}

/// Measures a file against its digests. A fault of the program's own file is reported for the program, and not again
/// for what the program maps.
fn measure(content: &Content<'_>) -> Result<Measured, Option<Lack>> {
    let Some(path) = content.path else { return Ok(Measured::ByTheKernel) };
    let lack = |lack: fn(Pinned) -> Lack| {
        let told = content.part == Part::Program || path != content.program_path;
        told.then(|| lack(pinned_file(content, path)))
    };
    let file = File::open(path).map_err(|_| lack(Lack::PinnedMissing))?;
    match syscall::measure_verity(file.as_fd()) {
        Ok(digest) if digest.is_some_and(|digest| content.pins.contains(&digest)) => Ok(Measured::Listed(file)),
        Ok(_) => Err(lack(Lack::OtherContent)),
        // The filesystem supports fs-verity, but it is not enabled for this file.
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Err(lack(Lack::OtherContent)),
        Err(error) => {
            let told = content.part == Part::Program || path != content.program_path;
            Err(told.then(|| Lack::Unmeasured(pinned_file(content, path), error)))
        }
    }
}

fn pinned_file(content: &Content<'_>, path: &str) -> Pinned {
    Pinned { path: path.to_owned(), program: content.program_path.to_owned(), part: content.part }
}

/// The key of a digest that a content may have.
fn content_key(content: &Content<'_>, digest: &[u8; 32]) -> PinnedContent {
    PinnedContent { program: content.program, part: content.part, digest: *digest }
}

/// The key of a file that has one of a content's digests.
fn inode_key(content: &Content<'_>, inode: Inode) -> PinnedInode {
    PinnedInode { inode, program: content.program, part: content.part }
}

#[cfg(test)]
mod tests {
    use bfp_bundle::image::Library;

    use super::*;

    fn executable(pins: Vec<[u8; 32]>, libraries: Option<Vec<Library>>) -> NamedExecutable {
        NamedExecutable {
            path: "/bin/p".to_owned(),
            program: 0x0102_0304_0506_0708,
            flags: 0,
            pins,
            libraries,
            members: Vec::new(),
        }
    }

    #[test]
    fn an_unpinned_program_has_no_content_to_compare() {
        assert_eq!(pinned(&[executable(Vec::new(), None)]).count(), 0);
    }

    #[test]
    fn a_program_with_pinned_libraries_may_map_itself_and_them() {
        let library = Library { path: "/lib/libc.so.6".to_owned(), pins: vec![[2; 32]] };
        let executables = [executable(vec![[1; 32]], Some(vec![library]))];
        let contents: Vec<_> = pinned(&executables).map(|one| (one.path, one.part, one.pins)).collect();
        assert_eq!(
            contents,
            [
                (Some("/bin/p"), Part::Program, &[[1; 32]][..]),
                (Some("/bin/p"), Part::Mapped, &[[1; 32]][..]),
                (Some("/lib/libc.so.6"), Part::Mapped, &[[2; 32]][..]),
            ]
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_told_once() {
        let mut missing = executable(vec![[1; 32]], Some(Vec::new()));
        missing.path = "/nonexistent/p".to_owned();
        let executables = [missing];
        let told: Vec<String> =
            pinned(&executables).filter_map(|one| measure(&one).err().flatten()).map(|lack| lack.to_string()).collect();
        assert_eq!(told, ["`/nonexistent/p` is not on this host: nobody holds its grants"]);
    }

    #[test]
    fn of_a_class_the_file_is_that_of_a_member_that_is_spelt_out() {
        let mut pattern = executable(Vec::new(), None);
        pattern.path = "/bin/*".to_owned();
        let mut class = executable(vec![[1; 32]], None);
        (class.path, class.members) = ("/bin/* and /bin/p".to_owned(), vec![0, 1]);
        let executables = [pattern, executable(vec![[1; 32]], None), class];
        assert_eq!(pinned(&executables).map(|one| one.path).collect::<Vec<_>>(), [Some("/bin/p"); 2]);
    }

    #[test]
    fn keys_have_the_kernels_layout() {
        let executables = [executable(vec![[9; 32]], Some(Vec::new()))];
        for content in pinned(&executables) {
            let key = content_key(&content, &[9; 32]).to_bytes();
            assert_eq!(key.get(..8), Some(&0x0102_0304_0506_0708u64.to_ne_bytes()[..]));
            assert_eq!(key.get(8..16), Some(&(content.part as u64).to_ne_bytes()[..]));
            assert_eq!(key.get(16..), Some(&[9; 32][..]));
            let inode = Inode { inode: 0x0707_0707_0707_0707, device: 0x0707_0707, generation: 0x0707_0707 };
            let key = inode_key(&content, inode).to_bytes();
            assert_eq!(key.get(..16), Some(&[7; 16][..]));
            assert_eq!(key.get(24..), Some(&(content.part as u64).to_ne_bytes()[..]));
        }
    }
}
