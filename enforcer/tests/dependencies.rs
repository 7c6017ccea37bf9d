//! What the enforcer is made of is committed, so that its growth shows in review.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "../../bundles/tests/dependencies/tree.rs"]
mod tree;

/// Never: the host parses no policy, resolves no name, and waits for nobody.
const FORBIDDEN: [&str; 6] = ["bfp-grammar", "bfp-compiler", "pest", "hickory", "tokio", "miette"];

#[test]
fn the_enforcers_dependencies_are_those_of_the_committed_list() {
    let arguments = ["--package", "bfp-enforcer", "--features", "kernel-programs", "--edges", "normal"];
    let found = tree::crates(env!("CARGO_MANIFEST_DIR"), &arguments);
    let intruders: Vec<_> = found.iter().filter(|name| FORBIDDEN.iter().any(|bad| name.starts_with(bad))).collect();
    assert!(intruders.is_empty(), "the enforcer must not depend on {intruders:?}");
    tree::assert_committed(
        &found,
        include_str!("../dependencies.txt"),
        "The enforcer's dependencies changed. Every one of them runs as root on every host: say in the commit why it \
         is needed, and bring enforcer/dependencies.txt up to date.",
    );
}
