//! Files that commands write: all of them, on the disk, or none.
//!
//! Always: what stands at an output's place is replaced only where it is of the same kind (a bundle by a bundle) or
//! empty, so that a slip of the pen costs neither a policy nor a key. `-` is the standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bfp_bundle::envelope::Document;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::source;
use miette::Diagnostic;

use crate::Failure;

/// What a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bundle, a trust set or a token.
    Document(Document),
    /// What a signer elsewhere signs.
    Payload,
    /// An SVG picture.
    Picture,
    /// What tests said, as JUnit's XML.
    TestReport,
    /// The lock of a policy.
    Lock,
    /// A list of networks, which has no mark of its own.
    List,
    /// A policy, which the command has read and writes again.
    InPlace,
}

/// As much of a file as tells its kind.
const BEGIN_BYTES: u64 = 4096;

impl Kind {
    /// The kind of the file that begins like this.
    fn of(begin: &[u8]) -> Option<Kind> {
        if let Some(document) = Document::of(begin) {
            return Some(Kind::Document(document));
        }
        let contexts: [&[u8]; 3] = [b"bfp bundle, format ", b"bfp trust set, format ", b"bfp token, format "];
        if contexts.iter().any(|context| begin.starts_with(context)) && begin.contains(&0) {
            return Some(Kind::Payload);
        }
        let text = String::from_utf8_lossy(begin);
        let element = text.trim_start_matches('\u{FEFF}').trim_start();
        let element = match element.strip_prefix("<?xml") {
            Some(rest) => rest.split_once("?>").map_or("", |(_, rest)| rest).trim_start(),
            None => element,
        };
        if element.starts_with("<svg") {
            Some(Kind::Picture)
        } else if element.starts_with("<testsuite") {
            Some(Kind::TestReport)
        } else if Lock::may_be(&text) {
            Some(Kind::Lock)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Document(Document::Bundle) => "a bundle",
            Kind::Document(Document::TrustSet) => "a trust set",
            Kind::Document(Document::Token) => "a token",
            Kind::Payload => "a payload to sign",
            Kind::Picture => "an SVG picture",
            Kind::TestReport => "a JUnit report",
            Kind::Lock => "a lock file",
            Kind::List => "a list of networks",
            Kind::InPlace => "a policy",
        }
    }
}

const ANOTHER_KIND: &str = "a file of another kind";

/// What stands at a place, in words.
fn described(begin: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(begin);
    match Kind::of(begin) {
        Some(kind) => kind.name(),
        None if text.contains("PRIVATE KEY-----") => "a secret key",
        None if text.contains("PUBLIC KEY-----") => "a public key",
        None if bfp_grammar::parse(&text).is_ok_and(|policy| !policy.statements.is_empty()) => "a policy",
        None => ANOTHER_KIND,
    }
}

/// Whether a path stands for the standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    source::is_standard_input(path)
}

/// Writes an output, and returns the bytes where they are for the standard output.
pub(crate) fn write(path: &Path, bytes: Vec<u8>, kind: Kind) -> Result<Option<Vec<u8>>, Failure> {
    if is_standard(path) {
        return Ok(Some(bytes));
    }
    refuse_other_kind(path, kind)?;
    replace(path, &bytes)?;
    Ok(None)
}

/// Refuses an output that would take the place of a file that the command reads.
pub(crate) fn refuse_input(output: &Path, input: &Path) -> Result<(), Failure> {
    let file = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    match (is_standard(output), file(output), file(input)) {
        (false, Some(one), Some(other)) if one == other => {
            Err(OtherKind { path: output.display().to_string(), found: "read by this command", wanted: "its output" }
                .into())
        }
        _ => Ok(()),
    }
}

/// Refuses an output that would take the place of a file of another kind. Links are followed.
pub(crate) fn refuse_other_kind(path: &Path, kind: Kind) -> Result<(), Failure> {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if kind == Kind::InPlace || !is_file {
        return Ok(());
    }
    let mut begin = Vec::new();
    let read = source::open(path)?.take(BEGIN_BYTES).read_to_end(&mut begin);
    read.map_err(|error| source::SourceError::of(path, &error))?;
    let found = described(&begin);
    let is_list = kind == Kind::List && found == ANOTHER_KIND;
    if begin.is_empty() || Kind::of(&begin) == Some(kind) || is_list {
        return Ok(());
    }
    Err(OtherKind { path: path.display().to_string(), found, wanted: kind.name() }.into())
}

/// Replaces a file as a whole, so that nobody ever reads half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    // A link stays a link, and what is no file (a device, say) is never replaced by one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(WriteError::because(path, "it is not a regular file".to_owned())),
        Err(_) => None,
    };
    let mut beside = target.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(bytes)?;
        mode.map_or(Ok(()), |mode| file.set_permissions(mode))?;
        file.sync_all()?;
        fs::rename(&beside, &target)?;
        // The new name outlives a crash once its directory is on the disk. Where a directory cannot be opened or
        // synced, the file is there all the same.
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
        Ok(())
    };
    written().map_err(|error| {
        // What is left of a failure is in nobody's way; the failure itself is what is told.
        let _ = fs::remove_file(&beside);
        WriteError::of(path, &error)
    })
}

/// An output would destroy another file.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{path}` is {found}, and cannot be replaced by {wanted}")]
#[diagnostic(code(source::not_replaced), help("move it away first, or name another file to write"))]
struct OtherKind {
    path: String,
    found: &'static str,
    wanted: &'static str,
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{path}` cannot be written: {reason}")]
#[diagnostic(code(source::unwritable))]
pub(crate) struct WriteError {
    path: String,
    reason: String,
    #[help]
    help: &'static str,
}

impl WriteError {
    /// Why not, by what the system says.
    pub(crate) fn of(path: &Path, error: &io::Error) -> WriteError {
        let help = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space there, or name a file on another disk"
            }
            io::ErrorKind::FileTooLarge => "raise the file size limit (`ulimit -f`), or name a file elsewhere",
            io::ErrorKind::ReadOnlyFilesystem => "name a file on a disk that is not mounted read-only",
            _ => ELSEWHERE,
        };
        WriteError { path: path.display().to_string(), reason: source::reason(error), help }
    }

    /// Why not, in words.
    pub(crate) fn because(path: &Path, reason: String) -> WriteError {
        WriteError { path: path.display().to_string(), reason, help: ELSEWHERE }
    }
}

const ELSEWHERE: &str = "name a file in a directory that exists and that you may write to";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_told_from_a_directory_that_is_missing() {
        let told = |kind: io::ErrorKind| WriteError::of(Path::new("x"), &kind.into()).help;
        assert!(told(io::ErrorKind::StorageFull).contains("free some space"));
        assert!(told(io::ErrorKind::ReadOnlyFilesystem).contains("read-only"));
        assert!(told(io::ErrorKind::NotFound).contains("directory that exists"));
    }
}
