//! Files as they are in a revision of a git repository, through the program `git`.

use std::path::Path;
use std::process::{Command, Stdio};

use bfp_compiler::source::fs_verity;
use bfp_compiler::source::{self, MAX_SOURCE_BYTES, Read, SourceError};

/// A commit.
pub(crate) struct Revision {
    /// As it was given, for messages.
    written: String,
    /// Its object name.
    commit: String,
}

impl Revision {
    /// Finds a commit in the repository that `beside` stands in. The error is what git says.
    pub(crate) fn find(written: &str, beside: &Path) -> Result<Revision, String> {
        let wanted = format!("{written}^{{commit}}");
        let found = git(beside, &["rev-parse", "--verify", "--end-of-options", &wanted])?;
        Ok(Revision { written: written.to_owned(), commit: String::from_utf8_lossy(&found).trim().to_owned() })
    }

    /// Whether the repository that `beside` stands in lacks the older part of its history.
    pub(crate) fn is_shallow(beside: &Path) -> bool {
        git(beside, &["rev-parse", "--is-shallow-repository"]).is_ok_and(|said| said.starts_with(b"true"))
    }

    /// Whether it has this file.
    pub(crate) fn has(&self, path: &Path) -> bool {
        git(path, &["cat-file", "-e", &self.object(path)]).is_ok()
    }

    /// The path counts from the directory that git is started in.
    fn object(&self, path: &Path) -> String {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        format!("{}:./{name}", self.commit)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, SourceError> {
        let shown = self.shown(path);
        let bytes = git(path, &["cat-file", "blob", &self.object(path)])
            .map_err(|reason| SourceError::Unreadable { path: shown.clone(), reason })?;
        match bytes.len() as u64 {
            found if found > MAX_SOURCE_BYTES => {
                Err(SourceError::TooLarge { path: shown, found, limit: MAX_SOURCE_BYTES })
            }
            _ => Ok(bytes),
        }
    }
}

impl Read for Revision {
    fn shown(&self, path: &Path) -> String {
        format!("{}:{}", self.written, self.short(path).display())
    }

    fn text(&self, path: &Path) -> Result<String, SourceError> {
        source::text(Path::new(&self.shown(path)), self.bytes(path)?)
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        let unreadable =
            |error: std::io::Error| SourceError::Unreadable { path: self.shown(path), reason: source::reason(&error) };
        fs_verity::digest(self.bytes(path)?.as_slice()).map_err(unreadable)
    }
}

/// Runs git in the directory of a file; the error is a sentence.
fn git(beside: &Path, words: &[&str]) -> Result<Vec<u8>, String> {
    let directory = beside.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ran = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("git cannot be run: {}", source::reason(&error)))?;
    if ran.status.success() {
        return Ok(ran.stdout);
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("git failed without a message");
    Err(line.trim_start_matches("fatal: ").to_owned())
}
