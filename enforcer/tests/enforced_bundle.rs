//! Only the bundle that the kernel's record names counts as the enforced one, and its names become lines of a hosts file.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[path = "../../bundles/tests/format/made.rs"]
#[expect(dead_code, reason = "it also makes what other tests need")]
mod made;

use bfp_bundle::manifest::Manifest;
use bfp_bundle::verify::{Refusal, verify};
use bfp_enforcer::kernel::about::{About, Circumstances};
use bfp_enforcer::kernel::enforced_bundle::{EnforcedBundle, EnforcedBundleError};
use bfp_enforcer::report::hosts::Names;
use made::{host, manifest, sealed, trust};

/// The kernel's record of a bundle that was applied with key 1 at the time 1000.
fn record_of(bytes: &[u8]) -> About {
    let (trust, host) = (trust(&[1], 1), host());
    let circumstances = Circumstances { now: host.now, ..Circumstances::default() };
    About::of(&verify(bytes, &trust, &host).unwrap(), &trust, &host.tags, circumstances)
}

fn refusal(bytes: &[u8], about: &About) -> EnforcedBundleError {
    EnforcedBundle::verify(bytes, about, &host().capabilities).err().unwrap()
}

#[test]
fn the_bundle_that_the_record_names_is_the_enforced_one() {
    let bytes = sealed(manifest(), &[1]);
    let about = record_of(&bytes);
    let enforced = EnforcedBundle::verify(&bytes, &about, &host().capabilities).unwrap();
    assert_eq!(enforced.bundle().manifest().revision, manifest().revision);
    // It may expire while it is enforced.
    let bytes = sealed(Manifest { expires: Some(1_001), ..manifest() }, &[1]);
    let about = About { applied_at: 5_000, ..record_of(&bytes) };
    assert!(EnforcedBundle::verify(&bytes, &about, &host().capabilities).is_ok());
}

#[test]
fn another_bundle_of_the_same_signers_is_not_the_enforced_one() {
    let about = record_of(&sealed(manifest(), &[1]));
    let newer = sealed(Manifest { revision: manifest().revision + 1, ..manifest() }, &[1]);
    assert!(matches!(refusal(&newer, &about), EnforcedBundleError::OtherManifest));
}

#[test]
fn bytes_that_do_not_verify_are_not_the_enforced_bundle() {
    let about = record_of(&sealed(manifest(), &[1]));
    assert!(matches!(refusal(b"", &about), EnforcedBundleError::Refused(_)));
    let foreign = refusal(&sealed(manifest(), &[2]), &about);
    assert!(matches!(foreign, EnforcedBundleError::Refused(Refusal::UnknownKey(_))), "{foreign}");
}

#[test]
fn the_names_of_the_enforced_bundle_become_lines() {
    let bytes = sealed(manifest(), &[1]);
    let about = record_of(&bytes);
    let names = Names::of(&EnforcedBundle::verify(&bytes, &about, &host().capabilities).unwrap()).unwrap();
    let expected = "# BEGIN bfp-enforcer hosts: policy payments-kms revision 7\n203.0.113.10 kms.example.com\n# END \
                    bfp-enforcer hosts: policy payments-kms revision 7\n";
    assert_eq!((names.block().as_str(), names.left_out().count()), (expected, 0));
}
