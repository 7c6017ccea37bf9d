//! The record of the enforced policy, kept in the kernel beside it: a frozen map with one value.
//!
//! It holds what a host must not lose while it enforces the policy: the revision and the trust set.
//!
//! A record is its layout number, a length, that many bytes which every release reads ([`Prefix`]), and then fields
//! ([`crate::admit::fields`]), which a release skips if it does not know them. The release before fields can read this
//! record: its own ended with the prefix, and it ignored the rest. **Invariant:** a later layout starts in the same
//! way.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{Array, IterableMap, MapData};
use bfp_bundle::verify::{Trust, TrustSet, VerifiedBundle};
use serde::{Deserialize, Serialize};

use crate::admit::admission::HighestRevision;
use crate::admit::fields;
use crate::failure::Actionable;
use crate::host::followed::FollowedLink;
use crate::host::syscall;

/// The layout of the record.
const LAYOUT: u32 = 2;

/// The size of the record in bytes: the longest trust set, and a name.
const SIZE: usize = 24 << 10;

/// `BPF_F_RDONLY_PROG`: programs cannot write it either.
const READ_ONLY_TO_PROGRAMS: u32 = 1 << 7;

/// The kind of the field for grants that were given to processes that were already running.
const ADOPTED_RUNNING: u16 = 1;
/// The kind of the field for the enforcer's version.
const ENFORCER_VERSION: u16 = 2;
/// The kind of the field for the names of the pinned links.
const ATTACHED: u16 = 3;

/// The map of the symbolic links that were followed, beside the record because there can be many.
const FOLLOWED: &str = "followed";

/// The most bytes that these links may take.
const MAX_FOLLOWED: usize = 16 << 20;

/// The record of the enforced policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The policy's name.
    pub policy: String,
    /// The revision.
    pub revision: u64,
    /// SHA-256 of the manifest.
    pub manifest_digest: [u8; 32],
    /// When it was applied, in seconds since 1970-01-01 UTC.
    pub applied_at: u64,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub expires: Option<u64>,
    /// The host's trust set when it was applied.
    pub trust: TrustSet,
    /// The host's tags when it was applied.
    pub tags: Vec<String>,
    /// The symbolic links that were followed, ordered by path.
    pub links: Vec<FollowedLink>,
    /// Where such links led before, in the same order. Files there are still restricted.
    pub earlier: Vec<FollowedLink>,
    /// Whether grants were given to processes that were already running.
    pub adopted_running: bool,
    /// The version of the enforcer that applied it. Empty if that release did not record versions.
    pub enforcer_version: String,
    /// The attached links, by the names of their pins. Empty if that release did not record them.
    pub attached: Vec<String>,
}

/// The part that every release reads.
#[derive(Serialize, Deserialize)]
struct Prefix {
    policy: String,
    revision: u64,
    manifest_digest: [u8; 32],
    applied_at: u64,
    expires: Option<u64>,
    trust: TrustSet,
    tags: Vec<String>,
}

/// The circumstances under which a bundle was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// When it was applied, in seconds since 1970-01-01 UTC.
    pub now: u64,
    /// The symbolic links that were followed, ordered by path.
    pub links: Vec<FollowedLink>,
    /// Where such links led before, ordered by path.
    pub earlier: Vec<FollowedLink>,
    /// Whether grants were given to processes that were already running.
    pub adopted_running: bool,
    /// The attached links, by the names of their pins.
    pub attached: Vec<String>,
}

/// Why the record cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum AboutError {
    #[error("the policy's name, or this host's tags, are too long for the kernel's record of it")]
    TooLong,
    /// The record has another layout, and does not start with the agreed prefix.
    #[error("a newer enforcer applied the policy, and its record `{0}` cannot be read")]
    Newer(PathBuf),
    #[error("the record of the enforced policy at `{path}` cannot be used: {error}")]
    Map { path: PathBuf, error: Box<dyn std::error::Error + Send + Sync> },
}

impl Actionable for AboutError {
    fn help(&self) -> &'static str {
        match self {
            AboutError::TooLong => "give the policy a shorter name, or the host fewer tags",
            AboutError::Newer(_) => "install the enforcer that applied it, or a later one",
            AboutError::Map { .. } => "check that this process runs as root",
        }
    }
}

impl About {
    /// The record of a bundle, with the circumstances under which it was applied.
    pub fn of(bundle: &VerifiedBundle<'_>, trust: &Trust, tags: &[String], circumstances: Circumstances) -> About {
        let manifest = bundle.manifest();
        let Circumstances { now, links, earlier, adopted_running, attached } = circumstances;
        About {
            policy: manifest.policy.clone(),
            revision: manifest.revision,
            manifest_digest: bundle.manifest_digest(),
            applied_at: now,
            expires: manifest.expires,
            trust: trust.to_set(),
            tags: tags.to_vec(),
            links,
            earlier,
            adopted_running,
            enforcer_version: env!("CARGO_PKG_VERSION").to_owned(),
            attached,
        }
    }

