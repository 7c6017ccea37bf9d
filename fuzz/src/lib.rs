//! Shared by the targets: a valid bundle, and a fuzzer's edits of it.
//!
//! The fuzzer's bytes are edits, not a bundle. So every input is near a valid one, and no seed has to follow the format
//! as it changes.

pub mod nearly;

use std::path::Path;
use std::sync::LazyLock;

use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::manifest::Need;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Host, Trust};
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline::{self, Release};
use bfp_compiler::resolve::Source;
use bfp_compiler::source::load;
use bfp_compiler::source::{Read, SourceError};

/// The policy is the only file.
pub struct NoFiles;

impl Read for NoFiles {
    fn text(&self, path: &Path) -> Result<String, SourceError> {
        Err(SourceError::NotAFile { path: path.display().to_string() })
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        Err(SourceError::NotAFile { path: path.display().to_string() })
    }
}

const POLICY: &str = include_str!("../policy.bfp");

/// The key that signs and is trusted.
pub static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_seed(&[7; 32]));

/// The trust set of a host that trusts [`KEY`].
pub fn trust() -> Trust {
    Trust::first(vec![KEY.public()], 1).expect("one key is enough")
}

/// A host with the tag `fuzzed`, at time 1 000, that offers every feature.
pub fn host() -> Host {
    Host { now: 1_000, tags: vec!["fuzzed".to_owned()], capabilities: Need::ALL.to_vec() }
}

/// A bundle that this host accepts.
pub static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let Ok(loaded) = load::load_text("policy.bfp", "policy.bfp", POLICY, Path::new(""), &NoFiles) else {
        panic!("policy.bfp cannot be read")
    };
    let lock = Lock::default();
    let source = Source { loaded: &loaded, stem: "policy", lock_text: "", lock: &lock };
    let release = Release { revision: 1, audience: vec!["fuzzed".to_owned()], ..Release::default() };
    let released = pipeline::compile(&source)
        .and_then(|compiled| pipeline::release(compiled, release, std::slice::from_ref(&KEY)));
    released.map(|released| released.bundle).unwrap_or_else(|findings| panic!("policy.bfp cannot be compiled: {findings:?}"))
});

/// The manifest and the sections of [`BUNDLE`].
pub fn parts() -> (&'static [u8], &'static [u8]) {
    let length = u32::from_le_bytes(BUNDLE[12..16].try_into().expect("four bytes")) as usize;
    let rest = &BUNDLE[HEADER_LENGTH..];
    (&rest[..length], &rest[length + SIGNATURE_LENGTH..])
}

/// A bundle of these parts, properly signed.
pub fn signed(manifest: &[u8], sections: &[u8]) -> Vec<u8> {
    let mut bundle = BUNDLE[..HEADER_LENGTH].to_vec();
    bundle[12..16].copy_from_slice(&(manifest.len() as u32).to_le_bytes());
    bundle.extend_from_slice(manifest);
    bundle.extend_from_slice(&KEY.public().id().0);
    bundle.extend_from_slice(&KEY.sign(&Document::Bundle.signing_payload(manifest)));
    bundle.extend_from_slice(sections);
    bundle
}

/// Changes bytes by the fuzzer's edits, four bytes each.
pub fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        match edit[2] % 8 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, edit[3]),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.extend(std::iter::repeat_n(edit[3], usize::from(edit[0]))),
            _ if at < bytes.len() => bytes[at] = edit[3],
            _ => {}
        }
    }
    bytes
}
