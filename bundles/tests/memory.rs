//! What verification allocates: at most twice the bytes that it is given, and [`CONSTANT`], whatever they announce.
#![cfg(feature = "sign")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[path = "format/vector.rs"]
mod vector;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;

use bfp_bundle::debug::Debug;
use bfp_bundle::envelope::Document;
use bfp_bundle::image::{Image, NamedExecutable};
use bfp_bundle::key::KeyId;
use bfp_bundle::manifest::Manifest;
use bfp_bundle::names::build::Automaton;
use bfp_bundle::record::*;
use bfp_bundle::seal::{seal_bundle, seal_token, seal_trust_set};
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Act, Host, Token, Trust, TrustSet, verify, verify_token, verify_trust_set};

use vector::{Vector, outcome};

/// For what has a bound of its own, whatever the file: 32 keys as points of their curve, 64 sections, labels and
/// needs in memory, and a list that is being moved to twice its place.
const CONSTANT: usize = 12 << 10;

/// Counts what a thread has allocated, and the most that it ever had at one time. It does not override
/// `realloc`: so a list that grows counts twice while it is moved.
struct Counting;

thread_local! {
    static HELD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    static PEAK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; nothing but this test is built with it")]
// SAFETY: both methods hand their arguments on to the system's allocator as they are, which keeps the contract.
// The counters are plain cells with a constant initialiser and no destructor: they allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().wrapping_add(layout.size());
        HELD.set(held);
        // What another thread allocated can be freed here, so that the count falls below zero.
        if held < usize::MAX / 2 {
            PEAK.set(PEAK.get().max(held));
        }
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: it was allocated by `alloc` above, which is the system's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `act` held at one time beyond what was held before.
fn peak<T>(act: impl FnOnce() -> T) -> (usize, T) {
    HELD.set(0);
    PEAK.set(0);
    let result = act();
    (PEAK.get(), result)
}

/// Verifies, and returns the peak.
fn verified(document: Document, file: &[u8], trust: &Trust, host: &Host) -> (usize, String) {
    match document {
        Document::Bundle => {
            let (peak, result) = peak(|| verify(file, trust, host));
            (peak, outcome(&result.map(drop)))
        }
        Document::TrustSet => {
            let (peak, result) = peak(|| verify_trust_set(file, trust));
            (peak, outcome(&result.map(drop)))
        }
        Document::Token => {
            let (peak, result) = peak(|| verify_token(file, trust, host));
            (peak, outcome(&result.map(drop)))
        }
    }
}

fn assert_bounded(what: &str, document: Document, file: &[u8], trust: &Trust, host: &Host) {
    let (peak, outcome) = verified(document, file, trust, host);
    let bound = 2 * file.len() + CONSTANT;
    assert!(peak <= bound, "{what}: {peak} bytes for {} ({outcome:.200})", file.len());
}

#[test]
fn the_count_is_one() {
    let (found, bytes) = peak(|| vec![0_u8; 100_000]);
    assert_eq!((found, bytes.len()), (100_000, 100_000));
    // As large as it ends, and half of that while it is moved there for the last time.
    let (found, list) = peak(|| {
        let mut list = Vec::new();
        (0..1_u8 << 7).for_each(|byte| list.push(byte));
        list
    });
    assert_eq!((found, list.len()), (192, 128));
}

#[test]
fn no_vector_costs_more_than_twice_its_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bundles");
    let mut truncated = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let vector = Vector::parse(&text);
        assert_eq!(vector.to_text(), text);
        let Ok(trust) = Trust::of_set(&vector.trust) else {
            assert!(vector.judge().is_err());
            continue;
        };
        let name = path.display().to_string();
        assert_bounded(&name, vector.document, &vector.file, &trust, &vector.host);
        if vector.expect == "accepted" {
            for length in 0..vector.file.len() {
                assert_bounded(&name, vector.document, &vector.file[..length], &trust, &vector.host);
                truncated += 1;
            }
        }
    }
    assert!(truncated > 10_000, "only {truncated} truncations were tried");
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn trust() -> Trust {
    Trust::first(vec![key(1).public()], 1).unwrap()
}

fn host() -> Host {
    Host { now: 1_000, tags: vec![], capabilities: vec![] }
}

fn manifest(audience: Vec<String>, policy: String) -> Manifest {
    Manifest {
        policy,
        revision: 1,
        not_before: None,
        expires: None,
        audience,
        lockdown: false,
        source_sha256: [0; 32],
        lock_sha256: [0; 32],
        compiler: String::new(),
        needs: vec![],
        sections: vec![],
        parameters: vec![],
    }
}

