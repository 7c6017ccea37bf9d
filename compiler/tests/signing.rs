//! Keys, signatures, trust sets and tokens, as a person handles them: `bfpc` as it is run, beside the real
//! `openssl`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "policy payments\n\ndeny * -> 203.0.113.10:443\n";

/// A policy, and the keys `a`, `b` and `c`.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        place.write("policy.bfp", POLICY);
        for key in ["a", "b", "c"] {
            place.ok(&["keygen", key]);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
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

    /// Runs `bfpc` away from any terminal.
    fn bfpc(&self, words: &[&str]) -> Output {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_bfpc")).args(words);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| unreachable!("this test needs `setsid`: {error}"))
    }

    fn ok(&self, words: &[&str]) -> String {
        let ran = self.bfpc(words);
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(0), "bfpc {}: {said}{stderr}", words.join(" "));
        said
    }

    /// A command that must fail with this code, say this, and answer nothing.
    fn refused(&self, code: i32, says: &str, words: &[&str]) {
        let ran = self.bfpc(words);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(code), "bfpc {}: {said}", words.join(" "));
        // A long title is broken where the line ends.
        let title = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(title.contains(says), "`{says}` is not in what bfpc {} says: {said}", words.join(" "));
        assert!(ran.stdout.is_empty(), "bfpc {}", words.join(" "));
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[words, &["--format", "json"]].concat())).unwrap()
    }

    fn id(&self, key: &str) -> String {
        let said = self.ok(&["key-id", key]);
        said.split_once("  ").unwrap().0.to_owned()
    }

    fn openssl(&self, words: &[&str]) {
        let ran = Command::new("openssl").args(words).current_dir(self.0.path()).output();
        let ran = ran.unwrap_or_else(|error| unreachable!("this test needs `openssl`: {error}"));
        assert!(ran.status.success(), "openssl {}: {}", words.join(" "), String::from_utf8_lossy(&ran.stderr));
    }

    /// An unsigned bundle.
    fn built(&self, name: &str) {
        let said = self.ok(&["build", "policy.bfp", "-o", name]);
        assert!(said.ends_with("unsigned: no host accepts it before `bfpc sign`\n"), "{said}");
    }

    /// A trust set of these public keys, signed by `signers`.
    fn trust_set(&self, name: &str, more: &[&str], signers: &[&str]) {
        self.ok(&[&["trust-set", "-o", name], more].concat());
        for signer in signers {
            self.ok(&["sign", name, "--key", signer]);
        }
    }

    fn on_terminal(&self, command: &str) -> Terminal {
        let bfpc = env!("CARGO_BIN_EXE_bfpc");
        let child = Command::new("script")
            .args(["--quiet", "--return", "--command", &format!("'{bfpc}' {command}"), "/dev/null"])
            .current_dir(self.0.path())
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
    let place = Place::new();
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
        let id = place.ok(&["key-id", file, "--passphrase-file", "pass"]);
        assert_eq!(id, format!("{}  {file}\n", place.id("a")));
    }
    place.openssl(&["pkey", "-in", "made.pem", "-passin", "file:pass", "-pubout", "-out", "made.pub"]);
    place.mode("made.pub", 0o644);
    place.mode("made.pem", 0o600);
    let key = ["--key", "made.pem", "--passphrase-file", "pass"];
    place.ok(&[&["build", "policy.bfp", "-o", "built.bfpb"], &key[..]].concat());
    place.built("signed.bfpb");
    place.ok(&[&["sign", "signed.bfpb"], &key[..]].concat());
    assert_eq!(place.read("built.bfpb"), place.read("signed.bfpb"));
    place.ok(&["verify", "signed.bfpb", "--trust", "made.pub"]);
}

#[test]
fn encrypted_key_of_bfpc_is_read_by_openssl() {
    let place = Place::new();
    place.secret("pass", "correct horse\n");
    let said = place.ok(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]);
    assert!(said.contains("sealed: secret key, encrypted"), "{said}");
    assert!(place.read("sealed").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    place.openssl(&["pkey", "-in", "sealed", "-passin", "file:pass", "-pubout", "-out", "public"]);
    assert_eq!(place.read("public"), place.read("sealed.pub"));
    // Salted: the same passphrase and key never give the same file.
    place.ok(&["keygen", "other", "--encrypt", "--passphrase-file", "pass"]);
    assert_ne!(place.read("sealed")[40..120], place.read("other")[40..120]);
}

