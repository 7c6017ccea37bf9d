//! The envelope: the byte layout of signed files. `seal` writes it, and [`verify`](crate::verify) reads it.
//! docs/format.md specifies both byte by byte.
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

/// The version of a bundle's format. Version 1 had no tables of names: a host builds them from the executables.
pub const BUNDLE_VERSION: u32 = 2;

/// The length of what precedes the body, in bytes.
pub const HEADER_LENGTH: usize = 24;

/// The length of a key id and a signature, in bytes.
pub const SIGNATURE_LENGTH: usize = 80;

/// The kinds of signed documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A compiled policy.
    Bundle,
    /// The keys whose signatures count from now on.
    TrustSet,
    /// The signers' permission for an act that a host refuses otherwise.
    Token,
}

impl Document {
    /// Every kind.
    pub const ALL: [Document; 3] = [Document::Bundle, Document::TrustSet, Document::Token];

    /// Its magic bytes. A transport that rewrites line ends or stops at a control character breaks them.
    pub fn magic(self) -> [u8; 8] {
        match self {
            Document::Bundle => *b"BFPB\r\n\x1a\n",
            Document::TrustSet => *b"BFPT\r\n\x1a\n",
            Document::Token => *b"BFPK\r\n\x1a\n",
        }
    }

    /// The version of its format that is written now.
    pub fn version(self) -> u32 {
        match self {
            Document::Bundle => BUNDLE_VERSION,
            Document::TrustSet | Document::Token => 1,
        }
    }

    /// Whether this release can read a version: every one since the first.
    pub fn reads(self, version: u32) -> bool {
        (1..=self.version()).contains(&version)
    }

    /// The kind of document that starts with these bytes.
    pub fn of(bytes: &[u8]) -> Option<Document> {
        Document::ALL.into_iter().find(|document| bytes.starts_with(&document.magic()))
    }

    /// The signed data starts with this context, so that a signature of one kind of document is invalid for another.
    fn context(self) -> &'static [u8] {
        match self {
            Document::Bundle => b"bfp bundle, format 1\0",
            Document::TrustSet => b"bfp trust set, format 1\0",
            Document::Token => b"bfp token, format 1\0",
        }
    }

    /// The signed data: the context and the SHA-256 of the body. It is short whatever the size of the body: some
    /// hardware signs no more than a few hundred bytes.
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
