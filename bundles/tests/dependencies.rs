//! What verification is made of is committed, so that its growth shows in review.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn verification_depends_on_the_cryptography_postcard_and_serde_alone() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "bfp-bundle", "--no-default-features", "--features", "bundle"])
        .args(["--edges", "normal,no-proc-macro", "--target", "x86_64-unknown-linux-gnu", "--prefix", "none"])
        .args(["--format", "{p}", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    // A line is `NAME VERSION`, then perhaps a folder or a mark for what was listed before.
    let found: BTreeSet<String> = tree
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    let committed: BTreeSet<String> = include_str!("../dependencies.txt").lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&committed).collect();
    let gone: Vec<_> = committed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "what verification depends on changed: new {new:?}, gone {gone:?}.\n\
         All of it reads what an attacker sends to a host: say in the commit why it is needed, and bring \
         bundles/dependencies.txt up to date."
    );
}