    /// The revision that a host records.
    pub fn seen(&self) -> HighestRevision {
        HighestRevision {
            policy: self.policy.clone(),
            revision: self.revision,
            manifest_digest: Some(self.manifest_digest),
        }
    }

    /// Whether its validity has ended.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn encode(&self) -> Result<[u8; SIZE], AboutError> {
        let encoded = |bytes: Result<Vec<u8>, postcard::Error>| bytes.map_err(|_| AboutError::TooLong);
        let About { policy, revision, manifest_digest, applied_at, expires, trust, tags, .. } = self.clone();
        let prefix = Prefix { policy, revision, manifest_digest, applied_at, expires, trust, tags };
        let prefix = encoded(postcard::to_allocvec(&prefix))?;
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend(LAYOUT.to_le_bytes());
        bytes.extend((prefix.len() as u32).to_le_bytes());
        bytes.extend(prefix);
        fields::write(&mut bytes, ADOPTED_RUNNING, &[self.adopted_running.into()]);
        fields::write(&mut bytes, ENFORCER_VERSION, self.enforcer_version.as_bytes());
        fields::write(&mut bytes, ATTACHED, &encoded(postcard::to_allocvec(&self.attached))?);
        if bytes.len() < SIZE {
            bytes.resize(SIZE, 0);
        }
        bytes.try_into().map_err(|_| AboutError::TooLong)
    }

    fn decode(bytes: &[u8]) -> Option<About> {
        let (layout, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        if u32::from_le_bytes(*layout) < LAYOUT {
            return None;
        }
        let (prefix, rest) = bytes.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        // A later release may append to the prefix.
        let (prefix, _more) = postcard::take_from_bytes::<Prefix>(prefix).ok()?;
        let Prefix { policy, revision, manifest_digest, applied_at, expires, trust, tags } = prefix;
        let (adopted_running, enforcer_version, attached) = (false, String::new(), Vec::new());
        let (links, earlier) = (Vec::new(), Vec::new());
        let mut about = About {
            policy,
            revision,
            manifest_digest,
            applied_at,
            expires,
            trust,
            tags,
            links,
            earlier,
            adopted_running,
            enforcer_version,
            attached,
        };
        // The fields are informational; nothing depends on them.
        for field in fields::read(rest).unwrap_or_default() {
            match field.kind {
                ADOPTED_RUNNING => about.adopted_running = field.content.first().is_some_and(|is| *is != 0),
                ENFORCER_VERSION => about.enforcer_version = String::from_utf8_lossy(&field.content).into_owned(),
                ATTACHED => about.attached = postcard::from_bytes(&field.content).unwrap_or_default(),
                _ => {}
            }
        }
        Some(about)
    }

    /// Writes the record to a frozen map that is pinned at `path`, and the followed links to another beside it.
    pub fn pin(&self, path: &Path) -> Result<(), AboutError> {
        let record = self.encode()?;
        if !self.links.is_empty() || !self.earlier.is_empty() {
            self.pin_links(&path.with_file_name(FOLLOWED))?;
        }
        let mut map = Array::<MapData, [u8; SIZE]>::create(1, READ_ONLY_TO_PROGRAMS).map_err(unusable(path))?;
        map.set(0, record, 0).map_err(unusable(path))?;
        let data = IterableMap::<u32, [u8; SIZE]>::map(&map);
        syscall::freeze(data).map_err(unusable(path))?;
        data.pin(path).map_err(unusable(path))
    }

    /// Reads the record that is pinned at `path`, of any release.
    pub fn read(path: &Path) -> Result<About, AboutError> {
        let newer = || AboutError::Newer(path.to_owned());
        let mut about = About::decode(&read_map(path)?).ok_or_else(newer)?;
        let followed = path.with_file_name(FOLLOWED);
        if followed.exists() {
            (about.links, about.earlier) = decode_links(&read_map(&followed)?).unwrap_or_default();
        }
        Ok(about)
    }

    fn pin_links(&self, path: &Path) -> Result<(), AboutError> {
        let bytes = encode_links(&self.links, &self.earlier).filter(|bytes| bytes.len() <= MAX_FOLLOWED);
        let bytes = bytes.ok_or(AboutError::TooLong)?;
        let map = syscall::frozen_array(&bytes, READ_ONLY_TO_PROGRAMS).map_err(unusable(path))?;
        syscall::pin(map.as_fd(), path).map_err(unusable(path))
    }
}

fn unusable<E: Into<Box<dyn std::error::Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> AboutError {
    let path = path.to_owned();
    move |error| AboutError::Map { path, error: error.into() }
}

/// The only value of an array.
fn read_map(path: &Path) -> Result<Vec<u8>, AboutError> {
    let map = MapData::from_pin(path).map_err(unusable(path))?;
    syscall::first_element(&map, MAX_FOLLOWED).map_err(unusable(path))
}

