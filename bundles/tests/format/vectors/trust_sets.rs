//! Trust sets: what a host trusts, and what may take its place.

use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_bundle::seal::{seal, seal_trust_set};
use bfp_bundle::verify::refusal::WhoseThreshold;
use bfp_bundle::verify::{Refusal, TrustSet};

use super::Case;
use crate::made::{key, keys, manifest, sealed, set};

/// A set for a host where two of the keys 1, 2 and 3 are in force, and key 9 is revoked.
fn next(name: &'static str, about: &'static str, set: &TrustSet, signers: &[u8]) -> Case {
    let file = seal_trust_set(set, &keys(signers)).unwrap();
    Case::new(name, about, Document::TrustSet, file).trusting(in_force())
}

fn in_force() -> TrustSet {
    set(6, 2, &[1, 2, 3], &[9])
}

pub(crate) fn cases() -> Vec<Case> {
    let id = |number: u8| key(number).public().id();
    let few = |found, whose| Refusal::Threshold { found, threshold: 2, whose };
    let bad = Refusal::BadTrustSet;
    let mut weak = set(7, 1, &[1], &[9]);
    weak.keys.push({
        // The neutral element: it verifies signatures over anything.
        let mut identity = [0; 32];
        identity[0] = 1;
        identity
    });
    let mut off_the_curve = set(7, 1, &[1], &[9]);
    off_the_curve.keys.push([2; 32]);
    // Three more than the field's prime, 2^255 - 19, stands for 3: there is a point, and RFC 8032 does not read it so.
    let mut beyond_the_field = set(7, 1, &[1], &[9]);
    beyond_the_field.keys.push({
        let mut three_more = [0xff; 32];
        (three_more[0], three_more[31]) = (0xf0, 0x7f);
        three_more
    });
    let mut many_revoked = set(7, 2, &[1, 2, 3], &[9]);
    many_revoked.revoked.extend((0..1024_u16).map(|number| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_le_bytes());
        KeyId(id)
    }));
    let mut trailing = seal_trust_set(&set(7, 2, &[1, 2, 4], &[9]), &keys(&[1, 2])).unwrap();
    trailing.push(0);
    let mut bad_signature = seal_trust_set(&set(7, 2, &[1, 2, 4], &[9]), &keys(&[1, 2, 3])).unwrap();
    *bad_signature.last_mut().unwrap() ^= 1;
    let signature_of = [1, 2, 3].map(id).into_iter().max().unwrap();
    let undecodable = seal(Document::TrustSet, &[7, 2, 1], &keys(&[1, 2]), &[]);
    let unsigned_undecodable = seal(Document::TrustSet, &[7, 2, 1], &keys(&[1]), &[]);
    vec![
        next(
            "trust-first",
            "version 1 after the keys that an administrator put there",
            &set(1, 2, &[1, 2, 4], &[]),
            &[1, 2],
        )
        .trusting(set(0, 2, &[1, 2, 3], &[])),
        next(
            "trust-second",
            "version 2 after version 1: key 1 goes and is revoked, key 5 comes",
            &set(2, 2, &[2, 4, 5], &[1]),
            &[2, 4],
        )
        .trusting(set(1, 2, &[1, 2, 4], &[])),
        next("trust-own-revocation", "a key helps to revoke itself", &set(7, 1, &[1, 2], &[3, 9]), &[1, 3]),
        next(
            "trust-disjoint",
            "no key stays: two old ones and two new ones signed",
            &set(7, 2, &[4, 5], &[9]),
            &[1, 2, 4, 5],
        ),
        next("trust-few-old", "one key of the set in force signed", &set(7, 1, &[1, 4], &[9]), &[1, 4])
            .refused(few(1, WhoseThreshold::InForce)),
        next("trust-few-new", "two old keys signed, and one of the new set's", &set(7, 2, &[1, 4, 5], &[9]), &[1, 2])
            .refused(few(1, WhoseThreshold::New)),
        next(
            "trust-unknown-key",
            "enough signatures, and one by a key of neither set",
            &set(7, 2, &[1, 2], &[9]),
            &[1, 2, 5],
        )
        .refused(Refusal::UnknownKey(id(5))),
        next(
            "trust-unknown-key-just-revoked",
            "a third signature, by a key of neither set that the new one revokes",
            &set(7, 2, &[1, 2], &[9, 5]),
            &[1, 2, 5],
        )
        .refused(Refusal::RevokedKey(id(5))),
        next(
            "trust-one-key-twice",
            "two signatures by one key in force, where two keys must sign",
            &set(7, 1, &[1], &[9]),
            &[1, 1],
        )
        .refused(few(1, WhoseThreshold::InForce)),
        next(
            "trust-revoked-key",
            "enough signatures, and one by a key that was revoked before",
            &set(7, 2, &[1, 2], &[9]),
            &[1, 2, 9],
        )
        .refused(Refusal::RevokedKey(id(9))),
        next("trust-duplicate-key", "enough keys signed, and one of them twice", &set(7, 2, &[1, 2], &[9]), &[1, 2, 2])
            .refused(Refusal::DuplicateKey(id(2))),
        next("trust-same-version", "the version in force", &set(6, 2, &[1, 2], &[9]), &[1, 2])
            .refused(Refusal::TrustVersion { offered: 6, in_force: 6 }),
        next("trust-skipped-version", "a version is left out", &set(8, 2, &[1, 2], &[9]), &[1, 2])
            .refused(Refusal::TrustVersion { offered: 8, in_force: 6 }),
        next("trust-last-version", "after the last number comes no version", &set(u64::MAX, 1, &[1], &[]), &[1])
            .trusting(set(u64::MAX, 1, &[1], &[]))
            .refused(Refusal::TrustVersion { offered: u64::MAX, in_force: u64::MAX }),
        next(
            "trust-forgotten-revocation",
            "a key that was revoked is not any more",
            &set(7, 2, &[1, 2], &[3]),
            &[1, 2],
        )
        .refused(Refusal::ForgottenRevocation(id(9))),
        next(
            "trust-revoked-returns",
            "a key that was revoked is back among the keys",
            &set(7, 2, &[1, 2, 9], &[9]),
            &[1, 2],
        )
        .refused(bad("it has a key that it revokes")),
        next("trust-no-keys", "no keys", &set(7, 0, &[], &[9]), &[1, 2])
            .refused(bad("it has no key, or requires no signature")),
        next("trust-no-threshold", "a threshold of 0", &set(7, 0, &[1, 2], &[9]), &[1, 2])
            .refused(bad("it has no key, or requires no signature")),
        next(
            "trust-high-threshold",
            "a threshold that all keys together do not meet",
            &set(7, 3, &[1, 2], &[9]),
            &[1, 2],
        )
        .refused(bad("it requires more signatures than it has keys")),
        next(
            "trust-key-twice",
            "a key twice, which would meet a threshold of two alone",
            &set(7, 2, &[1, 1], &[9]),
            &[1, 2],
        )
        .refused(bad("it has a key twice")),
        next("trust-weak-key", "a key of small order", &weak, &[1, 2])
            .refused(bad("one of its keys is not an Ed25519 key, or is weak")),
        next("trust-no-point", "a key that is no point of the curve", &off_the_curve, &[1, 2])
            .refused(bad("one of its keys is not an Ed25519 key, or is weak")),
        next("trust-key-beyond-the-field", "a key whose number is the prime and three", &beyond_the_field, &[1, 2])
            .refused(bad("one of its keys is not an Ed25519 key, or is weak")),
        next("trust-33-keys", "more keys than there may be", &set(7, 2, &(1..=33).collect::<Vec<u8>>(), &[]), &[1, 2])
            .refused(Refusal::BadBody),
        next("trust-1025-revoked", "more revoked keys than there may be", &many_revoked, &[1, 2])
            .refused(Refusal::BadBody),
        Case::new(
            "trust-signature",
            "enough signatures, and one more that does not hold",
            Document::TrustSet,
            bad_signature,
        )
        .trusting(in_force())
        .refused(Refusal::BadSignature(signature_of)),
        Case::new("trust-trailing", "a byte follows the last signature", Document::TrustSet, trailing)
            .trusting(in_force())
            .refused(Refusal::TrailingBytes(1)),
        Case::new("trust-body", "a set that ends too early", Document::TrustSet, undecodable)
            .trusting(in_force())
            .refused(Refusal::BadBody),
        Case::new(
            "trust-body-unbelieved",
            "the same, and too few signed: the body is not looked at",
            Document::TrustSet,
            unsigned_undecodable,
        )
        .trusting(in_force())
        .refused(few(1, WhoseThreshold::InForce)),
        Case::new(
            "host-33-keys",
            "the host has more keys than there may be",
            Document::Bundle,
            sealed(manifest(), &[1]),
        )
        .trusting(set(0, 1, &(1..=33).collect::<Vec<u8>>(), &[]))
        .refused(bad("it has too many keys")),
    ]
}
