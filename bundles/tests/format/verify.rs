//! What is sealed comes out of verification as it was put in; what is looked at unverified is bounded all the same.

use bfp_bundle::manifest::SectionKind;
use bfp_bundle::seal::seal_bundle;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Refusal, Trust, TrustSet, verify};

use crate::made::{debug, host, image, key, manifest, sealed, set, trust};

fn refusal(bytes: &[u8]) -> Refusal {
    verify(bytes, &trust(&[1, 2], 1), &host()).unwrap_err()
}

#[test]
fn what_was_sealed_is_accepted_and_holds_what_was_put_in() {
    let bytes = sealed(manifest(), &[1]);
    let trusted = trust(&[1], 1);
    let bundle = verify(&bytes, &trusted, &host()).unwrap();
    assert_eq!(bundle.image().unwrap(), image());
    assert_eq!((bundle.manifest().policy.as_str(), bundle.manifest().revision), ("payments-kms", 7));
    assert_eq!(bundle.section(SectionKind::Policy).len(), 32);
    assert_eq!(bundle.signers(), [key(1).public().id()]);
}

#[test]
fn the_same_release_has_the_same_bytes() {
    assert_eq!(sealed(manifest(), &[1, 2]), sealed(manifest(), &[1, 2]));
}

#[test]
fn what_a_host_trusts_it_can_keep() {
    for (count, expected) in [(0, true), (1, true), (1024, true), (1025, false)] {
        let revoked = vec![key(9).public().id(); count];
        let set = TrustSet { version: 7, threshold: 2, revoked, ..set(7, 2, &[1, 2], &[]) };
        let trust = Trust::of_set(&set);
        assert_eq!(trust.is_ok(), expected, "{count} revoked");
        let Ok(trust) = trust else { continue };
        assert_eq!((trust.version(), trust.threshold(), trust.to_set()), (7, 2, set));
        assert_eq!(Trust::from_kept_bytes(&trust.to_bytes()), Ok(trust));
    }
}

#[test]
fn keys_survive_their_pem() {
    let secret = key(9);
    let again = SecretKey::from_pem(&secret.to_pem().unwrap()).unwrap();
    assert_eq!(again.public(), secret.public());
    assert!(secret.to_pem().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let public = secret.public();
    assert_eq!(bfp_bundle::key::PublicKey::from_pem(&public.to_pem().unwrap()).unwrap(), public);
}

#[test]
fn a_peek_shows_what_no_signature_vouches_for_and_refuses_what_is_malformed() {
    use bfp_bundle::unverified::peek;
    let bytes = sealed(manifest(), &[1, 2]);
    let seen = peek(&bytes).unwrap();
    assert_eq!((seen.manifest.policy.as_str(), seen.image), ("payments-kms", image()));
    assert_eq!(seen.claimed_signers, [key(1).public().id(), key(2).public().id()]);

    // Without a signature, and with one that does not hold: seen alike.
    assert!(peek(&sealed(manifest(), &[])).unwrap().claimed_signers.is_empty());
    let mut forged = bytes.clone();
    let signature = bytes.windows(16).position(|window| window == key(1).public().id().0).unwrap() + 16;
    forged[signature] ^= 1;
    assert!(peek(&forged).is_ok());
    assert_eq!(refusal(&forged), Refusal::BadSignature(key(1).public().id()));

    // The bounds and the structure hold here too.
    for length in 0..bytes.len() {
        assert!(peek(&bytes[..length]).is_err(), "length {length}");
    }
    assert_eq!(peek(&[bytes.as_slice(), &[0]].concat()).unwrap_err(), Refusal::TrailingBytes(1));
    let mut oversize = bytes.clone();
    oversize[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(peek(&oversize).unwrap_err(), Refusal::Oversize { .. }));
    let mut broken = image();
    broken.policy.root_v4 = 5;
    let broken = seal_bundle(manifest(), &broken, &debug(), &[]).unwrap();
    assert!(matches!(peek(&broken).unwrap_err(), Refusal::Image(_)));
}