/// A length, then one list and the other. A release that knows only one list stops after it.
fn encode_links(links: &[FollowedLink], earlier: &[FollowedLink]) -> Option<Vec<u8>> {
    let body = postcard::to_allocvec(&(links, earlier)).ok()?;
    let mut bytes = u32::try_from(body.len()).ok()?.to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Some(bytes)
}

fn decode_links(bytes: &[u8]) -> Option<(Vec<FollowedLink>, Vec<FollowedLink>)> {
    let (length, bytes) = bytes.split_first_chunk()?;
    let body = bytes.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let (links, more) = postcard::take_from_bytes(body).ok()?;
    Some((links, postcard::from_bytes(more).unwrap_or_default()))
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
            tags: vec!["host".to_owned()],
            links: vec![],
            earlier: vec![],
            adopted_running: false,
            enforcer_version: "0.1.0".to_owned(),
            attached: vec!["link_egress".to_owned()],
        }
    }

    /// What the release before fields wrote, byte for byte: its layout, and nothing after it.
    fn by_the_first_release(about: &About) -> Vec<u8> {
        let About { policy, revision, manifest_digest, applied_at, expires, trust, tags, .. } = about.clone();
        let prefix = (policy, revision, manifest_digest, applied_at, expires, trust, tags);
        let body = postcard::to_allocvec(&prefix).unwrap();
        let mut bytes = [2u32.to_le_bytes(), (body.len() as u32).to_le_bytes()].concat();
        bytes.extend(body);
        bytes.resize(24 << 10, 0);
        bytes
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
    fn links_of_now_and_before_are_read_as_written() {
        let lead = |target: &str| FollowedLink { link: "/srv/app/current".to_owned(), target: target.to_owned() };
        let (now, before) = (vec![lead("/srv/app/r2")], vec![lead("/srv/app/r1"), lead("/srv/app/r0")]);
        assert_eq!(decode_links(&encode_links(&now, &before).unwrap()).unwrap(), (now.clone(), before));
        // As written by a release that knew one list.
        let body = postcard::to_allocvec(&now).unwrap();
        let bytes = [(body.len() as u32).to_le_bytes().as_slice(), &body, &[0; 7]].concat();
        assert_eq!(decode_links(&bytes).unwrap(), (now, vec![]));
    }

    #[test]
    fn what_the_first_release_wrote_is_read() {
        let old = About { enforcer_version: String::new(), attached: vec![], ..about("web", 3) };
        assert_eq!(About::decode(&by_the_first_release(&old)).unwrap(), old);
    }

    #[test]
    fn the_first_release_reads_what_is_written() {
        let new = About { adopted_running: true, ..about("web", 3) };
        let (new_bytes, old_bytes) = (new.encode().unwrap(), by_the_first_release(&new));
        // It reads as many bytes as the length says, in a map of this size, and no more.
        let length = 8 + u32::from_le_bytes(*new_bytes.get(4..8).unwrap().first_chunk().unwrap()) as usize;
        assert_eq!((new_bytes.len(), new_bytes.get(..length)), (old_bytes.len(), old_bytes.get(..length)));
    }

    #[test]
    fn a_later_layout_is_read_as_far_as_every_release_reads() {
        let mut bytes = about("web", 3).encode().unwrap().to_vec();
        *bytes.first_mut().unwrap() += 1;
        assert_eq!(About::decode(&bytes).unwrap(), about("web", 3));
        // A record with a longer prefix, unknown fields, and another size.
        let length = u32::from_le_bytes(*bytes.get(4..8).unwrap().first_chunk().unwrap()) as usize;
        let prefix = [bytes.get(8..8 + length).unwrap(), b"more"].concat();
        let mut later = [&9u32.to_le_bytes()[..], &(prefix.len() as u32).to_le_bytes(), &prefix].concat();
        fields::write(&mut later, 77, b"unknown");
        fields::write(&mut later, ENFORCER_VERSION, b"9.9.9");
        let expected = About { enforcer_version: "9.9.9".to_owned(), attached: vec![], ..about("web", 3) };
        assert_eq!(About::decode(&later).unwrap(), expected);
    }

    #[test]
    fn what_does_not_begin_as_agreed_is_not_understood() {
        let mut bytes = about("web", 3).encode().unwrap().to_vec();
        *bytes.first_mut().unwrap() = 1;
        assert_eq!(About::decode(&bytes), None);
        assert_eq!(About::decode(&[3, 0, 0, 0, 255, 255, 255, 255]), None);
    }

    #[test]
    fn links_are_read_as_they_were_written() {
        let of = |number| FollowedLink { link: format!("/opt/{number}/current"), target: format!("/opt/{number}/r2") };
        let links: Vec<_> = (0..3000).map(of).collect();
        let bytes = encode_links(&links, &[]).unwrap();
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(decode_links(&bytes).unwrap(), (links, vec![]));
        assert_eq!(decode_links(bytes.get(..100).unwrap()), None);
    }
}
