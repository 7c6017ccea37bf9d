//! Reads files from outside, up to a size limit, and only if no user but root or this process's own could have written
//! them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bfp_bundle::verify::Refusal;

use crate::failure::{Actionable, Exit};
use crate::host::followed;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum InputError {
    #[error("`{path}` cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("`{0}` is not a regular file")]
    NotAFile(PathBuf),
    #[error("`{path}` is refused: {refusal}")]
    Oversize { path: PathBuf, refusal: Refusal },
    #[error("`{path}` cannot be trusted: {whom} may write to it")]
    Writable { path: PathBuf, whom: &'static str },
}

impl Actionable for InputError {
    fn help(&self) -> &'static str {
        match self {
            InputError::Unreadable { .. } | InputError::NotAFile(_) => "name a file that this process can read",
            InputError::Oversize { refusal, .. } => refusal.help(),
            InputError::Writable { .. } => "let only root own and write it: `chown root`, `chmod go-w`",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            InputError::Unreadable { .. } | InputError::NotAFile(_) => Exit::Usage,
            InputError::Oversize { .. } | InputError::Writable { .. } => Exit::Rejected,
        }
    }
}

/// Reads at most `limit` bytes.
///
/// # Errors
/// The path is not a regular file, the file cannot be read, or it is larger than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let unreadable = |error| InputError::Unreadable { path: path.to_owned(), error };
    // Without `O_NONBLOCK`, opening a pipe would block.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    read_open(path, &file, limit)
}

/// Reads a file that only root and the user of this process could have written.
///
/// # Errors
/// As [`read`]. Also [`InputError::Writable`] if another user could have written the file or replaced it on its path.
pub fn read_own(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let unreadable = |error| InputError::Unreadable { path: path.to_owned(), error };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    check_owner(path, &file.metadata().map_err(unreadable)?)?;
    check_way(path)?;
    read_open(path, &file, limit)
}

/// Rejects a file that another user could have replaced: root must own every directory on the path and every link that
/// is followed.
fn check_way(path: &Path) -> Result<(), InputError> {
    const STICKY: u32 = 0o1000;
    let unreadable = |path: &Path, error| InputError::Unreadable { path: path.to_owned(), error };
    let way = std::path::absolute(path).map(|path| followed::follow(&path));
    let way = way.and_then(|way| way.ok_or(io::Error::from_raw_os_error(libc::ELOOP)));
    let way = way.map_err(|error| unreadable(path, error))?;
    for place in way.folders.iter().chain(&way.links) {
        let about = std::fs::symlink_metadata(place).map_err(|error| unreadable(place, error))?;
        // A link cannot be written to. In a sticky directory, such as `/tmp`, only owners rename and remove.
        let is_owners = about.is_symlink() || about.mode() & STICKY != 0;
        check(place, about.uid(), if is_owners { 0 } else { about.mode() })?;
    }
    Ok(())
}

/// Rejects a file or directory that another user may write to.
pub fn check_owner(path: &Path, about: &Metadata) -> Result<(), InputError> {
    check(path, about.uid(), about.mode())
}

fn check(path: &Path, owner: u32, mode: u32) -> Result<(), InputError> {
    let own = std::fs::metadata("/proc/self").map(|process| process.uid()).unwrap_or(0);
    let whom = match mode {
        _ if owner != 0 && owner != own => "its owner, who is not root,",
        mode if mode & 0o002 != 0 => "every user",
        mode if mode & 0o020 != 0 => "its group",
        _ => return Ok(()),
    };
    Err(InputError::Writable { path: path.to_owned(), whom })
}

fn read_open(path: &Path, file: &File, limit: u64) -> Result<Vec<u8>, InputError> {
    let unreadable = |error| InputError::Unreadable { path: path.to_owned(), error };
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(InputError::NotAFile(path.to_owned()));
    }
    let oversize = |found| {
        let refusal = Refusal::Oversize { what: "file", found, limit };
        InputError::Oversize { path: path.to_owned(), refusal }
    };
    if about.len() > limit {
        return Err(oversize(about.len()));
    }
    // The file can still grow while it is read.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(oversize(bytes.len() as u64)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap(), [7; 10]);
        assert!(matches!(read(&path, 9), Err(InputError::Oversize { .. })));
        assert!(matches!(read(folder.path(), 9), Err(InputError::NotAFile(_))));
        assert!(matches!(read(Path::new("/dev/zero"), 9), Err(InputError::NotAFile(_))));
    }

    #[test]
    fn what_others_could_have_put_there_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (open, key) = (folder.path().join("open"), folder.path().join("open/key"));
        std::fs::create_dir(&open).unwrap();
        std::fs::write(&key, "key").unwrap();
        let link = folder.path().join("link");
        symlink(&key, &link).unwrap();
        assert_eq!(read_own(&link, 9).unwrap(), b"key");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        for path in [&key, &link] {
            let refusal = read_own(path, 9).unwrap_err().to_string();
            assert!(refusal.contains("open` cannot be trusted: every user"), "{refusal}");
        }
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(read_own(&key, 9).is_ok());
    }

    #[test]
    fn a_link_on_the_way_that_others_could_have_made_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let chmod =
            |name: &str, mode| std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::create_dir(at("middle")).unwrap();
        std::fs::write(at("key"), "key").unwrap();
        // The first link and the file are in a directory of root's, and the link between them is in another.
        symlink("middle/link", at("link")).unwrap();
        symlink("../key", at("middle/link")).unwrap();
        assert_eq!(read_own(&at("link"), 9).unwrap(), b"key");
        chmod("middle", 0o777);
        let refusal = read_own(&at("link"), 9).unwrap_err().to_string();
        assert!(refusal.contains("middle` cannot be trusted: every user"), "{refusal}");
        chmod("middle", 0o1777);
        assert_eq!(read_own(&at("link"), 9).unwrap(), b"key");
        // The rest needs a second user, and only root can change an owner.
        if std::os::unix::fs::lchown(at("middle/link"), Some(1000), None).is_err() {
            return;
        }
        let refusal = read_own(&at("link"), 9).unwrap_err().to_string();
        assert!(refusal.contains("middle/link` cannot be trusted: its owner"), "{refusal}");
        std::os::unix::fs::lchown(at("middle/link"), Some(0), None).unwrap();
        std::os::unix::fs::chown(at("middle"), Some(1000), None).unwrap();
        let refusal = read_own(&at("link"), 9).unwrap_err().to_string();
        assert!(refusal.contains("middle` cannot be trusted: its owner"), "{refusal}");
    }

    #[test]
    fn a_circle_of_links_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        symlink("round", folder.path().join("round")).unwrap();
        assert!(matches!(read_own(&folder.path().join("round"), 9), Err(InputError::Unreadable { .. })));
    }

    #[test]
    fn what_others_may_write_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        for (mode, trusted) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_own(&path, 9).is_ok(), trusted, "{mode:o}");
        }
    }
}
