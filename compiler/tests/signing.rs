//! Keys, signatures, trust sets and tokens, as a person handles them: `bfpc` as it is run, beside the real
//! `openssl`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::Place;

const POLICY: &str = "policy payments\n\ndeny * -> 203.0.113.10:443\n";

impl Place {
    /// A policy, and the keys `a`, `b` and `c`, away from any terminal.
    fn of_signers() -> Place {
        let place = Place::with(&[("policy.bfp", POLICY)]).without_terminal();
        for key in ["a", "b", "c"] {
            place.key(key);
        }
        place
    }

    /// A file with a secret, which is for its owner alone.
    fn secret(&self, name: &str, content: &str) {
        self.write(name, content);
        self.mode(name, 0o600);
    }

    /// A folder with the public halves of these keys.
    fn trust(&self, folder: &str, keys: &[&str], threshold: &str) {
        fs::create_dir(self.path(folder)).unwrap();
        self.mode(folder, 0o755);
        for key in keys {
            fs::copy(self.path(&format!("{key}.pub")), self.path(&format!("{folder}/{key}.pem"))).unwrap();
        }
        self.write(&format!("{folder}/threshold"), threshold);
        self.mode(&format!("{folder}/threshold"), 0o644);
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.bfpc(&[words, &["--format", "json"]].concat()).ok()).unwrap()
    }

    fn id(&self, key: &str) -> String {
        let said = self.bfpc(&["key-id", key]).ok();
        said.split_once("  ").unwrap().0.to_owned()
    }

    fn openssl(&self, words: &[&str]) {
        let ended = self.run(&[&["openssl"], words].concat()).ended();
        assert_eq!(ended.code, 0, "{}", ended.all());
    }

    /// An unsigned bundle.
    fn built(&self, name: &str) {
        let said = self.bfpc(&["build", "policy.bfp", "-o", name]).ok();
        assert!(said.ends_with("unsigned: no host accepts it before `bfpc sign`\n"), "{said}");
    }

    /// A trust set of these public keys, signed by `signers`.
    fn trust_set(&self, name: &str, more: &[&str], signers: &[&str]) {
        self.bfpc(&[&["trust-set", "-o", name], more].concat()).ok();
        for signer in signers {
            self.bfpc(&["sign", name, "--key", signer]).ok();
        }
    }

    fn on_terminal(&self, command: &str) -> Terminal {
        let bfpc = env!("CARGO_BIN_EXE_bfpc");
        let child = Command::new("script")
            .args(["--quiet", "--return", "--command", &format!("'{bfpc}' {command}"), "/dev/null"])
            .current_dir(self.root())
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let child = child.unwrap_or_else(|error| unreachable!("this test needs `script`: {error}"));
        Terminal { child, shown: String::new() }
    }
}

/// A terminal, and all that it showed.
struct Terminal {
    child: std::process::Child,
    shown: String,
}

