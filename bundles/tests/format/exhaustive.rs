//! All that can happen to a small file: every bit flipped, every length, every pair of parts exchanged, every cut
//! between two files.

use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::image::Image;
use bfp_bundle::manifest::{Manifest, SectionKind};
use bfp_bundle::seal::{seal_token, seal_trust_set};
use bfp_bundle::unverified::{peek, peek_token, peek_trust_set};
use bfp_bundle::verify::{Refusal, Token, verify, verify_token, verify_trust_set};

use crate::made::{Parts, host, image, keys, manifest, sealed, set, token, trust};

/// A file of each kind that is accepted, signed by two of two keys, and another release of it.
fn files() -> [(Document, Vec<u8>, Vec<u8>); 3] {
    let signers = keys(&[1, 2]);
    let set = |threshold| seal_trust_set(&set(1, threshold, &[1, 2], &[]), &signers).unwrap();
    let token = |expires| seal_token(&Token { expires, ..token() }, &signers).unwrap();
    [
        (Document::Bundle, sealed(manifest(), &[1, 2]), sealed(Manifest { revision: 8, ..manifest() }, &[1, 2])),
        (Document::TrustSet, set(1), set(2)),
        (Document::Token, token(2_000), token(2_001)),
    ]
}

fn judge(document: Document, file: &[u8]) -> Result<(), Refusal> {
    let trust = trust(&[1, 2], 2);
    match document {
        Document::Bundle => verify(file, &trust, &host()).map(drop),
        Document::TrustSet => verify_trust_set(file, &trust).map(drop),
        Document::Token => verify_token(file, &trust, &host()).map(drop),
    }
}

/// How it is told that no signature holds. Of a trust set, those that hold are counted before its body is read, and
/// those that do not are told later.
fn holds_no_signature(document: Document, refusal: &Refusal) -> bool {
    match document {
        Document::TrustSet => matches!(refusal, Refusal::Threshold { found: 0, .. }),
        _ => matches!(refusal, Refusal::BadSignature(_)),
    }
}

fn body_end(file: &[u8]) -> usize {
    HEADER_LENGTH + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize
}

