//! Helps that edit a policy, done as they say: the policy compiles, and nobody gains access by it.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

fn bfpc(place: &TempDir, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).current_dir(place.path()).output().unwrap()
}

/// A policy, what its report says, and the policy once that is done.
const DONE: [(&str, &str, &str); 9] = [
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
];

#[test]
fn help_that_is_followed_widens_nothing() {
    let place = TempDir::new().unwrap();
    for (before, says, after) in DONE {
        fs::write(place.path().join("before.bfp"), before).unwrap();
        fs::write(place.path().join("after.bfp"), after).unwrap();
        let checked = bfpc(&place, &["check", "before.bfp"]);
        let report = String::from_utf8(checked.stderr).unwrap();
        let words: Vec<&str> = report.split_whitespace().filter(|word| *word != "│").collect();
        assert!(words.join(" ").contains(says), "{before}{report}");
        let compared = bfpc(&place, &["diff", "--deny-widening", "before.bfp", "after.bfp"]);
        let told = String::from_utf8([compared.stdout, compared.stderr].concat()).unwrap();
        assert_eq!(compared.status.code(), Some(0), "{before}{told}");
    }
}