impl Terminal {
    /// Waits until it shows this.
    fn shows(mut self, text: &str) -> Terminal {
        let from = self.shown.len();
        while !self.shown[from..].contains(text) {
            let mut byte = [0];
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_eq!(read, 1, "`{text}` was not shown, but {}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
        self
    }

    fn types(mut self, text: &str) -> Terminal {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        self
    }

    /// All that it showed, and the exit code.
    fn ends(mut self) -> (String, i32) {
        let mut rest = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        self.shown += &String::from_utf8_lossy(&rest);
        let code = self.child.wait().unwrap().code().unwrap();
        (self.shown, code)
    }
}

#[test]
fn encrypted_key_of_openssl_signs() {
    let place = Place::of_signers();
    place.secret("pass", "correct horse\nand nothing of the second line\n");
    let made = ["genpkey", "-algorithm", "ed25519", "-aes-256-cbc", "-pass", "file:pass", "-out", "made.pem"];
    place.openssl(&made);
    let a = ["pkcs8", "-topk8", "-in", "a", "-passout", "file:pass", "-out"];
    for (file, how) in [
        ("scrypt.pem", &["-scrypt"][..]),
        ("aes128.pem", &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"]),
        ("many.pem", &["-v2", "aes-256-cbc", "-iter", "100000"]),
    ] {
        place.openssl(&[&a[..], &[file], how].concat());
        place.mode(file, 0o600);
        let id = place.bfpc(&["key-id", file, "--passphrase-file", "pass"]).ok();
        assert_eq!(id, format!("{}  {file}\n", place.id("a")));
    }
    place.openssl(&["pkey", "-in", "made.pem", "-passin", "file:pass", "-pubout", "-out", "made.pub"]);
    place.mode("made.pub", 0o644);
    place.mode("made.pem", 0o600);
    let key = ["--key", "made.pem", "--passphrase-file", "pass"];
    place.bfpc(&[&["build", "policy.bfp", "-o", "built.bfpb"], &key[..]].concat()).ok();
    place.built("signed.bfpb");
    place.bfpc(&[&["sign", "signed.bfpb"], &key[..]].concat()).ok();
    assert_eq!(place.read("built.bfpb"), place.read("signed.bfpb"));
    place.bfpc(&["verify", "signed.bfpb", "--trust", "made.pub"]).ok();
}

#[test]
fn encrypted_key_of_bfpc_is_read_by_openssl() {
    let place = Place::of_signers();
    place.secret("pass", "correct horse\n");
    let said = place.bfpc(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]).ok();
    assert!(said.contains("sealed: secret key, encrypted"), "{said}");
    assert!(place.read("sealed").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    place.openssl(&["pkey", "-in", "sealed", "-passin", "file:pass", "-pubout", "-out", "public"]);
    assert_eq!(place.read("public"), place.read("sealed.pub"));
    // Salted: the same passphrase and key never give the same file.
    place.bfpc(&["keygen", "other", "--encrypt", "--passphrase-file", "pass"]).ok();
    assert_ne!(place.read("sealed")[40..120], place.read("other")[40..120]);
}

#[test]
fn what_does_not_open_a_key_is_told_apart() {
    let place = Place::of_signers();
    place.secret("pass", "correct horse\n");
    place.bfpc(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]).ok();
    place.built("p.bfpb");
    let unsigned = place.read("p.bfpb");
    let sign = |file: &'static str| ["sign", "p.bfpb", "--key", "sealed", "--passphrase-file", file];
    place.secret("wrong", "battery staple\n");
    place.bfpc(&sign("wrong")).fails(2, "the passphrase does not open `sealed`");
    for (content, says) in [("", "is empty"), ("\ncorrect horse\n", "is empty"), (&"x".repeat(2000), "more than 1024")]
    {
        place.secret("bad", content);
        place.bfpc(&sign("bad")).fails(2, says);
        place.bfpc(&["keygen", "new", "--encrypt", "--passphrase-file", "bad"]).fails(2, says);
        assert!(!place.path("new").exists());
    }
    place.mode("pass", 0o640);
    place.bfpc(&sign("pass")).fails(2, "`pass` holds a secret, and users other than its owner may read or write it");
    place.bfpc(&sign("nowhere")).fails(2, "`nowhere` cannot be read");
    place.bfpc(&["sign", "p.bfpb", "--key", "sealed"]).fails(2, "there is no terminal");
    place.bfpc(&["keygen", "new", "--encrypt"]).fails(2, "there is no terminal");
    place.bfpc(&["keygen", "new", "--passphrase-file", "pass"]).fails(2, "--encrypt");
    assert_eq!(place.read("p.bfpb"), unsigned);
}

#[test]
fn many_wrong_passphrases_are_all_wrong_passphrases() {
    // Now and then a wrong one decrypts to what ends as it should.
    let place = Place::of_signers();
    let right = ["-passout", "pass:right", "-out", "sealed", "-iter", "1"];
    place.openssl(&[&["pkcs8", "-topk8", "-in", "a", "-v2", "aes-256-cbc"], &right[..]].concat());
    place.mode("sealed", 0o600);
    for number in 0..600 {
        place.secret("pass", &format!("wrong {number}"));
        place
            .bfpc(&["key-id", "sealed", "--passphrase-file", "pass"])
            .fails(2, "the passphrase does not open `sealed`");
    }
}

#[test]
fn key_that_is_encrypted_in_another_way_is_refused_and_so_is_one_without_measure() {
    let place = Place::of_signers();
    place.secret("pass", "correct horse\n");
    let key_id = |key: &'static str| ["key-id", key, "--passphrase-file", "pass"];
    for (file, how) in [("des3", ["-v2", "des3"]), ("pbes1", ["-v1", "PBE-SHA1-3DES"])] {
        let again = ["pkcs8", "-topk8", "-in", "a", "-passout", "file:pass", "-out", file];
        place.openssl(&[&again[..], &how[..]].concat());
        place.mode(file, 0o600);
        place.bfpc(&key_id(file)).fails(2, &format!("the encryption of `{file}` is not supported"));
    }

    // Its settings of scrypt, raised: N, r and p as `keygen` writes them.
    place.bfpc(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]).ok();
    place.openssl(&["asn1parse", "-in", "sealed", "-noout", "-out", "der"]);
    let mut der = place.read("der");
    let settings = [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 5];
    let at = der.windows(settings.len()).position(|window| window == settings).unwrap();
    for (more, value) in [(2, 0x7f), (6, 0x7f), (9, 0x7f)] {
        der[at + more] = value;
    }
    place.write("der", der);
    place.openssl(&["base64", "-in", "der", "-out", "body"]);
    let body = place.text("body");
    let label = "ENCRYPTED PRIVATE KEY-----\n";
    place.secret("greedy", &format!("-----BEGIN {label}{body}-----END {label}"));
    place.bfpc(&key_id("greedy")).fails(2, "more memory or time than the limit");
}

#[test]
fn passphrase_is_asked_for_and_not_shown() {
    let place = Place::of_signers();
    let (shown, code) = place
        .on_terminal("keygen sealed --encrypt")
        .shows("passphrase for sealed: ")
        .types("corret\u{7f}ct horse\n")
        .shows("the same again: ")
        .types("nonsense\u{15}correct horse\n")
        .ends();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    place.secret("pass", "correct horse");
    assert_eq!(place.bfpc(&["key-id", "sealed", "--passphrase-file", "pass"]).ok().len(), 32 + "  sealed\n".len());

    place.built("p.bfpb");
    let sign = || place.on_terminal("sign p.bfpb --key sealed").shows("passphrase of sealed: ");
    let (shown, code) = sign().types("battery staple\n").ends();
    assert!(code == 2 && shown.contains("does not open `sealed`"), "{shown}");
    let (shown, code) = sign().types("corr\u{3}").ends();
    assert!(code == 2 && shown.contains("the passphrase of `sealed` was not given"), "{shown}");
    let (shown, code) = sign().types("correct horse\n").ends();
    assert_eq!(code, 0, "{shown}");
    place.bfpc(&["verify", "p.bfpb", "--trust", "sealed.pub"]).ok();

    let (shown, code) = place
        .on_terminal("keygen another --encrypt")
        .shows("passphrase for another: ")
        .types("correct horse\n")
        .shows("the same again: ")
        .types("correct house\n")
        .ends();
    assert!(code == 2 && shown.contains("the two passphrases differ"), "{shown}");
    assert!(!place.path("another").exists());
}

#[test]
fn signers_on_different_machines_make_the_same_file_in_either_order() {
    let (here, there) = (Place::of_signers(), Place::of_signers());
    for key in ["a", "b", "a.pub", "b.pub"] {
        fs::copy(here.path(key), there.path(key)).unwrap();
    }
    here.built("p.bfpb");
    fs::copy(here.path("p.bfpb"), there.path("p.bfpb")).unwrap();
    let said = here.bfpc(&["sign", "p.bfpb", "--key", "a"]).ok();
    let (a, b) = (here.id("a.pub"), here.id("b"));
    assert_eq!(said, format!("p.bfpb: policy payments, revision 1\nsigned now by {a}\nnames the keys {a}\n"));
    there.bfpc(&["sign", "p.bfpb", "--key", "b"]).ok();
    assert_ne!(here.read("p.bfpb"), there.read("p.bfpb"));
    // Each goes to the other signer.
    let (from_here, from_there) = (here.read("p.bfpb"), there.read("p.bfpb"));
    there.write("first-a.bfpb", from_here);
    here.write("first-b.bfpb", from_there);
    there.bfpc(&["sign", "first-a.bfpb", "--key", "b"]).ok();
    let said = here.bfpc(&["sign", "first-b.bfpb", "--key", "a", "-o", "both.bfpb"]).ok();
    let mut both = [a.as_str(), b.as_str()];
    both.sort_unstable();
    assert!(said.ends_with(&format!("signed now by {a}\nnames the keys {}\n", both.join(", "))), "{said}");
    assert_eq!(here.read("both.bfpb"), there.read("first-a.bfpb"));
    // What is signed while it is built is the same too, and what `-o` was given for stays as it was.
    here.bfpc(&["build", "policy.bfp", "-o", "built.bfpb", "--key", "b", "--key", "a"]).ok();
    assert_eq!(here.read("built.bfpb"), here.read("both.bfpb"));
    assert_eq!(here.read("first-b.bfpb"), there.read("p.bfpb"));

    here.trust("trust", &["a", "b", "c"], "2\n");
    here.bfpc(&["verify", "both.bfpb", "--trust", "trust"]).ok();
    here.bfpc(&["verify", "p.bfpb", "--trust", "trust"]).fails(3, "it has 1 valid signature, but this host requires 2");
}

#[test]
fn threshold_stands_in_the_folder_and_is_never_lowered() {
    let place = Place::of_signers();
    place.trust("trust", &["a", "b", "c"], " 2\n");
    place.bfpc(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a", "--key", "b"]).ok();
    place.bfpc(&["build", "policy.bfp", "-o", "one.bfpb", "--key", "a"]).ok();
    let verify = |file: &'static str, more: &[&'static str]| [&["verify", file, "--trust", "trust"], more].concat();
    place.bfpc(&verify("p.bfpb", &[])).ok();
    for command in ["verify", "inspect"] {
        let lower = [command, "one.bfpb", "--trust", "trust", "--threshold", "1"];
        place.bfpc(&lower).fails(3, "this host requires 2");
    }
    place.bfpc(&["explain", "one.bfpb", "*", "203.0.113.10:443", "--trust", "trust"]).fails(3, "this host requires 2");
    place.bfpc(&verify("p.bfpb", &["--threshold", "3"])).fails(3, "this host requires 3");
    let says = "`trust` cannot be trusted as it is: it requires more signatures than it has keys";
    place.bfpc(&verify("p.bfpb", &["--threshold", "4"])).fails(2, says);
    for wrong in ["", "0", "two", "-1", "2 of 3", "99999999999999999999999"] {
        place.write("trust/threshold", wrong);
        place.bfpc(&verify("p.bfpb", &[])).fails(2, "must contain a number of signatures");
    }
    fs::remove_file(place.path("trust/threshold")).unwrap();
    place.bfpc(&verify("one.bfpb", &[])).fails(2, "contains 3 public keys, but no file `threshold`");
    place.bfpc(&verify("p.bfpb", &["--threshold", "2"])).ok();
    std::os::unix::fs::symlink("nowhere", place.path("trust/threshold")).unwrap();
    place.bfpc(&verify("one.bfpb", &[])).fails(2, "`trust/threshold` cannot be read");
    fs::remove_file(place.path("trust/threshold")).unwrap();
    fs::copy(place.path("a.pub"), place.path("trust/again.pem")).unwrap();
    place.bfpc(&verify("one.bfpb", &["--threshold", "2"])).fails(2, "it has a key twice");
}

#[test]
fn key_that_others_can_read_and_trust_that_others_can_write_are_refused() {
    let place = Place::of_signers();
    place.bfpc(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]).ok();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
        place.mode("a", mode);
        let says = format!("`a` holds a secret, and users other than its owner may read or write it (mode {mode:04o})");
        place.bfpc(&["build", "policy.bfp", "-o", "q.bfpb", "--key", "a"]).fails(2, &says);
        place.bfpc(&["sign", "p.bfpb", "--key", "a"]).fails(2, &says);
        place.bfpc(&["key-id", "a"]).fails(2, &says);
    }
    place.mode("a", 0o400);
    place.bfpc(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]).ok();

    place.trust("trust", &["a", "b"], "1");
    place.trust_set("set", &["--key", "a.pub", "--threshold", "1"], &["a"]);
    place.mode("set", 0o644);
    for (path, trust, sound) in [
        ("trust", "trust", 0o755),
        ("trust/b.pem", "trust", 0o644),
        ("trust/threshold", "trust", 0o644),
        ("a.pub", "a.pub", 0o644),
        ("set", "set", 0o444),
    ] {
        for mode in [sound | 0o020, sound | 0o002] {
            place.mode(path, mode);
            let says = format!(
                "`{path}` decides whom to trust, and users other than its owner may write to it (mode {mode:04o})"
            );
            place.bfpc(&["verify", "p.bfpb", "--trust", trust]).fails(2, &says);
            place.bfpc(&["inspect", "p.bfpb", "--trust", trust]).fails(2, &says);
        }
        place.mode(path, sound);
        place.bfpc(&["verify", "p.bfpb", "--trust", trust]).ok();
    }

    // Whatever the umask lets through.
    let keygen = format!("umask 000 && '{}' keygen open", env!("CARGO_BIN_EXE_bfpc"));
    place.run(&["sh", "-c", &keygen]).ok();
    let mode = |name| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("open"), mode("open.pub")), (0o600, 0o644));
}

