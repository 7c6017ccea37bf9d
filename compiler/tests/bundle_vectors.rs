//! Vectors of fixtures/bundles that are real policies: what a few of fixtures/accept compile to. The others are
//! made by bundles/tests/format. `BFP_BLESS=1 cargo test -p bfp-compiler --test bundle_vectors` writes them.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "../../bundles/tests/format/vector.rs"]
mod vector;

use std::fs;
use std::path::Path;

use bfp_bundle::envelope::Document;
use bfp_bundle::manifest::Need;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Host, TrustSet};
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline::{self, Release};
use bfp_compiler::resolve::Source;
use bfp_compiler::source::Disk;
use bfp_compiler::source::load;

use vector::{Vector, outcome};

/// Exclusive and confined, with names from a lock; heirs; rules on probation; both families behind NAT64; names of which
/// the lock says more than their addresses; answers to clients.
const POLICIES: [&str; 6] = ["signer-kms", "with-children", "audit", "nat64", "within-a-list", "clients"];

#[test]
fn real_policies_are_vectors_too() {
    // Whoever writes them reads the difference; in CI they are only ever compared.
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut wrong = Vec::new();
    for name in POLICIES {
        let vector = vector(&fixtures.join("accept").join(name), name);
        assert_eq!(outcome(&vector.judge()), vector.expect, "{name}");
        let path = fixtures.join("bundles").join(format!("compiled-{name}.txt"));
        if bless {
            fs::write(&path, vector.to_text()).unwrap();
        }
        match fs::read_to_string(&path) {
            Ok(text) if text == vector.to_text() => assert_eq!(Vector::parse(&text).file, vector.file),
            _ => wrong.push(name),
        }
    }
    assert!(wrong.is_empty(), "not as they are made: {wrong:?}");
}

fn vector(folder: &Path, name: &str) -> Vector {
    let loaded = load::load(&folder.join("policy.bfp"), &Disk).unwrap();
    let lock_text = fs::read_to_string(folder.join("policy.bfp.lock")).unwrap_or_default();
    let lock = Lock::parse(&lock_text).unwrap_or_default();
    let source = Source { loaded: &loaded, stem: "policy", lock_text: &lock_text, lock: &lock };
    let key = SecretKey::from_seed(&[1; 32]);
    let trust = TrustSet { version: 0, threshold: 1, keys: vec![key.public().to_bytes()], revoked: vec![] };
    let compiled = pipeline::compile(&source).unwrap();
    let release = Release { revision: 1, ..Release::default() };
    Vector {
        expect: "accepted".to_owned(),
        about: format!("what fixtures/accept/{name} compiles to"),
        document: Document::Bundle,
        trust,
        host: Host { now: 1_000, tags: vec![], capabilities: Need::ALL.to_vec() },
        file: pipeline::release(compiled, release, &[key]).unwrap().bundle,
    }
}
