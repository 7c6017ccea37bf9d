//! Helps that edit a policy, done as they say: the policy compiles, and nobody gains access by it.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

fn bfpc(place: &TempDir, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).current_dir(place.path()).output().unwrap()
}

/// A policy, what its report says, and the policy once that is done.
const DONE: &[(&str, &str, &str)] = &[
    (
        "only \"/s\" -> only { 10.0.0.1:443, 10.0.0.2:443 }\n\"/s\" -> only 10.0.0.1:443\ndeny * -> raw\n",
        "the `only` behind the arrow changes nothing",
        "only \"/s\" -> { 10.0.0.1:443, 10.0.0.2:443 }\n\"/s\" -> only 10.0.0.1:443\ndeny * -> raw\n",
    ),
    (
        "only \"/s\" -> only 10.0.0.1:443\nonly \"/s\" -> 10.0.0.0/8\n",
        "the `only` before the programs changes nothing",
        "\"/s\" -> only 10.0.0.1:443\nonly \"/s\" -> 10.0.0.0/8\n",
    ),
    (
        "only \"/s\" -> only 10.0.0.1\nonly \"/s\" -> only 10.0.0.1\n",
        "remove it, or let it say what the other does not",
        "only \"/s\" -> only 10.0.0.1\n",
    ),
    (
        "deny * -> 10.0.0.0/8\ndeny \"/w\" -> 10.1.0.0/16\n",
        "add `deny * -> raw` and remove it",
        "deny * -> 10.0.0.0/8\ndeny * -> raw\n",
    ),
    (
        "deny * -> 10.0.0.0/8\ndeny * -> raw\ndeny \"/w\" -> 10.1.0.0/16\n",
        "remove it, or let it say what the other does not",
        "deny * -> 10.0.0.0/8\ndeny * -> raw\n",
    ),
    (
        "deny * -> 10.0.0.0/8\n\"/w\" -> only 192.0.2.0/24\ndeny \"/w\" -> 10.1.0.0/16\n",
        "remove it, or let it say what the other does not",
        "deny * -> 10.0.0.0/8\n\"/w\" -> only 192.0.2.0/24\n",
    ),
    (
        "deny * -> 10.0.0.0/8\nonly \"/w\" -> 192.0.2.1\ndeny \"/w\" -> 10.1.0.0/16\n",
        "add `deny * -> raw` and remove it",
        "deny * -> 10.0.0.0/8\nonly \"/w\" -> 192.0.2.1\ndeny * -> raw\n",
    ),
    (
        "deny * -> 10.0.0.0/8\naudit \"/w\" -> only 192.0.2.1\ndeny \"/w\" -> 10.1.0.0/16\n",
        "add `deny * -> raw` and remove it",
        "deny * -> 10.0.0.0/8\naudit \"/w\" -> only 192.0.2.1\ndeny * -> raw\n",
    ),
    ("deny \"/x\" -> 10.0.0.0/8\nallow \"/w\" -> 192.0.2.0/24\n", "or remove it", "deny \"/x\" -> 10.0.0.0/8\n"),
    (
        "deny * except \"/s\" -> 10.0.0.0/8\ndeny * except \"/s\" -> 10.1.0.0/16\n",
        "remove it, or let it say what the other does not",
        "deny * except \"/s\" -> 10.0.0.0/8\n",
    ),
    ("only \"/s\" -> 10.0.0.1:443\n", "add `deny * -> raw`", "only \"/s\" -> 10.0.0.1:443\ndeny * -> raw\n"),
    (
        "only \"/s\" -> 10.0.0.1:443\n",
        "pin the build: `\"/s\" verity file(\"…\")`, or `verity sha256:…`",
        "only \"/s\" verity sha256:1122334455667788112233445566778811223344556677881122334455667788 -> 10.0.0.1:443\n",
    ),
    (
        "accept check::wide_grant because \"so\"\ndeny * -> 10.0.0.1\n",
        "remove it: it would hide a finding that comes later",
        "deny * -> 10.0.0.1\n",
    ),
    (
        "deny * -> 10.0.0.1\naccept check::wide_grant everywhere because \"so\"\n",
        "remove it: it would hide a finding that comes later",
        "deny * -> 10.0.0.1\n",
    ),
    (
        "only \"/s\" -> 10.0.0.1:443\ndeny * -> raw\n",
        "check::path_grant",
        "accept check::path_grant everywhere because \"so\"\nonly \"/s\" -> 10.0.0.1:443\ndeny * -> raw\n",
    ),
];

