//! The record of what a host has enforced, and its encoding.

use bfp_bundle::verify::TrustSet;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::admit::admission::{HighestRevision, Revisions};
use crate::admit::fields::{self, Field};
use crate::admit::trust::AdoptedSet;

/// The first bytes of a record in every layout. The layout number and the digest of the rest follow.
const MAGIC: [u8; 8] = *b"BFPS\r\n\x1a\n";

/// The layout of the first release: the rest is a [`Prefix`].
const FIRST_LAYOUT: u32 = 1;

/// The layout that is written: a sequence number, the length of a [`Prefix`], the prefix, and fields. A later layout
/// starts in the same way, so that this release can read which revisions the host has enforced.
const LAYOUT: u32 = 2;

/// The kind of the field for used tokens.
const USED_TOKENS: u16 = 1;
/// The kind of the field for a time that was rolled back.
const TIME_TAKEN_BACK: u16 = 2;

/// How many tokens are kept after they expire.
pub(super) const MAX_EXPIRED_TOKENS: usize = 256;

/// What the host records on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The highest revision of each policy.
    pub seen: Vec<HighestRevision>,
    /// What was enforced last, and must be enforced again after a restart.
    pub current: Option<LastGood>,
    /// The latest time that the host has known, in seconds since 1970-01-01 UTC.
    pub last_time: u64,
    /// A revision that the signers rolled back, but that a kernel which enforces it still reports.
    pub recovered: Option<Recovered>,
    /// The trust sets that the host adopted, as signed documents.
    pub trust_sets: Vec<AdoptedSet>,
    /// The tokens that were used. No token can be used twice.
    pub used_tokens: Vec<UsedToken>,
    /// A time that the signers rolled back, but that a kernel which enforces a policy since then still reports.
    pub time_taken_back: Option<u64>,
    /// Fields of a later release, kept for it.
    pub unknown: Vec<Field>,
}

/// What every release reads of a record: everything that the first release knew.
#[derive(Serialize, Deserialize)]
struct Prefix {
    seen: Vec<HighestRevision>,
    current: Option<LastGood>,
    last_time: u64,
    recovered: Option<Recovered>,
    trust_sets: Vec<AdoptedSet>,
}

/// What was enforced last, and how it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// The policy.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of its manifest.
    pub manifest_digest: [u8; 32],
    /// When it was first accepted. A later expiry does not invalidate it.
    pub accepted_at: u64,
    /// The trust set whose signatures it had.
    pub trust: TrustSet,
    /// The host's tags at that time.
    pub tags: Vec<String>,
}

/// A revision that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The name of its policy.
    pub policy: String,
    /// The highest revision before that.
    pub from: u64,
}

/// A token that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedToken {
    /// SHA-256 of its content, without the signatures.
    pub digest: [u8; 32],
    /// The end of its validity, in seconds since 1970-01-01 UTC.
    pub expires: u64,
}

impl Record {
    /// Whether a token was used before.
    pub fn has_used(&self, digest: &[u8; 32]) -> bool {
        self.used_tokens.iter().any(|used| used.digest == *digest)
    }

    /// Records that a token was used. Expired tokens are invalid anyway, but a limited number of them is kept: a clock
    /// that runs ahead for a day must not make an old token valid again.
    pub fn use_token(&mut self, used: UsedToken, clock: u64) {
        self.used_tokens.push(used);
        while self.used_tokens.iter().filter(|used| used.expires <= clock).count() > MAX_EXPIRED_TOKENS {
            let first = self.used_tokens.iter().enumerate().min_by_key(|(_, used)| used.expires);
            let Some((first, _)) = first else { return };
            self.used_tokens.remove(first);
        }
    }

    /// Whether two records are equal except for the time.
    pub(super) fn equals_except_time(&self, other: &Record) -> bool {
        *self == Record { last_time: self.last_time, ..other.clone() }
    }

