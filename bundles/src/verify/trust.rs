//! The trust set: the keys whose signatures a host accepts.
//!
//! A host starts with the public keys that its administrator installed ([`Trust::first`], version 0). From then on a
//! set is a signed document, and each follows the one before ([`verify_trust_set`](super::verify_trust_set)).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::key::{KeyId, PublicKey};

use super::refusal::Refusal;

/// The most keys of a set.
pub const MAX_KEYS: usize = 32;

/// The most revoked keys of a set.
pub const MAX_REVOKED: usize = 1024;

/// The content of a trust set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustSet {
    /// One more than the version of the set that it replaces.
    pub version: u64,
    /// The threshold: how many of the keys must sign.
    pub threshold: u16,
    /// The keys, 32 bytes each.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_KEYS>")]
    pub keys: Vec<[u8; 32]>,
    /// The ids of keys that must never be trusted again.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_REVOKED>")]
    pub revoked: Vec<KeyId>,
}

/// The keys that a host trusts, and their threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    version: u64,
    // INVARIANT: at least one, and no more than there are keys.
    threshold: usize,
    // INVARIANT: all distinct, none revoked.
    keys: Vec<PublicKey>,
    revoked: Vec<KeyId>,
}

impl Trust {
    /// The trust of the keys that the administrator installed, version 0.
    ///
    /// # Errors
    /// [`Refusal::BadTrustSet`]: the keys and the threshold do not form a valid set.
    pub fn first(keys: Vec<PublicKey>, threshold: usize) -> Result<Trust, Refusal> {
        Trust::checked(0, threshold, keys, Vec::new())
    }

    /// The trust of a set.
    ///
    /// # Preconditions
    /// The set comes from a verified document or from the host's own records.
    ///
    /// # Errors
    /// [`Refusal::BadTrustSet`]: a key is invalid, or the keys and the threshold do not form a valid set.
    pub fn of_set(set: &TrustSet) -> Result<Trust, Refusal> {
        Trust::of_owned_set(set.clone())
    }

    pub(super) fn of_owned_set(set: TrustSet) -> Result<Trust, Refusal> {
        let keys: Option<Vec<PublicKey>> = set.keys.iter().map(PublicKey::from_bytes).collect();
        let keys = keys.ok_or(Refusal::BadTrustSet("one of its keys is not an Ed25519 key, or is weak"))?;
        Trust::checked(set.version, set.threshold.into(), keys, set.revoked)
    }

    fn checked(version: u64, threshold: usize, keys: Vec<PublicKey>, revoked: Vec<KeyId>) -> Result<Trust, Refusal> {
        let bad = |reason| Err(Refusal::BadTrustSet(reason));
        if keys.is_empty() || threshold == 0 {
            return bad("it has no key, or requires no signature");
        }
        if threshold > keys.len() {
            return bad("it requires more signatures than it has keys");
        }
        if keys.len() > MAX_KEYS {
            return bad("it has too many keys");
        }
        if revoked.len() > MAX_REVOKED {
            return bad("it revokes too many keys");
        }
        let ids: Vec<KeyId> = keys.iter().map(PublicKey::id).collect();
        if ids.iter().enumerate().any(|(index, id)| ids.iter().skip(index + 1).any(|other| other == id)) {
            return bad("it has a key twice");
        }
        if ids.iter().any(|id| revoked.contains(id)) {
            return bad("it has a key that it revokes");
        }
        Ok(Trust { version, threshold, keys, revoked })
    }

    /// The same keys with a higher threshold.
    ///
    /// # Errors
    /// [`Refusal::BadTrustSet`]: `threshold` exceeds the number of keys.
    pub fn demanding(self, threshold: usize) -> Result<Trust, Refusal> {
        let threshold = threshold.max(self.threshold);
        Trust::checked(self.version, threshold, self.keys, self.revoked)
    }

    /// The version. 0 for the keys that the administrator installed.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// The threshold: how many of the keys must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
    /// The ids of keys that must never be trusted again.
    pub fn revoked(&self) -> &[KeyId] {
        &self.revoked
    }

    /// As the content of its document.
    pub fn to_set(&self) -> TrustSet {
        TrustSet {
            version: self.version,
            // At most `MAX_KEYS`.
            threshold: self.threshold as u16,
            keys: self.keys.iter().map(PublicKey::to_bytes).collect(),
            revoked: self.revoked.clone(),
        }
    }

    /// As the body of its document, for a host to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Encoding a list of bytes in memory cannot fail, and no bytes are not a valid trust set.
        postcard::to_allocvec(&self.to_set()).unwrap_or_default()
    }

    /// Reads what [`Trust::to_bytes`] wrote. Nothing vouches for it: use it only for bytes that the host itself stored.
    ///
    /// # Errors
    /// The bytes cannot be decoded, or are not a valid set.
    pub fn from_kept_bytes(bytes: &[u8]) -> Result<Trust, Refusal> {
        match postcard::take_from_bytes::<TrustSet>(bytes) {
            Ok((set, [])) => Trust::of_owned_set(set),
            _ => Err(Refusal::BadBody),
        }
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}
