//! Secret keys: Ed25519 in PEM (PKCS#8). A host has none.

use alloc::string::{String, ToString};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};

use crate::key::{KeyError, PublicKey};

/// A secret key. Its bytes are wiped when it is dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a key from 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// Reads a key from PEM text.
    pub fn from_pem(text: &str) -> Result<SecretKey, KeyError> {
        SigningKey::from_pkcs8_pem(text).map(SecretKey).map_err(|error| KeyError::Secret(error.to_string()))
    }

    /// Reads a key from the DER bytes within the PEM.
    pub fn from_der(bytes: &[u8]) -> Result<SecretKey, KeyError> {
        SigningKey::from_pkcs8_der(bytes).map(SecretKey).map_err(|error| KeyError::Secret(error.to_string()))
    }

    /// As PEM text, in the older form without the public key, which every `openssl` reads.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::Secret(error.to_string()))?;
        Ok(pem.to_string())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.verifying_key())
    }

    /// Signs a message. The same message gives the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