#[test]
fn what_does_not_open_a_key_is_told_apart() {
    let place = Place::new();
    place.secret("pass", "correct horse\n");
    place.ok(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]);
    place.built("p.bfpb");
    let unsigned = place.read("p.bfpb");
    let sign = |file: &'static str| ["sign", "p.bfpb", "--key", "sealed", "--passphrase-file", file];
    place.secret("wrong", "battery staple\n");
    place.refused(2, "the passphrase does not open `sealed`", &sign("wrong"));
    for (content, says) in [("", "is empty"), ("\ncorrect horse\n", "is empty"), (&"x".repeat(2000), "more than 1024")]
    {
        place.secret("bad", content);
        place.refused(2, says, &sign("bad"));
        place.refused(2, says, &["keygen", "new", "--encrypt", "--passphrase-file", "bad"]);
        assert!(!place.path("new").exists());
    }
    place.mode("pass", 0o640);
    place.refused(2, "`pass` holds a secret, and users other than its owner may read or write it", &sign("pass"));
    place.refused(2, "`nowhere` cannot be read", &sign("nowhere"));
    place.refused(2, "there is no terminal", &["sign", "p.bfpb", "--key", "sealed"]);
    place.refused(2, "there is no terminal", &["keygen", "new", "--encrypt"]);
    place.refused(2, "--encrypt", &["keygen", "new", "--passphrase-file", "pass"]);
    assert_eq!(place.read("p.bfpb"), unsigned);
}

#[test]
fn many_wrong_passphrases_are_all_wrong_passphrases() {
    // Now and then a wrong one decrypts to what ends as it should.
    let place = Place::new();
    let right = ["-passout", "pass:right", "-out", "sealed", "-iter", "1"];
    place.openssl(&[&["pkcs8", "-topk8", "-in", "a", "-v2", "aes-256-cbc"], &right[..]].concat());
    place.mode("sealed", 0o600);
    for number in 0..600 {
        place.secret("pass", &format!("wrong {number}"));
        place.refused(2, "the passphrase does not open `sealed`", &["key-id", "sealed", "--passphrase-file", "pass"]);
    }
}

#[test]
fn key_that_is_encrypted_in_another_way_is_refused_and_so_is_one_without_measure() {
    let place = Place::new();
    place.secret("pass", "correct horse\n");
    let key_id = |key: &'static str| ["key-id", key, "--passphrase-file", "pass"];
    for (file, how) in [("des3", ["-v2", "des3"]), ("pbes1", ["-v1", "PBE-SHA1-3DES"])] {
        let again = ["pkcs8", "-topk8", "-in", "a", "-passout", "file:pass", "-out", file];
        place.openssl(&[&again[..], &how[..]].concat());
        place.mode(file, 0o600);
        place.refused(2, &format!("the encryption of `{file}` is not supported"), &key_id(file));
    }

    // Its settings of scrypt, raised: N, r and p as `keygen` writes them.
    place.ok(&["keygen", "sealed", "--encrypt", "--passphrase-file", "pass"]);
    place.openssl(&["asn1parse", "-in", "sealed", "-noout", "-out", "der"]);
    let mut der = place.read("der");
    let settings = [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 5];
    let at = der.windows(settings.len()).position(|window| window == settings).unwrap();
    for (more, value) in [(2, 0x7f), (6, 0x7f), (9, 0x7f)] {
        der[at + more] = value;
    }
    place.write("der", der);
    place.openssl(&["base64", "-in", "der", "-out", "body"]);
    let body = String::from_utf8(place.read("body")).unwrap();
    let label = "ENCRYPTED PRIVATE KEY-----\n";
    place.secret("greedy", &format!("-----BEGIN {label}{body}-----END {label}"));
    place.refused(2, "more memory or time than the limit", &key_id("greedy"));
}

