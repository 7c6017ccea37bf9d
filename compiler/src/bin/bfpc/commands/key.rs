//! The commands over keys: `keygen` makes one, `key-id` tells what names it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bfp_bundle::secret_key::SecretKey;
use clap::Args;
use miette::Diagnostic;
use zeroize::Zeroizing;

use crate::files::output::WriteError;
use crate::signing::key_file::{self, KeyFileError};
use crate::signing::passphrase::Passphrases;
use crate::{Answer, Failure};

#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{path}` already exists")]
#[diagnostic(code(key::exists), help("move it away, or name another file: a key is never overwritten"))]
struct Exists {
    path: String,
}

#[derive(Args)]
pub(crate) struct KeygenArguments {
    /// Where the secret key is written
    key: PathBuf,
    /// Encrypt the secret key with a passphrase
    #[arg(long)]
    encrypt: bool,
    /// A file whose first line is the passphrase. Without it, `bfpc` prompts on the terminal, twice
    #[arg(long, value_name = "FILE", requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
}

pub(crate) fn keygen(arguments: &KeygenArguments) -> Answer {
    let path = &arguments.key;
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    if let Some(taken) = [path, &public_path].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(Exists { path: taken.display().to_string() }.into());
    }
    let passphrase = match arguments.encrypt {
        true => Some(Passphrases::of(arguments.passphrase_file.as_ref()).of_new_key(path)?),
        false => None,
    };
    let seed = key_file::random().map_err(|error| WriteError::of(path, &error))?;
    let key = SecretKey::from_seed(&seed);
    let unusable = |reason| KeyFileError::Unusable { path: path.display().to_string(), reason };
    let pem = match &passphrase {
        Some(passphrase) => {
            let encrypted = key_file::encrypted_pem(&key, passphrase);
            Zeroizing::new(encrypted.map_err(|error| WriteError::because(path, error.to_string()))?)
        }
        None => key_file::secret_pem(&key).map_err(unusable)?,
    };
    let public_pem = key.public().to_pem().map_err(unusable)?;
    write_new(path, 0o600, &pem)?;
    // Also where the umask lets others write: what they can write is no key to trust.
    write_new(&public_path, 0o644, &public_pem).inspect_err(|_| {
        // Half a pair would be in the way of the next attempt, and nobody has used it.
        let _ = fs::remove_file(path);
    })?;
    Ok(format!(
        "{}: secret key{}, keep it where only its owner can read it\n{}: public key {}\n",
        path.display(),
        if passphrase.is_some() { ", encrypted" } else { "" },
        public_path.display(),
        key.public().id()
    ))
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), WriteError> {
    let failed = |error: io::Error| WriteError::of(path, &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // A full disk leaves no empty key behind.
        let _ = fs::remove_file(path);
        failed(error)
    })
}

#[derive(Args)]
pub(crate) struct KeyIdArguments {
    /// Keys in PEM, public or secret
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<PathBuf>,
    /// A file whose first line is the passphrase of encrypted keys. Without it, `bfpc` prompts on the terminal
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(crate) fn key_id(arguments: &KeyIdArguments) -> Answer {
    let passphrases = Passphrases::of(arguments.passphrase_file.as_ref());
    let line = |path: &PathBuf| -> Result<String, Failure> {
        Ok(format!("{}  {}\n", key_file::public_half(path, passphrases)?.id(), path.display()))
    };
    arguments.keys.iter().map(line).collect()
}
