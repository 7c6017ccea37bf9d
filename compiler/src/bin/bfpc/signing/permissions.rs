//! Who may read or write a file, by its mode and owner: secrets are for their owner alone, and what is trusted
//! is written by root or by whoever trusts it.
//!
//! A POSIX access control list shows in the mode too: its mask stands where the group's permissions do.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use miette::Diagnostic;

#[derive(Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub(crate) enum PermissionError {
    #[error("`{path}` holds a secret, and users other than its owner may read or write it (mode {mode:04o})")]
    #[diagnostic(
        code(key::exposed),
        help("run `chmod 600 {path}`; if others could have read it, make a new one and revoke the old key")
    )]
    Exposed { path: String, mode: u32 },
    #[error("`{path}` decides whom to trust, and users other than its owner may write to it (mode {mode:04o})")]
    #[diagnostic(code(key::writable), help("review its content, then run `chmod go-w {path}`"))]
    Writable { path: String, mode: u32 },
    #[error("`{path}` decides whom to trust, and belongs to the user {owner}, who is neither root nor you")]
    #[diagnostic(code(key::writable), help("review its content, then make it your own or root's with `chown`"))]
    Foreign { path: String, owner: u32 },
}

/// A secret is readable for its owner alone.
pub(crate) fn check_secret(path: &Path, metadata: &Metadata) -> Result<(), PermissionError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(PermissionError::Exposed { path: path.display().to_string(), mode }) }
}

/// What is trusted is written by root or the caller alone.
pub(crate) fn check_trusted(path: &Path, metadata: &Metadata) -> Result<(), PermissionError> {
    let caller = rustix::process::geteuid().as_raw();
    trusted(path, metadata.mode() & 0o7777, metadata.uid(), caller)
}

fn trusted(path: &Path, mode: u32, owner: u32, caller: u32) -> Result<(), PermissionError> {
    let path = path.display().to_string();
    if owner != 0 && owner != caller {
        return Err(PermissionError::Foreign { path, owner });
    }
    if mode & 0o022 == 0 { Ok(()) } else { Err(PermissionError::Writable { path, mode }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_written_by_root_or_the_caller_alone() {
        let judged = |mode, owner, caller| trusted(Path::new("trust"), mode, owner, caller);
        for (mode, owner, caller) in [(0o755, 0, 0), (0o644, 0, 1000), (0o600, 1000, 1000), (0o444, 1000, 1000)] {
            assert_eq!(judged(mode, owner, caller), Ok(()));
        }
        let path = || "trust".to_owned();
        for mode in [0o664, 0o646, 0o777, 0o1777, 0o2775] {
            assert_eq!(judged(mode, 0, 0), Err(PermissionError::Writable { path: path(), mode }));
        }
        for (owner, caller) in [(1000, 0), (1001, 1000)] {
            assert_eq!(judged(0o644, owner, caller), Err(PermissionError::Foreign { path: path(), owner }));
        }
    }
}
