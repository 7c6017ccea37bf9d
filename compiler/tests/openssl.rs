//! Keys are plain PEM files: what `openssl` makes signs and verifies here, and what `bfpc` makes is read
//! there.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const POLICY: &str = "only \"/usr/bin/signer\" -> 203.0.113.10:443\n";

fn run(program: &str, directory: &Path, words: &[&str]) -> Output {
    let ran = Command::new(program).args(words).current_dir(directory).output();
    ran.unwrap_or_else(|error| {
        unreachable!("`{program}` is needed to show that keys can be exchanged with it, and cannot be run: {error}")
    })
}

fn ok(program: &str, directory: &Path, words: &[&str]) -> String {
    let ran = run(program, directory, words);
    assert!(ran.status.success(), "{program} {}: {}", words.join(" "), String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn bfpc(directory: &Path, words: &[&str]) -> String {
    ok(env!("CARGO_BIN_EXE_bfpc"), directory, words)
}

#[test]
fn key_of_openssl_signs_and_verifies() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fs::write(place.join("policy.bfp"), POLICY).unwrap();
    ok("openssl", place, &["genpkey", "-algorithm", "ed25519", "-out", "secret.pem"]);
    ok("openssl", place, &["pkey", "-in", "secret.pem", "-pubout", "-out", "public.pem"]);
    bfpc(place, &["build", "policy.bfp", "-o", "policy.bfpb", "--key", "secret.pem"]);
    bfpc(place, &["verify", "policy.bfpb", "--trust", "public.pem"]);
}

#[test]
fn key_of_bfpc_is_read_by_openssl() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fs::write(place.join("policy.bfp"), POLICY).unwrap();
    bfpc(place, &["keygen", "key"]);
    let public = ok("openssl", place, &["pkey", "-in", "key", "-pubout"]);
    assert_eq!(public, fs::read_to_string(place.join("key.pub")).unwrap());
    // A key that openssl wrote again is the same key: it signs the same bytes.
    ok("openssl", place, &["pkcs8", "-topk8", "-nocrypt", "-in", "key", "-out", "again.pem"]);
    let bundle = |key| {
        bfpc(place, &["build", "policy.bfp", "-o", "policy.bfpb", "--key", key]);
        fs::read(place.join("policy.bfpb")).unwrap()
    };
    assert_eq!(bundle("key"), bundle("again.pem"));
    // openssl makes signatures with it that hold for its public half.
    fs::write(place.join("message"), "a message").unwrap();
    let sign = ["pkeyutl", "-sign", "-rawin", "-inkey", "key", "-in", "message", "-out", "signature"];
    ok("openssl", place, &sign);
    let verify = ["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pub", "-in", "message"];
    ok("openssl", place, &[&verify[..], &["-sigfile", "signature"]].concat());
}

#[test]
fn keys_of_other_kinds_are_refused() {
    let place = TempDir::new().unwrap();
    let place = place.path();
    fs::write(place.join("policy.bfp"), POLICY).unwrap();
    ok("openssl", place, &["genpkey", "-algorithm", "x25519", "-out", "x25519.pem"]);
    ok("openssl", place, &["genpkey", "-algorithm", "ed448", "-out", "ed448.pem"]);
    let curve = ["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec.pem"];
    ok("openssl", place, &[&["genpkey"], &curve[..]].concat());
    for key in ["x25519.pem", "ed448.pem", "ec.pem"] {
        let words = ["build", "policy.bfp", "-o", "policy.bfpb", "--key", key];
        let ran = run(env!("CARGO_BIN_EXE_bfpc"), place, &words);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{key}: {said}");
        assert!(said.contains(&format!("`{key}` is not an Ed25519 private key in PEM")), "{said}");
    }
    assert!(!place.join("policy.bfpb").exists());
}