#[test]
fn signature_of_openssl_is_attached_and_ours_holds_for_openssl() {
    let place = Place::of_signers();
    place.built("p.bfpb");
    place.trust_set("set", &["--key", "a.pub", "--threshold", "1"], &[]);
    let token = ["token", "release", "--policy", "payments", "--revision", "3", "--expires", "9999-01-01T00:00:00Z"];
    place.bfpc(&[&token[..], &["-o", "token"]].concat()).ok();
    for (file, context) in
        [("p.bfpb", "bfp bundle, format 1\0"), ("set", "bfp trust set, format 1\0"), ("token", "bfp token, format 1\0")]
    {
        let said = place.bfpc(&["payload", file, "-o", "payload"]).ok();
        let payload = place.read("payload");
        assert!(payload.starts_with(context.as_bytes()) && payload.len() == context.len() + 32);
        assert!(said.starts_with(&format!("payload: {} bytes to sign, ", payload.len())), "{said}");
        let piped = place.bfpc(&["payload", file]).ended();
        assert_eq!((piped.code, piped.bytes), (0, payload));

        place.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "a", "-in", "payload", "-out", "raw"]);
        place.openssl(&["base64", "-in", "raw", "-out", "base64"]);
        for (signature, form) in [("raw", "64 bytes as they are"), ("base64", "in base64")] {
            let out = format!("{file}.{signature}");
            let said = place.bfpc(&["sign", file, "--signature", signature, "--public-key", "a.pub", "-o", &out]).ok();
            assert!(said.starts_with(&format!("{signature}: a signature, {form}\n")), "{said}");
            place.bfpc(&["verify", &out, "--trust", "a.pub"]).ok();
        }
        // It is the signature that `bfpc` itself makes, and `openssl` verifies that one.
        let output = format!("{file}.signed");
        place.bfpc(&["sign", file, "--key", "a", "-o", &output]).ok();
        let signed = place.read(&output);
        assert_eq!(signed, place.read(&format!("{file}.raw")));
        let id: Vec<u8> = place.id("a").as_bytes().chunks(2).map(hex).collect();
        let at = signed.windows(16).rposition(|window| window == id).unwrap() + 16;
        place.write("ours", &signed[at..at + 64]);
        let verify = ["-verify", "-rawin", "-pubin", "-inkey", "a.pub", "-in", "payload", "-sigfile", "ours"];
        place.openssl(&[&["pkeyutl"], &verify[..]].concat());
    }
}

