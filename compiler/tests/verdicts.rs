//! Every policy of fixtures/accept and fixtures/allow-lists compiles, and its verdict table holds on the plain model and on
//! `decide` over the image. The kernel tests hold the same tables against real sockets.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail loudly")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bfp_bundle::decide::{decide, decide_raw};
use bfp_bundle::label::{Label, Proof};
use bfp_bundle::record::NO_RULE;
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_bundle::verify::Refusal;
use bfp_compiler::lower;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline::{self, Compiled};
use bfp_compiler::policy::model::{self, Answer, Asked, Process};
use bfp_compiler::policy::{Program, ProgramIndex, ResolvedPolicy};
use bfp_compiler::resolve::Source;
use bfp_compiler::source::load;
use bfp_compiler::source::{self, Disk};

fn fixtures() -> Vec<PathBuf> {
    let all = |name| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name)).unwrap();
    let entries = all("accept").chain(all("allow-lists"));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_verdict_table_holds_on_the_model_and_on_decide() {
    let mut rows = 0;
    for folder in fixtures() {
        rows += check_table(&folder);
    }
    assert!(rows > 1000, "only {rows} rows were checked");
}

fn check_table(folder: &Path) -> usize {
    let loaded = load::load(&folder.join("policy.bfp"), &Disk)
        .unwrap_or_else(|failure| panic!("{}: {:?}", folder.display(), failure.findings));
    let lock_path = folder.join("policy.bfp.lock");
    let lock_text = if lock_path.exists() { source::read_text(&lock_path).unwrap() } else { String::new() };
    let lock = if lock_text.is_empty() { Lock::default() } else { Lock::parse(&lock_text).unwrap() };
    let source = Source { loaded: &loaded, stem: "policy", lock_text: &lock_text, lock: &lock };
    let Compiled { checked, image, .. } =
        pipeline::compile(&source).unwrap_or_else(|findings| panic!("{}: {findings:?}", folder.display()));
    let unmet = folder.join("unmet.txt");
    if unmet.exists() {
        let sentence = source::read_text(&unmet).unwrap();
        let refusals = lower::needs(&checked).into_iter().map(|need| Refusal::UnmetNeed(need).to_string());
        assert!(refusals.into_iter().any(|refusal| refusal == sentence.trim()), "{}: {sentence}", folder.display());
    }

    let mut rows = 0;
    for row in source::read_text(&folder.join("verdicts.txt")).unwrap().lines() {
        let row = row.split('#').next().unwrap_or_default();
        let words: Vec<&str> = row.split_whitespace().collect();
        let [program, destination, expected] = words.as_slice() else {
            assert!(words.is_empty(), "{}: {row}", folder.display());
            continue;
        };
        let asked = if *destination == "raw" { Asked::Raw } else { Asked::Request(request(destination)) };
        let (mut process, mut label) = (Process::default(), Label::UNLISTED);
        for path in program.split('>') {
            let index = program_at(checked.policy(), path);
            let with_children = index.is_some_and(|index| checked.policy().programs[index.0].with_children);
            process.program = index;
            process.restricted_by.extend(index);
            process.inherited_from.extend(index.filter(|_| with_children));
            label.execute(image.match_of(path), Proof::Proven);
        }
        let expected = match *expected {
            "allowed" => Answer { allowed: true, audited: false },
            "audited" => Answer { allowed: true, audited: true },
            "denied" => Answer { allowed: false, audited: false },
            other => panic!("{}: {other}", folder.display()),
        };
        let verdict = match &asked {
            Asked::Raw => decide_raw(&image, &label),
            Asked::Request(request) => decide(&image, &label, request),
        };
        let decided = Answer { allowed: verdict.is_allowed(), audited: verdict.audited != NO_RULE };
        assert_eq!(decided, expected, "{}: {row}: decide says {verdict:?}", folder.display());
        let modelled = model::answer(checked.policy(), &process, asked);
        assert_eq!(modelled, expected, "{}: {row}: the model disagrees", folder.display());
        rows += 1;
    }
    assert!(rows > 0, "{}: the table is empty", folder.display());
    rows
}

fn request(destination: &str) -> Request {
    let (place, protocol) = destination.rsplit_once('/').unwrap();
    // ICMP has no ports.
    let place = if protocol == "icmp" { format!("{place}:0") } else { place.to_owned() };
    let place: SocketAddr = place.parse().unwrap();
    Request {
        address: match place {
            SocketAddr::V4(place) => Address::V4(place.ip().to_bits()),
            SocketAddr::V6(place) => Address::v6(place.ip().to_bits()),
        },
        port: place.port(),
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            other => panic!("{other}"),
        },
    }
}

/// What the file at a path is, by what the language says of patterns.
fn program_at(policy: &ResolvedPolicy, path: &str) -> Option<ProgramIndex> {
    let matched = |program: &&(usize, &Program)| {
        let in_root = program.1.path.strip_prefix("/usr").filter(|rest| rest.starts_with("/bin/"));
        let ways = [Some(program.1.path.as_str()), in_root];
        !program.1.is_class() && ways.into_iter().flatten().any(|pattern| is_one(pattern, path))
    };
    let all: Vec<(usize, &Program)> = policy.programs.iter().enumerate().collect();
    let members: Vec<ProgramIndex> = all.iter().filter(matched).map(|(index, _)| ProgramIndex(*index)).collect();
    match members.as_slice() {
        [] => None,
        [only] => Some(*only),
        _ => all.iter().find(|(_, program)| program.members == members).map(|(index, _)| ProgramIndex(*index)),
    }
}

fn is_one(pattern: &str, path: &str) -> bool {
    fn folders(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            ([], path) => path.is_empty(),
            (["**"], path) => !path.is_empty(),
            (["**", rest @ ..], path) => (0..=path.len()).any(|at| folders(rest, &path[at..])),
            ([first, rest @ ..], [name, below @ ..]) => {
                letters(first.as_bytes(), name.as_bytes()) && folders(rest, below)
            }
            _ => false,
        }
    }
    fn letters(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            ([b'*', rest @ ..], name) => (0..=name.len()).any(|at| letters(rest, &name[at..])),
            ([first, rest @ ..], [letter, behind @ ..]) => first == letter && letters(rest, behind),
            _ => false,
        }
    }
    let (pattern, path): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').skip(1).collect(), path.split('/').skip(1).collect());
    folders(&pattern, &path)
}
