//! Verification: received bytes → [`VerifiedBundle`], or a [`Refusal`].
//!
//! In this order, each step over bytes that the steps before have bounded: the frame, the signatures over
//! the manifest's bytes as received, the manifest, its claims (time, audience, needs), the sections'
//! digests, their structure. Nothing of the manifest is read before its signatures hold.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::debug::Debug;
use crate::envelope::{FORMAT_VERSION, HEADER_LENGTH, MAGIC, SIGNATURE_LENGTH, signing_payload};
use crate::image::{Image, ImageError, NamedExecutable};
use crate::key::{KeyId, PublicKey};
use crate::manifest::{Manifest, Need, SectionEntry, SectionKind};

/// The largest bundle that is read. Check a file's length against it before reading the file.
pub const MAX_BUNDLE_BYTES: u64 = 512 << 20;

/// The largest manifest.
pub const MAX_MANIFEST_BYTES: usize = 64 << 10;

/// The most signatures.
pub const MAX_SIGNATURES: usize = 32;

/// Whom a host trusts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must have signed.
    pub threshold: usize,
}

/// What a bundle is compared with.
#[derive(Clone, Debug)]
pub struct Host {
    /// The time, in seconds since 1970-01-01 UTC.
    pub now: u64,
    /// The labels of this host.
    pub audience: Vec<String>,
    /// What its enforcer can do. A policy that needs more is refused, never weakened.
    pub offers: Vec<Need>,
}

/// A bundle that passed every check: the only kind that can be loaded.
#[derive(Debug)]
pub struct VerifiedBundle<'a> {
    // INVARIANT: made by `verify` alone.
    manifest: Manifest,
    manifest_digest: [u8; 32],
    sections: Vec<(SectionKind, &'a [u8])>,
    image: Image,
    debug: Debug,
    signers: Vec<KeyId>,
}

impl<'a> VerifiedBundle<'a> {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    /// SHA-256 of the manifest's bytes, which names this release: the manifest holds its sections' digests.
    pub fn manifest_digest(&self) -> [u8; 32] {
        self.manifest_digest
    }
    /// The bytes of a section.
    pub fn section(&self, wanted: SectionKind) -> &'a [u8] {
        self.sections.iter().find(|(kind, _)| *kind == wanted).map_or(&[], |(_, bytes)| bytes)
    }
    /// The tables.
    pub fn image(&self) -> &Image {
        &self.image
    }
    /// The executables that the policy names.
    pub fn executables(&self) -> &[NamedExecutable] {
        &self.image.executables
    }
    /// Where the rules came from.
    pub fn debug(&self) -> &Debug {
        &self.debug
    }
    /// Who signed.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first bytes are wrong.
    #[error("this is not a bfp bundle: it does not begin with the bundle's magic bytes")]
    BadMagic,
    /// Another layout.
    #[error("the bundle has format version {0}, and this program reads version {FORMAT_VERSION} only")]
    UnknownVersion(u32),
    /// It ends too early.
    #[error("the bundle is cut short: it ends within {0}")]
    Truncated(&'static str),
    /// Something follows its end.
    #[error("the bundle has {0} bytes after its last section")]
    TrailingBytes(u64),
    /// It is larger than can be sensible.
    #[error("the bundle's {what} is too large: {found}, and at most {limit} is read")]
    Oversize {
        /// What is too large.
        what: &'static str,
        /// How large it says it is.
        found: u64,
        /// How large it may be.
        limit: u64,
    },
    /// A field that must be zero is not.
    #[error("the bundle's header has a reserved field that is not zero")]
    Reserved,
    /// A signature by a key that the host does not trust.
    #[error("the bundle is signed by the unknown key {0}")]
    UnknownKey(KeyId),
    /// Two signatures by one key.
    #[error("the bundle has two signatures by the key {0}")]
    DuplicateKey(KeyId),
    /// A signature that does not hold.
    #[error("the signature by the key {0} does not match the bundle")]
    BadSignature(KeyId),
    /// Too few signatures.
    #[error("the bundle has {found} valid signatures, and this host demands {threshold}")]
    Threshold {
        /// How many hold.
        found: usize,
        /// How many must.
        threshold: usize,
    },
    /// The host demands no signature at all.
    #[error("the trust set is empty or demands no signature")]
    NoTrust,
    /// The manifest's bytes are no manifest.
    #[error("the bundle's manifest cannot be decoded")]
    BadManifest,
    /// Not yet.
    #[error("the bundle is not valid before {not_before} (seconds since 1970), and it is {now}")]
    NotYetValid {
        /// From when on.
        not_before: u64,
        /// What time it is.
        now: u64,
    },
    /// Not any more.
    #[error("the bundle expired at {expires} (seconds since 1970), and it is {now}")]
    Expired {
        /// Since when.
        expires: u64,
        /// What time it is.
        now: u64,
    },
    /// For other hosts.
    #[error("the bundle is for hosts labelled {0:?}, and this host has none of these labels")]
    WrongAudience(Vec<String>),
    /// A need that this program does not know.
    #[error("the bundle needs a kernel feature that this program does not know (number {0})")]
    UnknownNeed(u16),
    /// A need that this host does not meet.
    #[error("the policy needs what this host's enforcer does not offer: {0}")]
    UnmetNeed(Need),
    /// A section that this program does not know.
    #[error("the bundle has a section of the unknown kind {0}")]
    UnknownSection(u16),
    /// A section twice.
    #[error("the bundle has two sections `{0}`")]
    DuplicateSection(SectionKind),
    /// A section is not there.
    #[error("the bundle has no section `{0}`")]
    MissingSection(SectionKind),
    /// A section's sizes contradict each other.
    #[error("the bundle announces sizes for the section `{0}` that do not fit together")]
    SectionSize(SectionKind),
    /// A section was changed.
    #[error("the section `{0}` does not have the digest that the manifest announces")]
    SectionDigest(SectionKind),
    /// A section holds what no compiler writes.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The debug section cannot be decoded.
    #[error("the section `debug` cannot be decoded")]
    BadDebug,
}

