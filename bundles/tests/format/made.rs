//! What the tests make documents of: keys, a host, a small policy, and a bundle in parts that can be spoilt.

use bfp_bundle::debug::{Debug, DebugEffect, DebugHost, DebugName, DebugProgram, DebugRule, Place};
use bfp_bundle::envelope::Document;
use bfp_bundle::image::{Image, Library, NamedExecutable};
use bfp_bundle::label::ProgramId;
use bfp_bundle::manifest::{Manifest, Need, SectionEntry, SectionKind};
use bfp_bundle::names::build::Automaton;
use bfp_bundle::record::*;
use bfp_bundle::seal::{seal, seal_bundle};
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{Act, Host, Token, Trust, TrustSet};
use sha2::{Digest, Sha256};

/// The key of a number.
pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

/// Several.
pub(crate) fn keys(numbers: &[u8]) -> Vec<SecretKey> {
    numbers.iter().map(|number| key(*number)).collect()
}

/// Such keys in force.
pub(crate) fn trust(numbers: &[u8], threshold: usize) -> Trust {
    Trust::first(numbers.iter().map(|number| key(*number).public()).collect(), threshold).unwrap()
}

/// A host at the time 1000 that offers what the small policy needs.
pub(crate) fn host() -> Host {
    Host { now: 1_000, tags: Vec::new(), capabilities: vec![Need::BpfLsm] }
}

/// Both an address and a port decided: a cell.
const CELL: u32 = Step::ADDRESS_DONE | Step::PORT_DONE;

/// A node whose children end where they are told to, and repeat the last one.
fn node32(children: &[(u32, u32)]) -> Node32 {
    let mut node = Node32 { ends: [u32::MAX; FANOUT], next: [children.last().unwrap().1; FANOUT] };
    for (index, (end, next)) in children.iter().enumerate() {
        node.ends[index] = *end;
        node.next[index] = *next;
    }
    node
}

/// The id of the program of the small policy.
pub(crate) fn program_id(path: &str) -> ProgramId {
    let digest = Sha256::new().chain_update(b"bfp program path\0").chain_update(path).finalize();
    u64::from_le_bytes(*digest.first_chunk().unwrap())
}

/// `only "/usr/bin/signer" -> 203.0.113.10:443/tcp`
pub(crate) fn image() -> Image {
    let unlisted = ProgramBucket {
        ids: [0; BUCKET],
        flags: [0; BUCKET],
        rules: [NO_RULE; BUCKET],
        audit_rules: [NO_RULE; BUCKET],
    };
    let mut programs = unlisted;
    let id = program_id("/usr/bin/signer");
    (programs.ids[0], programs.flags[0]) = (id, Pair::INSIDE | Pair::AUDIT_INSIDE);
    let mut pairs = PairBucket {
        cells: [0; BUCKET],
        programs: [0; BUCKET],
        flags: [0; BUCKET],
        rules: [NO_RULE; BUCKET],
        audit_rules: [NO_RULE; BUCKET],
    };
    (pairs.cells[0], pairs.programs[0], pairs.rules[0]) = (1, 1, 0);
    pairs.flags[0] = Pair::MEMBER | Pair::INSIDE | Pair::GRANTED | Pair::AUDIT_INSIDE;
    programs.flags[0] |= ProgramBucket::GUARDED | ProgramBucket::LIBRARIES;
    let executables = vec![signer(id)];
    Image {
        names: Automaton::of(&["/usr/bin/signer"]).unwrap().tables(&[0]).unwrap(),
        matches: executables.iter().map(NamedExecutable::alone).collect(),
        executables,
        policy: Policy {
            root_v4: 1,
            root_v6: CELL,
            flags: 0,
            program_mask: 0,
            pair_mask: 0,
            default_rule: NO_RULE,
            raw_cell: 0,
            reserved: 0,
        },
        nodes32: vec![
            node32(&[(442, CELL), (443, CELL | 1), (u32::MAX, CELL)]),
            node32(&[(0xcb00_7109, CELL), (0xcb00_710a, Step::ADDRESS_DONE), (u32::MAX, CELL)]),
        ],
        nodes128: vec![],
        cells: vec![
            Cell { flags: 0, rule: NO_RULE, audit_rule: NO_RULE, outside_rule: 0 },
            Cell { flags: Cell::EXCLUSIVE, rule: 0, audit_rule: NO_RULE, outside_rule: 0 },
        ],
        programs: vec![programs],
        pairs: vec![pairs],
    }
}

/// Its program.
fn signer(id: ProgramId) -> NamedExecutable {
    NamedExecutable {
        path: "/usr/bin/signer".to_owned(),
        program: id,
        flags: 4,
        pins: vec![[3; 32]],
        libraries: Some(vec![Library { path: "/usr/lib/libc.so.6".to_owned(), pins: vec![[4; 32]] }]),
        members: vec![],
    }
}

