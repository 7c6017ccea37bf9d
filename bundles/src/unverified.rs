//! Inspection: received bytes → [`UnverifiedBundle`] or [`Unverified`], which show the claims of a document and prove
//! nothing.
//!
//! The frame, the sizes, the digests and the structure are checked as in [`verify`](mod@crate::verify), so that reading
//! is bounded. Signatures are not checked: the maker of the file chose all of it, digests included. Nothing here can be
//! turned into a [`VerifiedBundle`](crate::verify::VerifiedBundle).

use alloc::vec::Vec;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::debug::Debug;
use crate::envelope::Document;
use crate::image::Image;
use crate::key::KeyId;
use crate::manifest::{Manifest, SectionKind};
use crate::verify::bundle::{Sections, decode_debug, decode_manifest};
use crate::verify::frame::Frame;
use crate::verify::refusal::Refusal;
use crate::verify::token::Token;
use crate::verify::trust::TrustSet;

/// The claims of a bundle. Nothing vouches for them.
#[derive(Debug)]
pub struct UnverifiedBundle {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes.
    pub manifest_digest: [u8; 32],
    /// The length of each section.
    pub sections: Vec<(SectionKind, usize)>,
    /// The tables.
    pub image: Image,
    /// The source of the rules.
    pub debug: Debug,
    /// The keys that its signatures name. Whether they signed is unknown.
    pub claimed_signers: Vec<KeyId>,
}

/// The claims of a trust set or a token. Nothing vouches for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T> {
    /// The content.
    pub content: T,
    /// The keys that its signatures name. Whether they signed is unknown.
    pub claimed_signers: Vec<KeyId>,
}

/// Reads a trust set without verifying it.
pub fn peek_trust_set(bytes: &[u8]) -> Result<Unverified<TrustSet>, Refusal> {
    peek_body(Document::TrustSet, bytes)
}

/// Reads a token without verifying it.
pub fn peek_token(bytes: &[u8]) -> Result<Unverified<Token>, Refusal> {
    peek_body(Document::Token, bytes)
}

fn peek_body<'a, T: Deserialize<'a>>(document: Document, bytes: &'a [u8]) -> Result<Unverified<T>, Refusal> {
    let frame = Frame::read(document, bytes)?;
    match postcard::take_from_bytes(frame.body) {
        Ok((content, [])) => Ok(Unverified { content, claimed_signers: frame.signers().collect() }),
        _ => Err(Refusal::BadBody),
    }
}

/// Reads a bundle without verifying it.
pub fn peek(bytes: &[u8]) -> Result<UnverifiedBundle, Refusal> {
    let frame = Frame::read(Document::Bundle, bytes)?;
    let manifest = decode_manifest(&frame)?;
    let sections = Sections::cut(frame.version, &manifest.sections, frame.rest)?;
    Ok(UnverifiedBundle {
        manifest,
        manifest_digest: Sha256::digest(frame.body).into(),
        sections: sections.lengths().collect(),
        image: Image::decode(frame.version, |kind| sections.section(kind))?,
        debug: decode_debug(sections.section(SectionKind::Debug))?,
        claimed_signers: frame.signers().collect(),
    })
}