#[test]
fn passphrase_is_asked_for_and_not_shown() {
    let place = Place::new();
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
    assert_eq!(place.ok(&["key-id", "sealed", "--passphrase-file", "pass"]).len(), 32 + "  sealed\n".len());

    place.built("p.bfpb");
    let sign = || place.on_terminal("sign p.bfpb --key sealed").shows("passphrase of sealed: ");
    let (shown, code) = sign().types("battery staple\n").ends();
    assert!(code == 2 && shown.contains("does not open `sealed`"), "{shown}");
    let (shown, code) = sign().types("corr\u{3}").ends();
    assert!(code == 2 && shown.contains("the passphrase of `sealed` was not given"), "{shown}");
    let (shown, code) = sign().types("correct horse\n").ends();
    assert_eq!(code, 0, "{shown}");
    place.ok(&["verify", "p.bfpb", "--trust", "sealed.pub"]);

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
    let (here, there) = (Place::new(), Place::new());
    for key in ["a", "b", "a.pub", "b.pub"] {
        fs::copy(here.path(key), there.path(key)).unwrap();
    }
    here.built("p.bfpb");
    fs::copy(here.path("p.bfpb"), there.path("p.bfpb")).unwrap();
    let said = here.ok(&["sign", "p.bfpb", "--key", "a"]);
    let (a, b) = (here.id("a.pub"), here.id("b"));
    assert_eq!(said, format!("p.bfpb: policy payments, revision 1\nsigned now by {a}\nnames the keys {a}\n"));
    there.ok(&["sign", "p.bfpb", "--key", "b"]);
    assert_ne!(here.read("p.bfpb"), there.read("p.bfpb"));
    // Each goes to the other signer.
    let (from_here, from_there) = (here.read("p.bfpb"), there.read("p.bfpb"));
    there.write("first-a.bfpb", from_here);
    here.write("first-b.bfpb", from_there);
    there.ok(&["sign", "first-a.bfpb", "--key", "b"]);
    let said = here.ok(&["sign", "first-b.bfpb", "--key", "a", "-o", "both.bfpb"]);
    let mut both = [a.as_str(), b.as_str()];
    both.sort_unstable();
    assert!(said.ends_with(&format!("signed now by {a}\nnames the keys {}\n", both.join(", "))), "{said}");
    assert_eq!(here.read("both.bfpb"), there.read("first-a.bfpb"));
    // What is signed while it is built is the same too, and what `-o` was given for stays as it was.
    here.ok(&["build", "policy.bfp", "-o", "built.bfpb", "--key", "b", "--key", "a"]);
    assert_eq!(here.read("built.bfpb"), here.read("both.bfpb"));
    assert_eq!(here.read("first-b.bfpb"), there.read("p.bfpb"));

    here.trust("trust", &["a", "b", "c"], "2\n");
    here.ok(&["verify", "both.bfpb", "--trust", "trust"]);
    here.refused(3, "it has 1 valid signature, but this host requires 2", &["verify", "p.bfpb", "--trust", "trust"]);
}

#[test]
fn threshold_stands_in_the_folder_and_is_never_lowered() {
    let place = Place::new();
    place.trust("trust", &["a", "b", "c"], " 2\n");
    place.ok(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a", "--key", "b"]);
    place.ok(&["build", "policy.bfp", "-o", "one.bfpb", "--key", "a"]);
    let verify = |file: &'static str, more: &[&'static str]| [&["verify", file, "--trust", "trust"], more].concat();
    place.ok(&verify("p.bfpb", &[]));
    for command in ["verify", "inspect"] {
        let lower = [command, "one.bfpb", "--trust", "trust", "--threshold", "1"];
        place.refused(3, "this host requires 2", &lower);
    }
    place.refused(3, "this host requires 2", &["explain", "one.bfpb", "*", "203.0.113.10:443", "--trust", "trust"]);
    place.refused(3, "this host requires 3", &verify("p.bfpb", &["--threshold", "3"]));
    let says = "`trust` cannot be trusted as it is: it requires more signatures than it has keys";
    place.refused(2, says, &verify("p.bfpb", &["--threshold", "4"]));
    for wrong in ["", "0", "two", "-1", "2 of 3", "99999999999999999999999"] {
        place.write("trust/threshold", wrong);
        place.refused(2, "must contain a number of signatures", &verify("p.bfpb", &[]));
    }
    fs::remove_file(place.path("trust/threshold")).unwrap();
    place.refused(2, "contains 3 public keys, but no file `threshold`", &verify("one.bfpb", &[]));
    place.ok(&verify("p.bfpb", &["--threshold", "2"]));
    std::os::unix::fs::symlink("nowhere", place.path("trust/threshold")).unwrap();
    place.refused(2, "`trust/threshold` cannot be read", &verify("one.bfpb", &[]));
    fs::remove_file(place.path("trust/threshold")).unwrap();
    fs::copy(place.path("a.pub"), place.path("trust/again.pem")).unwrap();
    place.refused(2, "it has a key twice", &verify("one.bfpb", &["--threshold", "2"]));
}

