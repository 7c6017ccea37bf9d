//! A source file with its lock file, read with bounds: bytes on disk → text, or a sentence that says
//! why not.
//!
//! Files are opened here and in [`load`], which follows includes; [`source_map`] finds the file and the line of a place
//! in what was loaded.

pub mod fs_verity;

pub mod load;

pub mod parameters;

pub mod source_map;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// The largest policy or lock that is read.
pub const MAX_SOURCE_BYTES: u64 = 64 << 20;

/// The longest name of a file, in bytes (NAME_MAX of Linux).
pub const LONGEST_FILE_NAME: usize = 255;

/// The longest path, in bytes (PATH_MAX of Linux, less the NUL behind it).
pub const LONGEST_PATH: usize = 4095;

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum SourceError {
    /// It cannot be opened or read.
    #[error("`{path}` cannot be read: {reason}")]
    #[diagnostic(code(source::unreadable), help("name an existing file that you may read"))]
    Unreadable {
        /// Which file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// There is none.
    #[error("`{path}` cannot be read: {reason}")]
    #[diagnostic(code(source::unreadable), help("name an existing file that you may read"))]
    Missing {
        /// Which file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A directory, a device, a pipe.
    #[error("`{path}` is not a regular file")]
    #[diagnostic(code(source::not_a_file), help("name the file itself, not a directory, a pipe or a device"))]
    NotAFile {
        /// Which file.
        path: String,
    },
    /// A policy, or its lock, that is a link out of its tree.
    #[error("`{path}` is a link that leads out of its tree")]
    #[diagnostic(
        code(load::outside),
        help("replace the link with the file itself, or name the policy by its real path")
    )]
    Outside {
        /// The link.
        path: String,
    },
    /// What was named as a policy, and has no statement.
    #[error("`{path}` is not a policy: no line of it is a statement")]
    #[diagnostic(
        code(load::not_a_policy),
        help("check the name, and the target if it is a link; the content is not shown, because it may be a secret")
    )]
    NotAPolicy {
        /// Which file.
        path: String,
    },
    /// A line feed, say, in its name.
    #[error("the name of `{path}` contains a control character")]
    #[diagnostic(
        code(source::control_character),
        help("rename it: a report that names the file would contain forged lines")
    )]
    ControlCharacter {
        /// Which file, with escapes.
        path: String,
    },
    /// Too large to be what it should be.
    #[error("`{path}` has {found} bytes, and the limit is {limit}")]
    #[diagnostic(code(source::too_large), help("check that this is the right file"))]
    TooLarge {
        /// Which file.
        path: String,
        /// Its size in bytes.
        found: u64,
        /// The largest size in bytes.
        limit: u64,
    },
    /// Not text.
    #[error("`{path}` is not UTF-8 text: line {line} cannot be decoded")]
    #[diagnostic(code(source::not_utf8), help("save it as UTF-8, and check that it is the right file"))]
    NotUtf8 {
        /// Which file.
        path: String,
        /// The first line that is wrong.
        line: usize,
    },
}

impl SourceError {
    /// Why a file cannot be opened or read, by what the system says.
    pub fn of(path: &Path, error: &std::io::Error) -> SourceError {
        let (path, reason) = (path.display().to_string(), reason(error));
        match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing { path, reason },
            _ => SourceError::Unreadable { path, reason },
        }
    }
}

/// What the system says, as the end of a sentence.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" (os error ").map_or(text.as_str(), |(text, _)| text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Whether a path, as it was given to a command, stands for the standard input.
pub fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The standard input, which can be read only once: a command may ask for the same text again.
static STANDARD_INPUT: OnceLock<Vec<u8>> = OnceLock::new();

fn read_standard_input(path: &Path, limit: u64) -> Result<Vec<u8>, SourceError> {
    let bytes = match STANDARD_INPUT.get() {
        Some(bytes) => bytes.clone(),
        None => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|error| SourceError::of(path, &error))?;
            STANDARD_INPUT.get_or_init(|| bytes).clone()
        }
    };
    let found = bytes.len() as u64;
    if found > limit {
        return Err(SourceError::TooLarge { path: path.display().to_string(), found, limit });
    }
    Ok(bytes)
}

/// Reads a file of at most `limit` bytes; `-` is the standard input.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, SourceError> {
    if is_standard_input(path) {
        return read_standard_input(path, limit);
    }
    read_opened(path, &mut open(path)?, limit)
}

/// Refuses a name that forges lines of what is told about its file.
fn refuse_control_characters(path: &Path) -> Result<(), SourceError> {
    let shown = path.to_string_lossy();
    match shown.chars().any(char::is_control) {
        true => Err(SourceError::ControlCharacter { path: shown.escape_debug().to_string() }),
        false => Ok(()),
    }
}

/// Opens a regular file.
pub fn open(path: &Path) -> Result<File, SourceError> {
    refuse_control_characters(path)?;
    let unreadable = |error: std::io::Error| SourceError::of(path, &error);
    // Asked before opening: opening a pipe or a device may wait or act.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SourceError::NotAFile { path: path.display().to_string() });
    }
    File::open(path).map_err(unreadable)
}