impl Refusal {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            Refusal::BadMagic => "name the .bfpb file that `bfpc build` wrote",
            Refusal::UnknownVersion(_) => "use releases of `bfpc` and `bfp-enforcer` that belong together",
            Refusal::UnknownKey(_) | Refusal::Threshold { .. } | Refusal::DuplicateKey(_) => {
                "sign with keys whose public halves this host trusts, or name them with `--trust`"
            }
            Refusal::NoTrust => "put at least one public key where `--trust` points",
            Refusal::NotYetValid { .. } => "check this host's clock, or wait",
            Refusal::Expired { .. } => "build and sign the policy again under a higher revision",
            Refusal::WrongAudience(_) => "ship the bundle that was built for this host",
            Refusal::UnknownNeed(_) | Refusal::UnmetNeed(_) | Refusal::UnknownSection(_) => {
                "update the enforcer on this host, or leave the feature out of the policy"
            }
            _ => "the file was damaged or tampered with on its way: fetch it again from where it was built",
        }
    }
}

/// Verifies the bytes of a bundle.
pub fn verify<'a>(bytes: &'a [u8], trust: &Trust, host: &Host) -> Result<VerifiedBundle<'a>, Refusal> {
    let frame = Frame::read(bytes)?;
    let signers = frame.check_signatures(trust)?;
    let manifest = decode_manifest(&frame)?;
    check_claims(&manifest, host)?;
    let (sections, image, debug) = decode_sections(&manifest, &frame)?;
    let manifest_digest = Sha256::digest(frame.manifest).into();
    Ok(VerifiedBundle { manifest, manifest_digest, sections, image, debug, signers })
}

pub(crate) fn decode_manifest(frame: &Frame<'_>) -> Result<Manifest, Refusal> {
    match postcard::take_from_bytes::<Manifest>(frame.manifest) {
        Ok((manifest, [])) => Ok(manifest),
        _ => Err(Refusal::BadManifest),
    }
}

/// The sections that a manifest announces, and what is in them.
type Decoded<'a> = (Vec<(SectionKind, &'a [u8])>, Image, Debug);

pub(crate) fn decode_sections<'a>(manifest: &Manifest, frame: &Frame<'a>) -> Result<Decoded<'a>, Refusal> {
    let sections = cut_sections(&manifest.sections, frame.sections)?;
    let find = |wanted| sections.iter().find(|(kind, _)| *kind == wanted).map_or(&[] as &[u8], |(_, bytes)| bytes);
    let image = Image::decode(find)?;
    let debug = match postcard::take_from_bytes(find(SectionKind::Debug)) {
        Ok((debug, [])) => debug,
        _ => return Err(Refusal::BadDebug),
    };
    Ok((sections, image, debug))
}

/// The parts of a file, bounded and not yet believed.
pub(crate) struct Frame<'a> {
    pub(crate) manifest: &'a [u8],
    pub(crate) signatures: &'a [u8],
    sections: &'a [u8],
}

