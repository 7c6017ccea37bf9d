//! A bundle is accepted whole or refused with its own reason, whatever happened to its bytes.
#![cfg(feature = "bundle")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use bfp_bundle::debug::Debug;
use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::image::{Image, Library, NamedExecutable};
use bfp_bundle::manifest::{Manifest, Need, SectionKind};
use bfp_bundle::record::*;
use bfp_bundle::seal::seal_bundle;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::refusal::WhoseThreshold;
use bfp_bundle::verify::{Host, Refusal, Trust, verify};

fn image() -> Image {
    let done = Step::ADDRESS_DONE | Step::PORT_DONE;
    Image {
        policy: Policy {
            root_v4: done,
            root_v6: done,
            flags: 0,
            program_mask: 0,
            pair_mask: 0,
            default_rule: NO_RULE,
            raw_cell: 0,
            reserved: 0,
        },
        nodes32: vec![Node32 { ends: [u32::MAX; FANOUT], next: [done; FANOUT] }],
        nodes128: vec![],
        cells: vec![Cell { flags: 0, rule: NO_RULE, audit_rule: NO_RULE, reserved: 0 }],
        programs: vec![ProgramBucket {
            ids: [0; BUCKET],
            flags: [0; BUCKET],
            rules: [NO_RULE; BUCKET],
            audit_rules: [NO_RULE; BUCKET],
        }],
        pairs: vec![PairBucket {
            cells: [0; BUCKET],
            programs: [0; BUCKET],
            flags: [0; BUCKET],
            rules: [NO_RULE; BUCKET],
            audit_rules: [NO_RULE; BUCKET],
        }],
        executables: vec![NamedExecutable {
            path: "/usr/bin/signer".to_owned(),
            program: 1,
            flags: 1,
            pins: vec![[3; 32]],
            libraries: Some(vec![Library { path: "/usr/lib/libc.so.6".to_owned(), pins: vec![[4; 32]] }]),
        }],
    }
}