#[test]
fn key_that_others_can_read_and_trust_that_others_can_write_are_refused() {
    let place = Place::new();
    place.ok(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]);
    for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
        place.mode("a", mode);
        let says = format!("`a` holds a secret, and users other than its owner may read or write it (mode {mode:04o})");
        place.refused(2, &says, &["build", "policy.bfp", "-o", "q.bfpb", "--key", "a"]);
        place.refused(2, &says, &["sign", "p.bfpb", "--key", "a"]);
        place.refused(2, &says, &["key-id", "a"]);
    }
    place.mode("a", 0o400);
    place.ok(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]);

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
            place.refused(2, &says, &["verify", "p.bfpb", "--trust", trust]);
            place.refused(2, &says, &["inspect", "p.bfpb", "--trust", trust]);
        }
        place.mode(path, sound);
        place.ok(&["verify", "p.bfpb", "--trust", trust]);
    }

    // Whatever the umask lets through.
    let keygen = format!("umask 000 && '{}' keygen open", env!("CARGO_BIN_EXE_bfpc"));
    let ran = Command::new("sh").args(["-c", &keygen]).current_dir(place.0.path()).output().unwrap();
    assert!(ran.status.success());
    let mode = |name| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("open"), mode("open.pub")), (0o600, 0o644));
}

#[test]
fn signature_of_openssl_is_attached_and_ours_holds_for_openssl() {
    let place = Place::new();
    place.built("p.bfpb");
    place.trust_set("set", &["--key", "a.pub", "--threshold", "1"], &[]);
    let token = ["token", "release", "--policy", "payments", "--revision", "3", "--expires", "9999-01-01T00:00:00Z"];
    place.ok(&[&token[..], &["-o", "token"]].concat());
    for (file, context) in
        [("p.bfpb", "bfp bundle, format 1\0"), ("set", "bfp trust set, format 1\0"), ("token", "bfp token, format 1\0")]
    {
        let said = place.ok(&["payload", file, "-o", "payload"]);
        let payload = place.read("payload");
        assert!(payload.starts_with(context.as_bytes()) && payload.len() == context.len() + 32);
        assert!(said.starts_with(&format!("payload: {} bytes to sign, ", payload.len())), "{said}");
        let piped = place.bfpc(&["payload", file]);
        assert_eq!((piped.status.code(), piped.stdout), (Some(0), payload));

        place.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "a", "-in", "payload", "-out", "raw"]);
        place.openssl(&["base64", "-in", "raw", "-out", "base64"]);
        for (signature, form) in [("raw", "64 bytes as they are"), ("base64", "in base64")] {
            let out = format!("{file}.{signature}");
            let said = place.ok(&["sign", file, "--signature", signature, "--public-key", "a.pub", "-o", &out]);
            assert!(said.starts_with(&format!("{signature}: a signature, {form}\n")), "{said}");
            place.ok(&["verify", &out, "--trust", "a.pub"]);
        }
        // It is the signature that `bfpc` itself makes, and `openssl` verifies that one.
        let output = format!("{file}.signed");
        place.ok(&["sign", file, "--key", "a", "-o", &output]);
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
    let place = Place::new();
    place.built("p.bfpb");
    let unsigned = place.read("p.bfpb");
    place.ok(&["payload", "p.bfpb", "-o", "payload"]);
    let sign = |message: &str| {
        place.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", "a", "-in", message, "-out", "signature"]);
    };
    let attach = |key: &'static str| ["sign", "p.bfpb", "--signature", "signature", "--public-key", key];
    sign("p.bfpb");
    place.refused(2, "`signature` is not the signature of `p.bfpb` by the key", &attach("a.pub"));
    sign("payload");
    place.refused(2, "is not the signature of `p.bfpb` by the key", &attach("b.pub"));
    place.refused(2, "`a` is not an Ed25519 public key", &attach("a"));
    for (content, found) in [(&[0; 63][..], 63), (&[b'A'; 88], 88), (b"", 0), (b"{\"Signature\": \"\"}", 17)] {
        place.write("signature", content);
        place.refused(2, &format!("`signature` is not a signature: it has {found} bytes"), &attach("a.pub"));
    }
    sign("payload");
    place.refused(2, "--public-key", &["sign", "p.bfpb", "--signature", "signature"]);
    place.refused(2, "--signature", &["sign", "p.bfpb", "--public-key", "a.pub"]);
    place.refused(2, "--key", &["sign", "p.bfpb"]);
    place.refused(2, "cannot be used with", &[&attach("a.pub")[..], &["--key", "a"]].concat());
    assert_eq!(place.read("p.bfpb"), unsigned, "what is refused writes nothing");
    place.ok(&attach("a.pub"));
    place.refused(2, "`p.bfpb` already has a signature by the key", &attach("a.pub"));
}

