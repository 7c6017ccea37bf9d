//! Sections with any change: rejected, or tables through which every request finds its way, and which encode to the
//! bytes they were decoded from.
#![no_main]

use bfp_bundle::decide::{decide, decide_raw};
use bfp_bundle::envelope::BUNDLE_VERSION;
use bfp_bundle::image::Image;
use bfp_bundle::label::Label;
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_bundle::verify::verify;
use bfp_fuzz::{BUNDLE, edited, host, trust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, edits)) = bytes.split_first() else { return };
    let trust = trust();
    let Ok(valid) = verify(&BUNDLE, &trust, &host()) else { panic!("the valid bundle is refused") };
    let changed = SectionKind::ALL[usize::from(*which) % SectionKind::ALL.len()];
    let section = edited(valid.section(changed), edits);
    let find = |kind| if kind == changed { section.as_slice() } else { valid.section(kind) };
    let Ok(image) = Image::decode(BUNDLE_VERSION, find) else { return };
    for kind in SectionKind::ALL.into_iter().filter(|kind| kind.record_size().is_some()) {
        assert_eq!(image.section(kind), find(kind), "{kind:?}");
    }
    let labels = image.executables.iter().map(|executable| image.label_of(&executable.path));
    for label in labels.take(4).chain([Label::UNLISTED]) {
        let _ = decide_raw(&image, &label);
        for last in [0_u128, 1, 0xcb00_710a, 0x0a09_0000, 0xffff_ffff, 0x2001_0db8 << 96 | 0x10, u128::MAX] {
            for (port, protocol) in [(0, Protocol::Tcp), (443, Protocol::Udp), (u16::MAX, Protocol::Icmp)] {
                let _ = decide(&image, &label, &Request { address: Address::V4(last as u32), port, protocol });
                let _ = decide(&image, &label, &Request { address: Address::v6(last), port, protocol });
            }
        }
    }
});
