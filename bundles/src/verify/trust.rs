//! Whose signatures a host believes.
//!
//! A host begins with the public keys that its administrator put there ([`Trust::first`], version 0). From then
//! on a set is a signed document, and one follows the other ([`verify_trust_set`](super::verify_trust_set)).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::key::{KeyId, PublicKey};

use super::refusal::Refusal;

/// The most keys of a set.
pub const MAX_KEYS: usize = 32;

/// The most keys that a set says are revoked.
pub const MAX_REVOKED: usize = 1024;

/// A trust set, as its document says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustSet {
    /// One more than that of the set which it replaces.
    pub version: u64,
    /// How many of the keys must have signed.
    pub threshold: u16,
    /// The keys, each as its 32 bytes.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_KEYS>")]
    pub keys: Vec<[u8; 32]>,
    /// Keys that are never to be believed again.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_REVOKED>")]
    pub revoked: Vec<KeyId>,
}

/// Whom a host trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    version: u64,
    // INVARIANT: at least one, and no more than there are keys.
    threshold: usize,
    // INVARIANT: no two alike, none revoked.
    keys: Vec<PublicKey>,
    revoked: Vec<KeyId>,
}

impl Trust {
    /// The keys that the administrator put there.
    pub fn first(keys: Vec<PublicKey>, threshold: usize) -> Result<Trust, Refusal> {
        Trust::checked(0, threshold, keys, Vec::new())
    }

    /// The trust that a set gives, which somebody vouches for.
    pub fn of_set(set: &TrustSet) -> Result<Trust, Refusal> {
        Trust::of_owned_set(set.clone())
    }

    pub(super) fn of_owned_set(set: TrustSet) -> Result<Trust, Refusal> {
        let keys: Option<Vec<PublicKey>> = set.keys.iter().map(PublicKey::from_bytes).collect();
        let keys = keys.ok_or(Refusal::BadTrustSet("one of its keys is no Ed25519 key, or a weak one"))?;
        Trust::checked(set.version, set.threshold.into(), keys, set.revoked)
    }

    fn checked(version: u64, threshold: usize, keys: Vec<PublicKey>, revoked: Vec<KeyId>) -> Result<Trust, Refusal> {
        let bad = |reason| Err(Refusal::BadTrustSet(reason));
        if keys.is_empty() || threshold == 0 {
            return bad("it has no key, or demands no signature");
        }
        if threshold > keys.len() {
            return bad("it demands more signatures than it has keys");
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

    /// The same keys, demanding more signatures.
    pub fn demanding(self, threshold: usize) -> Result<Trust, Refusal> {
        let threshold = threshold.max(self.threshold);
        Trust::checked(self.version, threshold, self.keys, self.revoked)
    }

    /// Its version; 0 for what an administrator put there.
    pub fn version(&self) -> u64 {
        self.version
    }
    /// How many of the keys must have signed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
    /// Keys that are never to be believed again.
    pub fn revoked(&self) -> &[KeyId] {
        &self.revoked
    }

    /// As its document says it.
    pub fn to_set(&self) -> TrustSet {
        TrustSet {
            version: self.version,
            // At most `MAX_KEYS`.
            threshold: self.threshold as u16,
            keys: self.keys.iter().map(PublicKey::to_bytes).collect(),
            revoked: self.revoked.clone(),
        }
    }

    /// As the body of its document, for a host to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A list of bytes in memory cannot fail to encode; no bytes are no trust set.
        postcard::to_allocvec(&self.to_set()).unwrap_or_default()
    }

    /// From what [`Trust::to_bytes`] gave. Nobody vouches for it: it is for bytes that the host itself kept.
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