/// Where the rule of the small policy stands.
pub(crate) fn debug() -> Debug {
    Debug {
        rules: vec![DebugRule {
            place: Place { file: "kms.bfp".to_owned(), line: 3, text: "only signer -> kms".to_owned() },
            effect: DebugEffect::Exclusive,
            is_audited: false,
            subjects: Some(vec![0]),
            destinations: "kms".to_owned(),
        }],
        default: None,
        cells: vec![vec![], vec![0]],
        names: vec![DebugName { address: [203, 0, 113, 10].into(), name: "kms.example.com".to_owned() }],
        programs: vec![DebugProgram { path: "/usr/bin/signer".to_owned(), name: "signer".to_owned() }],
        hosts: vec![DebugHost { name: "kms".to_owned(), destinations: "kms.example.com:443/tcp".to_owned() }],
        locked: Vec::new(),
        notes: vec![],
    }
}

/// What the release of the small policy says about itself.
pub(crate) fn manifest() -> Manifest {
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
        parameters: vec![],
    }
}

/// The small policy, sealed.
pub(crate) fn sealed(manifest: Manifest, numbers: &[u8]) -> Vec<u8> {
    seal_bundle(manifest, &image(), &debug(), &keys(numbers)).unwrap()
}

/// A bundle in parts: what the manifest announces, and what is there.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    pub(crate) sections: Vec<Vec<u8>>,
}

impl Parts {
    /// Those of an image.
    pub(crate) fn of(image: &Image) -> Parts {
        let mut parts = Parts { manifest: manifest(), sections: Vec::new() };
        for kind in SectionKind::ALL {
            let bytes = match kind {
                SectionKind::Debug => postcard::to_allocvec(&debug()).unwrap(),
                _ => image.section(kind),
            };
            parts.manifest.sections.push(entry(kind, &bytes));
            parts.sections.push(bytes);
        }
        parts
    }

    /// Those of the small policy, with a section in place of one of its own.
    pub(crate) fn with_section(kind: SectionKind, bytes: Vec<u8>) -> Parts {
        let mut parts = Parts::of(&image());
        let place = SectionKind::ALL.iter().position(|other| *other == kind).unwrap();
        parts.manifest.sections[place] = entry(kind, &bytes);
        parts.sections[place] = bytes;
        parts
    }

    /// As the first format has them: without tables of names, and with executables that have no members.
    pub(crate) fn old() -> Parts {
        let mut parts = Parts::of(&image());
        let executable = image().executables.remove(0);
        let NamedExecutable { path, program, flags, pins, libraries, .. } = executable;
        let executables = postcard::to_allocvec(&[(path, program, flags, pins, libraries)].as_slice()).unwrap();
        let kind = SectionKind::Executables;
        parts.manifest.sections[6] = entry(kind, &executables);
        parts.sections[6] = executables;
        parts.manifest.sections.truncate(8);
        parts.sections.truncate(8);
        parts
    }

    /// The file of the first format, signed.
    pub(crate) fn sealed_old(&self, numbers: &[u8]) -> Vec<u8> {
        let mut file = self.sealed(numbers);
        // The version stands in the header, which is not signed.
        file[8] = 1;
        file
    }

    /// The file, signed.
    pub(crate) fn sealed(&self, numbers: &[u8]) -> Vec<u8> {
        let body = postcard::to_allocvec(&self.manifest).unwrap();
        seal(Document::Bundle, &body, &keys(numbers), &self.sections.concat())
    }
}

/// As a manifest announces such bytes.
fn entry(kind: SectionKind, bytes: &[u8]) -> SectionEntry {
    let record = kind.record_size();
    SectionEntry {
        kind: kind as u16,
        key_size: record.map_or(0, |_| 4),
        value_size: record.unwrap_or(0) as u32,
        count: record.map_or(0, |record| bytes.len() / record) as u32,
        length: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    }
}

/// A trust set of such keys.
pub(crate) fn set(version: u64, threshold: u16, numbers: &[u8], revoked: &[u8]) -> TrustSet {
    TrustSet {
        version,
        threshold,
        keys: numbers.iter().map(|number| key(*number).public().to_bytes()).collect(),
        revoked: revoked.iter().map(|number| key(*number).public().id()).collect(),
    }
}

/// A consent to releasing the small policy.
pub(crate) fn token() -> Token {
    Token {
        act: Act::Release { revision: 7 },
        policy: "payments-kms".to_owned(),
        audience: vec![],
        not_before: None,
        expires: 2_000,
    }
}
