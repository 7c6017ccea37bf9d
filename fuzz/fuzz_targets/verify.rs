//! Bytes of a changed bundle: rejected, or accepted as sealed. The first byte selects the change: the file as it is;
//! its manifest, signed again; its sections, signed again; or all bytes arbitrary.
#![no_main]

use bfp_bundle::manifest::{Manifest, SectionKind};
use bfp_bundle::verify::verify;
use bfp_fuzz::{BUNDLE, edited, host, parts, signed, trust};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, edits)) = bytes.split_first() else { return };
    let (manifest, sections) = parts();
    match mode % 4 {
        0 => {
            let bundle = edited(&BUNDLE, edits);
            let accepted = verify(&bundle, &trust(), &host()).is_ok();
            assert_eq!(accepted, bundle == *BUNDLE, "another file than was signed is accepted");
        }
        1 => try_verify(&signed(&edited(manifest, edits), sections)),
        2 => try_verify(&with_sections(manifest, edited(sections, edits))),
        _ => try_verify(edits),
    }
});

fn try_verify(bundle: &[u8]) {
    if let Ok(bundle) = verify(bundle, &trust(), &host()) {
        for kind in SectionKind::ALL {
            let section = bundle.section(kind);
            assert!(kind.record_size().is_none_or(|size| section.len() % size == 0));
        }
    }
}

/// Announces the sections as they are: the last one ends where the bytes end.
fn with_sections(manifest: &[u8], sections: Vec<u8>) -> Vec<u8> {
    let (mut manifest, _) = postcard::take_from_bytes::<Manifest>(manifest).expect("it was sealed");
    let mut rest = sections.as_slice();
    for entry in &mut manifest.sections {
        let record = SectionKind::from_number(entry.kind).and_then(SectionKind::record_size);
        let mut length = (entry.length as usize).min(rest.len());
        if let Some(record) = record {
            length -= length % record;
            entry.count = (length / record) as u32;
        }
        let (bytes, after) = rest.split_at(length);
        entry.length = length as u64;
        entry.sha256 = Sha256::digest(bytes).into();
        rest = after;
    }
    let announced = sections.len() - rest.len();
    signed(&postcard::to_allocvec(&manifest).expect("a list in memory"), &sections[..announced])
}