fn manifest() -> Manifest {
    Manifest {
        policy: "payments-kms".to_owned(),
        revision: 7,
        not_before: None,
        expires: None,
        audience: vec![],
        lockdown: false,
        source_sha256: [1; 32],
        lock_sha256: [2; 32],
        compiler: "bfpc test".to_owned(),
        needs: vec![Need::BpfLsm as u16],
        sections: vec![],
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn trust(seeds: &[u8], threshold: usize) -> Trust {
    Trust::first(seeds.iter().map(|seed| key(*seed).public()).collect(), threshold).unwrap()
}

fn host() -> Host {
    Host { now: 1_000, labels: Vec::new(), offers: vec![Need::BpfLsm] }
}

fn sealed(manifest: Manifest, keys: &[SecretKey]) -> Vec<u8> {
    seal_bundle(manifest, &image(), &Debug::default(), keys).unwrap()
}

fn refusal(bytes: &[u8]) -> Refusal {
    verify(bytes, &trust(&[1, 2], 1), &host()).unwrap_err()
}

#[test]
fn what_was_sealed_is_accepted_and_holds_what_was_put_in() {
    let bytes = sealed(manifest(), &[key(1)]);
    let trusted = trust(&[1], 1);
    let bundle = verify(&bytes, &trusted, &host()).unwrap();
    assert_eq!(bundle.image().unwrap(), image());
    assert_eq!((bundle.manifest().policy.as_str(), bundle.manifest().revision), ("payments-kms", 7));
    assert_eq!(bundle.section(SectionKind::Policy).len(), 32);
    assert_eq!(bundle.signers(), [key(1).public().id()]);
}

#[test]
fn the_same_release_has_the_same_bytes() {
    assert_eq!(sealed(manifest(), &[key(1), key(2)]), sealed(manifest(), &[key(1), key(2)]));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = sealed(manifest(), &[key(1)]);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&flipped, &trust(&[1], 1), &host()).is_err(), "bit {bit} of {}", bytes.len() * 8);
    }
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let bytes = sealed(manifest(), &[key(1)]);
    for length in 0..bytes.len() {
        assert!(verify(&bytes[..length], &trust(&[1], 1), &host()).is_err(), "length {length}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(refusal(&longer), Refusal::TrailingBytes(1));
}

#[test]
fn two_bundles_cannot_be_spliced() {
    let first = sealed(manifest(), &[key(1)]);
    let second = sealed(Manifest { revision: 8, ..manifest() }, &[key(1)]);
    for cut in HEADER_LENGTH..first.len().min(second.len()) {
        let spliced = [&first[..cut], &second[cut..]].concat();
        if spliced != first && spliced != second {
            assert!(verify(&spliced, &trust(&[1], 1), &host()).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn each_refusal_has_its_own_reason() {
    assert_eq!(refusal(b""), Refusal::Truncated("the header"));
    assert_eq!(refusal(&[0; 100]), Refusal::BadMagic { wanted: Document::Bundle, found: None });
    let mut bytes = sealed(manifest(), &[key(1)]);
    bytes[8] = 9;
    assert_eq!(refusal(&bytes), Refusal::UnknownVersion(9));
    let mut bytes = sealed(manifest(), &[key(1)]);
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(refusal(&bytes), Refusal::Oversize { what: "body", .. }));

    assert_eq!(refusal(&sealed(manifest(), &[key(3)])), Refusal::UnknownKey(key(3).public().id()));
    assert_eq!(refusal(&sealed(manifest(), &[key(1), key(1)])), Refusal::DuplicateKey(key(1).public().id()));
    assert_eq!(
        refusal(&sealed(manifest(), &[])),
        Refusal::Threshold { found: 0, threshold: 1, whose: WhoseThreshold::InForce }
    );
    let one = sealed(manifest(), &[key(1)]);
    let two = verify(&one, &trust(&[1, 2], 2), &host()).unwrap_err();
    assert_eq!(two, Refusal::Threshold { found: 1, threshold: 2, whose: WhoseThreshold::InForce });
    assert!(matches!(Trust::first(vec![], 0), Err(Refusal::BadTrustSet(_))));

    let early = Manifest { not_before: Some(1_001), ..manifest() };
    assert_eq!(refusal(&sealed(early, &[key(1)])), Refusal::NotYetValid { not_before: 1_001, now: 1_000 });
    let late = Manifest { expires: Some(1_000), ..manifest() };
    assert_eq!(refusal(&sealed(late, &[key(1)])), Refusal::Expired { expires: 1_000, now: 1_000 });
    let others = Manifest { audience: vec!["web".to_owned()], ..manifest() };
    assert_eq!(refusal(&sealed(others, &[key(1)])), Refusal::WrongAudience(vec!["web".to_owned()]));
    let future = Manifest { needs: vec![Need::BpfLsm as u16, 99], ..manifest() };
    assert_eq!(refusal(&sealed(future, &[key(1)])), Refusal::UnknownNeed(99));
    let pinned = Manifest { needs: vec![Need::BpfLsm as u16, Need::Verity as u16], ..manifest() };
    assert_eq!(refusal(&sealed(pinned, &[key(1)])), Refusal::UnmetNeed(Need::Verity));
}

#[test]
fn a_signature_of_something_else_is_refused() {
    let mut bytes = sealed(manifest(), &[key(1)]);
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let manifest = bytes[HEADER_LENGTH..HEADER_LENGTH + length].to_vec();
    let place = HEADER_LENGTH + length + SIGNATURE_LENGTH - 64;
    // Over the manifest alone, without the words that say what is signed.
    bytes[place..place + 64].copy_from_slice(&key(1).sign(&manifest));
    assert_eq!(refusal(&bytes), Refusal::BadSignature(key(1).public().id()));
}

#[test]
fn an_image_that_leads_outside_its_tables_is_refused() {
    let broken: [fn(&mut Image); 5] = [
        |image| image.policy.root_v4 = 5,
        |image| image.policy.root_v6 = Step::ADDRESS_DONE | Step::PORT_DONE | 1,
        |image| image.nodes32[0].next[3] = 0,
        |image| image.nodes32[0].ends[15] = 7,
        |image| image.policy.pair_mask = 1,
    ];
    for breaking in broken {
        let mut image = image();
        breaking(&mut image);
        let bytes = seal_bundle(manifest(), &image, &Debug::default(), &[key(1)]).unwrap();
        assert!(matches!(refusal(&bytes), Refusal::Image(_)));
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
    let bytes = sealed(manifest(), &[key(1), key(2)]);
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
    let broken = seal_bundle(manifest(), &broken, &Debug::default(), &[]).unwrap();
    assert!(matches!(peek(&broken).unwrap_err(), Refusal::Image(_)));
}
