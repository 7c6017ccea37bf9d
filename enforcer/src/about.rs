//! What is enforced, kept in the kernel beside it: a frozen map of one record.

use std::path::{Path, PathBuf};

use aya::maps::{Array, IterableMap, Map, MapData, MapError};
use bfp_bundle::verify::VerifiedBundle;

use crate::syscall;

/// The layout of the record.
const LAYOUT: u32 = 1;

/// The size of the record.
const SIZE: usize = 1024;

/// How long a policy's name may be.
const NAME_MAX: usize = SIZE - (4 + 8 + 32 + 8 + 8 + 8 + 4);

/// `BPF_F_RDONLY_PROG`: no program writes it either.
const READ_ONLY_TO_PROGRAMS: u32 = 1 << 7;

/// What is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Why the record cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AboutError {
    /// The name does not fit.
    #[error("the policy's name is longer than {NAME_MAX} bytes")]
    LongName,
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
            AboutError::LongName => "give the policy a shorter name",
            AboutError::Layout(_) => "use the enforcer that applied it, or remove the policy and apply it again",
            AboutError::Map { .. } => "check that this process runs as root",
        }
    }
}

/// Why a bundle may not follow what is enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// A step back.
    #[error("revision {offered} of `{policy}` is lower than revision {enforced}, which is enforced")]
    Lower {
        /// The policy.
        policy: String,
        /// The bundle's.
        offered: u64,
        /// What is in force.
        enforced: u64,
    },
    /// The same number for something else.
    #[error("revision {revision} of `{policy}` is enforced with other content")]
    Different {
        /// The policy.
        policy: String,
        /// The number of both.
        revision: u64,
    },
}

impl RevisionError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        "build and sign it under a higher revision, also to go back to earlier content"
    }
}

impl About {
    /// What a bundle says of itself.
    pub fn of(bundle: &VerifiedBundle<'_>, now: u64) -> About {
        let manifest = bundle.manifest();
        About {
            policy: manifest.policy.clone(),
            revision: manifest.revision,
            manifest_digest: bundle.manifest_digest(),
            applied_at: now,
            expires: manifest.expires,
        }
    }

    /// Whether it may take the place of what is enforced.
    pub fn may_follow(&self, enforced: &About) -> Result<(), RevisionError> {
        let policy = self.policy.clone();
        if self.policy != enforced.policy {
            return Ok(());
        }
        if self.revision < enforced.revision {
            return Err(RevisionError::Lower { policy, offered: self.revision, enforced: enforced.revision });
        }
        if self.revision == enforced.revision && self.manifest_digest != enforced.manifest_digest {
            return Err(RevisionError::Different { policy, revision: self.revision });
        }
        Ok(())
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn encode(&self) -> Result<[u8; SIZE], AboutError> {
        let name = self.policy.as_bytes();
        if name.len() > NAME_MAX {
            return Err(AboutError::LongName);
        }
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend(self.revision.to_le_bytes());
        bytes.extend(self.manifest_digest);
        bytes.extend(self.applied_at.to_le_bytes());
        // The end of time is never.
        bytes.extend(self.expires.unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name);
        bytes.resize(SIZE, 0);
        bytes.try_into().map_err(|_| AboutError::LongName)
    }

    fn decode(mut bytes: &[u8]) -> Option<About> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (taken, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Some(*taken)
        }
        if u32::from_le_bytes(take(&mut bytes)?) != LAYOUT {
            return None;
        }
        let revision = u64::from_le_bytes(take(&mut bytes)?);
        let manifest_digest = take(&mut bytes)?;
        let applied_at = u64::from_le_bytes(take(&mut bytes)?);
        let expires = Some(u64::from_le_bytes(take(&mut bytes)?)).filter(|time| *time != u64::MAX);
        let _reserved: [u8; 8] = take(&mut bytes)?;
        let length = u32::from_le_bytes(take(&mut bytes)?);
        let policy = String::from_utf8(bytes.get(..length as usize)?.to_vec()).ok()?;
        Some(About { policy, revision, manifest_digest, applied_at, expires })
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn about(policy: &str, revision: u64, digest: u8) -> About {
        About { policy: policy.to_owned(), revision, manifest_digest: [digest; 32], applied_at: 7, expires: Some(9) }
    }

    #[test]
    fn decode_inverts_encode() {
        for record in
            [about("web", 3, 1), About { expires: None, ..about("", 0, 0) }, about(&"n".repeat(NAME_MAX), 1, 1)]
        {
            assert_eq!(About::decode(&record.encode().unwrap()).unwrap(), record);
        }
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(matches!(about(&"n".repeat(NAME_MAX + 1), 1, 1).encode(), Err(AboutError::LongName)));
    }

    #[test]
    fn another_layout_is_not_understood() {
        let mut bytes = about("web", 3, 1).encode().unwrap();
        *bytes.first_mut().unwrap() += 1;
        assert_eq!(About::decode(&bytes), None);
    }

    #[test]
    fn a_lower_revision_is_refused() {
        let error = about("web", 2, 1).may_follow(&about("web", 3, 1)).unwrap_err();
        assert_eq!(error.to_string(), "revision 2 of `web` is lower than revision 3, which is enforced");
    }

    #[test]
    fn one_revision_with_two_contents_is_refused() {
        let error = about("web", 3, 2).may_follow(&about("web", 3, 1)).unwrap_err();
        assert_eq!(error.to_string(), "revision 3 of `web` is enforced with other content");
    }

    #[test]
    fn the_same_release_a_higher_one_and_another_policy_may_follow() {
        let enforced = about("web", 3, 1);
        for next in [about("web", 3, 1), about("web", 4, 2), about("mail", 1, 2)] {
            assert_eq!(next.may_follow(&enforced), Ok(()));
        }
    }
}
