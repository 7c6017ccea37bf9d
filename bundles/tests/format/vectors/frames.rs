//! The frame and the signatures, which all three documents have alike.

use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::manifest::{Manifest, SectionKind};
use bfp_bundle::seal::seal;
use bfp_bundle::verify::Refusal;
use bfp_bundle::verify::refusal::WhoseThreshold;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use sha2::{Digest, Sha512};

use super::Case;
use crate::made::{Parts, image, key, keys, manifest, sealed, set};

/// The small policy's bundle, with a few bytes changed.
fn spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = sealed(manifest(), &[1]);
    spoil(&mut file);
    file
}

/// The length of the body of a file.
fn body_length(file: &[u8]) -> usize {
    u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize
}

/// The body of the small policy's bundle, for what shall be signed otherwise.
fn body() -> Vec<u8> {
    let file = sealed(manifest(), &[]);
    file[HEADER_LENGTH..HEADER_LENGTH + body_length(&file)].to_vec()
}

/// The small policy's bundle with another signature in place of the one by key 1.
fn signed_as(signature: &[u8; 64]) -> Vec<u8> {
    spoilt(|file| {
        let end = HEADER_LENGTH + body_length(file) + SIGNATURE_LENGTH;
        file[end - 64..end].copy_from_slice(signature);
    })
}

/// A signature with the order of the group added to its number: the same equation holds, and it is another text.
fn malleable() -> [u8; 64] {
    // 2^252 + 27742317777372353535851937790883648493, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut signature = key(1).sign(&Document::Bundle.signing_payload(&body()));
    let mut carry = 0;
    for (byte, added) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(added) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    signature
}