    /// Encodes the record. `sequence` must grow with each record.
    pub(super) fn encode(&self, sequence: u64) -> Option<Vec<u8>> {
        let Record { seen, current, last_time, recovered, trust_sets, used_tokens, time_taken_back, unknown } =
            self.clone();
        let prefix = Prefix { seen, current, last_time, recovered, trust_sets };
        let prefix = postcard::to_allocvec(&prefix).ok()?;
        let mut body = Vec::new();
        body.extend(sequence.to_le_bytes());
        body.extend(u32::try_from(prefix.len()).ok()?.to_le_bytes());
        body.extend(prefix);
        if !used_tokens.is_empty() {
            fields::write(&mut body, USED_TOKENS, &postcard::to_allocvec(&used_tokens).ok()?);
        }
        if let Some(time) = time_taken_back {
            fields::write(&mut body, TIME_TAKEN_BACK, &postcard::to_allocvec(&time).ok()?);
        }
        for Field { kind, content } in unknown {
            fields::write(&mut body, kind, &content);
        }
        Some([&MAGIC[..], &LAYOUT.to_le_bytes(), &Sha256::digest(&body), &body].concat())
    }

    /// Whether two records are equal in the part that every release reads.
    pub(super) fn is_prefix_of(&self, other: &Record) -> bool {
        let Record { seen, current, last_time, recovered, trust_sets, .. } = other;
        (&self.seen, &self.current, self.last_time) == (seen, current, *last_time)
            && (&self.recovered, &self.trust_sets) == (recovered, trust_sets)
    }

    fn of(prefix: Prefix) -> Record {
        let Prefix { seen, current, last_time, recovered, trust_sets } = prefix;
        Record { seen, current, last_time, recovered, trust_sets, ..Record::default() }
    }

    /// Merges two records, of which the first release wrote one while this release kept the other. Nothing that either
    /// contains is lost.
    pub(super) fn merged(one: Record, other: Record) -> Record {
        let (mut later, earlier) = if one.last_time > other.last_time { (one, other) } else { (other, one) };
        let mut revisions = Revisions { seen: later.seen, current: None };
        earlier.seen.into_iter().for_each(|seen| revisions.see(seen));
        later.seen = revisions.seen;
        add_sets(&mut later.trust_sets, earlier.trust_sets);
        later.used_tokens.extend(earlier.used_tokens);
        later.time_taken_back = later.time_taken_back.or(earlier.time_taken_back);
        later.unknown.extend(earlier.unknown);
        later
    }
}

/// Adds the trust sets whose versions are missing.
fn add_sets(sets: &mut Vec<AdoptedSet>, others: Vec<AdoptedSet>) {
    for (version, document) in others {
        if !sets.iter().any(|(known, _)| *known == version) {
            sets.push((version, document));
        }
    }
    sets.sort_by_key(|(version, _)| *version);
}

/// A copy of the record as found on disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// The copy does not exist.
    Missing,
    /// The copy cannot be decoded.
    Damaged,
    /// In the first release's layout.
    First(Record),
    /// In the layout of this release, with its sequence number.
    Whole(u64, Record),
    /// In a later layout: what every release reads of it, if that part is well-formed.
    Newer(u64, Record),
}

/// Decodes a copy.
pub(super) fn decode(bytes: &[u8]) -> Copied {
    decode_whole(bytes).unwrap_or(Copied::Damaged)
}

fn decode_whole(bytes: &[u8]) -> Option<Copied> {
    let (layout, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let (digest, body) = rest.split_first_chunk::<32>()?;
    if <[u8; 32]>::from(Sha256::digest(body)) != *digest {
        return None;
    }
    match u32::from_le_bytes(*layout) {
        0 => None,
        FIRST_LAYOUT => match postcard::take_from_bytes(body) {
            Ok((prefix, [])) => Some(Copied::First(Record::of(prefix))),
            _ => None,
        },
        LAYOUT => {
            let (sequence, record) = decode_body(body)?;
            let must_be_known = record.unknown.iter().any(Field::is_critical);
            Some(if must_be_known { Copied::Newer(sequence, record) } else { Copied::Whole(sequence, record) })
        }
        _ => {
            let (sequence, record) = decode_body(body).unwrap_or_default();
            Some(Copied::Newer(sequence, record))
        }
    }
}

fn decode_body(body: &[u8]) -> Option<(u64, Record)> {
    let (sequence, rest) = body.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (prefix, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    // A later release may append to the prefix.
    let (prefix, _more) = postcard::take_from_bytes(prefix).ok()?;
    let mut record = Record::of(prefix);
    for field in fields::read(rest)? {
        match field.kind {
            USED_TOKENS => record.used_tokens = postcard::from_bytes(&field.content).ok()?,
            TIME_TAKEN_BACK => record.time_taken_back = Some(postcard::from_bytes(&field.content).ok()?),
            _ => record.unknown.push(field),
        }
    }
    Some((u64::from_le_bytes(*sequence), record))
}
