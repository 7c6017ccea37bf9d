//! The frame of a document: its parts, bounded but not yet verified; and the check of its signatures.

use alloc::vec::Vec;

use crate::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use crate::key::{KeyId, PublicKey};

use super::refusal::{Refusal, WhoseThreshold};
use super::trust::Trust;

/// The largest bundle that is read. Check a file's length against it before reading the file.
pub const MAX_BUNDLE_BYTES: u64 = 512 << 20;

/// The largest body: a manifest, a trust set, a token.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// The most signatures.
pub const MAX_SIGNATURES: usize = 32;

/// The largest trust set or token. Check a file's length against it before reading the file.
pub const MAX_DOCUMENT_BYTES: u64 = (HEADER_LENGTH + MAX_BODY_BYTES + MAX_SIGNATURES * SIGNATURE_LENGTH) as u64;

/// The parts of a file.
pub(crate) struct Frame<'a> {
    pub(crate) version: u32,
    pub(crate) body: &'a [u8],
    pub(crate) signatures: &'a [u8],
    /// What follows the signatures.
    pub(crate) rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts a document of one kind into its parts.
    pub(crate) fn read(wanted: Document, bytes: &'a [u8]) -> Result<Frame<'a>, Refusal> {
        limit("file", bytes.len() as u64, MAX_BUNDLE_BYTES)?;
        let magic_length = wanted.magic().len();
        let Some((magic, rest)) = bytes.split_at_checked(magic_length) else {
            return Err(Refusal::Truncated("the header"));
        };
        if magic != wanted.magic() {
            return Err(Refusal::BadMagic { wanted, found: Document::of(bytes) });
        }
        let (numbers, rest) =
            rest.split_at_checked(HEADER_LENGTH - magic_length).ok_or(Refusal::Truncated("the header"))?;
        let mut numbers = numbers.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk));
        let mut number = || numbers.next().ok_or(Refusal::Truncated("the header"));
        let (version, body, signatures, reserved) = (number()?, number()?, number()?, number()?);
        if !wanted.reads(version) {
            return Err(Refusal::UnknownVersion(version));
        }
        if reserved != 0 {
            return Err(Refusal::Reserved);
        }
        limit("body", body.into(), MAX_BODY_BYTES as u64)?;
        limit("number of signatures", signatures.into(), MAX_SIGNATURES as u64)?;
        let (body, rest) = rest.split_at_checked(body as usize).ok_or(Refusal::Truncated("the body"))?;
        let (signatures, rest) = rest
            .split_at_checked(signatures as usize * SIGNATURE_LENGTH)
            .ok_or(Refusal::Truncated("the signatures"))?;
        if wanted != Document::Bundle && !rest.is_empty() {
            return Err(Refusal::TrailingBytes(rest.len() as u64));
        }
        Ok(Frame { version, body, signatures, rest })
    }

    /// Cuts a document of any kind into its parts.
    #[cfg(feature = "sign")]
    pub(crate) fn read_any(bytes: &'a [u8]) -> Result<(Document, Frame<'a>), Refusal> {
        let document = Document::of(bytes).unwrap_or(Document::Bundle);
        Ok((document, Frame::read(document, bytes)?))
    }

    /// The keys that the signatures name. Whether they signed is unknown.
    pub(crate) fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.entries().map(|(id, _)| id)
    }

    /// The signers, if they meet the threshold of every one of the trust sets.
    ///
    /// A signature by a key that is in none of the sets rejects the document, as a revoked key's if one of the sets
    /// revokes it: no trusted signer leaves such a signature in place. A key that is in one of the sets counts for that
    /// set even if another revokes it, so that the last key can be taken out of force after its theft.
    pub(crate) fn check_signatures(
        &self,
        document: Document,
        voters: &[(WhoseThreshold, &Trust)],
    ) -> Result<Vec<KeyId>, Refusal> {
        let payload = document.signing_payload(self.body);
        let mut signers = Vec::new();
        for (id, signature) in self.entries() {
            let Some(key) = voters.iter().find_map(|(_, trust)| trust.key(id)) else {
                let is_revoked = voters.iter().any(|(_, trust)| trust.revoked().contains(&id));
                return Err(if is_revoked { Refusal::RevokedKey(id) } else { Refusal::UnknownKey(id) });
            };
            if signers.contains(&id) {
                return Err(Refusal::DuplicateKey(id));
            }
            if !key.verifies(&payload, signature) {
                return Err(Refusal::BadSignature(id));
            }
            signers.push(id);
        }
        for (whose, trust) in voters {
            let found = signers.iter().filter(|signer| trust.key(**signer).is_some()).count();
            meet(found, trust, *whose)?;
        }
        Ok(signers)
    }

    /// Checks that enough keys of a trust set signed, whoever else did.
    pub(crate) fn check_threshold(
        &self,
        document: Document,
        whose: WhoseThreshold,
        trust: &Trust,
    ) -> Result<(), Refusal> {
        let payload = document.signing_payload(self.body);
        let signed = |key: &&PublicKey| {
            self.entries().any(|(id, signature)| id == key.id() && key.verifies(&payload, signature))
        };
        meet(trust.keys().iter().filter(signed).count(), trust, whose)
    }

    fn entries(&self) -> impl Iterator<Item = (KeyId, &'a [u8; 64])> {
        self.signatures.as_chunks::<SIGNATURE_LENGTH>().0.iter().filter_map(|entry| {
            let (id, signature) = entry.split_first_chunk::<16>()?;
            Some((KeyId(*id), signature.first_chunk::<64>()?))
        })
    }
}

fn meet(found: usize, trust: &Trust, whose: WhoseThreshold) -> Result<(), Refusal> {
    let threshold = trust.threshold();
    if found < threshold { Err(Refusal::Threshold { found, threshold, whose }) } else { Ok(()) }
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), Refusal> {
    if found > limit { Err(Refusal::Oversize { what, found, limit }) } else { Ok(()) }
}