fn hex(pair: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()
}

#[test]
fn signature_that_does_not_hold_is_not_attached() {
    let place = Place::of_signers();
    place.built("p.bfpb");
    let unsigned = place.read("p.bfpb");
    place.bfpc(&["payload", "p.bfpb", "-o", "payload"]).ok();
    let sign = |message: &str| {
        place.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "a", "-in", message, "-out", "signature"]);
    };
    let attach = |key: &'static str| ["sign", "p.bfpb", "--signature", "signature", "--public-key", key];
    sign("p.bfpb");
    place.bfpc(&attach("a.pub")).fails(2, "`signature` is not the signature of `p.bfpb` by the key");
    sign("payload");
    place.bfpc(&attach("b.pub")).fails(2, "is not the signature of `p.bfpb` by the key");
    place.bfpc(&attach("a")).fails(2, "`a` is not an Ed25519 public key");
    for (content, found) in [(&[0; 63][..], 63), (&[b'A'; 88], 88), (b"", 0), (b"{\"Signature\": \"\"}", 17)] {
        place.write("signature", content);
        place.bfpc(&attach("a.pub")).fails(2, &format!("`signature` is not a signature: it has {found} bytes"));
    }
    sign("payload");
    place.bfpc(&["sign", "p.bfpb", "--signature", "signature"]).fails(2, "--public-key");
    place.bfpc(&["sign", "p.bfpb", "--public-key", "a.pub"]).fails(2, "--signature");
    place.bfpc(&["sign", "p.bfpb"]).fails(2, "--key");
    place.bfpc(&[&attach("a.pub")[..], &["--key", "a"]].concat()).fails(2, "cannot be used with");
    assert_eq!(place.read("p.bfpb"), unsigned, "what is refused writes nothing");
    place.bfpc(&attach("a.pub")).ok();
    place.bfpc(&attach("a.pub")).fails(2, "`p.bfpb` already has a signature by the key");
}

