//! Nearly valid documents: most of their content is right, the rest is the fuzzer's. They are properly signed, so that
//! the checks after the signatures are reached.
//!
//! When the fuzzer's bytes run out, every further choice is the right one.

use std::sync::LazyLock;

use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::key::{KeyId, PublicKey};
use bfp_bundle::manifest::{Manifest, SectionEntry, SectionKind};
use bfp_bundle::seal::seal;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Act, Token, Trust, TrustSet};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use sha2::{Digest as _, Sha256};

use crate::{edited, parts};

/// The number of keys in these documents. The host trusts [`OLD`] of them.
pub const KEYS: u8 = 8;

/// The keys that the host trusts.
pub const OLD: [u8; 3] = [1, 2, 3];

/// A key that the host no longer trusts.
pub const REVOKED: u8 = 8;

/// Generated once: otherwise this would take half of the time.
static PAIRS: LazyLock<Vec<(SecretKey, PublicKey, KeyId)>> = LazyLock::new(|| {
    let made = (0..=KEYS).map(|number| {
        let secret = SecretKey::from_seed(&[number; 32]);
        let public = secret.public();
        let id = public.id();
        (secret, public, id)
    });
    made.collect()
});

/// The public half of one of the keys.
pub fn public(number: u8) -> &'static PublicKey {
    &PAIRS[usize::from(number)].1
}

/// The id of one of the keys.
pub fn id(number: u8) -> KeyId {
    PAIRS[usize::from(number)].2
}

/// A document, signed with these keys.
pub fn sealed(document: Document, body: &[u8], signers: &[u8]) -> Vec<u8> {
    let mut file = seal(document, body, &[], &[]);
    file[16] = signers.len() as u8;
    let payload = document.signing_payload(body);
    for number in signers {
        file.extend(id(*number).0);
        file.extend(PAIRS[usize::from(*number)].0.sign(&payload));
    }
    file
}

/// Edits of a valid document that the first two keys signed: another file, another body that is signed again, or
/// arbitrary bytes.
pub fn changed(document: Document, valid: &[u8], how: u8, edits: &[u8]) -> Vec<u8> {
    match how {
        0 => edited(valid, edits),
        1 => {
            let body = &valid[HEADER_LENGTH..valid.len() - 2 * SIGNATURE_LENGTH];
            sealed(document, &edited(body, edits), &[1, 2])
        }
        _ => edits.to_vec(),
    }
}

/// The trust of a host that has changed it before: two of three keys, and a revoked one.
pub static IN_FORCE: LazyLock<Trust> = LazyLock::new(|| {
    let keys = OLD.map(|number| public(number).to_bytes()).to_vec();
    let set = TrustSet { version: 6, threshold: 2, keys, revoked: vec![id(REVOKED)] };
    Trust::of_set(&set).expect("such a set can be followed")
});

/// Whether the next choice is the fuzzer's.
fn strays(u: &mut Unstructured<'_>) -> Result<bool> {
    Ok(u.arbitrary::<u8>()? % 8 == 7)
}

/// The right value, or one of the fuzzer's.
fn mostly<'a, T>(
    u: &mut Unstructured<'a>,
    right: T,
    other: impl FnOnce(&mut Unstructured<'a>) -> Result<T>,
) -> Result<T> {
    if strays(u)? { other(u) } else { Ok(right) }
}

/// A number near another one, or near the limits of numbers.
fn edge(u: &mut Unstructured<'_>, near: u64) -> Result<u64> {
    let base = *u.choose(&[near, 0, 1 << 16, 1 << 31, 1 << 32, 1 << 60, u64::MAX])?;
    Ok(base.wrapping_add_signed(u.int_in_range(-2..=2)?))
}

/// Numbers of the signing keys, the right ones first.
pub fn signers(u: &mut Unstructured<'_>, right: &[u8]) -> Result<Vec<u8>> {
    let mut signers = right.to_vec();
    while strays(u)? && signers.len() < 40 {
        match u.int_in_range(0..=2)? {
            0 => drop(signers.pop()),
            1 => signers.extend(signers.first().copied()),
            _ => signers.push(u.int_in_range(1..=KEYS)?),
        }
    }
    Ok(signers)
}

/// A trust set that nearly follows [`IN_FORCE`]: it removes one key, revokes it, and adds another.
pub fn trust_set(u: &mut Unstructured<'_>) -> Result<TrustSet> {
    let mut keys: Vec<[u8; 32]> = [1, 2, 4].map(|number| public(number).to_bytes()).to_vec();
    while strays(u)? && keys.len() < 40 {
        match u.int_in_range(0..=3)? {
            0 => drop(keys.pop()),
            1 => keys.extend(keys.first().copied()),
            2 => keys.push(u.arbitrary()?),
            _ => keys.push(public(u.int_in_range(1..=KEYS)?).to_bytes()),
        }
    }
    let mut revoked = vec![id(REVOKED), id(3)];
    while strays(u)? && revoked.len() < 1100 {
        match u.int_in_range(0..=3)? {
            0 => drop(revoked.pop()),
            1 => revoked.push(id(u.int_in_range(1..=KEYS)?)),
            2 => revoked.push(KeyId(u.arbitrary()?)),
            _ => revoked.extend(vec![id(REVOKED); u.int_in_range(1000..=1050)?]),
        }
    }
    Ok(TrustSet {
        version: mostly(u, 7, |u| edge(u, 7))?,
        threshold: mostly(u, 2, |u| Ok(edge(u, keys.len() as u64)? as u16))?,
        keys,
        revoked,
    })
}

