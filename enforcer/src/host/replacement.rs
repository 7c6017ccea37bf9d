//! Replaces a file of the administrator's as a whole: its bytes and its new bytes enter, and the path has the old file
//! or the new one, whatever happens in between.
//!
//! Always: owner, group, mode and extended attributes (an SELinux label, an access list) are those of the old file, or
//! nothing is replaced. A symbolic link is not followed: a rename would replace the link, and its target may be
//! another program's to write.

use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::failure::{Actionable, Exit};
use crate::host::syscall;

/// The mode of a file that was missing.
const NEW_MODE: u32 = 0o644;

/// The bits of a mode that are kept. Text that was added must not run as the file's owner.
const PERMISSIONS: u32 = 0o777;

/// Attributes over a file's content, which the kernel writes itself (security/integrity).
const OF_THE_CONTENT: [&CStr; 2] = [c"security.ima", c"security.evm"];

/// The access list, which a new file can inherit from its directory.
const ACCESS_LIST: &CStr = c"system.posix_acl_access";

/// Why a file is not replaced.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum ReplacementError {
    #[error("`{0}` is a symbolic link")]
    Link(PathBuf),
    #[error("`{0}` is not a regular file")]
    NotAFile(PathBuf),
    #[error("`{path}` is larger than {limit} bytes")]
    Oversize { path: PathBuf, limit: u64 },
    #[error("`{0}` has changed meanwhile")]
    Changed(PathBuf),
    #[error("`{path}` cannot be {what}: {error}")]
    Failed { path: PathBuf, what: &'static str, error: io::Error },
}

impl Actionable for ReplacementError {
    fn help(&self) -> &'static str {
        match self {
            ReplacementError::Link(_) => "name the file that the link leads to, or print the text with `--print`",
            ReplacementError::NotAFile(_) | ReplacementError::Oversize { .. } => "name a text file",
            ReplacementError::Changed(_) => "run it again: nothing was written",
            ReplacementError::Failed { error, .. } => match error.kind() {
                io::ErrorKind::ResourceBusy => {
                    "it is a mount, as in a container: print the text with `--print`, and write it where the mount \
                     comes from"
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "make its directory writable (in a unit: `ReadWritePaths=`), or print the text with `--print`"
                }
                _ => "run it as root, on a filesystem that keeps the file's owner, mode and attributes",
            },
        }
    }

    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

/// A file, and what it must be when it is replaced.
pub struct Original {
    path: PathBuf,
    /// `None` if nothing is at the path.
    found: Option<(File, Metadata)>,
    bytes: Vec<u8>,
}

impl Original {
    /// Reads at most `limit` bytes of a file. A missing file is empty.
    ///
    /// # Errors
    /// The path is a symbolic link or no regular file, or the file cannot be read or is larger than `limit`.
    pub fn read(path: &Path, limit: u64) -> Result<Original, ReplacementError> {
        let at = || path.to_owned();
        let unreadable = |error| ReplacementError::Failed { path: at(), what: "read", error };
        // Without `O_NONBLOCK`, opening a pipe would block.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Original { path: at(), found: None, bytes: Vec::new() });
            }
            Err(_) if path.is_symlink() => return Err(ReplacementError::Link(at())),
            Err(error) => return Err(unreadable(error)),
        };
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(ReplacementError::NotAFile(at()));
        }
        let mut bytes = Vec::new();
        (&file).take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > limit {
            return Err(ReplacementError::Oversize { path: at(), limit });
        }
        Ok(Original { path: at(), found: Some((file, about)), bytes })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts a file with these bytes in its place.
    ///
    /// # Errors
    /// The old file is still in its place, or, if only the directory could not be synced, the new one.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), ReplacementError> {
        let failed = |what| move |error| ReplacementError::Failed { path: self.path.clone(), what, error };
        let name = self.path.file_name().ok_or_else(|| ReplacementError::NotAFile(self.path.clone()))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".bfp-{}", std::process::id()));
        let beside = folder.join(beside);
        // A process that had this number may have been killed.
        let _ = fs::remove_file(&beside);
        let written = self.write_beside(&beside, bytes).map_err(failed("written"));
        let unchanged = written.and_then(|()| match self.is_unchanged() {
            true => Ok(()),
            false => Err(ReplacementError::Changed(self.path.clone())),
        });
        let placed = unchanged.and_then(|()| fs::rename(&beside, &self.path).map_err(failed("replaced")));
        if placed.is_err() {
            // A partial file is useless, and the first error matters more.
            let _ = fs::remove_file(&beside);
        }
        placed?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("synced"))
    }

    fn write_beside(&self, beside: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        file.write_all(bytes)?;
        match &self.found {
            None => file.set_permissions(Permissions::from_mode(NEW_MODE))?,
            Some((original, about)) => {
                let new = file.metadata()?;
                // The kernel asks for a capability, unless nothing changes.
                if (new.uid(), new.gid()) != (about.uid(), about.gid()) {
                    fchown(&file, Some(about.uid()), Some(about.gid()))?;
                }
                file.set_permissions(Permissions::from_mode(about.mode() & PERMISSIONS))?;
                copy_attributes(original, &file)?;
            }
        }
        file.sync_all()
    }

    /// Whether the path still has the file that was read. A change between this and the rename is lost, as with any
    /// editor of the file: its writers have no common lock.
    fn is_unchanged(&self) -> bool {
        match (&self.found, fs::symlink_metadata(&self.path)) {
            (None, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Some((_, before)), Ok(now)) => {
                let version =
                    |about: &Metadata| (about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec());
                version(before) == version(&now)
            }
            _ => false,
        }
    }
}

fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let names = syscall::attributes(from)?;
    for name in names.iter().filter(|name| !OF_THE_CONTENT.contains(&name.as_c_str())) {
        let value = syscall::attribute(from, name)?;
        // A label that the kernel gave the new file already needs no permission.
        if syscall::attribute(to, name).ok().as_ref() != Some(&value) {
            syscall::set_attribute(to, name, Some(&value))?;
        }
    }
    let has_list = |names: &[CString]| names.iter().any(|name| name.as_c_str() == ACCESS_LIST);
    if !has_list(&names) && has_list(&syscall::attributes(to)?) {
        syscall::set_attribute(to, ACCESS_LIST, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::os::unix::fs::symlink;

    fn entries(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_keeps_its_mode_and_its_attributes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let label = c"user.label";
        syscall::set_attribute(File::open(&path).unwrap().as_fd(), label, Some(b"net_conf")).unwrap();
        Original::read(&path, 9).unwrap().replace(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(syscall::attribute(File::open(&path).unwrap().as_fd(), label).unwrap(), b"net_conf");
        assert_eq!(entries(folder.path()), ["hosts"]);
    }

    #[test]
    fn a_file_without_an_access_list_gets_none_from_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        // include/uapi/linux/posix_acl_xattr.h: tag, permissions and id of the owner, a user, the group, the mask, others.
        let entries = [(1, 7, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 5, u32::MAX)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend([u16::to_le_bytes(tag), u16::to_le_bytes(permissions)].concat());
            list.extend(u32::to_le_bytes(id));
        }
        let directory = File::open(folder.path()).unwrap();
        syscall::set_attribute(directory.as_fd(), c"system.posix_acl_default", Some(&list)).unwrap();
        Original::read(&path, 9).unwrap().replace(b"new").unwrap();
        let names = syscall::attributes(File::open(&path).unwrap().as_fd()).unwrap();
        assert!(!names.iter().any(|name| name.as_c_str() == ACCESS_LIST), "{names:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_file_keeps_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "old").unwrap();
        // Only root can; for another user the file keeps that user.
        let _ = std::os::unix::fs::chown(&path, Some(1000), Some(1001));
        let owner = |path| fs::metadata(path).map(|about| (about.uid(), about.gid())).unwrap();
        let before = owner(&path);
        Original::read(&path, 9).unwrap().replace(b"new").unwrap();
        assert_eq!(owner(&path), before);
    }

    #[test]
    fn a_missing_file_is_empty_and_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let original = Original::read(&path, 9).unwrap();
        assert_eq!(original.bytes(), b"");
        original.replace(b"new").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), fs::metadata(&path).unwrap().mode() & 0o777),
            (&b"new"[..], 0o644)
        );
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("hosts"));
        fs::write(&file, "old").unwrap();
        symlink("hosts", &link).unwrap();
        let refusal = |path: &Path| Original::read(path, 2).err().unwrap().to_string();
        assert!(refusal(&link).ends_with("link` is a symbolic link"));
        assert!(refusal(folder.path()).ends_with("is not a regular file"));
        assert!(refusal(&file).ends_with("is larger than 2 bytes"));
        assert!(refusal(&file.join("below")).contains("cannot be read"));
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let absent = Original::read(&path, 99).unwrap();
        fs::write(&path, "old").unwrap();
        let present = Original::read(&path, 99).unwrap();
        fs::write(&path, "by an editor").unwrap();
        for original in [absent, present] {
            assert!(matches!(original.replace(b"new"), Err(ReplacementError::Changed(_))));
        }
        assert_eq!(fs::read(&path).unwrap(), b"by an editor");
        assert_eq!(entries(folder.path()), ["hosts"]);
    }
}