#[test]
fn every_flipped_bit_is_refused() {
    for (document, mut file, _) in files() {
        assert_eq!(judge(document, &file), Ok(()));
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            assert!(judge(document, &file).is_err(), "{document}: bit {bit} of {}", file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// A look at a file that nobody vouches for may show anything, but it ends.
#[test]
fn no_flipped_bit_and_no_length_upsets_a_peek() {
    for (document, mut file, _) in files() {
        let is_shown = |file: &[u8]| match document {
            Document::Bundle => peek(file).is_ok(),
            Document::TrustSet => peek_trust_set(file).is_ok(),
            Document::Token => peek_token(file).is_ok(),
        };
        assert!(is_shown(&file), "{document}");
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            is_shown(&file);
            file[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..file.len() {
            assert!(!is_shown(&file[..length]), "{document}: length {length} of {}", file.len());
        }
    }
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    for (document, mut file, _) in files() {
        for length in 0..file.len() {
            let refusal = judge(document, &file[..length]).unwrap_err();
            assert!(matches!(refusal, Refusal::Truncated(_)), "{document}: length {length}: {refusal}");
        }
        for count in 1..100 {
            file.push(count);
            assert_eq!(judge(document, &file), Err(Refusal::TrailingBytes(count.into())), "{document}");
        }
    }
}

#[test]
fn two_files_cannot_be_spliced() {
    for (document, first, second) in files() {
        for cut in 1..first.len().min(second.len()) {
            let spliced = [&first[..cut], &second[cut..]].concat();
            if spliced != first && spliced != second {
                assert!(judge(document, &spliced).is_err(), "{document}: cut at {cut}");
            }
        }
        // The sections are the same here, so only body and signatures can be told apart.
        let (end, other_end) = (body_end(&first), body_end(&second));
        let both = 2 * SIGNATURE_LENGTH;
        let other_signatures = [&first[..end], &second[other_end..other_end + both], &first[end + both..]].concat();
        let refusal = judge(document, &other_signatures).unwrap_err();
        assert!(holds_no_signature(document, &refusal), "{document}: {refusal}");
    }
}

#[test]
fn no_document_passes_for_another() {
    for (document, file, _) in files() {
        for other in Document::ALL.into_iter().filter(|other| *other != document) {
            let refusal = Refusal::BadMagic { wanted: other, found: Some(document) };
            assert_eq!(judge(other, &file), Err(refusal));
            // With the other's magic bytes the signatures hold no more.
            let mut renamed = [&other.magic(), &file[8..]].concat();
            renamed[8] = other.version() as u8;
            let refusal = judge(other, &renamed).unwrap_err();
            let expected = match other {
                // Whose signatures hold is counted first here, and which does not is told later.
                Document::TrustSet => {
                    matches!(refusal, Refusal::Threshold { found: 0, .. } | Refusal::TrailingBytes(_))
                }
                _ => matches!(refusal, Refusal::BadSignature(_) | Refusal::TrailingBytes(_)),
            };
            assert!(expected, "a {document} as a {other}: {refusal}");
        }
    }
}

#[test]
fn signatures_may_stand_in_any_order() {
    for (document, file, _) in files() {
        let end = body_end(&file);
        let (first, second) = (end..end + SIGNATURE_LENGTH, end + SIGNATURE_LENGTH..end + 2 * SIGNATURE_LENGTH);
        let swapped = [&file[..end], &file[second.clone()], &file[first], &file[second.end..]].concat();
        assert_ne!(swapped, file);
        assert_eq!(judge(document, &swapped), Ok(()));
    }
}

/// Every two kinds of sections, as places.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let count = SectionKind::ALL.len();
    (0..count).flat_map(move |one| (one + 1..count).map(move |other| (one, other)))
}

#[test]
fn two_sections_cannot_change_places_behind_the_manifests_back() {
    let whole = Parts::of(&full_image());
    for (one, other) in pairs() {
        let mut parts = whole.clone();
        parts.sections.swap(one, other);
        let refusal = judge(Document::Bundle, &parts.sealed(&[1, 2])).unwrap_err();
        let expected = matches!(refusal, Refusal::SectionDigest(_) | Refusal::Truncated(_));
        assert!(expected, "sections {one} and {other}: {refusal}");

        // The manifest's entries, signed again, and not the sections.
        let mut parts = whole.clone();
        parts.manifest.sections.swap(one, other);
        let refusal = judge(Document::Bundle, &parts.sealed(&[1, 2])).unwrap_err();
        let expected = matches!(refusal, Refusal::SectionDigest(_) | Refusal::Truncated(_));
        assert!(expected, "entries {one} and {other}: {refusal}");
    }
}

#[test]
fn sections_may_stand_in_any_order_that_is_signed() {
    let whole = Parts::of(&full_image());
    for (one, other) in pairs() {
        let mut parts = whole.clone();
        parts.manifest.sections.swap(one, other);
        parts.sections.swap(one, other);
        let (file, trust) = (parts.sealed(&[1, 2]), trust(&[1, 2], 2));
        let bundle = verify(&file, &trust, &host()).unwrap();
        assert_eq!(bundle.image().unwrap(), full_image(), "sections {one} and {other}");
    }
}

#[test]
fn a_section_does_not_pass_for_one_of_another_kind() {
    let whole = Parts::of(&full_image());
    for (one, other) in pairs() {
        let mut parts = whole.clone();
        // The kinds are exchanged, with what each announces, but the bytes stay.
        let (first, second) = (parts.manifest.sections[one].kind, parts.manifest.sections[other].kind);
        (parts.manifest.sections[one].kind, parts.manifest.sections[other].kind) = (second, first);
        let found = judge(Document::Bundle, &parts.sealed(&[1, 2]));
        match (one, other) {
            // Buckets are alike in size, and any bytes are buckets.
            (4, 5) => assert_eq!(found, Ok(())),
            (6, 7) => assert!(matches!(found, Err(Refusal::Image(_))), "{found:?}"),
            // Records of one size: bytes of one kind can be structure of another, and change what it means. So they
            // are named by the manifest, which is signed.
            (0, 8) | (3, 10) | (3, 12) | (4, 14) | (5, 14) | (9, 13) | (10, 12) => {
                assert!(matches!(found, Ok(()) | Err(Refusal::Image(_))), "kinds {one} and {other}: {found:?}");
            }
            _ => assert!(matches!(found, Err(Refusal::SectionSize(_))), "kinds {one} and {other}: {found:?}"),
        }
    }
}

/// The small policy, with a record in every table.
fn full_image() -> Image {
    let node = bfp_bundle::record::Node128 { ends_high: [u64::MAX; 16], ends_low: [u64::MAX; 16], next: [3 << 30; 16] };
    Image { nodes128: vec![node], ..image() }
}
