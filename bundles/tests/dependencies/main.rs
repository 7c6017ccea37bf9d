//! What verification is made of is committed, so that its growth shows in review.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod tree;

#[test]
fn verification_depends_on_the_cryptography_postcard_and_serde_alone() {
    let verifier = ["--package", "bfp-bundle", "--no-default-features", "--features", "bundle"];
    let arguments = [&verifier[..], &["--edges", "normal,no-proc-macro"]].concat();
    tree::assert_committed(
        &tree::crates(env!("CARGO_MANIFEST_DIR"), &arguments),
        include_str!("../../dependencies.txt"),
        "What verification depends on changed. All of it reads what an attacker sends to a host: say in the commit \
         why it is needed, and bring bundles/dependencies.txt up to date.",
    );
}
