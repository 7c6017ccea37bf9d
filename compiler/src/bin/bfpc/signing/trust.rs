//! Whom a verification trusts: `--trust PATH`, which is a public key, a folder of them, or the trust set in force.
//!
//! What others could have written is not read: it would be they who say whom to trust.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bfp_bundle::envelope::Document;
use bfp_bundle::key::PublicKey;
use bfp_bundle::unverified;
use bfp_bundle::verify::{MAX_DOCUMENT_BYTES, Refusal, Trust};
use bfp_compiler::source::{self, SourceError};
use clap::{Args, value_parser};
use miette::Diagnostic;

use crate::Failure;
use crate::signing::refusal::refused;
use crate::signing::{key_file, permissions};

#[derive(Args)]
pub(crate) struct TrustArguments {
    /// The trusted public key, a directory of them (*.pem), or the trust set in force
    #[arg(long, value_name = "PATH")]
    pub(crate) trust: PathBuf,
    /// How many trusted keys must have signed; raises the threshold that PATH states, and cannot lower it
    #[arg(long, default_value_t = 1, value_name = "M", value_parser = value_parser!(u16).range(1..))]
    pub(crate) threshold: u16,
    /// A tag of the host to verify for, if the bundle is not for every host
    #[arg(long, value_name = "LABEL")]
    pub(crate) audience: Vec<String>,
}

/// The file in a folder that says how many of its keys must have signed.
const THRESHOLD: &str = "threshold";

#[derive(Debug, thiserror::Error, Diagnostic)]
enum TrustError {
    #[error("`{path}` contains no public key (*.pem)")]
    #[diagnostic(code(key::none), help("put the public half of the signing key there"))]
    NoKeys { path: String },
    #[error("`{path}` contains {keys} public keys, but no file `threshold` with the number of required signatures")]
    #[diagnostic(code(key::threshold), help("write the number into such a file, or give `--threshold`"))]
    NoThreshold { path: String, keys: usize },
    #[error("`{path}` must contain a number of signatures, and contains `{found}`")]
    #[diagnostic(code(key::threshold), help("write a number there, such as 2, and nothing else"))]
    NoNumber { path: String, found: String },
    #[error("`{path}` cannot be trusted as it is: {reason}")]
    #[diagnostic(code(key::threshold), help("require fewer signatures, or put more public keys there, each once"))]
    Unmeetable { path: String, reason: &'static str },
}

/// Reads whom to trust. The threshold raises the one that stands there, and never lowers it.
pub(crate) fn read(path: &Path, threshold: u16) -> Result<Trust, Failure> {
    let mut demanded = usize::from(threshold);
    let trust = if path.is_dir() {
        let (keys, stands_there) = folder(path)?;
        if stands_there.is_none() && keys.len() > 1 && demanded < 2 {
            return Err(TrustError::NoThreshold { path: path.display().to_string(), keys: keys.len() }.into());
        }
        demanded = demanded.max(stands_there.unwrap_or(1));
        Trust::first(keys, demanded)
    } else {
        let bytes = trusted_bytes(path)?;
        if Document::of(&bytes) == Some(Document::TrustSet) {
            let set = unverified::peek_trust_set(&bytes).map_err(refused)?.content;
            Trust::of_set(&set).map_err(refused)?.demanding(demanded)
        } else {
            Trust::first(vec![key_file::parse_public(path, &source::text(path, bytes)?)?], demanded)
        }
    };
    trust.map_err(|refusal| match refusal {
        Refusal::BadTrustSet(reason) => TrustError::Unmeetable { path: path.display().to_string(), reason }.into(),
        other => refused(other),
    })
}

/// The keys of a folder, and how many of them must have signed, where it says so.
fn folder(path: &Path) -> Result<(Vec<PublicKey>, Option<usize>), Failure> {
    let unreadable = |error: io::Error| SourceError::of(path, &error);
    permissions::check_trusted(path, &fs::metadata(path).map_err(unreadable)?)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let is_hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && file.extension().is_some_and(|extension| extension == "pem") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(TrustError::NoKeys { path: path.display().to_string() }.into());
    }
    let key = |file: &PathBuf| key_file::parse_public(file, &source::text(file, trusted_bytes(file)?)?);
    let keys = files.iter().map(key).collect::<Result<Vec<_>, Failure>>()?;
    let file = path.join(THRESHOLD);
    // A link that leads nowhere is no absent threshold: reading it says what is wrong.
    if fs::symlink_metadata(&file).is_err() {
        return Ok((keys, None));
    }
    let written = source::text(&file, trusted_bytes(&file)?)?;
    let written = written.trim();
    match written.parse() {
        Ok(threshold) if threshold > 0 => Ok((keys, Some(threshold))),
        _ => {
            let found = written.chars().take(20).collect();
            Err(TrustError::NoNumber { path: file.display().to_string(), found }.into())
        }
    }
}

/// The bytes of a file that nobody else may have written.
fn trusted_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut file = source::open(path)?;
    permissions::check_trusted(path, &file.metadata().map_err(|error| SourceError::of(path, &error))?)?;
    Ok(source::read_opened(path, &mut file, MAX_DOCUMENT_BYTES)?)
}
