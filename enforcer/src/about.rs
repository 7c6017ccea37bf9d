//! What is enforced, kept in the kernel beside it: a frozen map of one record.
//!
//! It holds what a host must not forget while it enforces: the revision, and whom it trusted.

use std::path::{Path, PathBuf};

use aya::maps::{Array, IterableMap, Map, MapData, MapError};
use bfp_bundle::verify::{Trust, TrustSet, VerifiedBundle};
use serde::{Deserialize, Serialize};

use crate::admission::Seen;
use crate::syscall;

/// The layout of the record.
const LAYOUT: u32 = 2;

/// The size of the record: the longest trust set, and a name.
const SIZE: usize = 24 << 10;

/// `BPF_F_RDONLY_PROG`: no program writes it either.
const READ_ONLY_TO_PROGRAMS: u32 = 1 << 7;

/// What is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The policy's name.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of the manifest.
    pub manifest_digest: [u8; 32],
    /// When it was applied, in seconds since 1970-01-01 UTC.
    pub applied_at: u64,
    /// When it expires, likewise.
    pub expires: Option<u64>,
    /// Whom the host trusted when it was applied.
    pub trust: TrustSet,
    /// The labels that the host had then.
    pub labels: Vec<String>,
}

/// Why the record cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AboutError {
    /// It does not fit.
    #[error("the policy's name, or this host's labels, are too long for the kernel's record of it")]
    TooLong,
    /// Another layout.
    #[error("what is enforced was applied by another version of the enforcer (`{0}` cannot be understood)")]
    Layout(PathBuf),
    /// A map.
    #[error("the record of what is enforced at `{path}` cannot be used: {error}")]
    Map {
        /// Where.
        path: PathBuf,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AboutError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            AboutError::TooLong => "give the policy a shorter name, or the host fewer labels",
            AboutError::Layout(_) => "use the enforcer that applied it, or remove the policy and apply it again",
            AboutError::Map { .. } => "check that this process runs as root",
        }
    }
}

impl About {
    /// What a bundle says of itself.
    pub fn of(bundle: &VerifiedBundle<'_>, trust: &Trust, labels: &[String], now: u64) -> About {
        let manifest = bundle.manifest();
        About {
            policy: manifest.policy.clone(),
            revision: manifest.revision,
            manifest_digest: bundle.manifest_digest(),
            applied_at: now,
            expires: manifest.expires,
            trust: trust.to_set(),
            labels: labels.to_vec(),
        }
    }

    /// What a host remembers of it.
    pub fn seen(&self) -> Seen {
        Seen { policy: self.policy.clone(), revision: self.revision, manifest_digest: Some(self.manifest_digest) }
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn encode(&self) -> Result<[u8; SIZE], AboutError> {
        let body = postcard::to_allocvec(self).map_err(|_| AboutError::TooLong)?;
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(body);
        if bytes.len() < SIZE {
            bytes.resize(SIZE, 0);
        }
        bytes.try_into().map_err(|_| AboutError::TooLong)
    }

    fn decode(bytes: &[u8]) -> Option<About> {
        let (layout, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        if u32::from_le_bytes(*layout) != LAYOUT {
            return None;
        }
        let body = bytes.get(..u32::from_le_bytes(*length) as usize)?;
        match postcard::take_from_bytes(body) {
            Ok((about, [])) => Some(about),
            _ => None,
        }
    }

    /// Keeps the record in a frozen map, pinned at `path`.
    pub fn pin(&self, path: &Path) -> Result<(), AboutError> {
        let record = self.encode()?;
        let map_error = |error: MapError| AboutError::Map { path: path.to_owned(), error: error.into() };
        let mut map = Array::<MapData, [u8; SIZE]>::create(1, READ_ONLY_TO_PROGRAMS).map_err(map_error)?;
        map.set(0, record, 0).map_err(map_error)?;
        let data = IterableMap::<u32, [u8; SIZE]>::map(&map);
        syscall::freeze(data).map_err(|error| AboutError::Map { path: path.to_owned(), error: error.into() })?;
        data.pin(path).map_err(|error| AboutError::Map { path: path.to_owned(), error: error.into() })
    }

    /// Reads the record that is pinned at `path`.
    pub fn read(path: &Path) -> Result<About, AboutError> {
        let map_error = |error: MapError| AboutError::Map { path: path.to_owned(), error: error.into() };
        let map = MapData::from_pin(path).and_then(Map::from_map_data).map_err(map_error)?;
        let layout = || AboutError::Layout(path.to_owned());
        let map = Array::<MapData, [u8; SIZE]>::try_from(map).map_err(|_| layout())?;
        About::decode(&map.get(&0, 0).map_err(map_error)?).ok_or_else(layout)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bfp_bundle::key::KeyId;

    pub(crate) fn about(policy: &str, revision: u64) -> About {
        About {
            policy: policy.to_owned(),
            revision,
            manifest_digest: [1; 32],
            applied_at: 7,
            expires: Some(9),
            trust: TrustSet { version: 0, threshold: 1, keys: vec![[1; 32]], revoked: vec![] },
            labels: vec!["host".to_owned()],
        }
    }

    #[test]
    fn decode_inverts_encode_for_the_longest_trust_set_too() {
        let trust =
            TrustSet { version: u64::MAX, threshold: 32, keys: vec![[7; 32]; 32], revoked: vec![KeyId([9; 16]); 1024] };
        let name = "n".repeat(255);
        for record in [about("web", 3), About { expires: None, ..about("", 0) }, About { trust, ..about(&name, 1) }] {
            assert_eq!(About::decode(&record.encode().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(matches!(about(&"n".repeat(SIZE), 1).encode(), Err(AboutError::TooLong)));
    }

    #[test]
    fn another_layout_is_not_understood() {
        let mut bytes = about("web", 3).encode().unwrap();
        *bytes.first_mut().unwrap() += 1;
        assert_eq!(About::decode(&bytes), None);
    }
}
