//! Key files: PEM → keys, and back. Secret keys in PKCS#8, encrypted (PBES2) or not; public keys in SPKI. They are
//! those of `openssl genpkey`, and `openssl` reads what is written here.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bfp_bundle::key::{KeyError, KeyId, PublicKey};
use bfp_bundle::secret_key::SecretKey;
use bfp_compiler::source::{self, SourceError};
use miette::Diagnostic;
use pkcs8::der::pem::PemLabel;
use pkcs8::pkcs5::pbes2::{self, Kdf, ScryptParams};
use pkcs8::pkcs5::{self, EncryptionScheme};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::Failure;
use crate::signing::passphrase::{Passphrase, Passphrases};
use crate::signing::permissions;

/// The largest key file that is read.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// The most memory that opening an encrypted key may take.
const MAX_OPENING_BYTES: u64 = 1 << 30;

/// The most rounds of hashing that opening an encrypted key may take: minutes.
const MAX_ROUNDS: u64 = 100_000_000;

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum KeyFileError {
    #[error("`{path}` is {reason}")]
    #[diagnostic(code(key::unusable), help("make a key with `bfpc keygen` or `openssl genpkey -algorithm ed25519`"))]
    Unusable { path: String, reason: KeyError },
    #[error("the keys `{first}` and `{second}` are the same")]
    #[diagnostic(code(key::twice), help("name it once: hosts reject a document with two signatures by one key"))]
    Twice { first: String, second: String },
    #[error("the passphrase does not open `{path}`")]
    #[diagnostic(code(key::wrong_passphrase), help("check the passphrase, and whether it is this key's"))]
    WrongPassphrase { path: String },
    #[error("the encryption of `{path}` is not supported: {reason}")]
    #[diagnostic(
        code(key::encryption),
        help("encrypt it again with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in {path} -out NEW`")
    )]
    Encryption { path: String, reason: String },
}

/// The secret keys in these files, no two of them the same.
pub(crate) fn secret_keys(paths: &[PathBuf], passphrases: Passphrases<'_>) -> Result<Vec<SecretKey>, Failure> {
    let keys = paths.iter().map(|path| secret_key(path, passphrases)).collect::<Result<Vec<_>, Failure>>()?;
    refuse_twice(paths, keys.iter().map(|key| key.public().id()))?;
    Ok(keys)
}

/// The public keys in these files, no two of them the same.
pub(crate) fn public_keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Failure> {
    let keys = paths.iter().map(|path| public_key(path)).collect::<Result<Vec<_>, Failure>>()?;
    refuse_twice(paths, keys.iter().map(PublicKey::id))?;
    Ok(keys)
}

fn refuse_twice(paths: &[PathBuf], ids: impl Iterator<Item = KeyId>) -> Result<(), KeyFileError> {
    let mut seen: Vec<(KeyId, &PathBuf)> = Vec::new();
    for (id, path) in ids.zip(paths) {
        if let Some((_, first)) = seen.iter().find(|(earlier, _)| *earlier == id) {
            let (first, second) = (first.display().to_string(), path.display().to_string());
            return Err(KeyFileError::Twice { first, second });
        }
        seen.push((id, path));
    }
    Ok(())
}

/// The secret key in a file that is for its owner alone.
pub(crate) fn secret_key(path: &Path, passphrases: Passphrases<'_>) -> Result<SecretKey, Failure> {
    let mut file = source::open(path)?;
    let metadata = file.metadata().map_err(|error| SourceError::of(path, &error))?;
    let text = Zeroizing::new(source::text(path, source::read_opened(path, &mut file, MAX_KEY_BYTES)?)?);
    // Of what holds no secret, the mode does not matter, and is not what is wrong with it.
    let key = parse_secret(path, &text)?;
    permissions::check_secret(path, &metadata)?;
    match key {
        Parsed::Open(key) => Ok(key),
        Parsed::Encrypted(document) => Ok(opened(path, &document, &passphrases.of_key(path)?)?),
    }
}

/// The public key in a file.
pub(crate) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    parse_public(path, &source::text(path, source::read_bytes(path, MAX_KEY_BYTES)?)?)
}

/// The public key in the text of a file.
pub(crate) fn parse_public(path: &Path, text: &str) -> Result<PublicKey, Failure> {
    let unusable = |reason| KeyFileError::Unusable { path: path.display().to_string(), reason };
    Ok(PublicKey::from_pem(text).map_err(unusable)?)
}

