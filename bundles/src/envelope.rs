//! The envelope: the bytes of a bundle file, and how they are written. How they are read is in
//! [`verify`](mod@crate::verify).
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 4 | [`FORMAT_VERSION`] |
//! | 4 | length of the manifest |
//! | 4 | number of signatures |
//! | 4 | zero |
//! | … | the manifest, in postcard |
//! | 80 each | the signatures: key id (16 bytes), Ed25519 signature (64 bytes) |
//! | … | the sections, in the manifest's order, with nothing between and nothing after |
//!
//! Numbers are little-endian.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::debug::Debug;
use crate::image::Image;
use crate::key::SecretKey;
use crate::manifest::{Manifest, SectionEntry, SectionKind};

/// The first bytes. A transport that rewrites line ends or stops at a control character breaks them.
pub const MAGIC: [u8; 8] = *b"BFPB\r\n\x1a\n";

/// The version of the layout.
pub const FORMAT_VERSION: u32 = 1;

/// The length of what precedes the manifest.
pub const HEADER_LENGTH: usize = 24;

/// The length of a key id and a signature.
pub const SIGNATURE_LENGTH: usize = 80;

/// What is signed begins with this, so that no signature over a manifest is one over anything else.
pub const SIGNING_CONTEXT: &[u8] = b"bfp bundle manifest, format 1\0";

/// What a signature of a bundle signs.
pub fn signing_payload(manifest: &[u8]) -> Vec<u8> {
    [SIGNING_CONTEXT, manifest].concat()
}

/// What a release of a policy says about itself.
pub type Release = Manifest;

/// Writes a bundle. The sections of `release` are replaced by those of the image.
pub fn seal(
    mut release: Release,
    image: &Image,
    debug: &Debug,
    keys: &[SecretKey],
) -> Result<Vec<u8>, postcard::Error> {
    let mut sections = Vec::new();
    release.sections.clear();
    for kind in SectionKind::ALL {
        let bytes = match kind {
            SectionKind::Debug => postcard::to_allocvec(debug)?,
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
    let manifest = postcard::to_allocvec(&release)?;
    let payload = signing_payload(&manifest);

    let mut file = Vec::new();
    file.extend(MAGIC);
    for number in [FORMAT_VERSION, manifest.len() as u32, keys.len() as u32, 0] {
        file.extend(number.to_le_bytes());
    }
    file.extend(&manifest);
    for key in keys {
        file.extend(key.public().id().0);
        file.extend(key.sign(&payload));
    }
    sections.iter().for_each(|section| file.extend(section));
    Ok(file)
}
