//! `sign` adds signatures to a bundle, a trust set or a token; `payload` gives out what a signer elsewhere signs.
//!
//! Always: signers sign in any order, on machines of their own, and the same signers give the same bytes; a file
//! that gets no signature is not touched.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_bundle::seal;
use bfp_bundle::verify::{MAX_BUNDLE_BYTES, Refusal};
use bfp_compiler::source;
use clap::Args;
use miette::Diagnostic;

use crate::Failure;
use crate::files::output::{self, Kind};
use crate::report::Output;
use crate::signing::key_file;
use crate::signing::passphrase::Passphrases;
use crate::signing::refusal::refused;
use crate::signing::signed_document::{SignedDocument, listed};

/// The length of a signature.
const SIGNATURE_BYTES: usize = 64;

/// The most bytes of a file with a signature that are read.
const MAX_SIGNATURE_FILE_BYTES: u64 = 4096;

#[derive(Debug, thiserror::Error, Diagnostic)]
enum SignError {
    #[error("`{path}` is not a bundle, trust set or token")]
    #[diagnostic(code(sign::not_a_document), help("name a file that `bfpc build`, `trust-set` or `token` wrote"))]
    NotADocument { path: String },
    #[error("`{path}` already has a signature by the key {id}")]
    #[diagnostic(code(sign::already), help("nothing to do for this key: hosts count each key once"))]
    Already { path: String, id: KeyId },
    #[error("`{path}` is not a signature: it has {found} bytes")]
    #[diagnostic(
        code(sign::no_signature),
        help(
            "name a file with the 64 bytes of an Ed25519 signature, as `openssl pkeyutl -sign -rawin` writes them, or their base64"
        )
    )]
    NoSignature { path: String, found: usize },
    #[error("`{signature}` is not the signature of `{path}` by the key {id}")]
    #[diagnostic(
        code(sign::mismatch),
        help("sign the output of `bfpc payload` with this key, unchanged, by Ed25519 itself and not over a digest")
    )]
    Mismatch { signature: String, path: String, id: KeyId },
    #[error("the payload is {length} bytes that a terminal cannot show")]
    #[diagnostic(code(sign::terminal), help("write it to a file with `-o FILE`, or into a pipe"))]
    Terminal { length: usize },
}

#[derive(Args)]
pub(crate) struct SignArguments {
    /// The bundle, the trust set or the token
    file: PathBuf,
    /// A secret key to sign with; may be given several times
    #[arg(long, value_name = "PEM", required_unless_present = "signature")]
    key: Vec<PathBuf>,
    /// A file whose first line is the passphrase of encrypted keys. Without it, `bfpc` prompts on the terminal
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    passphrase_file: Option<PathBuf>,
    /// An external signature over the output of `bfpc payload`: its 64 bytes, or their base64
    #[arg(long, value_name = "FILE", requires = "public_key", conflicts_with = "key")]
    signature: Option<PathBuf>,
    /// The public key that made that signature
    #[arg(long, value_name = "PEM", requires = "signature")]
    public_key: Option<PathBuf>,
    /// Where the signed file is written. Without it, FILE is replaced
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

pub(crate) fn sign(arguments: &SignArguments) -> Result<Output, Failure> {
    let path = &arguments.file;
    let (mut bytes, document) = read(path)?;
    let mut added = Vec::new();
    let mut words = String::new();
    match (&arguments.signature, &arguments.public_key) {
        (Some(file), Some(key)) => {
            let key = key_file::public_key(key)?;
            let (signature, form) = read_signature(file)?;
            words = format!("{}: a signature, {form}\n", file.display());
            bytes = seal::add_signature(&bytes, &key, &signature).map_err(|refusal| match refusal {
                Refusal::BadSignature(id) => {
                    let (signature, path) = (file.display().to_string(), path.display().to_string());
                    SignError::Mismatch { signature, path, id }.into()
                }
                other => not_added(path, other),
            })?;
            added.push(key.id());
        }
        _ => {
            let payload = seal::signing_payload(&bytes).map_err(refused)?;
            for key in key_file::secret_keys(&arguments.key, Passphrases::of(arguments.passphrase_file.as_ref()))? {
                let public = key.public();
                bytes = seal::add_signature(&bytes, &public, &key.sign(&payload))
                    .map_err(|refusal| not_added(path, refusal))?;
                added.push(public.id());
            }
        }
    }
    // With this signature it may have more of them than are read.
    let signed = SignedDocument::peek(&bytes).map_err(refused)?;
    let output = arguments.output.as_ref().unwrap_or(path);
    let kind = Document::of(&bytes).map_or(Kind::InPlace, Kind::Document);
    let bytes = output::write(output, bytes, kind)?;
    words += &format!(
        "{}: {}\nsigned now by {}\nnames the keys {}\n",
        output.display(),
        document.summary(),
        listed(&added),
        listed(signed.claimed_signers())
    );
    Ok(Output { words, bytes, ..Output::default() })
}

/// A signature cannot be added.
fn not_added(path: &Path, refusal: Refusal) -> Failure {
    match refusal {
        Refusal::DuplicateKey(id) => SignError::Already { path: path.display().to_string(), id }.into(),
        other => refused(other),
    }
}

/// A file to sign, and what it is.
fn read(path: &Path) -> Result<(Vec<u8>, SignedDocument), Failure> {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    if Document::of(&bytes).is_none() {
        return Err(SignError::NotADocument { path: path.display().to_string() }.into());
    }
    let document = SignedDocument::peek(&bytes).map_err(refused)?;
    Ok((bytes, document))
}

/// A signature, and in which form its file holds it.
fn read_signature(path: &Path) -> Result<([u8; SIGNATURE_BYTES], &'static str), Failure> {
    let bytes = source::read_bytes(path, MAX_SIGNATURE_FILE_BYTES)?;
    if let Ok(signature) = bytes.as_slice().try_into() {
        return Ok((signature, "64 bytes as they are"));
    }
    let letters: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mut room = [0; 2 * SIGNATURE_BYTES];
    let decoded = Base64::decode(&letters, &mut room).ok().and_then(|decoded| decoded.try_into().ok());
    match decoded {
        Some(signature) => Ok((signature, "in base64")),
        None => Err(SignError::NoSignature { path: path.display().to_string(), found: bytes.len() }.into()),
    }
}

#[derive(Args)]
pub(crate) struct PayloadArguments {
    /// The bundle, the trust set or the token
    file: PathBuf,
    /// Where the payload is written. Without it, the standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// The very bytes that a signature signs; nothing where they are written to a file.
pub(crate) fn payload(arguments: &PayloadArguments) -> Result<Vec<u8>, Failure> {
    let (bytes, document) = read(&arguments.file)?;
    let payload = seal::signing_payload(&bytes).map_err(refused)?;
    match &arguments.output {
        Some(output) => {
            let length = payload.len();
            let standard = output::write(output, payload, Kind::Payload)?;
            let words = || format!("{}: {length} bytes to sign, {}\n", output.display(), document.summary());
            Ok(standard.unwrap_or_else(|| words().into_bytes()))
        }
        None if io::stdout().is_terminal() => Err(SignError::Terminal { length: payload.len() }.into()),
        None => Ok(payload),
    }
}