/// The public key in a file, or the public half of the secret one.
pub(crate) fn public_half(path: &Path, passphrases: Passphrases<'_>) -> Result<PublicKey, Failure> {
    let text = Zeroizing::new(source::text(path, source::read_bytes(path, MAX_KEY_BYTES)?)?);
    if text.contains("PRIVATE KEY-----") {
        Ok(secret_key(path, passphrases)?.public())
    } else {
        parse_public(path, &text)
    }
}

/// A secret key as its file has it.
enum Parsed {
    Open(SecretKey),
    Encrypted(SecretDocument),
}

fn parse_secret(path: &Path, text: &str) -> Result<Parsed, KeyFileError> {
    match SecretDocument::from_pem(text) {
        Ok((label, document)) if label == EncryptedPrivateKeyInfoRef::PEM_LABEL => Ok(Parsed::Encrypted(document)),
        _ => {
            let unusable = |reason| KeyFileError::Unusable { path: path.display().to_string(), reason };
            SecretKey::from_pem(text).map(Parsed::Open).map_err(unusable)
        }
    }
}

fn opened(path: &Path, document: &SecretDocument, passphrase: &Passphrase) -> Result<SecretKey, KeyFileError> {
    let shown = || path.display().to_string();
    let unread = |reason: String| KeyFileError::Encryption { path: shown(), reason };
    let sealed =
        EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| unread(error.to_string()))?;
    check_effort(&sealed.encryption_algorithm).map_err(unread)?;
    let opened = sealed.decrypt(passphrase.as_slice()).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
            KeyFileError::WrongPassphrase { path: shown() }
        }
        other => unread(other.to_string()),
    })?;
    // With a wrong passphrase one in some hundred attempts decrypts to what ends as it should, and is no key.
    if PrivateKeyInfoRef::try_from(opened.as_bytes()).is_err() {
        return Err(KeyFileError::WrongPassphrase { path: shown() });
    }
    SecretKey::from_der(opened.as_bytes()).map_err(|reason| KeyFileError::Unusable { path: shown(), reason })
}

/// A key file that demands more memory or time than any sensible one is refused before it gets them.
fn check_effort(scheme: &EncryptionScheme) -> Result<(), String> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err("it uses PBES1, which is broken".to_owned());
    };
    let (rounds, memory) = match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => (u64::from(pbkdf2.iteration_count), 0),
        Kdf::Scrypt(scrypt) => {
            let blocks = scrypt.cost_parameter.saturating_mul(scrypt.block_size.into());
            (blocks.saturating_mul(scrypt.parallelization.into()), blocks.saturating_mul(128))
        }
        _ => return Err("its key derivation is unknown".to_owned()),
    };
    if memory > MAX_OPENING_BYTES || rounds > MAX_ROUNDS {
        return Err("decrypting it takes more memory or time than the limit".to_owned());
    }
    Ok(())
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> io::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(bytes.as_mut_slice()))?;
    Ok(bytes)
}

/// A secret key as PEM.
pub(crate) fn secret_pem(key: &SecretKey) -> Result<Zeroizing<String>, KeyError> {
    key.to_pem().map(Zeroizing::new)
}

/// A secret key as PEM that only a passphrase opens.
///
/// By scrypt and AES-256-CBC. Opening takes 16 MiB: `openssl` refuses to take 32. The parallelization makes up for
/// that; it is one of the settings that OWASP recommends.
pub(crate) fn encrypted_pem(key: &SecretKey, passphrase: &Passphrase) -> Result<String, EncryptError> {
    let pem = secret_pem(key).map_err(|error| EncryptError::Encoding(error.to_string()))?;
    let failed = |error: &dyn std::fmt::Display| EncryptError::Encoding(error.to_string());
    let (_, document) = SecretDocument::from_pem(&pem).map_err(|error| failed(&error))?;
    let info = PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|error| failed(&error))?;
    let salt = random::<16>().map_err(EncryptError::Random)?;
    let iv = random::<16>().map_err(EncryptError::Random)?;
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: pbes2::Salt::new(salt.as_slice()).map_err(|error| failed(&error))?,
        cost_parameter: 1 << 14,
        block_size: 8,
        parallelization: 5,
        key_length: None,
    });
    let parameters = pbes2::Parameters { kdf, encryption: pbes2::EncryptionScheme::Aes256Cbc { iv: *iv } };
    let sealed = info.encrypt_with_params(parameters, passphrase.as_slice()).map_err(|error| failed(&error))?;
    let pem = sealed.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|error| failed(&error))?;
    Ok(pem.to_string())
}

/// Why a key cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncryptError {
    #[error("random bytes cannot be read: {0}")]
    Random(io::Error),
    #[error("it cannot be encoded: {0}")]
    Encoding(String),
}