/// A signature whose point is the neutral element, as the owner of the key alone can make it: the equation holds.
/// OpenSSL accepts it; a strict verifier does not, for such a point has nothing to do with the message.
fn of_small_order() -> [u8; 64] {
    let payload = Document::Bundle.signing_payload(&body());
    let mut point = [0; 32];
    point[0] = 1;
    let secret = Sha512::digest([1; 32]);
    let secret = Scalar::from_bytes_mod_order(clamp_integer(*secret.first_chunk().unwrap()));
    let hash = Sha512::new().chain_update(point).chain_update(key(1).public().to_bytes()).chain_update(payload);
    let number = Scalar::from_bytes_mod_order_wide(&hash.finalize().into()) * secret;
    [point, number.to_bytes()].concat().try_into().unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    let bundle = |name, about, file| Case::new(name, about, Document::Bundle, file);
    let id = |number: u8| key(number).public().id();
    let threshold = |found, threshold| Refusal::Threshold { found, threshold, whose: WhoseThreshold::InForce };
    let whole = sealed(manifest(), &[1]);
    let (body_end, mut signatures_last) = (HEADER_LENGTH + body_length(&whole), sealed(manifest(), &[]));
    signatures_last.truncate(body_end);
    signatures_last[16] = 1;
    let mut two_of_three = sealed(manifest(), &[1, 2, 3]);
    // Who carries the file may leave a signature out: the second one, of three.
    two_of_three.drain(body_end + SIGNATURE_LENGTH..body_end + 2 * SIGNATURE_LENGTH);
    two_of_three[16] = 2;
    vec![
        bundle("empty", "no bytes", vec![]).refused(Refusal::Truncated("the header")),
        bundle("header-cut", "the header's last byte is missing", whole[..HEADER_LENGTH - 1].to_vec())
            .refused(Refusal::Truncated("the header")),
        bundle("magic", "the first byte is another one", spoilt(|file| file[0] ^= 1))
            .refused(Refusal::BadMagic { wanted: Document::Bundle, found: None }),
        bundle(
            "magic-text-mode",
            "a transport made one line end of two bytes",
            spoilt(|file| file.splice(4..6, *b"\n").for_each(drop)),
        )
        .refused(Refusal::BadMagic { wanted: Document::Bundle, found: None }),
        Case::new("magic-of-another", "a bundle where a token is expected", Document::Token, whole.clone())
            .refused(Refusal::BadMagic { wanted: Document::Token, found: Some(Document::Bundle) }),
        bundle("version", "format version 3", spoilt(|file| file[8] = 3)).refused(Refusal::UnknownVersion(3)),
        bundle("reserved", "the reserved field is 1", spoilt(|file| file[20] = 1)).refused(Refusal::Reserved),
        bundle(
            "oversize-body",
            "a body of 4 294 967 295 bytes is announced",
            spoilt(|file| file[12..16].copy_from_slice(&u32::MAX.to_le_bytes())),
        )
        .refused(Refusal::Oversize { what: "body", found: u32::MAX.into(), limit: 65_536 }),
        bundle("oversize-signatures", "33 signatures are announced", spoilt(|file| file[16] = 33))
            .refused(Refusal::Oversize { what: "number of signatures", found: 33, limit: 32 }),
        bundle("body-cut", "the body's last byte is missing", whole[..body_end - 1].to_vec())
            .refused(Refusal::Truncated("the body")),
        bundle("signatures-cut", "a signature is announced and not there", signatures_last)
            .refused(Refusal::Truncated("the signatures")),
        bundle("trailing", "a byte follows the last section", spoilt(|file| file.push(0)))
            .refused(Refusal::TrailingBytes(1)),
        bundle("one-key", "one signature, by the one trusted key; docs/format.md shows its bytes", whole.clone()),
        bundle("two-of-three", "two signatures are enough of three keys; a third one was left out", two_of_three)
            .trusting(set(0, 2, &[1, 2, 3], &[])),
        bundle("threshold", "one signature, and two are demanded", whole.clone())
            .trusting(set(0, 2, &[1, 2, 3], &[]))
            .refused(threshold(1, 2)),
        bundle("unsigned", "no signature", sealed(manifest(), &[])).refused(threshold(0, 1)),
        bundle("unknown-key", "the only signature is by a key that is not trusted", sealed(manifest(), &[2]))
            .refused(Refusal::UnknownKey(id(2))),
        bundle(
            "unknown-key-beside",
            "enough signatures, and one by a key that is not trusted",
            sealed(manifest(), &[1, 2]),
        )
        .refused(Refusal::UnknownKey(id(2))),
        bundle("revoked-key", "enough signatures, and one by a key that is revoked", sealed(manifest(), &[1, 2]))
            .trusting(set(3, 1, &[1], &[2]))
            .refused(Refusal::RevokedKey(id(2))),
        bundle("duplicate-key", "one key signed twice, and two signatures are demanded", sealed(manifest(), &[1, 1]))
            .trusting(set(0, 2, &[1, 2], &[]))
            .refused(Refusal::DuplicateKey(id(1))),
        bundle("signature", "a bit of the signature is flipped", spoilt(|file| file[body_end + 16] ^= 1))
            .refused(Refusal::BadSignature(id(1))),
        bundle(
            "signature-of-the-body",
            "the body is signed as it is, without the words before it",
            signed_as(&key(1).sign(&body())),
        )
        .refused(Refusal::BadSignature(id(1))),
        bundle(
            "signature-of-a-token",
            "the body is signed as if it were a token's",
            signed_as(&key(1).sign(&Document::Token.signing_payload(&body()))),
        )
        .refused(Refusal::BadSignature(id(1))),
        bundle("signature-malleable", "the group's order is added to the signature's number", signed_as(&malleable()))
            .refused(Refusal::BadSignature(id(1))),
        bundle(
            "signature-small-order",
            "the signature's point has small order, and the equation holds",
            signed_as(&of_small_order()),
        )
        .refused(Refusal::BadSignature(id(1))),
        bundle(
            "signature-of-another-key",
            "the entry names key 1, and key 2 signed",
            signed_as(&key(2).sign(&Document::Bundle.signing_payload(&body()))),
        )
        .refused(Refusal::BadSignature(id(1))),
        bundle(
            "manifest-changed",
            "the revision in the body is raised after signing",
            spoilt(|file| file[HEADER_LENGTH + "payments-kms".len() + 1] = 8),
        )
        .refused(Refusal::BadSignature(id(1))),
        bundle("spliced", "the body and the signature of one bundle, the sections of another", {
            let parts = Parts::of(&image());
            let mut other = Parts::of(&image());
            other.sections[3][0] = 4;
            let body = postcard::to_allocvec(&Manifest { revision: 8, ..parts.manifest }).unwrap();
            seal(Document::Bundle, &body, &keys(&[1]), &other.sections.concat())
        })
        .refused(Refusal::SectionDigest(SectionKind::Cells)),
    ]
}
