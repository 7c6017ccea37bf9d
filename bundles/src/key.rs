//! Keys: Ed25519, in the PEM files that `openssl` reads and writes (PKCS#8 for secret keys, SPKI for
//! public ones).

use alloc::string::{String, ToString};
use core::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// What names a key: the first 16 bytes of the SHA-256 of its 32 public bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not what it should be.
    #[error("not an Ed25519 public key in PEM (SPKI): {0}")]
    Public(String),
    /// Not what it should be.
    #[error("not an unencrypted Ed25519 private key in PEM (PKCS#8): {0}")]
    Secret(String),
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From PEM text.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        match VerifyingKey::from_public_key_pem(text) {
            // A key of small order verifies signatures over anything.
            Ok(key) if key.is_weak() => Err(KeyError::Public("the key is weak".to_string())),
            Ok(key) => Ok(PublicKey(key)),
            Err(error) => Err(KeyError::Public(error.to_string())),
        }
    }

    /// As PEM text.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|error| KeyError::Public(error.to_string()))
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.0.as_bytes()).into();
        let mut id = [0; 16];
        id.copy_from_slice(digest.split_at(16).0);
        KeyId(id)
    }

    /// Whether `signature` is this key's signature over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// A secret key. Its bytes are wiped when it is dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// From 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// From PEM text.
    pub fn from_pem(text: &str) -> Result<SecretKey, KeyError> {
        SigningKey::from_pkcs8_pem(text).map(SecretKey).map_err(|error| KeyError::Secret(error.to_string()))
    }

    /// As PEM text, in the older form without the public key, which every `openssl` reads.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::Secret(error.to_string()))?;
        Ok(pem.to_string())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs. The same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