#[test]
fn what_is_no_document_or_is_signed_already_gets_no_signature() {
    let place = Place::new();
    place.refused(2, "`policy.bfp` is not a bundle, trust set or token", &["sign", "policy.bfp", "--key", "a"]);
    place.refused(2, "`policy.bfp` is not a bundle, trust set or token", &["payload", "policy.bfp"]);
    place.built("p.bfpb");
    place.refused(2, "the keys `a` and `a` are the same", &["sign", "p.bfpb", "--key", "a", "--key", "a"]);
    place.ok(&["sign", "p.bfpb", "--key", "a"]);
    let signed = place.read("p.bfpb");
    let says = format!("`p.bfpb` already has a signature by the key {}", place.id("a"));
    place.refused(2, &says, &["sign", "p.bfpb", "--key", "b", "--key", "a"]);
    assert_eq!(place.read("p.bfpb"), signed);
    for at in [9, signed.len() - 1] {
        let mut damaged = signed.clone();
        damaged[at] ^= 1;
        place.write("damaged.bfpb", damaged);
        place.refused(3, "verify::refused", &["sign", "damaged.bfpb", "--key", "b"]);
    }
    place.write("cut.bfpb", &signed[..signed.len() - 1]);
    place.refused(3, "cut short", &["sign", "cut.bfpb", "--key", "b"]);
    place.refused(3, "cut short", &["payload", "cut.bfpb"]);

    let keys: Vec<String> = (0..33).map(|number| format!("key-{number}")).collect();
    let mut words = vec!["sign", "p.bfpb", "-o", "many.bfpb"];
    for key in &keys {
        place.ok(&["keygen", key]);
        words.extend(["--key", key]);
    }
    place.refused(3, "number of signatures is too large", &words);
    place.refused(3, "number of signatures is too large", &words[..words.len() - 2]);
    place.ok(&words[..words.len() - 4]);
}

#[test]
fn payload_is_not_written_to_a_terminal() {
    let place = Place::new();
    place.built("p.bfpb");
    let (shown, code) = place.on_terminal("payload p.bfpb").ends();
    assert!(code == 2 && shown.contains("the payload is 53 bytes that a terminal cannot show"), "{shown}");
    let (shown, code) = place.on_terminal("payload p.bfpb -o payload").ends();
    assert_eq!((code, place.read("payload").len()), (0, 53), "{shown}");
}

