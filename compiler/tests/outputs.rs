//! What commands write: nothing is lost by it, and `-` is the standard input or output.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const POLICY: &str = "policy p\n\ndeny \"/usr/bin/a\" -> 203.0.113.1\n\ntest \"t\" {\n    \"/usr/bin/a\" -> \
                      203.0.113.1    denied\n}\n";

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        place.write("p.bfp", POLICY);
        place.write("p.bfp.lock", "version = 2\n");
        place.write("empty", "");
        for words in [
            &["keygen", "key"][..],
            &["keygen", "other"],
            &["build", "p.bfp", "-o", "bundle", "--key", "key"],
            &["payload", "bundle", "-o", "payload"],
            &["trust-set", "--version", "1", "--threshold", "1", "--key", "key.pub", "-o", "set"],
            &[
                "token",
                "release",
                "--policy",
                "p",
                "--revision",
                "1",
                "--expires",
                "2099-01-01T00:00:00Z",
                "-o",
                "token",
            ],
            &["graph", "p.bfp", "-o", "picture"],
            &["test", "p.bfp", "--junit", "junit"],
        ] {
            let ran = place.run(words, "");
            assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn run(&self, words: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bfpc"));
        command.args(words).current_dir(self.0.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads no input may have ended.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }
}

/// Each output with the file of its kind that it may replace.
const OUTPUTS: [(&str, &[&str]); 7] = [
    ("bundle", &["build", "p.bfp", "--key", "key", "-o"]),
    ("payload", &["payload", "bundle", "-o"]),
    ("set", &["trust-set", "--version", "1", "--threshold", "1", "--key", "key.pub", "-o"]),
    ("token", &["token", "release", "--policy", "p", "--revision", "1", "--expires", "2099-01-01T00:00:00Z", "-o"]),
    ("picture", &["graph", "p.bfp", "-o"]),
    ("junit", &["test", "p.bfp", "--junit"]),
    ("bundle", &["sign", "bundle", "--key", "other", "-o"]),
];

#[test]
fn output_replaces_a_file_of_its_own_kind_and_no_other() {
    let place = Place::new();
    let files = ["p.bfp", "p.bfp.lock", "key", "key.pub", "bundle", "payload", "set", "token", "picture", "junit"];
    for (own, words) in OUTPUTS {
        for file in files.into_iter().filter(|file| *file != own) {
            let before = place.read(file);
            let ran = place.run(&[words, &[file]].concat(), "");
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert_eq!(ran.status.code(), Some(2), "{words:?} {file}: {said}");
            assert!(said.contains("source::not_replaced") && said.contains("help: "), "{words:?} {file}: {said}");
            assert!(place.read(file) == before, "{words:?} changed {file}");
        }
        for file in ["empty", "new", own] {
            let ran = place.run(&[words, &[file]].concat(), "");
            assert!(ran.status.success(), "{words:?} {file}: {}", String::from_utf8_lossy(&ran.stderr));
            assert!(!place.read(file).is_empty());
        }
        place.write("empty", "");
        fs::remove_file(place.path("new")).unwrap();
        // A signed bundle cannot be signed by the same key once more.
        assert!(
            place
                .run(OUTPUTS.first().map(|(own, words)| [*words, &[*own]].concat()).unwrap().as_slice(), "")
                .status
                .success()
        );
    }
    let said = place.run(&["build", "p.bfp", "--key", "key", "-o", "key"], "").stderr;
    assert!(String::from_utf8_lossy(&said).contains("`key` is a secret key, and cannot be replaced by a bundle"));
}

#[test]
fn link_to_a_file_of_another_kind_is_that_file() {
    let place = Place::new();
    std::os::unix::fs::symlink("p.bfp", place.path("link")).unwrap();
    assert_eq!(place.run(&["build", "p.bfp", "-o", "link"], "").status.code(), Some(2));
    assert_eq!(place.read("p.bfp"), POLICY.as_bytes());
}

#[test]
fn lock_replaces_a_lock_and_no_other_file() {
    let place = Place::new();
    let files =
        ["p.bfp", "key", "key.pub", "bundle", "payload", "set", "token", "picture", "junit", "text", "Cargo.lock"];
    place.write("text", "TOKEN=hunter2\n");
    place.write("Cargo.lock", "# Generated\nversion = 4\n\n[[package]]\nname = \"a\"\n");
    place.write("comments", "# nothing\n");
    let lock = place.path("p.bfp.lock");
    for file in files.into_iter().chain(["comments"]) {
        let before = place.read(file);
        for update in [&["lock", "p.bfp"][..], &["lock", "p.bfp", "--update"]] {
            for is_link in [true, false] {
                fs::remove_file(&lock).unwrap();
                match is_link {
                    true => std::os::unix::fs::symlink(file, &lock).unwrap(),
                    false => drop(fs::copy(place.path(file), &lock).unwrap()),
                }
                let ran = place.run(update, "");
                let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                assert_eq!(ran.status.code(), Some(2), "{file}: {said}");
                assert!(said.contains("source::not_replaced") && said.contains("by a lock"), "{file}: {said}");
                assert!(!said.contains("hunter2"), "{said}");
                assert!(place.read(file) == before && place.read("p.bfp.lock") == before, "{file} was changed");
            }
        }
    }
    // A lock of another version, one with the marks of a merge, an empty file, and a link to any of them.
    let locks = [
        "",
        "version = 1\n",
        "version = 7\nmore = true\n",
        "<<<<<<< HEAD\n# What this policy is compiled with. Review changes; `bfpc lock` makes them.\n=======\n",
        "<<<<<<< HEAD\nversion = 1\n=======\nversion = 2\n>>>>>>> other\n\n[[name]]\nname = \"a.test\"\n",
    ];
    for text in locks {
        for is_link in [false, true] {
            fs::remove_file(&lock).unwrap();
            place.write("other.lock", text);
            match is_link {
                true => std::os::unix::fs::symlink("other.lock", &lock).unwrap(),
                false => place.write("p.bfp.lock", text),
            }
            let ran = place.run(&["lock", "p.bfp"], "");
            assert!(ran.status.success(), "{text:?}: {}", String::from_utf8_lossy(&ran.stderr));
            assert!(String::from_utf8(place.read("p.bfp.lock")).unwrap().contains("\nversion = 2\n"), "{text:?}");
            assert_eq!(fs::symlink_metadata(&lock).unwrap().is_symlink(), is_link);
        }
    }
}

#[test]
fn trust_set_does_not_replace_the_one_it_follows() {
    let place = Place::new();
    let before = place.read("set");
    fs::hard_link(place.path("set"), place.path("same")).unwrap();
    for output in ["set", "same"] {
        let ran = place.run(
            &[
                "trust-set",
                "--previous",
                "set",
                "--threshold",
                "1",
                "--version",
                "2",
                "--key",
                "other.pub",
                "-o",
                output,
            ],
            "",
        );
        assert_eq!(ran.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&ran.stderr).contains("source::not_replaced"));
    }
    assert_eq!(place.read("set"), before);
}

