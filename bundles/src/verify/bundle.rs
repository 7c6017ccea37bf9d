//! A bundle: received bytes → [`VerifiedBundle`].
//!
//! In this order: the frame, the signatures over the manifest's bytes as received, the manifest, its claims (time,
//! audience, needs), the sections' digests, their structure.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::debug::Debug;
use crate::envelope::Document;
use crate::image::{Derived, Image, NamedExecutable};
use crate::key::KeyId;
use crate::manifest::{Manifest, Need, SectionEntry, SectionKind};

use super::frame::Frame;
use super::refusal::{Refusal, WhoseThreshold};
use super::trust::Trust;
use super::{Host, structure};

/// A bundle that passed every check. Only this type can be loaded.
#[derive(Debug)]
pub struct VerifiedBundle<'a> {
    version: u32,
    // INVARIANT: only `verify` makes this value.
    manifest: Manifest,
    manifest_digest: [u8; 32],
    sections: Sections<'a>,
    signers: Vec<KeyId>,
}

impl<'a> VerifiedBundle<'a> {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// SHA-256 of the manifest's bytes. It identifies the release, because the manifest has the digests of its
    /// sections.
    pub fn manifest_digest(&self) -> [u8; 32] {
        self.manifest_digest
    }
    /// The bytes of a section.
    pub fn section(&self, wanted: SectionKind) -> &'a [u8] {
        self.sections.section(wanted)
    }
    /// The tables, decoded.
    pub fn image(&self) -> Result<Image, Refusal> {
        Ok(Image::decode(self.version, |kind| self.section(kind))?)
    }
    /// The executables that the policy names, decoded.
    pub fn executables(&self) -> Result<Vec<NamedExecutable>, Refusal> {
        Ok(NamedExecutable::decode_all(self.version, self.section(SectionKind::Executables))?)
    }
    /// The tables that a bundle of the first format lacks: names, and the programs with them. `None` for later formats.
    pub fn derived(&self) -> Result<Option<Derived>, Refusal> {
        if self.version > 1 {
            return Ok(None);
        }
        let executables = self.executables()?;
        Ok(Some(Derived::of(&executables, self.section(SectionKind::Programs))?))
    }
    /// The source of the rules, decoded. No verdict depends on it.
    pub fn debug(&self) -> Result<Debug, Refusal> {
        decode_debug(self.section(SectionKind::Debug))
    }
    /// The keys that signed.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }
}

/// Verifies the bytes of a bundle for a host.
///
/// # Preconditions
/// `trust` is the host's trust set in force, and `host.now` a time that cannot be set back. Check the length of a file
/// against [`MAX_BUNDLE_BYTES`](super::MAX_BUNDLE_BYTES) before reading it. Rollback is not checked here: admission
/// compares the revision with the host's rollback state.
///
/// # Errors
/// The first check that fails, in this order: the frame (magic bytes, version, sizes); the signatures and their
/// threshold; the manifest's encoding; its validity, audience and needs; the kinds, sizes and digests of the sections;
/// their structure.
pub fn verify<'a>(bytes: &'a [u8], trust: &Trust, host: &Host) -> Result<VerifiedBundle<'a>, Refusal> {
    let frame = Frame::read(Document::Bundle, bytes)?;
    let signers = frame.check_signatures(Document::Bundle, &[(WhoseThreshold::InForce, trust)])?;
    let manifest = decode_manifest(&frame)?;
    check_claims(&manifest, host)?;
    let sections = Sections::cut(frame.version, &manifest.sections, frame.rest)?;
    structure::check(frame.version, |kind| sections.section(kind))?;
    let manifest_digest = Sha256::digest(frame.body).into();
    Ok(VerifiedBundle { version: frame.version, manifest, manifest_digest, sections, signers })
}

pub(crate) fn decode_manifest(frame: &Frame<'_>) -> Result<Manifest, Refusal> {
    Manifest::decode(frame.body).ok_or(Refusal::BadBody)
}

pub(crate) fn decode_debug(bytes: &[u8]) -> Result<Debug, Refusal> {
    Debug::of_bytes(bytes).ok_or(Refusal::BadDebug)
}

fn check_claims(manifest: &Manifest, host: &Host) -> Result<(), Refusal> {
    host.check_time(manifest.not_before, manifest.expires)?;
    host.check_audience(&manifest.audience)?;
    for &number in &manifest.needs {
        let need = Need::from_number(number).ok_or(Refusal::UnknownNeed(number))?;
        if !host.capabilities.contains(&need) {
            return Err(Refusal::UnmetNeed(need));
        }
    }
    Ok(())
}

/// The sections that a manifest lists: every kind once, with matching digests.
#[derive(Debug)]
pub(crate) struct Sections<'a>(Vec<(SectionKind, &'a [u8])>);

impl<'a> Sections<'a> {
    pub(crate) fn cut(version: u32, entries: &[SectionEntry], mut rest: &'a [u8]) -> Result<Sections<'a>, Refusal> {
        let exists = |kind: &SectionKind| version > 1 || kind.is_old();
        let mut sections: Vec<(SectionKind, &[u8])> = Vec::new();
        for entry in entries {
            let kind =
                SectionKind::from_number(entry.kind).filter(exists).ok_or(Refusal::UnknownSection(entry.kind))?;
            if sections.iter().any(|(earlier, _)| *earlier == kind) {
                return Err(Refusal::DuplicateSection(kind));
            }
            let fits = match kind.record_size() {
                None => entry.key_size == 0 && entry.value_size == 0 && entry.count == 0,
                Some(record) => {
                    entry.key_size == 4
                        && entry.value_size as usize == record
                        && u64::from(entry.count) * record as u64 == entry.length
                }
            };
            if !fits {
                return Err(Refusal::SectionSize(kind));
            }
            let length = usize::try_from(entry.length).map_err(|_| Refusal::SectionSize(kind))?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Refusal::Truncated("a section"))?;
            if <[u8; 32]>::from(Sha256::digest(bytes)) != entry.sha256 {
                return Err(Refusal::SectionDigest(kind));
            }
            sections.push((kind, bytes));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Refusal::TrailingBytes(rest.len() as u64));
        }
        match SectionKind::ALL.into_iter().filter(exists).find(|kind| !sections.iter().any(|(found, _)| found == kind))
        {
            Some(missing) => Err(Refusal::MissingSection(missing)),
            None => Ok(Sections(sections)),
        }
    }

    pub(crate) fn section(&self, wanted: SectionKind) -> &'a [u8] {
        self.0.iter().find(|(kind, _)| *kind == wanted).map_or(&[], |(_, bytes)| bytes)
    }

    pub(crate) fn lengths(&self) -> impl Iterator<Item = (SectionKind, usize)> {
        self.0.iter().map(|(kind, bytes)| (*kind, bytes.len()))
    }
}
