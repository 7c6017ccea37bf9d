//! The envelope: the bytes of the files that are signed. How they are written is in `seal`, how they are read
//! in [`verify`](crate::verify); docs/format.md specifies both byte by byte.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the magic bytes of its [`Document`] |
//! | 4 | the version of its format |
//! | 4 | length of the body |
//! | 4 | number of signatures |
//! | 4 | zero |
//! | … | the body, in postcard: of a bundle its manifest |
//! | 80 each | the signatures: key id (16 bytes), Ed25519 signature (64 bytes) |
//! | … | of a bundle: the sections, in the manifest's order, with nothing between |
//!
//! Numbers are little-endian. Nothing follows.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256};

/// The version of a bundle's format. The first had no tables of names: a host builds them from the executables.
pub const BUNDLE_VERSION: u32 = 2;

/// The length of what precedes the body.
pub const HEADER_LENGTH: usize = 24;

/// The length of a key id and a signature.
pub const SIGNATURE_LENGTH: usize = 80;

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A compiled policy.
    Bundle,
    /// Whose signatures count from now on.
    TrustSet,
    /// The signers' consent to something that a host refuses otherwise.
    Token,
}

impl Document {
    /// Every one.
    pub const ALL: [Document; 3] = [Document::Bundle, Document::TrustSet, Document::Token];

    /// Its first bytes. A transport that rewrites line ends or stops at a control character breaks them.
    pub fn magic(self) -> [u8; 8] {
        match self {
            Document::Bundle => *b"BFPB\r\n\x1a\n",
            Document::TrustSet => *b"BFPT\r\n\x1a\n",
            Document::Token => *b"BFPK\r\n\x1a\n",
        }
    }

    /// The version of its format, as it is written now.
    pub fn version(self) -> u32 {
        match self {
            Document::Bundle => BUNDLE_VERSION,
            Document::TrustSet | Document::Token => 1,
        }
    }

    /// Whether a document of this version can be read: every one since the first.
    pub fn reads(self, version: u32) -> bool {
        (1..=self.version()).contains(&version)
    }

    /// The document that begins like this.
    pub fn of(bytes: &[u8]) -> Option<Document> {
        Document::ALL.into_iter().find(|document| bytes.starts_with(&document.magic()))
    }

    /// What is signed begins with this, so that no signature of one document is one of another.
    fn context(self) -> &'static [u8] {
        match self {
            Document::Bundle => b"bfp bundle, format 1\0",
            Document::TrustSet => b"bfp trust set, format 1\0",
            Document::Token => b"bfp token, format 1\0",
        }
    }

    /// What a signature signs: the context and the SHA-256 of the body. It is short whatever the body is:
    /// some hardware signs no more than a few hundred bytes.
    pub fn signing_payload(self, body: &[u8]) -> Vec<u8> {
        [self.context(), &Sha256::digest(body)].concat()
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Document::Bundle => "bundle",
            Document::TrustSet => "trust set",
            Document::Token => "token",
        })
    }
}