/// A list of tags around one that the host has.
fn audience(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    let mut audience = vec!["fuzzed".to_owned()];
    while strays(u)? && audience.len() < 80 {
        match u.int_in_range(0..=2)? {
            0 => drop(audience.pop()),
            1 => audience.insert(0, u.arbitrary()?),
            _ => audience.extend(vec!["other".to_owned(); u.int_in_range(60..=66)?]),
        }
    }
    Ok(audience)
}

/// A token that is nearly valid on the host at its time.
pub fn token(u: &mut Unstructured<'_>) -> Result<Token> {
    let release = u.arbitrary()?;
    Ok(Token {
        act: if release { Act::Release { revision: edge(u, 7)? } } else { Act::Recover { from: edge(u, 7)?, to: 3 } },
        policy: mostly(u, "fuzzed".to_owned(), |u| u.arbitrary())?,
        audience: audience(u)?,
        not_before: mostly(u, Some(1_000), |u| Ok(if u.arbitrary()? { Some(edge(u, 1_000)?) } else { None }))?,
        expires: mostly(u, 1_001, |u| edge(u, 1_000))?,
    })
}

/// A nearly right manifest, and its sections.
pub fn bundle(u: &mut Unstructured<'_>) -> Result<(Manifest, Vec<u8>)> {
    let (manifest, mut rest) = parts();
    let (mut manifest, _) = postcard::take_from_bytes::<Manifest>(manifest).expect("it was sealed");
    manifest.policy = mostly(u, manifest.policy, |u| u.arbitrary())?;
    manifest.revision = mostly(u, manifest.revision, |u| edge(u, 1))?;
    manifest.not_before = mostly(u, None, |u| Ok(Some(edge(u, 1_000)?)))?;
    manifest.expires = mostly(u, None, |u| Ok(Some(edge(u, 1_000)?)))?;
    manifest.audience = audience(u)?;
    manifest.lockdown = u.arbitrary()?;
    manifest.compiler = mostly(u, manifest.compiler, |u| u.arbitrary())?;
    manifest.needs = mostly(u, manifest.needs, |u| u.arbitrary())?;

    let mut sections = Vec::new();
    for mut entry in std::mem::take(&mut manifest.sections) {
        let (bytes, after) = rest.split_at(entry.length as usize);
        rest = after;
        let mut bytes = bytes.to_vec();
        if strays(u)? {
            section(u, &entry, &mut bytes)?;
            announce(&mut entry, &bytes);
        }
        sections.push((entry, bytes));
    }
    while strays(u)? {
        let (one, other) = (u.choose_index(sections.len())?, u.choose_index(sections.len())?);
        match u.int_in_range(0..=3)? {
            0 => sections.swap(one, other),
            1 if sections.len() > 1 => drop(sections.remove(one)),
            2 if sections.len() < 80 => sections.push(sections[one].clone()),
            _ => misannounce(u, &mut sections[one].0)?,
        }
    }
    manifest.sections = sections.iter().map(|(entry, _)| entry.clone()).collect();
    Ok((manifest, sections.into_iter().flat_map(|(_, bytes)| bytes).collect()))
}

/// Changes words of a section, or its number of records.
fn section(u: &mut Unstructured<'_>, entry: &SectionEntry, bytes: &mut Vec<u8>) -> Result<()> {
    let record = SectionKind::from_number(entry.kind).and_then(SectionKind::record_size).unwrap_or(1);
    for _ in 0..u.int_in_range(1..=4)? {
        let records = bytes.len() / record;
        match u.int_in_range(0..=3)? {
            0 => bytes.truncate(records.saturating_sub(1) * record),
            1 if bytes.len() >= record => bytes.extend_from_within(bytes.len() - record..),
            _ if bytes.len() >= 4 => {
                let at = u.choose_index(bytes.len() / 4)? * 4;
                let flags = *u.choose(&[0, 1 << 30, 1 << 31, 3 << 30])?;
                let word = (edge(u, records as u64)? as u32 ^ flags).to_le_bytes();
                bytes[at..at + 4].copy_from_slice(&word);
            }
            _ => bytes.push(u.arbitrary()?),
        }
    }
    Ok(())
}

/// Sets a manifest's entry to describe these bytes.
fn announce(entry: &mut SectionEntry, bytes: &[u8]) {
    let record = SectionKind::from_number(entry.kind).and_then(SectionKind::record_size);
    entry.count = record.map_or(0, |record| (bytes.len() / record) as u32);
    entry.length = bytes.len() as u64;
    entry.sha256 = Sha256::digest(bytes).into();
}

/// Changes the description of a section, and not the section.
fn misannounce(u: &mut Unstructured<'_>, entry: &mut SectionEntry) -> Result<()> {
    match u.int_in_range(0..=5)? {
        0 => entry.kind = edge(u, entry.kind.into())? as u16,
        1 => entry.key_size = edge(u, 4)? as u32,
        2 => entry.value_size = edge(u, entry.value_size.into())? as u32,
        3 => entry.count = edge(u, entry.count.into())? as u32,
        4 => entry.length = edge(u, entry.length)?,
        _ => entry.sha256 = u.arbitrary()?,
    }
    Ok(())
}