#[test]
fn what_is_no_document_or_is_signed_already_gets_no_signature() {
    let place = Place::of_signers();
    place.bfpc(&["sign", "policy.bfp", "--key", "a"]).fails(2, "`policy.bfp` is not a bundle, trust set or token");
    place.bfpc(&["payload", "policy.bfp"]).fails(2, "`policy.bfp` is not a bundle, trust set or token");
    place.built("p.bfpb");
    place.bfpc(&["sign", "p.bfpb", "--key", "a", "--key", "a"]).fails(2, "the keys `a` and `a` are the same");
    place.bfpc(&["sign", "p.bfpb", "--key", "a"]).ok();
    let signed = place.read("p.bfpb");
    let says = format!("`p.bfpb` already has a signature by the key {}", place.id("a"));
    place.bfpc(&["sign", "p.bfpb", "--key", "b", "--key", "a"]).fails(2, &says);
    assert_eq!(place.read("p.bfpb"), signed);
    for at in [9, signed.len() - 1] {
        let mut damaged = signed.clone();
        damaged[at] ^= 1;
        place.write("damaged.bfpb", damaged);
        place.bfpc(&["sign", "damaged.bfpb", "--key", "b"]).fails(3, "verify::refused");
    }
    place.write("cut.bfpb", &signed[..signed.len() - 1]);
    place.bfpc(&["sign", "cut.bfpb", "--key", "b"]).fails(3, "cut short");
    place.bfpc(&["payload", "cut.bfpb"]).fails(3, "cut short");

    let keys: Vec<String> = (0..33).map(|number| format!("key-{number}")).collect();
    let mut words = vec!["sign", "p.bfpb", "-o", "many.bfpb"];
    for key in &keys {
        place.bfpc(&["keygen", key]).ok();
        words.extend(["--key", key]);
    }
    place.bfpc(&words).fails(3, "number of signatures is too large");
    place.bfpc(&words[..words.len() - 2]).fails(3, "number of signatures is too large");
    place.bfpc(&words[..words.len() - 4]).ok();
}

