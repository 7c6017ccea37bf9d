//! A policy and a lock with any content: no panic, and if they compile, the tables answer as the plain model does. The
//! lock follows a line `--- lock`.
#![no_main]

use std::path::Path;

use bfp_bundle::decide::{decide, decide_raw};
use bfp_bundle::label::{Label, Proof};
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_compiler::annotate;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline;
use bfp_compiler::policy::model::{self, Asked, Process};
use bfp_compiler::policy::{Addresses, ProgramIndex, ResolvedPolicy};
use bfp_compiler::resolve;
use bfp_compiler::resolve::Source;
use bfp_compiler::source::load;
use bfp_fuzz::NoFiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (policy, lock_text) = text.split_once("--- lock\n").unwrap_or((text, ""));
    let lock = match Lock::parse(lock_text) {
        Ok(lock) => {
            assert_eq!(Lock::parse(&lock.to_text()).as_ref(), Ok(&lock), "{lock_text:?}");
            lock
        }
        Err(_) => Lock::default(),
    };
    let Ok(loaded) = load::load_text("fuzz.bfp", "fuzz.bfp", policy, Path::new(""), &NoFiles) else { return };
    let _ = resolve::dns_names(&loaded);
    let source = Source { loaded: &loaded, stem: "fuzz", lock_text, lock: &lock };
    let Ok(checked) = pipeline::check(&source) else { return };
    let Ok(image) = pipeline::lower(&checked) else { return };
    let _ = annotate::debug(&source, &checked, &image);
    assert!(pipeline::prove(&checked, image.clone()).is_ok(), "the image is not what the policy means");
    let requests = requests(checked.policy());
    let strangers = std::iter::once((Label::UNLISTED, Process::of(None)));
    // Programs and classes that a file can be. A program whose every file matches another one too has no label.
    let found = image.found().take(8).filter_map(|record| {
        let executable = image.executables.iter().find(|executable| executable.program == record.program)?;
        let at = checked.policy().programs.iter().position(|program| program.path == executable.path)?;
        let mut label = Label::UNLISTED;
        label.execute(Some(record), Proof::Proven);
        Some((label, Process::of(Some(ProgramIndex(at)))))
    });
    for (label, process) in strangers.chain(found) {
        let modelled = model::answer(checked.policy(), &process, Asked::Raw);
        assert_eq!(decide_raw(&image, &label).is_allowed(), modelled.allowed, "{process:?} raw");
        for request in &requests {
            let modelled = model::answer(checked.policy(), &process, Asked::Request(*request));
            assert_eq!(decide(&image, &label, request).is_allowed(), modelled.allowed, "{process:?} {request:?}");
        }
    }
});

/// Requests at the edges of the policy's destinations.
fn requests(policy: &ResolvedPolicy) -> Vec<Request> {
    let mut requests = Vec::new();
    for destination in policy.rules.iter().flat_map(|rule| &rule.destinations).take(16) {
        let addresses = match destination.addresses {
            Addresses::V4(first, last) => [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Address::V4),
            Addresses::V6(first, last) => [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Address::v6),
            Addresses::Raw => continue,
        };
        for address in addresses {
            for protocol in Protocol::ALL {
                for port in [0, 443, u16::MAX] {
                    requests.push(Request { address, port, protocol });
                }
            }
        }
    }
    requests
}