/// As large as a large policy's: 40 MB.
fn large_image(executables: u16) -> Image {
    let cell = Step::ADDRESS_DONE | Step::PORT_DONE;
    let executables: Vec<NamedExecutable> = (0..executables)
        .map(|number| NamedExecutable {
            path: format!("/usr/bin/program-{number}"),
            program: number.into(),
            flags: 1,
            pins: vec![[1; 32]; 3],
            libraries: None,
            members: vec![],
        })
        .collect();
    let paths: Vec<&str> = executables.iter().map(|executable| executable.path.as_str()).collect();
    let places: Vec<u32> = (0..executables.len() as u32).collect();
    Image {
        names: Automaton::of(&paths).unwrap().tables(&places).unwrap(),
        matches: executables.iter().map(NamedExecutable::alone).collect(),
        policy: Policy {
            root_v4: cell,
            root_v6: cell,
            flags: 0,
            program_mask: (1 << 14) - 1,
            pair_mask: (1 << 17) - 1,
            default_rule: NO_RULE,
            raw_cell: 0,
            reserved: 0,
        },
        nodes32: vec![Node32 { ends: [u32::MAX; FANOUT], next: [cell; FANOUT] }; 150_000],
        nodes128: vec![
            Node128 { ends_high: [u64::MAX; FANOUT], ends_low: [u64::MAX; FANOUT], next: [cell; FANOUT] };
            20_000
        ],
        cells: vec![Cell { flags: 0, rule: NO_RULE, audit_rule: NO_RULE, outside_rule: 0 }; 100_000],
        programs: vec![
            ProgramBucket {
                ids: [0; BUCKET],
                flags: [0; BUCKET],
                rules: [0; BUCKET],
                audit_rules: [0; BUCKET]
            };
            1 << 14
        ],
        pairs: vec![
            PairBucket {
                cells: [0; BUCKET],
                programs: [0; BUCKET],
                flags: [0; BUCKET],
                rules: [0; BUCKET],
                audit_rules: [0; BUCKET]
            };
            1 << 17
        ],
        executables,
    }
}

#[test]
fn a_large_policy_costs_a_small_part_of_its_bytes() {
    let image = large_image(50_000);
    let file = seal_bundle(manifest(vec![], "large".to_owned()), &image, &Debug::default(), &[key(1)]).unwrap();
    assert!(file.len() > 30 << 20, "{}", file.len());
    let (peak, outcome) = verified(Document::Bundle, &file, &trust(), &host());
    assert_eq!(outcome, "accepted");
    // The depths of the nodes are all that is noted.
    assert!(peak < file.len() / 20, "{peak} bytes for {}", file.len());
    for length in [file.len() - 1, file.len() / 2, 1_000] {
        assert_bounded("a large policy, cut", Document::Bundle, &file[..length], &trust(), &host());
    }
}

#[test]
fn what_fills_a_body_costs_no_more_than_twice_its_bytes() {
    // The labels of other hosts are told in the refusal, and the name is as long as the body may be.
    let long = "x".repeat(60_000);
    for (audience, policy) in [
        (vec![long.clone()], String::new()),
        (vec![String::new(); 64], String::new()),
        // More than there may be: room for all of them would be 1 MiB.
        (vec![String::new(); 60_000], String::new()),
        (vec!["x".repeat(900); 64], String::new()),
        (vec![], long.clone()),
    ] {
        let image = large_image(0);
        let image = Image { nodes32: vec![], nodes128: vec![], ..image };
        let file =
            seal_bundle(manifest(audience.clone(), policy.clone()), &image, &Debug::default(), &[key(1)]).unwrap();
        // The body alone, as if the sections were not there: they would hide what it costs.
        let length = 24 + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize + 80;
        assert_bounded("a full manifest", Document::Bundle, &file[..length], &trust(), &host());

        let token = Token { act: Act::Release { revision: 1 }, policy, audience, not_before: None, expires: 2_000 };
        let file = seal_token(&token, &[key(1)]).unwrap();
        assert_bounded("a full token", Document::Token, &file, &trust(), &host());
    }
}

#[test]
fn the_largest_trust_set_costs_no_more_than_twice_its_bytes() {
    for (keys, revoked) in [(32, 1024), (1, 1024), (1, 513), (1, 257), (32, 0), (17, 0)] {
        let set = TrustSet {
            version: 1,
            threshold: 1,
            keys: (1..=keys).map(|number| key(number).public().to_bytes()).collect(),
            revoked: (0..revoked)
                .map(|number: u16| KeyId([number.to_le_bytes(); 8].concat().try_into().unwrap()))
                .collect(),
        };
        let file = seal_trust_set(&set, &[key(1)]).unwrap();
        let (_, outcome) = verified(Document::TrustSet, &file, &trust(), &host());
        assert_eq!(outcome, "accepted", "{keys} keys, {revoked} revoked");
        assert_bounded("a large trust set", Document::TrustSet, &file, &trust(), &host());
    }
}
