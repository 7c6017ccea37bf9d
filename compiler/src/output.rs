//! Files that commands write: all of them, on the disk, or none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use bfp_compiler::source;
use miette::Diagnostic;

use crate::Failure;

/// Replaces a file as a whole, so that nobody ever reads half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |reason: String| WriteError { path: path.display().to_string(), reason };
    // A link stays a link, and what is no file (a device, say) is never replaced by one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = match fs::metadata(&target) {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(failed("it is not a regular file".to_owned()).into()),
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
        failed(source::reason(&error)).into()
    })
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{path}` cannot be written: {reason}")]
#[diagnostic(code(source::unwritable), help("name a file in a directory that exists and that you may write to"))]
pub(crate) struct WriteError {
    pub(crate) path: String,
    pub(crate) reason: String,
}
