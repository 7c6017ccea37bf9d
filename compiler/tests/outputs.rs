//! What commands write: nothing is lost by it, and `-` is the standard input or output.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;

use support::Place;

const POLICY: &str = "policy p\n\ndeny \"/usr/bin/a\" -> 203.0.113.1\n\ntest \"t\" {\n    \"/usr/bin/a\" -> \
                      203.0.113.1    denied\n}\n";

impl Place {
    /// A directory with a policy, two keys, and an output of every kind.
    fn of_outputs() -> Place {
        let place = Place::with(&[("p.bfp", POLICY), ("p.bfp.lock", "version = 2\n"), ("empty", "")]);
        place.key("key");
        place.key("other");
        for words in [
            &["build", "p.bfp", "-o", "bundle", "--key", "key"][..],
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
            place.bfpc(words).ok();
        }
        place
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
    let place = Place::of_outputs();
    let files = ["p.bfp", "p.bfp.lock", "key", "key.pub", "bundle", "payload", "set", "token", "picture", "junit"];
    for (own, words) in OUTPUTS {
        for file in files.into_iter().filter(|file| *file != own) {
            let before = place.read(file);
            let ran = place.bfpc(&[words, &[file]].concat()).ended();
            let said = &ran.stderr;
            assert_eq!(ran.code, 2, "{words:?} {file}: {said}");
            assert!(said.contains("source::not_replaced") && said.contains("help: "), "{words:?} {file}: {said}");
            assert!(place.read(file) == before, "{words:?} changed {file}");
        }
        for file in ["empty", "new", own] {
            let ran = place.bfpc(&[words, &[file]].concat()).ended();
            assert_eq!(ran.code, 0, "{words:?} {file}: {}", ran.stderr);
            assert!(!place.read(file).is_empty());
        }
        place.write("empty", "");
        fs::remove_file(place.path("new")).unwrap();
        // A signed bundle cannot be signed by the same key once more.
        let (own, build) = OUTPUTS[0];
        place.bfpc(&[build, &[own]].concat()).ok();
    }
    let said = place.bfpc(&["build", "p.bfp", "--key", "key", "-o", "key"]).ended().stderr;
    assert!(said.contains("`key` is a secret key, and cannot be replaced by a bundle"));
}

#[test]
fn link_to_a_file_of_another_kind_is_that_file() {
    let place = Place::of_outputs();
    std::os::unix::fs::symlink("p.bfp", place.path("link")).unwrap();
    assert_eq!(place.bfpc(&["build", "p.bfp", "-o", "link"]).ended().code, 2);
    assert_eq!(place.read("p.bfp"), POLICY.as_bytes());
}

#[test]
fn lock_replaces_a_lock_and_no_other_file() {
    let place = Place::of_outputs();
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
                let ran = place.bfpc(update).ended();
                let said = &ran.stderr;
                assert_eq!(ran.code, 2, "{file}: {said}");
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
            let ran = place.bfpc(&["lock", "p.bfp"]).ended();
            assert_eq!(ran.code, 0, "{text:?}: {}", ran.stderr);
            assert!(place.text("p.bfp.lock").contains("\nversion = 2\n"), "{text:?}");
            assert_eq!(fs::symlink_metadata(&lock).unwrap().is_symlink(), is_link);
        }
    }
}

#[test]
fn trust_set_does_not_replace_the_one_it_follows() {
    let place = Place::of_outputs();
    let before = place.read("set");
    fs::hard_link(place.path("set"), place.path("same")).unwrap();
    for output in ["set", "same"] {
        let ran = place
            .bfpc(&[
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
            ])
            .ended();
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("source::not_replaced"));
    }
    assert_eq!(place.read("set"), before);
}

#[test]
fn dash_is_the_standard_output() {
    let place = Place::of_outputs();
    for (own, words) in OUTPUTS {
        let ran = place.bfpc(&[words, &["-"]].concat()).ended();
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
        if !words.contains(&"sign") {
            assert!(ran.bytes == place.read(own), "{words:?} writes something else to the standard output");
        }
        assert!(!place.path("-").exists(), "{words:?} made a file that is called `-`");
    }
    let words = ["build", "p.bfp", "--key", "key", "--format", "json", "-o", "-"];
    assert!(place.bfpc(&words).ended().bytes == place.read("bundle"));
}

#[test]
fn dash_is_the_standard_input() {
    let place = Place::of_outputs();
    let loose = "deny   \"/usr/bin/a\"   -> 203.0.113.1\n";
    let ran = place.bfpc(&["fmt", "-"]).input(loose).ended();
    assert_eq!(ran.stdout, "deny \"/usr/bin/a\" -> 203.0.113.1\n");
    let canonical = place.bfpc(&["fmt", "-"]).input(POLICY).ended();
    assert_eq!(canonical.stdout, POLICY, "what is canonical is written all the same");
    assert_eq!(place.bfpc(&["fmt", "--check", "-"]).input(loose).ended().code, 1);
    assert_eq!(place.bfpc(&["check", "-"]).input(POLICY).ended().code, 0);
    assert_eq!(place.bfpc(&["check", "-"]).input("deny nobody -> 203.0.113.1\n").ended().code, 2);
    let asked = place.bfpc(&["explain", "-", "/usr/bin/a", "203.0.113.1:1"]).input(POLICY).ended();
    assert_eq!(asked.code, 1, "{}", asked.stderr);
    assert_eq!(place.bfpc(&["diff", "p.bfp", "-"]).input(POLICY).ended().code, 0);
    assert_eq!(place.bfpc(&["diff", "-", "p.bfp"]).input(POLICY).ended().code, 0);
    let locked = place.bfpc(&["lock", "-"]).input(POLICY).ended();
    assert!(locked.stderr.contains("lock::nowhere"));
    // A file of that name is a file where a policy names it.
    place.write("-", "deny * -> metadata\n");
    let ran = place.bfpc(&["check", "with.bfp"]).ended();
    assert_eq!(ran.code, 2);
    place.write("with.bfp", "include \"-\"\n");
    let ran = place.bfpc(&["check", "with.bfp"]).input("nonsense").ended();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn revision_zero_is_not_built() {
    let place = Place::of_outputs();
    let ran = place.bfpc(&["build", "p.bfp", "--revision", "0", "-o", "zero"]).ended();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("'--revision <N>'"));
    assert!(!place.path("zero").exists());
}

#[test]
fn keygen_without_room_leaves_no_file() {
    let place = Place::of_outputs();
    // The signal that comes with the limit is ignored, as the error is what a full disk gives too.
    let script = format!("trap '' XFSZ; ulimit -f 0; exec {} keygen fresh", env!("CARGO_BIN_EXE_bfpc"));
    let ran = place.run(&["sh", "-c", &script]).ended();
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let said = &ran.stderr;
    assert!(said.contains("source::unwritable") && !said.contains("directory that exists"), "{said}");
    assert!(!place.path("fresh").exists() && !place.path("fresh.pub").exists());
}
