//! Sealing: a document's content → the bytes of its file, signed. A host has no part of this.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::debug::Debug;
use crate::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use crate::image::Image;
use crate::key::PublicKey;
use crate::manifest::{Manifest, SectionEntry, SectionKind};
use crate::secret_key::SecretKey;
use crate::verify::frame::Frame;
use crate::verify::refusal::Refusal;
use crate::verify::token::Token;
use crate::verify::trust::TrustSet;

/// What a release of a policy declares about itself.
pub type Release = Manifest;

/// Writes a bundle. The sections of `release` are replaced by those of the image.
pub fn seal_bundle(
    mut release: Release,
    image: &Image,
    debug: &Debug,
    keys: &[SecretKey],
) -> Result<Vec<u8>, postcard::Error> {
    let mut sections = Vec::new();
    release.sections.clear();
    for kind in SectionKind::ALL {
        let bytes = match kind {
            SectionKind::Debug => debug.to_bytes()?,
            _ => image.section(kind),
        };
        let record = kind.record_size().unwrap_or(0);
        release.sections.push(SectionEntry {
            kind: kind as u16,
            key_size: if record == 0 { 0 } else { 4 },
            value_size: record as u32,
            count: bytes.len().checked_div(record).unwrap_or(0) as u32,
            length: bytes.len() as u64,
            sha256: Sha256::digest(&bytes).into(),
        });
        sections.push(bytes);
    }
    Ok(seal(Document::Bundle, &release.encode()?, keys, &sections.concat()))
}

/// Writes a trust set.
pub fn seal_trust_set(set: &TrustSet, keys: &[SecretKey]) -> Result<Vec<u8>, postcard::Error> {
    Ok(seal(Document::TrustSet, &postcard::to_allocvec(set)?, keys, &[]))
}

/// Writes a token.
pub fn seal_token(token: &Token, keys: &[SecretKey]) -> Result<Vec<u8>, postcard::Error> {
    Ok(seal(Document::Token, &postcard::to_allocvec(token)?, keys, &[]))
}

/// Writes a document from its body and what follows its signatures. The order of the keys does not matter.
pub fn seal(document: Document, body: &[u8], keys: &[SecretKey], rest: &[u8]) -> Vec<u8> {
    let payload = document.signing_payload(body);
    let signatures = keys.iter().map(|key| signature(&key.public(), &key.sign(&payload))).collect();
    write(document, document.version(), body, signatures, rest)
}

/// The signed data of a document that was already written.
pub fn signing_payload(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (document, frame) = Frame::read_any(bytes)?;
    Ok(document.signing_payload(frame.body))
}

/// Adds a signature to a document.
///
/// # Errors
/// The document is malformed, or the signature is invalid or already there.
pub fn add_signature(bytes: &[u8], key: &PublicKey, signed: &[u8; 64]) -> Result<Vec<u8>, Refusal> {
    let (document, frame) = Frame::read_any(bytes)?;
    if !key.verifies(&document.signing_payload(frame.body), signed) {
        return Err(Refusal::BadSignature(key.id()));
    }
    let mut signatures: Vec<[u8; SIGNATURE_LENGTH]> = frame.signatures.as_chunks().0.to_vec();
    if frame.signers().any(|signer| signer == key.id()) {
        return Err(Refusal::DuplicateKey(key.id()));
    }
    signatures.push(signature(key, signed));
    Ok(write(document, frame.version, frame.body, signatures, frame.rest))
}

fn signature(key: &PublicKey, signed: &[u8; 64]) -> [u8; SIGNATURE_LENGTH] {
    let mut entry = [0; SIGNATURE_LENGTH];
    let (id, place) = entry.split_at_mut(16);
    id.copy_from_slice(&key.id().0);
    place.copy_from_slice(signed);
    entry
}

/// Signatures are ordered by key id, so that the same signers give the same bytes in any order.
fn write(
    document: Document,
    version: u32,
    body: &[u8],
    mut signatures: Vec<[u8; SIGNATURE_LENGTH]>,
    rest: &[u8],
) -> Vec<u8> {
    signatures.sort_unstable();
    let mut file = Vec::with_capacity(HEADER_LENGTH + body.len() + signatures.len() * SIGNATURE_LENGTH + rest.len());
    file.extend(document.magic());
    for number in [version, body.len() as u32, signatures.len() as u32, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(body);
    signatures.iter().for_each(|entry| file.extend(entry));
    file.extend(rest);
    file
}