#[test]
fn dash_is_the_standard_output() {
    let place = Place::new();
    for (own, words) in OUTPUTS {
        let ran = place.run(&[words, &["-"]].concat(), "");
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        if !words.contains(&"sign") {
            assert!(ran.stdout == place.read(own), "{words:?} writes something else to the standard output");
        }
        assert!(!place.path("-").exists(), "{words:?} made a file that is called `-`");
    }
    let words = ["build", "p.bfp", "--key", "key", "--format", "json", "-o", "-"];
    assert!(place.run(&words, "").stdout == place.read("bundle"));
}

#[test]
fn dash_is_the_standard_input() {
    let place = Place::new();
    let loose = "deny   \"/usr/bin/a\"   -> 203.0.113.1\n";
    let ran = place.run(&["fmt", "-"], loose);
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "deny \"/usr/bin/a\" -> 203.0.113.1\n");
    let canonical = place.run(&["fmt", "-"], POLICY);
    assert_eq!(String::from_utf8(canonical.stdout).unwrap(), POLICY, "what is canonical is written all the same");
    assert_eq!(place.run(&["fmt", "--check", "-"], loose).status.code(), Some(1));
    assert_eq!(place.run(&["check", "-"], POLICY).status.code(), Some(0));
    assert_eq!(place.run(&["check", "-"], "deny nobody -> 203.0.113.1\n").status.code(), Some(2));
    let asked = place.run(&["explain", "-", "/usr/bin/a", "203.0.113.1:1"], POLICY);
    assert_eq!(asked.status.code(), Some(1), "{}", String::from_utf8_lossy(&asked.stderr));
    assert_eq!(place.run(&["diff", "p.bfp", "-"], POLICY).status.code(), Some(0));
    assert_eq!(place.run(&["diff", "-", "p.bfp"], POLICY).status.code(), Some(0));
    let locked = place.run(&["lock", "-"], POLICY);
    assert!(String::from_utf8_lossy(&locked.stderr).contains("lock::nowhere"));
    // A file of that name is a file where a policy names it.
    place.write("-", "deny * -> metadata\n");
    let ran = place.run(&["check", "with.bfp"], "");
    assert_eq!(ran.status.code(), Some(2));
    place.write("with.bfp", "include \"-\"\n");
    let ran = place.run(&["check", "with.bfp"], "nonsense");
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn revision_zero_is_not_built() {
    let place = Place::new();
    let ran = place.run(&["build", "p.bfp", "--revision", "0", "-o", "zero"], "");
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("'--revision <N>'"));
    assert!(!place.path("zero").exists());
}

#[test]
fn keygen_without_room_leaves_no_file() {
    let place = Place::new();
    // The signal that comes with the limit is ignored, as the error is what a full disk gives too.
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {} keygen fresh", env!("CARGO_BIN_EXE_bfpc"));
    let ran = Command::new("sh").args(["-c", &script]).current_dir(place.0.path()).output().unwrap();
    assert_eq!(ran.status.code(), Some(2), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(said.contains("source::unwritable") && !said.contains("directory that exists"), "{said}");
    assert!(!place.path("fresh").exists() && !place.path("fresh.pub").exists());
}