/// The same of helps that grant something, and say so by the very rule to write.
const WIDENING: &[(&str, &str, &str)] = &[
    (
        "default deny\nallow * -> 127.0.0.53:53\nallow \"/w\" -> 192.0.2.1\n",
        "add `allow * -> loopback`",
        "default deny\nallow * -> 127.0.0.53:53\nallow \"/w\" -> 192.0.2.1\nallow * -> loopback\n",
    ),
    (
        "default deny\nallow \"/w\" -> 192.0.2.1:443\n",
        "add `allow * -> 127.0.0.53:53`",
        "default deny\nallow \"/w\" -> 192.0.2.1:443\nallow * -> 127.0.0.53:53\n",
    ),
];

/// An error, its help, and the policy once that is done, which has no error any more.
const MENDED: &[(&str, &str, &str)] = &[
    ("deny { *, \"/a\" } -> 10.0.0.1\n", "write `*` in the rule, without a set", "deny * -> 10.0.0.1\n"),
    (
        "deny * -> 10.0.0.0/8\nallow \"/w\" -> 10.0.0.1\n",
        "take it out of the other rule with `except`",
        "deny * -> 10.0.0.0/8 except 10.0.0.1\nallow \"/w\" -> 10.0.0.1\n",
    ),
    (
        "\"/w\" -> only 10.0.0.0/8\nallow \"/w\" -> 192.0.2.1\n",
        "name what it grants in the confinement too",
        "\"/w\" -> only { 10.0.0.0/8, 192.0.2.1 }\nallow \"/w\" -> 192.0.2.1\n",
    ),
    (
        "only \"/s\" -> 10.0.0.1\nallow \"/w\" -> 10.0.0.1\n",
        "name its programs on the left of the `only` too",
        "only { \"/s\", \"/w\" } -> 10.0.0.1\n",
    ),
    ("deny * -> 10.0.0.1/24\n", "write `10.0.0.0/24` or `10.0.0.1`", "deny * -> 10.0.0.0/24\n"),
    ("deny * -> raw:443\n", "write `raw`: it stands for every raw and packet socket", "deny * -> raw\n"),
    ("\"/opt/app?/x\" -> only 10.0.0.1\n", "write `*` for any characters", "\"/opt/app*/x\" -> only 10.0.0.1\n"),
    ("\"/opt/app**\" -> only 10.0.0.1\n", "write `/opt/app/**` for everything", "\"/opt/app/**\" -> only 10.0.0.1\n"),
    ("\"/opt/app/\" -> only 10.0.0.1\n", "write `/opt/app/*` for the files", "\"/opt/app/*\" -> only 10.0.0.1\n"),
    ("audit allow * -> 10.0.0.1\ndeny * -> raw\n", "remove the rule: `audit` reports", "deny * -> raw\n"),
    ("host web = 192.0.2.1\ndeny * -> raw\n", "use it in a rule, or remove it", "deny * -> raw\n"),
    (
        "host web = 192.0.2.1\ndeny * -> wbe\ndeny * -> web\n",
        "did you mean `web`?",
        "host web = 192.0.2.1\ndeny * -> web\n",
    ),
    ("deny * -> localhost\n", "write `loopback` for 127.0.0.0/8 and ::1", "deny * -> loopback\n"),
    ("deny everybody -> 10.0.0.1\n", "write `*` for every program", "deny * -> 10.0.0.1\n"),
    (
        "host web = 192.0.2.1:443\ndeny * -> web:80\n",
        "leave them out here, or in the declaration of `web`",
        "host web = 192.0.2.1:443\ndeny * -> web\n",
    ),
    (
        "program w = \"/w\" with children\ndeny w -> 10.0.0.1\ndeny \"/w\" -> 10.0.0.2\n",
        "declare the program once, with its `verity` and `with children`, and use that name everywhere",
        "program w = \"/w\" with children\ndeny w -> 10.0.0.1\ndeny w -> 10.0.0.2\n",
    ),
    ("deny {} -> 10.0.0.1\ndeny * -> raw\n", "name at least one element, or remove", "deny * -> raw\n"),
    (
        "test \"t\" {\n}\nprogram w = \"/w\"\nhost h = 10.0.0.1\ndeny w -> h\n",
        "write a line such as",
        "test \"t\" {\n    w -> h denied\n}\nprogram w = \"/w\"\nhost h = 10.0.0.1\ndeny w -> h\n",
    ),
    (
        "accept check::writable_grant everywhere because \"so\"\nonly \"/home/*/b\" -> 10.0.0.1\n",
        "write this `accept` on the line before each statement",
        "accept check::writable_grant because \"so\"\nonly \"/home/*/b\" -> 10.0.0.1\n",
    ),
    ("only * -> 10.0.0.1\n", "name the programs that may reach it", "only \"/w\" -> 10.0.0.1\n"),
    (
        "only \"/a\" -> 10.0.0.1\nonly \"/b\" -> 10.0.0.0/31\n",
        "except",
        "only \"/a\" -> 10.0.0.1\nonly \"/b\" -> 10.0.0.0/31 except 10.0.0.1\n",
    ),
];

