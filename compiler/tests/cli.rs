//! The program `bfpc` as it is run: what it answers, how it refuses, and with which exit code.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};
use bfp_bundle::secret_key::SecretKey;
use support::{Ended, Place};

/// What it warns of is accepted, so that nothing but what a test is about is said.
const POLICY: &str = r#"policy payments

program signer = "/usr/bin/signer"

accept check::path_grant because "the image is read-only"
accept check::raw_open because "no service has CAP_NET_RAW"
accept check::cannot_resolve because "the name is in /etc/hosts"
only signer -> only kms.internal:443
"#;

const LOCK: &str = "version = 2

[[name]]
name = \"kms.internal\"
addresses = [\"203.0.113.10\", \"2001:db8::10\"]
ttl_seconds = 300
stability = \"stable\"
resolvers = [\"192.0.2.53\"]
resolved_at = \"2026-07-14T09:30:00Z\"
";

impl Place {
    /// A directory with a policy, its lock and two keys.
    fn of_signer() -> Place {
        let place = Place::with(&[("kms.bfp", POLICY), ("kms.bfp.lock", LOCK)]);
        place.key("key");
        place.key("other");
        place
    }

    /// `kms.bfpb`, signed by `key`.
    fn built(&self, more: &[&str]) -> Vec<u8> {
        self.bfpc(&[&["build", "kms.bfp", "-o", "kms.bfpb", "--key", "key"], more].concat()).ok();
        self.read("kms.bfpb")
    }

    /// The files, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_policy_is_built_verified_inspected_and_explained() {
    let place = Place::of_signer();
    assert_eq!(place.bfpc(&["check", "kms.bfp"]).ok(), "kms.bfp: ok, 1 rule, 1 program\n");
    let bytes = place.built(&["--revision", "7"]);
    let built = place.bfpc(&["build", "kms.bfp", "-o", "kms.bfpb", "--key", "key", "--revision", "7"]).ok();
    let (proven, built) = built.split_once('\n').unwrap();
    let (asked, held) = proven.strip_prefix("verdicts proven: ").unwrap().split_once(" of ").unwrap();
    assert_eq!(asked, held);
    assert!(built.starts_with("kms.bfpb: policy payments, revision 7, "), "{built}");
    assert_eq!(place.read("kms.bfpb"), bytes, "built again, and different");

    let verified = place.bfpc(&["verify", "kms.bfpb", "--trust", "key.pub"]).ok();
    assert!(verified.starts_with("kms.bfpb: verified, policy payments, revision 7\nsigned by "), "{verified}");
    let inspected = place.bfpc(&["inspect", "kms.bfpb", "--trust", "key.pub"]).ok();
    for line in [
        "policy      payments",
        "revision    7",
        "  /usr/bin/signer",
        // Each half has its number in events.
        "  1-2  kms.bfp:8  only signer -> only kms.internal:443",
    ] {
        assert_eq!(inspected.lines().filter(|found| *found == line).count(), 1, "{line}: {inspected}");
    }

    // The policy and its bundle give one answer.
    for file in [&["kms.bfp"][..], &["kms.bfpb", "--trust", "key.pub"]] {
        let explain =
            |program, destination| place.bfpc(&[&["explain"], file, &[program, destination]].concat()).ended();
        let allowed = explain("signer", "kms.internal:443");
        assert_eq!(allowed.code, 0, "{}", allowed.stdout);
        assert!(allowed.stdout.contains("allowed  /usr/bin/signer -> 203.0.113.10:443/tcp"), "{}", allowed.stdout);
        assert!(allowed.stdout.contains("allowed  /usr/bin/signer -> [2001:db8::10]:443/tcp"), "{}", allowed.stdout);
        assert!(allowed.stdout.contains("203.0.113.10 is kms.internal in the lock"), "{}", allowed.stdout);
        let denied = explain("/usr/bin/curl", "203.0.113.10:443/udp");
        assert_eq!(denied.code, 1, "{}", denied.stdout);
        assert!(denied.stdout.starts_with("denied  /usr/bin/curl"), "{}", denied.stdout);
        assert!(denied.stdout.contains("kms.bfp:8  only signer -> only kms.internal:443"), "{}", denied.stdout);
        assert_eq!(explain("/usr/bin/signer", "[2001:db8::11]:443").code, 1);
        assert_eq!(explain("/usr/bin/curl", "192.0.2.1:443").code, 0);
    }
}

#[test]
fn keys_are_made_once_and_the_secret_half_is_for_its_owner_alone() {
    let place = Place::of_signer();
    let mode = |name| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("key"), 0o600);
    let before = place.read("key");
    place.bfpc(&["keygen", "key"]).fails(2, "`key` already exists");
    place.write("new.pub", "");
    place.bfpc(&["keygen", "new"]).fails(2, "`new.pub` already exists");
    assert!(!place.path("new").exists());
    place.bfpc(&["keygen", "nowhere/key"]).fails(2, "`nowhere/key` cannot be written");
    assert_eq!(place.read("key"), before);
    assert_ne!(place.read("key"), place.read("other"));
}

#[test]
fn fmt_writes_the_canonical_form_and_check_only_tells() {
    let place = Place::of_signer();
    let untidy = "only   \"/a\"->10.0.0.1 # why\n";
    place.write("untidy.bfp", untidy);
    place.bfpc(&["fmt", "--check", "kms.bfp", "untidy.bfp"]).fails(1, "untidy.bfp: not in the canonical form");
    assert_eq!(place.text("untidy.bfp"), untidy);

    place.write("broken.bfp", "only\n");
    place.bfpc(&["fmt", "untidy.bfp", "broken.bfp"]).fails(2, "error in broken.bfp");
    assert_eq!(place.text("untidy.bfp"), untidy, "all are written, or none");

    fs::set_permissions(place.path("untidy.bfp"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("untidy.bfp", place.path("link.bfp")).unwrap();
    assert_eq!(place.bfpc(&["fmt", "link.bfp"]).ok(), "");
    assert!(fs::symlink_metadata(place.path("link.bfp")).unwrap().is_symlink(), "a link stays a link");
    assert_eq!(fs::metadata(place.path("untidy.bfp")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(place.text("untidy.bfp"), "only \"/a\" -> 10.0.0.1  # why\n");
    assert_eq!(place.bfpc(&["fmt", "--check", "untidy.bfp"]).ok(), "");
}

#[test]
fn input_that_is_no_policy_gets_a_sentence() {
    let place = Place::of_signer();
    fs::create_dir(place.path("directory")).unwrap();
    place.write("latin1.bfp", b"# R\xe9sum\xe9\n");
    place.write("empty.bfp", "");
    place.write("zeros.bfp", [0; 4096]);
    symlink("gone.bfp", place.path("dangling.bfp")).unwrap();
    File::create(place.path("huge.bfp")).unwrap().set_len(1 << 30).unwrap();
    assert!(Command::new("mkfifo").arg(place.path("pipe.bfp")).status().unwrap().success());
    for (file, says) in [
        ("missing.bfp", "`missing.bfp` cannot be read: no such file or directory"),
        ("dangling.bfp", "`dangling.bfp` cannot be read: no such file or directory"),
        ("kms.bfp/policy.bfp", "cannot be read: not a directory"),
        ("directory", "`directory` is not a regular file"),
        ("/dev/zero", "`/dev/zero` is not a regular file"),
        ("pipe.bfp", "`pipe.bfp` is not a regular file"),
        ("huge.bfp", "`huge.bfp` has 1073741824 bytes"),
        ("latin1.bfp", "`latin1.bfp` is not UTF-8 text: line 1"),
        ("zeros.bfp", "`zeros.bfp` is not a policy: no line of it is a statement"),
        ("empty.bfp", "the policy has no rule"),
    ] {
        place.bfpc(&["check", file]).fails(2, says);
        place.bfpc(&["build", file, "-o", "out.bfpb", "--key", "key"]).fails(2, says);
        place.bfpc(&["explain", file, "/a", "10.0.0.1:1"]).fails(2, says);
        if file != "empty.bfp" {
            place.bfpc(&["fmt", file]).fails(2, says);
            place.bfpc(&["lock", file, "--resolver", "127.0.0.1:9"]).fails(2, says);
        }
    }
    assert!(!place.path("out.bfpb").exists());
}

#[test]
fn lock_beside_a_policy_is_read_with_the_same_care() {
    let place = Place::of_signer();
    fs::remove_file(place.path("kms.bfp.lock")).unwrap();
    place.bfpc(&["check", "kms.bfp"]).fails(2, "`kms.internal` is not in the lock file");
    symlink("gone.lock", place.path("kms.bfp.lock")).unwrap();
    place.bfpc(&["check", "kms.bfp"]).fails(2, "`kms.bfp.lock` cannot be read");
    fs::remove_file(place.path("kms.bfp.lock")).unwrap();
    place.write("kms.bfp.lock", LOCK.replace("203.0.113.10", "203.0.113"));
    place.bfpc(&["check", "kms.bfp"]).fails(2, "1 error in kms.bfp.lock");
    // A broken lock does not stand in the way of a new one.
    place.write("literal.bfp", "deny \"/a\" -> 10.0.0.1\n");
    place.write("literal.bfp.lock", format!("<<<<<<< ours\n{LOCK}=======\n{LOCK}>>>>>>> theirs\n"));
    place.bfpc(&["check", "literal.bfp"]).fails(2, "`bfpc lock FILE`");
    let said = place.bfpc(&["lock", "literal.bfp", "--resolver", "127.0.0.1:9"]).ok();
    assert!(said.ends_with("literal.bfp.lock: 0 names locked\n"), "{said}");
    place.bfpc(&["check", "literal.bfp"]).ok();
}

#[test]
fn name_without_an_answer_leaves_the_lock_as_it_was() {
    let place = Place::of_signer();
    place.bfpc(&["lock", "kms.bfp", "--update", "--resolver", "127.0.0.1:9"]).fails(2, "`kms.internal` has no answer");
    assert_eq!(place.text("kms.bfp.lock"), LOCK);
    place.bfpc(&["lock", "kms.bfp", "--resolver", "dns.example"]).fails(2, "is not the address of a resolver");
}

#[test]
fn what_cannot_sign_is_named() {
    let place = Place::of_signer();
    let build = |key: &str| ["build", "kms.bfp", "-o", "out.bfpb", "--key", key].map(str::to_owned);
    place.write("text", "not a key");
    for (key, says) in [
        ("text", "`text` is not an Ed25519 private key in PEM"),
        ("key.pub", "`key.pub` is not an Ed25519 private key in PEM"),
        ("kms.bfp", "`kms.bfp` is not an Ed25519 private key in PEM"),
        ("missing", "`missing` cannot be read"),
        ("/dev/zero", "`/dev/zero` is not a regular file"),
    ] {
        let words = build(key);
        let ended = place.bfpc(&words.each_ref().map(String::as_str)).fails(2, says);
        assert_eq!(ended.stderr.matches("Ed25519 private").count(), says.matches("Ed25519 private").count());
    }
    let twice = ["build", "kms.bfp", "-o", "out.bfpb", "--key", "key", "--key", "key"];
    place.bfpc(&twice).fails(2, "the keys `key` and `key` are the same");
    assert!(!place.path("out.bfpb").exists());
}

#[test]
fn times_and_revisions_are_checked_before_anything_is_signed() {
    let place = Place::of_signer();
    let build = |more: &[&'static str]| [&["build", "kms.bfp", "-o", "out.bfpb", "--key", "key"], more].concat();
    place.bfpc(&build(&["--expires", "tomorrow"])).fails(2, "`tomorrow` is not a time");
    place.bfpc(&build(&["--not-before", "1969-12-31T23:59:59Z"])).fails(2, "`1969-12-31T23:59:59Z` is not a time");
    let window = ["--not-before", "2027-01-01T00:00:00Z", "--expires", "2027-01-01T01:00:00+01:00"];
    place.bfpc(&build(&window)).fails(2, "never valid");
    place.bfpc(&build(&["--expires", "2020-01-31T00:00:00Z"])).fails(2, "build::expired");
    place
        .bfpc(&build(&["--expires", "2020-01-31T00:00:00Z"]))
        .fails(2, "the expiry time 2020-01-31T00:00:00Z has passed: it is 2");
    place.bfpc(&build(&["--revision", "-1"])).fails(2, "--revision");
    place.bfpc(&build(&["--revision", "18446744073709551616"])).fails(2, "--revision");
    assert!(!place.path("out.bfpb").exists());
}

#[test]
fn output_is_a_whole_file_or_nothing() {
    let place = Place::of_signer();
    fs::create_dir(place.path("directory")).unwrap();
    let names = place.names();
    for output in ["nowhere/kms.bfpb", "directory", "/dev/full", "/dev/null", "/dev/stdout"] {
        place.bfpc(&["build", "kms.bfp", "-o", output, "--key", "key"]).fails(2, "cannot be written");
    }
    assert_eq!(place.names(), names, "nothing is left behind");
    assert!(!fs::metadata("/dev/null").unwrap().is_file(), "a device was replaced by a file");
    place.built(&[]);
    assert_eq!(place.names().len(), names.len() + 1);
}

#[test]
fn bundle_of_another_key_is_refused() {
    let place = Place::of_signer();
    place.built(&[]);
    for command in ["verify", "inspect"] {
        place.bfpc(&[command, "kms.bfpb", "--trust", "other.pub"]).fails(3, "unknown key");
        place
            .bfpc(&[command, "kms.bfpb", "--trust", "key.pub", "--threshold", "2"])
            .fails(2, "more signatures than it has keys");
        place.bfpc(&[command, "kms.bfpb", "--trust", "key.pub", "--threshold", "0"]).fails(2, "'--threshold <M>'");
    }
    place.bfpc(&["verify", "kms.bfpb"]).fails(2, "--trust");
    let explain = ["explain", "kms.bfpb", "signer", "kms.internal:443"];
    place.bfpc(&[&explain[..], &["--trust", "other.pub"]].concat()).fails(3, "unknown key");
    place.bfpc(&explain).fails(2, "add `--trust KEY`");
}

#[test]
fn trust_is_a_public_key_or_a_directory_of_them() {
    let place = Place::of_signer();
    place.built(&["--key", "other"]);
    fs::create_dir(place.path("trust")).unwrap();
    let verify = ["verify", "kms.bfpb", "--threshold", "2", "--trust", "trust"];
    place.bfpc(&verify).fails(2, "`trust` contains no public key");
    for key in ["key", "other"] {
        fs::copy(place.path(&format!("{key}.pub")), place.path(&format!("trust/{key}.pem"))).unwrap();
    }
    place.write("trust/README", "not a key, and not asked");
    place.bfpc(&verify).ok();
    place.built(&[]);
    place.bfpc(&verify).fails(3, "it has 1 valid signature, but this host requires 2");
    place.write("trust/broken.pem", "not a key");
    place.bfpc(&verify).fails(2, "`trust/broken.pem` is not an Ed25519 public key");
    place.bfpc(&["verify", "kms.bfpb", "--trust", "key"]).fails(2, "`key` is not an Ed25519 public key");
    place.bfpc(&["verify", "kms.bfpb", "--trust", "nobody.pub"]).fails(2, "`nobody.pub` cannot be read");
}

#[test]
fn flipped_byte_is_refused() {
    let place = Place::of_signer();
    let bytes = place.built(&[]);
    for at in [0, 8, 12, 16, 20, 24, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        place.write("flipped.bfpb", flipped);
        let ended = place.bfpc(&["verify", "flipped.bfpb", "--trust", "key.pub"]).fails(3, "verify::refused");
        assert!(ended.stderr.contains("help: "), "byte {at}: {}", ended.stderr);
    }
    place.write("cut.bfpb", &bytes[..bytes.len() - 1]);
    place.bfpc(&["verify", "cut.bfpb", "--trust", "key.pub"]).fails(3, "cut short");
    place.write("long.bfpb", [&bytes[..], b"\n"].concat());
    place.bfpc(&["verify", "long.bfpb", "--trust", "key.pub"]).fails(3, "1 byte after its end");
    place.write("empty.bfpb", "");
    place.bfpc(&["verify", "empty.bfpb", "--trust", "key.pub"]).fails(3, "verify::refused");
    place.bfpc(&["verify", "kms.bfp", "--trust", "key.pub"]).fails(3, "not a bfp bundle");
}

#[test]
fn bundle_outside_its_time_or_for_others_is_refused() {
    let place = Place::of_signer();
    let verify = ["verify", "kms.bfpb", "--trust", "key.pub"];
    let vector = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bundles/expired.txt"));
    let bundle = vector.unwrap().split_once("\n\n").unwrap().1.replace('\n', "");
    place.write("old.bfpb", Base64::decode_vec(&bundle).unwrap());
    place.write("old.pub", SecretKey::from_seed(&[1; 32]).public().to_pem().unwrap());
    place.bfpc(&["verify", "old.bfpb", "--trust", "old.pub"]).fails(3, "expired");
    place.built(&["--not-before", "9999-01-01T00:00:00Z"]);
    place.bfpc(&verify).fails(3, "not valid before");
    place.built(&["--expires", "9999-01-01T00:00:00Z", "--audience", "payments", "--audience", "staging"]);
    place.bfpc(&verify).fails(3, "`--audience LABEL`");
    place.bfpc(&[&verify[..], &["--audience", "production"]].concat()).fails(3, "tagged");
    place.bfpc(&[&verify[..], &["--audience", "staging"]].concat()).ok();
    let inspected = place.bfpc(&["inspect", "kms.bfpb", "--trust", "key.pub", "--audience", "payments"]).ok();
    assert!(inspected.contains("expires     9999-01-01T00:00:00Z"), "{inspected}");
    let explain = ["explain", "kms.bfpb", "signer", "kms.internal:443", "--trust", "key.pub"];
    place.bfpc(&explain).fails(3, "tagged");
    place.bfpc(&[&explain[..], &["--audience", "staging"]].concat()).ok();
}

#[test]
fn file_that_is_no_bundle_gets_a_sentence() {
    let place = Place::of_signer();
    File::create(place.path("huge.bfpb")).unwrap().set_len(1 << 30).unwrap();
    for command in ["verify", "inspect"] {
        place.bfpc(&[command, "huge.bfpb", "--trust", "key.pub"]).fails(2, "1073741824 bytes");
        place.bfpc(&[command, "/dev/zero", "--trust", "key.pub"]).fails(2, "`/dev/zero` is not a regular file");
        place.bfpc(&[command, "gone", "--trust", "key.pub"]).fails(2, "`gone` cannot be read");
    }
}

#[test]
fn question_that_cannot_be_answered_is_no_denial() {
    let place = Place::of_signer();
    let explain = |program: &'static str, destination: &'static str| ["explain", "kms.bfp", program, destination];
    for destination in
        ["kms", "kms.internal:https", "10.0.0.1:65536", "10.0.0.1:1/sctp", ":443", "", "10.0.0.1 except *"]
    {
        place.bfpc(&explain("signer", destination)).fails(2, "explain::");
    }
    place.bfpc(&explain("signer", "raw\ndeny * -> raw")).fails(2, "source::control_character");
    place.bfpc(&explain("signer", "kms.example:443")).fails(2, "no address for the name `kms.example`");
    place.bfpc(&explain("sigher", "kms.internal:443")).fails(2, "the policy declares no program `sigher`");
    place.bfpc(&explain("signer", "kms.internal:443/udp")).ok();
}

/// Who builds, and where.
struct Builder<'a> {
    program: &'a Path,
    directory: &'a Path,
    umask: &'a str,
    zone: &'a str,
    locale: &'a str,
    home: &'a Path,
    user: &'a str,
    uid: Option<u32>,
}

impl Builder<'_> {
    fn build(&self, policy: &Path, output: &Path, key: &Path) -> Vec<u8> {
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask $0 && exec \"$@\"", self.umask])
            .arg(self.program)
            .arg("build")
            .args([policy.as_os_str(), "-o".as_ref(), output.as_os_str(), "--key".as_ref(), key.as_os_str()])
            .args(["--revision", "3", "--expires", "2031-01-31T00:00:00+01:00", "--audience", "payments"])
            .current_dir(self.directory)
            .env("TZ", self.zone)
            .env("LANG", self.locale)
            .env("LC_ALL", self.locale)
            .env("HOME", self.home)
            .env("USER", self.user)
            .env("LOGNAME", self.user)
            .env_remove("XDG_CACHE_HOME");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{}: {}", self.user, String::from_utf8_lossy(&ended.stderr));
        fs::read(self.directory.join(output)).unwrap()
    }
}

/// The user `nobody`, as far as root may become somebody else.
const NOBODY: u32 = 65534;

#[test]
fn same_source_lock_and_flags_give_the_same_bytes_anywhere() {
    let (here, there) = (Place::of_signer(), Place::of_signer());
    for place in [&here, &there] {
        place.write("kms.bfp", format!("{POLICY}include \"deep/er/more.bfp\"\n"));
        fs::create_dir_all(place.path("deep/er")).unwrap();
        place.write("deep/er/artifact", [7; 5000]);
        place.write("deep/er/more.bfp", "only \"/usr/bin/tool\" verity file(\"artifact\") -> 203.0.113.20\n");
    }
    for key in ["key", "key.pub"] {
        fs::copy(here.path(key), there.path(key)).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_bfpc"));
    let (file, output, key) = (Path::new("kms.bfp"), Path::new("kms.bfpb"), Path::new("key"));
    let first = Builder {
        program,
        directory: here.root(),
        umask: "077",
        zone: "Pacific/Kiritimati",
        locale: "C",
        home: here.root(),
        user: "root",
        uid: None,
    };
    let bytes = first.build(file, output, key);

    // Only root can become another user, who may not see where the tests' own program stands.
    let uid = (fs::metadata(there.root()).unwrap().uid() == 0).then_some(NOBODY);
    let own_program = there.path("bfpc");
    fs::copy(program, &own_program).unwrap();
    for name in ["", "deep", "deep/er", "key"] {
        chown(there.path(name), uid, uid).unwrap();
    }
    let deep = there.path("deep/er");
    let second = Builder {
        program: &own_program,
        directory: &deep,
        umask: "000",
        zone: "America/Los_Angeles",
        locale: "tr_TR.UTF-8",
        home: Path::new("/nonexistent"),
        user: "nobody",
        uid,
    };
    let [policy, other, secret] = ["kms.bfp", "deep/other.bfpb", "key"].map(|name| there.path(name));
    assert_eq!(bytes, second.build(&policy, &other, &secret));
    // A path from elsewhere is another spelling of the same file.
    assert_eq!(bytes, second.build(Path::new("../../kms.bfp"), Path::new("again.bfpb"), Path::new("../../key")));
}

#[test]
fn every_error_is_told_at_once_and_counted() {
    let place = Place::of_signer();
    place.write("three.bfp", "only signer -> 10.0.0.1\nonly backup -> kms\ndeny * -> 10.0.0.1/8\n");
    let ended = place.bfpc(&["check", "three.bfp"]).fails(2, "resolve::unknown_name");
    assert_eq!(ended.stderr.lines().last(), Some("4 errors in three.bfp"));
    assert_eq!(ended.stderr.matches("help: ").count(), 4, "{}", ended.stderr);
}

#[test]
fn reports_are_coloured_on_a_terminal_alone_and_as_wide_as_it_is() {
    let place = Place::of_signer();
    place.write("wrong.bfp", "allow \"/usr/bin/curl\" -> *.example.com:443\n");
    let on_terminal = |variable: &str, value: &str| {
        let bfpc = env!("CARGO_BIN_EXE_bfpc");
        let ended = Command::new("script")
            .args(["--quiet", "--return", "--command"])
            .arg(format!("stty rows 20 cols 60; '{bfpc}' check wrong.bfp"))
            .arg("/dev/null")
            .current_dir(place.root())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env(variable, value)
            .stdin(Stdio::null())
            .output();
        let ended =
            Ended::of("script", ended.unwrap_or_else(|error| unreachable!("this test needs `script`: {error}")));
        assert_eq!(ended.code, 2, "{}", ended.stdout);
        ended.stdout
    };
    assert!(on_terminal("LANG", "C").contains("\u{1b}["), "no colour on a terminal");
    for (variable, value) in [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")] {
        assert!(!on_terminal(variable, value).contains('\u{1b}'), "colour in spite of {variable}={value}");
    }
    let narrow = on_terminal("NO_COLOR", "1");
    let widest = |text: &str| text.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
    assert!(widest(&narrow) <= 60, "{narrow}");
    let piped = place.bfpc(&["check", "wrong.bfp"]).env("FORCE_COLOR", "1").ended();
    assert!((61..=100).contains(&widest(&piped.stderr)), "{}", piped.stderr);
    assert!(!piped.stderr.contains('\u{1b}'), "{}", piped.stderr);
}

#[test]
fn reader_that_leaves_early_is_no_error() {
    let place = Place::of_signer();
    place.built(&[]);
    let mut child = place
        .bfpc(&["inspect", "kms.bfpb", "--trust", "key.pub"])
        .command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = Ended::of("bfpc inspect", child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = place.bfpc(&["check", "kms.bfp"]).command.stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "an answer that could not be given is no yes");
}

#[test]
fn more_reports_than_anybody_reads_are_counted() {
    let place = Place::of_signer();
    place.write("many.bfp", "deny \"/a\" -> nowhere\n".repeat(150));
    let ended = place.bfpc(&["check", "many.bfp"]).ended();
    assert_eq!(ended.code, 2);
    assert_eq!(ended.stderr.matches("no host is called").count(), 100);
    assert!(ended.stderr.ends_with("… and 50 more\n\n150 errors in many.bfp\n"), "{}", ended.stderr);
}

#[test]
fn words_that_make_no_command_are_usage_errors() {
    let place = Place::of_signer();
    for words in [&[][..], &["chekc"], &["check"], &["test", "a", "b"], &["fmt"], &["build", "--colour"]] {
        let ended = place.bfpc(words).ended();
        assert_eq!(ended.code, 2, "{words:?}");
        assert!(ended.stdout.is_empty() && ended.stderr.contains("Usage: bfpc"), "{words:?}: {}", ended.stderr);
    }
    let help = place.bfpc(&["--help"]).ok();
    let commands = [
        "check",
        "fmt",
        "lock",
        "drift",
        "build",
        "verify",
        "inspect",
        "explain",
        "explain-code",
        "test",
        "sign",
        "payload",
        "trust-set",
        "token",
        "keygen",
        "key-id",
    ];
    for command in commands {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        assert!(place.bfpc(&[command, "--help"]).ok().contains(&format!("Usage: bfpc {command}")));
    }
    assert!(help.contains("Exit codes: 0 yes or ok"), "{help}");
}