#[test]
fn keys_rotate_one_version_at_a_time_and_revocations_stay() {
    let place = Place::new();
    place.trust("trust", &["a", "b"], "2");
    let two = ["--key", "b.pub", "--key", "c.pub", "--threshold", "2"];
    place.trust_set("set-1", &["--key", "b.pub", "--key", "a.pub", "--threshold", "2"], &["a", "b"]);
    place.ok(&["verify", "set-1", "--trust", "trust"]);
    let revoking = [&two[..], &["--previous", "set-1", "--revoke", "a.pub"]].concat();
    place.trust_set("set-2", &revoking, &["a", "b"]);
    // Signed by enough of the old keys, and not by enough of the new ones.
    let verify = ["verify", "set-2", "--trust", "set-1"];
    place.refused(3, "it has 1 valid signature, but the new trust set requires 2", &verify);
    place.ok(&["sign", "set-2", "--key", "c"]);
    let said = place.ok(&verify);
    assert!(said.starts_with("set-2: verified, trust set, version 2, 2 of 2 keys\nsigned by "), "{said}");
    place.refused(3, "version 0 is in force, and the next one is 1", &["verify", "set-2", "--trust", "trust"]);

    // What the leaked key signs is refused from now on, though `b` signed it too.
    place.ok(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a", "--key", "b"]);
    place.ok(&["verify", "p.bfpb", "--trust", "set-1"]);
    place.refused(3, "which is revoked", &["verify", "p.bfpb", "--trust", "set-2"]);

    let b = place.id("b.pub");
    let one = ["--key", "c.pub", "--threshold", "1", "--previous", "set-2", "--revoke", &b];
    place.trust_set("set-3", &one, &["b", "c"]);
    place.ok(&["verify", "set-3", "--trust", "set-2"]);
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
    let place = Place::new();
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
        place.refused(2, says, &set(words));
    }
    for (says, words) in [
        ("no host can follow version 0", &["--version", "0"][..]),
        ("no host can follow version 1: the next one after", &["--previous", "set-1", "--version", "1"]),
        ("no host can follow version 3: the next one after", &["--previous", "set-1", "--version", "3"]),
        ("`551a2b1b` is neither a key id nor the file of a public key", &["--revoke", "551a2b1b"]),
        ("`policy.bfp` is not an Ed25519 public key", &["--revoke", "policy.bfp"]),
    ] {
        place.refused(2, says, &set(&[&one[..], words].concat()));
    }
    place.refused(3, "this is not a bfp trust set", &set(&[&one[..], &["--previous", "policy.bfp"]].concat()));
    place.trust_set("last", &["--key", "a.pub", "--threshold", "1", "--version", "18446744073709551615"], &[]);
    place.refused(2, "there is no number after it", &set(&[&one[..], &["--previous", "last"]].concat()));
    assert!(!place.path("set").exists());
}

