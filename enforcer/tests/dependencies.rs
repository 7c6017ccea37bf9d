//! What the enforcer is made of is committed, so that its growth shows in review.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::process::Command;

/// Never: the host parses no policy, resolves no name, and waits for nobody.
const FORBIDDEN: [&str; 6] = ["bfp-grammar", "bfp-compiler", "pest", "hickory", "tokio", "miette"];

#[test]
fn the_enforcers_dependencies_are_those_of_the_committed_list() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "bfp-enforcer", "--features", "kernel-programs", "--edges", "normal"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    // A line is `NAME VERSION`, then perhaps a folder or a mark for what was listed before.
    let found: BTreeSet<String> = tree
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect();
    let committed: BTreeSet<String> = include_str!("../dependencies.txt").lines().map(str::to_owned).collect();

    let intruders: Vec<_> = found.iter().filter(|name| FORBIDDEN.iter().any(|bad| name.starts_with(bad))).collect();
    assert!(intruders.is_empty(), "the enforcer must not depend on {intruders:?}");
    let new: Vec<_> = found.difference(&committed).collect();
    let gone: Vec<_> = committed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the enforcer's dependencies changed: new {new:?}, gone {gone:?}.\n\
         Every one of them runs as root on every host: say in the commit why it is needed, and bring \
         enforcer/dependencies.txt up to date."
    );
}
