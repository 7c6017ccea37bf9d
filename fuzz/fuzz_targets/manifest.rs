//! A nearly valid, properly signed bundle: rejected for its content, or accepted as it was made, for this host, with
//! tables through which every request finds its way.
#![no_main]

use bfp_bundle::decide::{Reason, decide, decide_raw};
use bfp_bundle::envelope::Document;
use bfp_bundle::label::Label;
use bfp_bundle::manifest::{Need, SectionKind};
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_bundle::seal::seal;
use bfp_bundle::verify::{Refusal, verify};
use bfp_fuzz::{KEY, host, nearly, trust};
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((manifest, sections)) = nearly::bundle(&mut Unstructured::new(bytes)) else { return };
    let Ok(body) = postcard::to_allocvec(&manifest) else { return };
    let file = seal(Document::Bundle, &body, std::slice::from_ref(&KEY), &sections);
    let (trust, host) = (trust(), host());
    let bundle = match verify(&file, &trust, &host) {
        Ok(bundle) => bundle,
        Err(refusal) => {
            let of_the_frame = matches!(
                refusal,
                Refusal::BadMagic { .. }
                    | Refusal::UnknownVersion(_)
                    | Refusal::Reserved
                    | Refusal::UnknownKey(_)
                    | Refusal::RevokedKey(_)
                    | Refusal::DuplicateKey(_)
                    | Refusal::BadSignature(_)
                    | Refusal::Threshold { .. }
            );
            assert!(!of_the_frame, "{refusal}");
            return;
        }
    };
    assert_eq!(bundle.manifest(), &manifest);
    assert!(manifest.not_before.is_none_or(|time| time <= host.now));
    assert!(manifest.expires.is_none_or(|time| host.now < time));
    assert!(manifest.audience.is_empty() || manifest.audience.contains(&host.tags[0]));
    assert!(manifest.needs.iter().all(|need| Need::from_number(*need).is_some()));
    let _ = bundle.debug();
    let image = bundle.image().expect("what is verified can be decoded");
    for kind in SectionKind::ALL.into_iter().filter(|kind| kind.record_size().is_some()) {
        assert_eq!(image.section(kind), bundle.section(kind), "{kind:?}");
    }

    let labels = image.executables.iter().map(|executable| image.label_of(&executable.path));
    for label in labels.take(4).chain([Label::UNLISTED]) {
        assert_ne!(decide_raw(&image, &label).reason, Reason::Fault);
        for last in [0_u128, 1, 0xcb00_710a, 0x0a09_0000, 0xffff_ffff, 0x2001_0db8 << 96 | 0x10, u128::MAX] {
            for (port, protocol) in [(0, Protocol::Tcp), (443, Protocol::Udp), (u16::MAX, Protocol::Icmp)] {
                for address in [Address::V4(last as u32), Address::v6(last)] {
                    assert_ne!(decide(&image, &label, &Request { address, port, protocol }).reason, Reason::Fault);
                }
            }
        }
    }
});