/// What is reported of a policy, on one line.
fn report(place: &TempDir, policy: &str) -> (Option<i32>, String) {
    fs::write(place.path().join("policy.bfp"), policy).unwrap();
    let checked = bfpc(place, &["check", "policy.bfp"]);
    let report = String::from_utf8(checked.stderr).unwrap();
    let words: Vec<&str> = report.split_whitespace().filter(|word| *word != "│").collect();
    (checked.status.code(), words.join(" "))
}

/// Who gains by a change: the exit code of `diff --deny-widening`, and what it says.
fn compared(place: &TempDir, before: &str, after: &str) -> (Option<i32>, String) {
    fs::write(place.path().join("before.bfp"), before).unwrap();
    fs::write(place.path().join("after.bfp"), after).unwrap();
    let compared = bfpc(place, &["diff", "--deny-widening", "before.bfp", "after.bfp"]);
    (compared.status.code(), String::from_utf8([compared.stdout, compared.stderr].concat()).unwrap())
}

#[test]
fn help_that_is_followed_widens_nothing() {
    let place = TempDir::new().unwrap();
    for (before, says, after) in DONE {
        let (_, told) = report(&place, before);
        assert!(told.contains(says), "{before}{told}");
        let (code, told) = compared(&place, before, after);
        assert_eq!(code, Some(0), "{before}{told}");
    }
}

#[test]
fn help_that_grants_names_the_grant() {
    let place = TempDir::new().unwrap();
    for (before, says, after) in WIDENING {
        let (_, told) = report(&place, before);
        assert!(told.contains(says), "{before}{told}");
        assert!(after.contains(says.split('`').nth(1).unwrap()), "{says}");
        let (code, told) = compared(&place, before, after);
        assert_eq!(code, Some(1), "{before}{told}");
    }
}

#[test]
fn help_of_an_error_is_followed_and_no_error_is_left() {
    let place = TempDir::new().unwrap();
    for (before, says, after) in MENDED {
        let (code, told) = report(&place, before);
        assert!(code == Some(2) && told.contains(says), "{before}{told}");
        let (code, told) = report(&place, after);
        assert_eq!(code, Some(0), "{after}{told}");
    }
}

#[test]
fn statement_of_the_policy_is_moved_out_of_an_included_file() {
    let place = TempDir::new().unwrap();
    let library = "host vault = 192.0.2.1\n";
    fs::write(place.path().join("corp.bfp"), format!("default deny\n{library}")).unwrap();
    let policy = "include \"corp.bfp\"\nallow \"/w\" -> vault\n";
    let (code, told) = report(&place, policy);
    assert!(code == Some(2) && told.contains("move it to the policy that includes this file"), "{told}");
    fs::write(place.path().join("corp.bfp"), library).unwrap();
    let (code, told) = report(&place, &format!("default deny\n{policy}"));
    assert_eq!(code, Some(0), "{told}");
}