/// Reads what was opened, which is called `path` in messages.
pub fn read_opened(path: &Path, file: &mut File, limit: u64) -> Result<Vec<u8>, SourceError> {
    let too_large = |found| SourceError::TooLarge { path: path.display().to_string(), found, limit };
    let unreadable = |error: std::io::Error| SourceError::of(path, &error);
    let mut bytes = Vec::new();
    let length = file.metadata().map_err(unreadable)?.len();
    if length > limit {
        return Err(too_large(length));
    }
    // The file may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Reads a text file.
pub fn read_text(path: &Path) -> Result<String, SourceError> {
    text(path, read_bytes(path, MAX_SOURCE_BYTES)?)
}

/// Bytes of the file `path` as text.
pub fn text(path: &Path, bytes: Vec<u8>) -> Result<String, SourceError> {
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = before.filter(|&&byte| byte == b'\n').count() + 1;
        SourceError::NotUtf8 { path: path.display().to_string(), line }
    })
}

/// Where files are read from: a disk, a revision of a repository, or a test.
pub trait Read {
    /// A text.
    fn text(&self, path: &Path) -> Result<String, SourceError>;
    /// A list of networks.
    fn list(&self, path: &Path) -> Result<String, SourceError> {
        self.text(path)
    }
    /// The fs-verity digest of a file's content.
    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError>;
    /// Whether a file that a policy names lies in the tree of that policy, which stands in `directory`. Where
    /// there are no links to follow, the path alone has said so.
    fn is_within(&self, _directory: &Path, _path: &Path) -> bool {
        true
    }
    /// Refuses a policy, or a lock, that is a link out of the tree of its folder: whoever proposes it would have any file
    /// of the machine read, and its lines shown. Says whether it is a link within it.
    fn check_link(&self, _path: &Path) -> Result<bool, SourceError> {
        Ok(false)
    }
    /// The same for all paths that lead to one file.
    fn identity(&self, path: &Path) -> PathBuf {
        self.short(path)
    }
    /// The same file by its shortest path: without `.`, and without `..` but at its begin.
    fn short(&self, path: &Path) -> PathBuf {
        normal(path)
    }
    /// What reports call a file.
    fn shown(&self, path: &Path) -> String {
        self.short(path).display().to_string()
    }
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Disk {
    /// The tree that the policies of a directory may name files of: the git work tree that it belongs to, or else the
    /// directory itself.
    fn tree(directory: &Path) -> Option<PathBuf> {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let directory = fs::canonicalize(directory).ok()?;
        let work_tree = directory.ancestors().find(|folder| folder.join(".git").exists());
        Some(work_tree.unwrap_or(&directory).to_owned())
    }

    /// Where a path leads, links followed; of a file that is not there, where it would stand.
    fn target(path: &Path) -> Option<PathBuf> {
        let found = path.ancestors().find_map(|ancestor| {
            let existing = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
            let rest = path.strip_prefix(ancestor).ok()?;
            Some(fs::canonicalize(existing).ok()?.join(rest))
        });
        found.filter(|target| target.components().all(|part| part != Component::ParentDir))
    }
}

impl Read for Disk {
    /// From the working directory, where the file lies below it: code hosts attach a report to no other path.
    fn short(&self, path: &Path) -> PathBuf {
        let short = normal(path);
        let below = std::env::current_dir().ok().and_then(|here| Some(short.strip_prefix(here).ok()?.to_owned()));
        let short = below.filter(|below| below.file_name().is_some()).unwrap_or(short);
        // Behind a link, `..` leads elsewhere.
        let leads_there = Disk::target(&short).is_some_and(|target| Some(target) == Disk::target(path));
        if leads_there { short } else { path.to_owned() }
    }

    fn is_within(&self, directory: &Path, path: &Path) -> bool {
        let (Some(tree), Some(target)) = (Disk::tree(directory), Disk::target(path)) else { return false };
        // What git keeps for itself, credentials among it, is no part of the tree.
        target.strip_prefix(&tree).is_ok_and(|below| below.components().all(|part| part.as_os_str() != ".git"))
    }

    fn check_link(&self, path: &Path) -> Result<bool, SourceError> {
        let is_link = !is_standard_input(path) && fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        if is_link && !self.is_within(path.parent().unwrap_or(Path::new("")), path) {
            return Err(SourceError::Outside { path: path.display().to_string() });
        }
        Ok(is_link)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| self.short(path))
    }

    fn text(&self, path: &Path) -> Result<String, SourceError> {
        read_text(path)
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        let unreadable = |error: std::io::Error| SourceError::of(path, &error);
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(SourceError::NotAFile { path: path.display().to_string() });
        }
        fs_verity::digest(File::open(path).map_err(unreadable)?).map_err(unreadable)
    }
}

/// A path without `.`, and without `..` but at its begin. Links are not followed.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(found.components().next_back(), Some(Component::Normal(_))) => {
                found.pop();
            }
            part => found.push(part),
        }
    }
    found
}

/// Where the lock of a policy stands: beside it, with `.lock` added to its name.
pub fn lock_path(policy: &Path) -> PathBuf {
    let mut name = policy.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
