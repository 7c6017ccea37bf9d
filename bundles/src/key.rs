//! Public keys: Ed25519, in the PEM files that `openssl` reads and writes (SPKI).

use alloc::string::{String, ToString};
use core::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePublicKey};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The id of a key: the first 16 bytes of the SHA-256 of its 32 public bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The text is not an Ed25519 public key.
    Public(String),
    /// The text is not an Ed25519 secret key.
    Secret(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Public(reason) => write!(f, "not an Ed25519 public key in PEM (SPKI): {reason}"),
            KeyError::Secret(reason) => write!(f, "not an Ed25519 private key in PEM (PKCS#8): {reason}"),
        }
    }
}

impl core::error::Error for KeyError {}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key from PEM text.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        match VerifyingKey::from_public_key_pem(text) {
            Ok(key) => PublicKey::strong(key)
                .ok_or_else(|| KeyError::Public("the key is weak, or not written as RFC 8032 writes it".to_string())),
            Err(error) => Err(KeyError::Public(error.to_string())),
        }
    }

    /// Reads a key from its 32 bytes. `None` if they are not a valid key, or a weak one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<PublicKey> {
        VerifyingKey::from_bytes(bytes).ok().and_then(PublicKey::strong)
    }

    /// A key of small order verifies signatures over any message. A point with a coordinate beyond the field's modulus
    /// (RFC 8032, 5.1.3) would be one key with two ids.
    fn strong(key: VerifyingKey) -> Option<PublicKey> {
        let is_canonical = key.to_edwards().compress().as_bytes() == key.as_bytes();
        (is_canonical && !key.is_weak()).then_some(PublicKey(key))
    }

    #[cfg(feature = "sign")]
    pub(crate) fn of(key: VerifyingKey) -> PublicKey {
        PublicKey(key)
    }

    /// As PEM text.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|error| KeyError::Public(error.to_string()))
    }

    /// Its 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// PEM text as `openssl` would write it, for any 32 bytes.
    fn pem_of(bytes: [u8; 32]) -> String {
        VerifyingKey::from_bytes(&bytes).unwrap().to_public_key_pem(LineEnding::LF).unwrap()
    }

    #[test]
    fn a_point_beyond_the_field_is_refused_in_pem_too() {
        // y = 3, and the same point with y + p = 2^255 - 16, little endian.
        let mut y = [0; 32];
        *y.first_mut().unwrap() = 3;
        let mut beyond = [0xff; 32];
        *beyond.first_mut().unwrap() = 0xf0;
        *beyond.last_mut().unwrap() = 0x7f;
        assert_eq!(PublicKey::from_pem(&pem_of(y)).unwrap().to_bytes(), y);
        assert_ne!(pem_of(beyond), pem_of(y), "the text has the bytes as they are");
        let refusal = PublicKey::from_pem(&pem_of(beyond)).unwrap_err();
        assert!(refusal.to_string().contains("not written as RFC 8032 writes it"), "{refusal}");
        assert_eq!(PublicKey::from_bytes(&beyond), None);
    }
}