#[test]
fn tokens_say_what_they_consent_to() {
    let place = Place::new();
    let release = ["token", "release", "--policy", "payments", "--revision", "3", "-o", "release"];
    let expires = ["--expires", "9999-01-01T00:00:00Z"];
    let said = place.ok(&[&release[..], &expires, &["--audience", "staging"]].concat());
    let summary = "token, policy payments may be released up to revision 3, until 9999-01-01T00:00:00Z";
    assert_eq!(said, format!("release: {summary}\nunsigned: no host accepts it before `bfpc sign`\n"));
    place.refused(3, "it has 0 valid signatures", &["verify", "release", "--trust", "a.pub"]);
    place.ok(&["sign", "release", "--key", "a"]);
    place.refused(3, "tagged", &["verify", "release", "--trust", "a.pub"]);
    let verified = place.ok(&["verify", "release", "--trust", "a.pub", "--audience", "staging"]);
    assert_eq!(verified, format!("release: verified, {summary}\nsigned by {}\n", place.id("a")));
    place.refused(3, "unknown key", &["inspect", "release", "--trust", "b.pub", "--audience", "staging"]);

    let recover = ["token", "recover", "--policy", "payments", "-o", "recover"];
    place.ok(&[&recover[..], &expires, &["--from", "9", "--to", "7", "--not-before", "9998-01-01T00:00:00Z"]].concat());
    place.ok(&["sign", "recover", "--key", "b"]);
    place.refused(3, "not valid before 9998", &["verify", "recover", "--trust", "b.pub"]);
    let shown = place.json(&["inspect", "recover"]);
    assert_eq!((&shown["document"], &shown["verified"]), (&"token".into(), &false.into()));
    assert_eq!(shown["signers"], serde_json::json!([place.id("b")]));
    assert_eq!(shown["token"]["act"], serde_json::json!({ "recover": { "from": 9, "to": 7 } }));
    let human = place.ok(&["inspect", "recover"]);
    assert!(human.starts_with("NOT VERIFIED: ") && human.contains("\ntoken       recover, from revision 9 to 7\n"));
    let late = [&recover[..], &["--expires", "2020-01-01T00:00:00Z", "--from", "9", "--to", "9"]].concat();
    place.refused(2, "build::expired", &late);

    // A host that has lost its memory begins anew where the signers say.
    place.ok(&[&recover[..], &expires, &["--from", "0", "--to", "9"]].concat());

    fs::remove_file(place.path("recover")).unwrap();
    let forward = [&recover[..], &expires, &["--to", "9"]].concat();
    place.refused(2, "a recovery cannot lead from revision 7 up to 9", &[&forward[..], &["--from", "7"]].concat());
    place.refused(2, "--expires", &[&recover[..], &["--from", "9", "--to", "7"]].concat());
    place.refused(
        2,
        "`soon` is not a time",
        &[&recover[..], &["--from", "9", "--to", "7", "--expires", "soon"]].concat(),
    );
    let closed = ["--from", "9", "--to", "7", "--not-before", "9999-01-01T00:00:00Z"];
    place.refused(2, "never valid", &[&recover[..], &expires, &closed].concat());
    let labels = ["--audience", "x"].repeat(65);
    place.refused(2, "65 host tags are more than the 64 that fit", &[&release[..], &expires, &labels].concat());
    place.refused(2, "65 host tags", &[&["build", "policy.bfp", "-o", "p.bfpb"][..], &labels].concat());
    assert!(!place.path("recover").exists() && !place.path("p.bfpb").exists());
}

#[test]
fn document_of_one_kind_is_not_taken_for_another() {
    let place = Place::new();
    place.trust_set("set", &["--key", "a.pub", "--threshold", "1"], &["a"]);
    let says = "expected a bundle, found a trust set";
    place.refused(3, says, &["explain", "set", "*", "10.0.0.1:1", "--trust", "a.pub"]);
    place.refused(3, says, &["hosts", "set"]);
    place.ok(&["build", "policy.bfp", "-o", "p.bfpb", "--key", "a"]);
    let previous = ["trust-set", "--key", "a.pub", "--threshold", "1", "--previous", "p.bfpb", "-o", "next"];
    place.refused(3, "expected a trust set, found a bundle", &previous);
}

#[test]
fn what_a_document_says_stays_on_its_line() {
    let place = Place::new();
    let name = "payments_signed now by everyone_[31m";
    let token = ["token", "release", "--policy", name, "--revision", "3", "--expires", "9999-01-01T00:00:00Z"];
    place.ok(&[&token[..], &["-o", "token"]].concat());
    // bfpc takes no such name; who writes a token by other means does.
    let mut bytes = fs::read(place.path("token")).unwrap();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    let hostile = "payments\nsigned now by everyone\u{1b}[31m";
    bytes.get_mut(at..at + hostile.len()).unwrap().copy_from_slice(hostile.as_bytes());
    fs::write(place.path("token"), bytes).unwrap();
    let signed = place.ok(&["sign", "token", "--key", "a"]);
    let inspected = place.ok(&["inspect", "token"]);
    let payload = place.ok(&["payload", "token", "-o", "payload"]);
    for said in [signed, inspected, payload] {
        assert!(said.contains("payments?signed now by everyone") && !said.contains('\u{1b}'), "{said}");
    }
    let long = ["token", "release", "--policy", &"x".repeat(70_000), "--revision", "3", "-o", "long"];
    place.refused(3, "the body is too large", &[&long[..], &["--expires", "9999-01-01T00:00:00Z"]].concat());
    assert!(!place.path("long").exists());
}