#[test]
fn payload_is_not_written_to_a_terminal() {
    let place = Place::of_signers();
    place.built("p.bfpb");
    let (shown, code) = place.on_terminal("payload p.bfpb").ends();
    assert!(code == 2 && shown.contains("the payload is 53 bytes that a terminal cannot show"), "{shown}");
    let (shown, code) = place.on_terminal("payload p.bfpb -o payload").ends();
    assert_eq!((code, place.read("payload").len()), (0, 53), "{shown}");
}

#[test]
fn keys_rotate_one_version_at_a_time_and_revocations_stay() {
    let place = Place::of_signers();
    place.trust("trust", &["a", "b"], "2");
    let two = ["--key", "b.pub", "--key", "c.pub", "--threshold", "2"];
    place.trust_set("set-1", &["--key", "b.pub", "--key", "a.pub", "--threshold", "2"], &["a", "b"]);
    place.bfpc(&["verify", "set-1", "--trust", "trust"]).ok();
    let revoking = [&two[..], &["--previous", "set-1", "--revoke", "a.pub"]].concat();
    place.trust_set("set-2", &revoking, &["a", "b"]);
    // Signed by enough of the old keys, and not by enough of the new ones.
    let verify = ["verify", "set-2", "--trust", "set-1"];
    place.bfpc(&verify).fails(3, "it has 1 valid signature, but the new trust set requires 2");
    place.bfpc(&["sign", "set-2", "--key", "c"]).ok();
    let said = place.bfpc(&verify).ok();
    assert!(said.starts_with("set-2: verified, trust set, version 2, 2 of 2 keys\nsigned by "), "{said}");
    place.bfpc(&["verify", "set-2", "--trust", "trust"]).fails(3, "version 0 is in force, and the next one is 1");

    // What the leaked key signs is refused from now on, though `b` signed it too.
    place.bfpc(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a", "--key", "b"]).ok();
    place.bfpc(&["verify", "p.bfpb", "--trust", "set-1"]).ok();
    place.bfpc(&["verify", "p.bfpb", "--trust", "set-2"]).fails(3, "which is revoked");

    let b = place.id("b.pub");
    let one = ["--key", "c.pub", "--threshold", "1", "--previous", "set-2", "--revoke", &b];
    place.trust_set("set-3", &one, &["b", "c"]);
    place.bfpc(&["verify", "set-3", "--trust", "set-2"]).ok();
    let shown = place.json(&["inspect", "set-3", "--trust", "set-2"]);
    let mut revoked = [place.id("a.pub"), b];
    revoked.sort_unstable();
    assert_eq!(shown["trust_set"]["revoked"], serde_json::json!(revoked));
    assert_eq!((&shown["document"], &shown["verified"]), (&"trust set".into(), &true.into()));

    let same = ["--threshold", "2", "--version", "2", "--revoke", &place.id("a"), "--key", "c.pub", "--key", "b.pub"];
    place.trust_set("same", &same, &["c", "a", "b"]);
    assert_eq!(place.read("same"), place.read("set-2"));
}

#[test]
fn trust_set_that_no_host_can_follow_is_not_made() {
    let place = Place::of_signers();
    place.trust_set("set-1", &["--key", "a.pub", "--threshold", "1", "--revoke", "b.pub"], &["a"]);
    let set = |more: &[&'static str]| [&["trust-set", "-o", "set"], more].concat();
    let one = ["--key", "c.pub", "--threshold", "1"];
    for (says, words) in [
        ("it requires more signatures than it has keys", &["--key", "c.pub", "--threshold", "2"][..]),
        ("it has no key, or requires no signature", &["--key", "c.pub", "--threshold", "0"]),
        ("the keys `c.pub` and `c.pub` are the same", &["--key", "c.pub", "--key", "c.pub", "--threshold", "1"]),
        ("it has a key that it revokes", &["--key", "c.pub", "--threshold", "1", "--revoke", "c.pub"]),
        ("it has a key that it revokes", &["--key", "b.pub", "--threshold", "1", "--previous", "set-1"]),
        ("`c` is not an Ed25519 public key", &["--key", "c", "--threshold", "1"]),
        ("--key", &["--threshold", "1"]),
        ("--threshold", &["--key", "c.pub"]),
    ] {
        place.bfpc(&set(words)).fails(2, says);
    }
    for (says, words) in [
        ("no host can follow version 0", &["--version", "0"][..]),
        ("no host can follow version 1: the next one after", &["--previous", "set-1", "--version", "1"]),
        ("no host can follow version 3: the next one after", &["--previous", "set-1", "--version", "3"]),
        ("`551a2b1b` is neither a key id nor the file of a public key", &["--revoke", "551a2b1b"]),
        ("`policy.bfp` is not an Ed25519 public key", &["--revoke", "policy.bfp"]),
    ] {
        place.bfpc(&set(&[&one[..], words].concat())).fails(2, says);
    }
    place.bfpc(&set(&[&one[..], &["--previous", "policy.bfp"]].concat())).fails(3, "this is not a bfp trust set");
    place.trust_set("last", &["--key", "a.pub", "--threshold", "1", "--version", "18446744073709551615"], &[]);
    place.bfpc(&set(&[&one[..], &["--previous", "last"]].concat())).fails(2, "there is no number after it");
    assert!(!place.path("set").exists());
}

#[test]
fn tokens_say_what_they_consent_to() {
    let place = Place::of_signers();
    let release = ["token", "release", "--policy", "payments", "--revision", "3", "-o", "release"];
    let expires = ["--expires", "9999-01-01T00:00:00Z"];
    let said = place.bfpc(&[&release[..], &expires, &["--audience", "staging"]].concat()).ok();
    let summary = "token, policy payments may be released up to revision 3, until 9999-01-01T00:00:00Z";
    assert_eq!(said, format!("release: {summary}\nunsigned: no host accepts it before `bfpc sign`\n"));
    place.bfpc(&["verify", "release", "--trust", "a.pub"]).fails(3, "it has 0 valid signatures");
    place.bfpc(&["sign", "release", "--key", "a"]).ok();
    place.bfpc(&["verify", "release", "--trust", "a.pub"]).fails(3, "tagged");
    let verified = place.bfpc(&["verify", "release", "--trust", "a.pub", "--audience", "staging"]).ok();
    assert_eq!(verified, format!("release: verified, {summary}\nsigned by {}\n", place.id("a")));
    place.bfpc(&["inspect", "release", "--trust", "b.pub", "--audience", "staging"]).fails(3, "unknown key");

    let recover = ["token", "recover", "--policy", "payments", "-o", "recover"];
    place
        .bfpc(&[&recover[..], &expires, &["--from", "9", "--to", "7", "--not-before", "9998-01-01T00:00:00Z"]].concat())
        .ok();
    place.bfpc(&["sign", "recover", "--key", "b"]).ok();
    place.bfpc(&["verify", "recover", "--trust", "b.pub"]).fails(3, "not valid before 9998");
    let shown = place.json(&["inspect", "recover"]);
    assert_eq!((&shown["document"], &shown["verified"]), (&"token".into(), &false.into()));
    assert_eq!(shown["signers"], serde_json::json!([place.id("b")]));
    assert_eq!(shown["token"]["act"], serde_json::json!({ "recover": { "from": 9, "to": 7 } }));
    let human = place.bfpc(&["inspect", "recover"]).ok();
    assert!(human.starts_with("NOT VERIFIED: ") && human.contains("\ntoken       recover, from revision 9 to 7\n"));
    let late = [&recover[..], &["--expires", "2020-01-01T00:00:00Z", "--from", "9", "--to", "9"]].concat();
    place.bfpc(&late).fails(2, "build::expired");

    // A host that has lost its memory begins anew where the signers say.
    place.bfpc(&[&recover[..], &expires, &["--from", "0", "--to", "9"]].concat()).ok();

    fs::remove_file(place.path("recover")).unwrap();
    let forward = [&recover[..], &expires, &["--to", "9"]].concat();
    place.bfpc(&[&forward[..], &["--from", "7"]].concat()).fails(2, "a recovery cannot lead from revision 7 up to 9");
    place.bfpc(&[&recover[..], &["--from", "9", "--to", "7"]].concat()).fails(2, "--expires");
    place
        .bfpc(&[&recover[..], &["--from", "9", "--to", "7", "--expires", "soon"]].concat())
        .fails(2, "`soon` is not a time");
    let closed = ["--from", "9", "--to", "7", "--not-before", "9999-01-01T00:00:00Z"];
    place.bfpc(&[&recover[..], &expires, &closed].concat()).fails(2, "never valid");
    let labels = ["--audience", "x"].repeat(65);
    place.bfpc(&[&release[..], &expires, &labels].concat()).fails(2, "65 host tags are more than the 64 that fit");
    place.bfpc(&[&["build", "policy.bfp", "-o", "p.bfpb"][..], &labels].concat()).fails(2, "65 host tags");
    assert!(!place.path("recover").exists() && !place.path("p.bfpb").exists());
}

#[test]
fn document_of_one_kind_is_not_taken_for_another() {
    let place = Place::of_signers();
    place.trust_set("set", &["--key", "a.pub", "--threshold", "1"], &["a"]);
    let says = "expected a bundle, found a trust set";
    place.bfpc(&["explain", "set", "*", "10.0.0.1:1", "--trust", "a.pub"]).fails(3, says);
    place.bfpc(&["hosts", "set"]).fails(3, says);
    place.bfpc(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]).ok();
    let previous = ["trust-set", "--key", "a.pub", "--threshold", "1", "--previous", "p.bfpb", "-o", "next"];
    place.bfpc(&previous).fails(3, "expected a trust set, found a bundle");
}

#[test]
fn what_a_document_says_stays_on_its_line() {
    let place = Place::of_signers();
    let name = "payments_signed now by everyone_[31m";
    let token = ["token", "release", "--policy", name, "--revision", "3", "--expires", "9999-01-01T00:00:00Z"];
    place.bfpc(&[&token[..], &["-o", "token"]].concat()).ok();
    // bfpc takes no such name; who writes a token by other means does.
    let mut bytes = place.read("token");
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    let hostile = "payments\nsigned now by everyone\u{1b}[31m";
    bytes.get_mut(at..at + hostile.len()).unwrap().copy_from_slice(hostile.as_bytes());
    place.write("token", bytes);
    let signed = place.bfpc(&["sign", "token", "--key", "a"]).ok();
    let inspected = place.bfpc(&["inspect", "token"]).ok();
    let payload = place.bfpc(&["payload", "token", "-o", "payload"]).ok();
    for said in [signed, inspected, payload] {
        assert!(said.contains("payments?signed now by everyone") && !said.contains('\u{1b}'), "{said}");
    }
    let long = ["token", "release", "--policy", &"x".repeat(70_000), "--revision", "3", "-o", "long"];
    place.bfpc(&[&long[..], &["--expires", "9999-01-01T00:00:00Z"]].concat()).fails(3, "the body is too large");
    assert!(!place.path("long").exists());
}
