//! The crates that a package is built of, against the list of them that is committed. The enforcer's test uses it
//! too.

use std::collections::BTreeSet;
use std::process::Command;

/// The crates of a package in a folder, each as `NAME VERSION`; `arguments` say with which features.
pub(crate) fn crates(folder: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .arg("tree")
        .args(arguments)
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}", "--offline", "--locked"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    // A line is `NAME VERSION`, then perhaps a folder or a mark for what was listed before.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().map(name).filter(|name| !name.is_empty()).collect()
}

/// Whether they are those of a committed list; `advice` says what a difference means.
pub(crate) fn assert_committed(found: &BTreeSet<String>, committed: &str, advice: &str) {
    let committed: BTreeSet<String> = committed.lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&committed).collect();
    let gone: Vec<_> = committed.difference(found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new {new:?}, gone {gone:?}.\n{advice}");
}