impl<'a> Frame<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Frame<'a>, Refusal> {
        limit("file", bytes.len() as u64, MAX_BUNDLE_BYTES)?;
        let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or(Refusal::Truncated("the header"))?;
        if magic != MAGIC {
            return Err(Refusal::BadMagic);
        }
        let (numbers, rest) =
            rest.split_at_checked(HEADER_LENGTH - MAGIC.len()).ok_or(Refusal::Truncated("the header"))?;
        let mut numbers = numbers.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk));
        let mut number = || numbers.next().ok_or(Refusal::Truncated("the header"));
        let (version, manifest, signatures, reserved) = (number()?, number()?, number()?, number()?);
        if version != FORMAT_VERSION {
            return Err(Refusal::UnknownVersion(version));
        }
        if reserved != 0 {
            return Err(Refusal::Reserved);
        }
        limit("manifest", manifest.into(), MAX_MANIFEST_BYTES as u64)?;
        limit("number of signatures", signatures.into(), MAX_SIGNATURES as u64)?;
        let (manifest, rest) = rest.split_at_checked(manifest as usize).ok_or(Refusal::Truncated("the manifest"))?;
        let (signatures, sections) = rest
            .split_at_checked(signatures as usize * SIGNATURE_LENGTH)
            .ok_or(Refusal::Truncated("the signatures"))?;
        Ok(Frame { manifest, signatures, sections })
    }

    fn check_signatures(&self, trust: &Trust) -> Result<Vec<KeyId>, Refusal> {
        if trust.threshold == 0 || trust.keys.is_empty() {
            return Err(Refusal::NoTrust);
        }
        let payload = signing_payload(self.manifest);
        let mut signers = Vec::new();
        for entry in self.signatures.as_chunks::<SIGNATURE_LENGTH>().0 {
            let cut =
                entry.split_first_chunk::<16>().and_then(|(id, rest)| Some((KeyId(*id), rest.first_chunk::<64>()?)));
            let (id, signature) = cut.ok_or(Refusal::Truncated("the signatures"))?;
            let key = trust.keys.iter().find(|key| key.id() == id).ok_or(Refusal::UnknownKey(id))?;
            if signers.contains(&id) {
                return Err(Refusal::DuplicateKey(id));
            }
            if !key.verifies(&payload, signature) {
                return Err(Refusal::BadSignature(id));
            }
            signers.push(id);
        }
        if signers.len() < trust.threshold {
            return Err(Refusal::Threshold { found: signers.len(), threshold: trust.threshold });
        }
        Ok(signers)
    }
}

fn limit(what: &'static str, found: u64, limit: u64) -> Result<(), Refusal> {
    if found > limit { Err(Refusal::Oversize { what, found, limit }) } else { Ok(()) }
}

fn check_claims(manifest: &Manifest, host: &Host) -> Result<(), Refusal> {
    let now = host.now;
    match (manifest.not_before, manifest.expires) {
        (Some(not_before), _) if now < not_before => return Err(Refusal::NotYetValid { not_before, now }),
        (_, Some(expires)) if now >= expires => return Err(Refusal::Expired { expires, now }),
        _ => {}
    }
    if !manifest.audience.is_empty() && !manifest.audience.iter().any(|label| host.audience.contains(label)) {
        return Err(Refusal::WrongAudience(manifest.audience.clone()));
    }
    for &number in &manifest.needs {
        let need = Need::from_number(number).ok_or(Refusal::UnknownNeed(number))?;
        if !host.offers.contains(&need) {
            return Err(Refusal::UnmetNeed(need));
        }
    }
    Ok(())
}

fn cut_sections<'a>(entries: &[SectionEntry], mut rest: &'a [u8]) -> Result<Vec<(SectionKind, &'a [u8])>, Refusal> {
    let mut sections: Vec<(SectionKind, &[u8])> = Vec::new();
    for entry in entries {
        let kind = SectionKind::from_number(entry.kind).ok_or(Refusal::UnknownSection(entry.kind))?;
        if sections.iter().any(|(earlier, _)| *earlier == kind) {
            return Err(Refusal::DuplicateSection(kind));
        }
        let record = kind.record_size().unwrap_or(0);
        let fits = match record {
            0 => entry.key_size == 0 && entry.value_size == 0 && entry.count == 0,
            _ => {
                entry.key_size == 4
                    && entry.value_size as usize == record
                    && u64::from(entry.count) * record as u64 == entry.length
            }
        };
        let length = usize::try_from(entry.length).map_err(|_| Refusal::SectionSize(kind))?;
        if !fits {
            return Err(Refusal::SectionSize(kind));
        }
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
    match SectionKind::ALL.into_iter().find(|kind| !sections.iter().any(|(found, _)| found == kind)) {
        Some(missing) => Err(Refusal::MissingSection(missing)),
        None => Ok(sections),
    }
}
