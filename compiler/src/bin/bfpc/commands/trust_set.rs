//! `trust-set`: keys → the document that says whose signatures count from now on, for `sign`.

use std::path::{Path, PathBuf};

use bfp_bundle::envelope::Document;
use bfp_bundle::key::{KeyId, PublicKey};
use bfp_bundle::seal;
use bfp_bundle::unverified;
use bfp_bundle::verify::trust::MAX_REVOKED;
use bfp_bundle::verify::{MAX_DOCUMENT_BYTES, MAX_SIGNATURES, Refusal, Trust, TrustSet};
use bfp_compiler::source;
use clap::Args;
use miette::Diagnostic;

use crate::Failure;
use crate::files::output::{self, Kind};
use crate::report::Output;
use crate::signing::key_file;
use crate::signing::refusal::refused;
use crate::signing::signed_document::{Unencodable, set_summary};

#[derive(Debug, thiserror::Error, Diagnostic)]
enum TrustSetError {
    #[error("no host can follow this trust set: {reason}")]
    #[diagnostic(
        code(trust_set::unfollowable),
        help("name each key once, revoke none that you keep, and require no more signatures than there are keys")
    )]
    Unfollowable { reason: String },
    #[error("no host can follow version {version}: {reason}")]
    #[diagnostic(
        code(trust_set::version),
        help("omit `--version`: with `--previous`, it is one more than the version of that set")
    )]
    Version { version: u64, reason: String },
    #[error("`{written}` is neither a key id nor the file of a public key")]
    #[diagnostic(
        code(trust_set::key_id),
        help("write a key id of 32 hexadecimal digits, as `bfpc key-id KEY.pub` prints it")
    )]
    KeyId { written: String },
}

#[derive(Args)]
pub(crate) struct TrustSetArguments {
    /// A public key of the new set; may be given several times
    #[arg(long, value_name = "PEM", required = true)]
    key: Vec<PathBuf>,
    /// How many of these keys must sign
    #[arg(long, value_name = "M")]
    threshold: u16,
    /// Its version. Without it: one more than that of `--previous`, or 1, which follows the folder of keys
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// The trust set that it replaces: its revocations stay
    #[arg(long, value_name = "SET")]
    previous: Option<PathBuf>,
    /// A key to revoke permanently, by its file or its id; may be given several times
    #[arg(long, value_name = "PEM|ID")]
    revoke: Vec<String>,
    /// Where the trust set is written
    #[arg(short, long, value_name = "SET")]
    output: PathBuf,
}

pub(crate) fn trust_set(arguments: &TrustSetArguments) -> Result<Output, Failure> {
    if let Some(previous) = &arguments.previous {
        output::refuse_input(&arguments.output, previous)?;
    }
    let previous = arguments.previous.as_ref().map(|path| read(path)).transpose()?;
    let mut keys = key_file::public_keys(&arguments.key)?;
    let mut revoked = previous.as_ref().map_or_else(Vec::new, |set| set.revoked.clone());
    for written in &arguments.revoke {
        revoked.push(key_id(written)?);
    }
    // The same set is the same file, in whatever order it was written.
    keys.sort_by_key(PublicKey::id);
    revoked.sort_unstable();
    revoked.dedup();
    let set = TrustSet {
        version: version(arguments.version, previous.as_ref())?,
        threshold: arguments.threshold,
        keys: keys.iter().map(PublicKey::to_bytes).collect(),
        revoked,
    };
    let new = Trust::of_set(&set).map_err(unfollowable)?;
    if set.revoked.len() > MAX_REVOKED {
        return Err(too_many(format!("it revokes {} keys, and at most {MAX_REVOKED} fit", set.revoked.len())));
    }
    if let Some(previous) = &previous {
        let needed = signatures_needed(&Trust::of_set(previous).map_err(refused)?, &new);
        if needed > MAX_SIGNATURES {
            return Err(too_many(format!(
                "both thresholds take {needed} signatures, and at most {MAX_SIGNATURES} fit"
            )));
        }
    }
    let bytes = seal::seal_trust_set(&set, &[]).map_err(|error| Unencodable { reason: error.to_string() })?;
    let bytes = output::write(&arguments.output, bytes, Kind::Document(Document::TrustSet))?;
    let mut words = format!("{}: {}\n", arguments.output.display(), set_summary(&set));
    for key in &keys {
        words += &format!("key      {}\n", key.id());
    }
    for id in &set.revoked {
        words += &format!("revoked  {id}\n");
    }
    words += "unsigned: no host accepts it before `bfpc sign`, by the thresholds of the old set and of this one\n";
    Ok(Output { words, bytes, ..Output::default() })
}

fn too_many(reason: String) -> Failure {
    TrustSetError::Unfollowable { reason }.into()
}

fn unfollowable(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::BadTrustSet(reason) => TrustSetError::Unfollowable { reason: reason.to_owned() }.into(),
        other => refused(other),
    }
}

/// The version that hosts follow.
fn version(written: Option<u64>, previous: Option<&TrustSet>) -> Result<u64, TrustSetError> {
    let reason = |version, reason: String| Err(TrustSetError::Version { version, reason });
    let next = previous.map(|set| set.version.checked_add(1));
    match (written, next) {
        (_, Some(None)) => reason(u64::MAX, "there is no number after it".to_owned()),
        (Some(0), _) => reason(0, "0 is the folder of keys that a host begins with".to_owned()),
        (Some(version), Some(Some(next))) if version != next => {
            reason(version, format!("the next one after `--previous` is {next}"))
        }
        (Some(version), _) | (None, Some(Some(version))) => Ok(version),
        (None, None) => Ok(1),
    }
}

/// How many signers meet both thresholds: those of both sets count twice.
fn signatures_needed(old: &Trust, new: &Trust) -> usize {
    let common = old.keys().iter().filter(|key| new.keys().contains(key)).count();
    let twice = common.min(old.threshold()).min(new.threshold());
    old.threshold() + new.threshold() - twice
}

fn read(path: &Path) -> Result<TrustSet, Failure> {
    let bytes = source::read_bytes(path, MAX_DOCUMENT_BYTES)?;
    Ok(unverified::peek_trust_set(&bytes).map_err(refused)?.content)
}

/// A key, by its id or its file.
fn key_id(written: &str) -> Result<KeyId, Failure> {
    if let Some(id) = parse_id(written) {
        return Ok(id);
    }
    let path = Path::new(written);
    match path.symlink_metadata() {
        Ok(_) => Ok(key_file::public_key(path)?.id()),
        Err(_) => Err(TrustSetError::KeyId { written: written.to_owned() }.into()),
    }
}

fn parse_id(written: &str) -> Option<KeyId> {
    let digits: Option<Vec<u8>> = written.chars().map(|letter| letter.to_digit(16).map(|digit| digit as u8)).collect();
    let mut id = [0; 16];
    let digits = digits.filter(|digits| digits.len() == 2 * id.len())?;
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Some(KeyId(id))
}
