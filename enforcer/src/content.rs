//! The contents that a policy pins, and the keys under which the kernel finds them: digests, and the files that
//! have them. Nothing here asks the host or the kernel.

use bfp_bundle::identity::{Directory, Part, PinnedContent, PinnedInode};
use bfp_bundle::image::NamedExecutable;

pub(crate) const CONTENT_KEY_SIZE: usize = size_of::<PinnedContent>();
pub(crate) const INODE_KEY_SIZE: usize = size_of::<PinnedInode>();
pub(crate) const DIRECTORY_SIZE: usize = size_of::<Directory>();

/// A file whose content a policy pins.
pub struct Content<'a> {
    /// Its path on the host.
    pub path: &'a str,
    /// The path of the program that it belongs to,
    pub program_path: &'a str,
    /// and the program.
    pub program: u64,
    /// What it is to the program.
    pub part: Part,
    /// The digests that it may have.
    pub pins: &'a [[u8; 32]],
}

/// A file whose content is none that the policy pins.
#[derive(Debug)]
pub struct Impostor {
    /// Its path.
    pub path: String,
    /// The path of the program that it belongs to.
    pub program: String,
    /// What it would be to the program.
    pub part: Part,
}

/// Every content that the policy pins: of programs, and of what they may map for execution.
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
        let own = move |part| of(executable.path.as_str(), part, executable.pins.as_slice());
        let libraries = executable.libraries.iter().flatten();
        let libraries = libraries.map(move |library| of(library.path.as_str(), Part::Mapped, library.pins.as_slice()));
        // The kernel maps the program's own file as it does its libraries.
        let itself = executable.libraries.iter().map(move |_| own(Part::Mapped));
        std::iter::once(own(Part::Program)).chain(itself).chain(libraries)
    })
}

/// The files that are none of the contents that the policy pins, each once.
pub(crate) fn impostors(contents: &[Content<'_>], inodes: &[Option<[u8; DIRECTORY_SIZE]>]) -> Vec<Impostor> {
    let others = contents.iter().zip(inodes).filter(|(content, inode)| {
        // A program is told as such, and not once more as what it maps.
        inode.is_none() && (content.part == Part::Program || content.path != content.program_path)
    });
    let impostor = |content: &Content<'_>| Impostor {
        path: content.path.to_owned(),
        program: content.program_path.to_owned(),
        part: content.part,
    };
    others.map(|(content, _)| impostor(content)).collect()
}

/// As `bfp_bundle::identity::PinnedContent` lies in memory.
pub(crate) fn content_key(content: &Content<'_>, digest: &[u8; 32]) -> [u8; CONTENT_KEY_SIZE] {
    let mut key = [0; CONTENT_KEY_SIZE];
    let (program, rest) = key.split_at_mut(8);
    let (part, rest) = rest.split_at_mut(8);
    program.copy_from_slice(&content.program.to_ne_bytes());
    part.copy_from_slice(&(content.part as u64).to_ne_bytes());
    rest.copy_from_slice(digest);
    key
}

/// As `bfp_bundle::identity::PinnedInode` lies in memory.
pub(crate) fn inode_key(content: &Content<'_>, inode: &[u8; DIRECTORY_SIZE]) -> [u8; INODE_KEY_SIZE] {
    let mut key = [0; INODE_KEY_SIZE];
    let (first, rest) = key.split_at_mut(DIRECTORY_SIZE);
    let (program, part) = rest.split_at_mut(8);
    first.copy_from_slice(inode);
    program.copy_from_slice(&content.program.to_ne_bytes());
    part.copy_from_slice(&(content.part as u64).to_ne_bytes());
    key
}

#[cfg(test)]
mod tests {
    use bfp_bundle::image::Library;

    use super::*;

    fn executable(pins: Vec<[u8; 32]>, libraries: Option<Vec<Library>>) -> NamedExecutable {
        NamedExecutable { path: "/bin/p".to_owned(), program: 0x0102_0304_0506_0708, flags: 0, pins, libraries }
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
                ("/bin/p", Part::Program, &[[1; 32]][..]),
                ("/bin/p", Part::Mapped, &[[1; 32]][..]),
                ("/lib/libc.so.6", Part::Mapped, &[[2; 32]][..]),
            ]
        );
    }

    #[test]
    fn an_impostor_is_told_once() {
        let executables = [executable(vec![[1; 32]], Some(Vec::new()))];
        let contents: Vec<_> = pinned(&executables).collect();
        let told: Vec<_> = impostors(&contents, &[None, None]).into_iter().map(|one| (one.path, one.part)).collect();
        assert_eq!(told, [("/bin/p".to_owned(), Part::Program)]);
    }

    #[test]
    fn keys_have_the_kernels_layout() {
        let executables = [executable(vec![[9; 32]], Some(Vec::new()))];
        for content in pinned(&executables) {
            let key = content_key(&content, &[9; 32]);
            assert_eq!(key.get(..8), Some(&0x0102_0304_0506_0708u64.to_ne_bytes()[..]));
            assert_eq!(key.get(8..16), Some(&(content.part as u64).to_ne_bytes()[..]));
            assert_eq!(key.get(16..), Some(&[9; 32][..]));
            let key = inode_key(&content, &[7; DIRECTORY_SIZE]);
            assert_eq!(key.get(..16), Some(&[7; 16][..]));
            assert_eq!(key.get(24..), Some(&(content.part as u64).to_ne_bytes()[..]));
        }
    }
}
