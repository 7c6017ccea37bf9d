//! Every folder of fixtures/reject is a policy that `bfpc check policy.bfp` refuses, with the whole report
//! beside it; those of fixtures/warn are accepted with a report. A new case is a new folder; `BFP_BLESS=1 cargo test -p bfp-compiler --test reject` writes the
//! reports, which are then read as an author of policies would read them.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod codes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use codes::{codes, is_code};

/// The files whose codes must each be seen in a report, or have a reason below.
const SHOWN: [&str; 11] = [
    "source/load.rs",
    "resolve/error.rs",
    "resolve/list_source.rs",
    "check.rs",
    "check/concern.rs",
    "check/expiry.rs",
    "check/rotating.rs",
    "lower.rs",
    "prove.rs",
    "source.rs",
    "names/lock/error.rs",
];

/// Codes that no small policy leads to, and why.
const NOT_SHOWN: [(&str, &str); 13] = [
    ("source::control_character", "wants a file with such a name: tests/hostile.rs makes one"),
    ("check::expires_soon", "depends on the day: tests/notes.rs gives one"),
    ("load::too_large", "wants hundreds of files: load/tests.rs makes them"),
    ("resolve::pattern_capacity", "wants thousands of patterns: resolve/tests.rs makes them"),
    ("lower::capacity", "wants a policy of gigabytes"),
    ("lower::id_collision", "wants two paths whose SHA-256 begin with the same eight bytes"),
    ("prove::mismatch", "wants a defect of the compiler: src/prove/tests.rs makes some"),
    ("prove::identity", "wants a defect of the compiler: src/prove/tests.rs makes some"),
    ("prove::name", "wants a defect of the compiler: src/prove/tests.rs makes some"),
    ("prove::clients", "wants a defect of the compiler: src/prove/tests.rs makes some"),
    ("prove::record", "wants a defect of the compiler: src/prove/tests.rs makes some"),
    ("source::too_large", "wants a file of 64 MiB: tests/cli.rs makes a sparse one"),
    ("resolve::empty_set", "the grammar refuses it first, as `syntax::empty_set`"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folders with a report, and the exit code that belongs to it.
fn folders() -> Vec<(PathBuf, i32)> {
    let within = |folder: &str, code: i32| -> Vec<(PathBuf, i32)> {
        let entries = fs::read_dir(root().join("fixtures").join(folder)).unwrap();
        entries.map(|entry| (entry.unwrap().path(), code)).collect()
    };
    let mut folders = [within("reject", 2), within("warn", 0)].concat();
    folders.sort();
    folders
}

#[test]
fn every_policy_of_fixtures_reject_and_warn_gets_its_report() {
    // Whoever writes the reports reads them; in CI they are only ever compared.
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let mut wrong = String::new();
    let folders = folders();
    for (folder, code) in &folders {
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc"))
            .args(["check", "policy.bfp"])
            .current_dir(folder)
            .env_clear()
            .output()
            .unwrap();
        let report = String::from_utf8(ran.stderr).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy();
        assert_eq!(ran.status.code(), Some(*code), "{name}: {report}");
        assert!(ran.stdout.is_empty() || *code == 0, "{name} writes to the standard output");
        assert!(report.contains("  help: "), "{name} offers no help:\n{report}");
        let file = folder.join("report.txt");
        if bless {
            fs::write(&file, &report).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if report != expected {
            wrong += &format!("== {name}, expected:\n{expected}\n== {name}, found:\n{report}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}`BFP_BLESS=1` writes what was found");
    assert!(folders.len() >= 100, "only {} policies were tried", folders.len());
}

#[test]
fn every_diagnostic_code_has_a_folder() {
    let report = |(folder, _): &(PathBuf, i32)| fs::read_to_string(folder.join("report.txt")).unwrap_or_default();
    let reports: String = folders().iter().map(report).collect();
    let seen: BTreeSet<&str> = reports.lines().filter_map(code_of_line).collect();
    for file in SHOWN {
        let source = fs::read_to_string(root().join("compiler/src").join(file)).unwrap();
        let codes = codes(&source);
        assert!(!codes.is_empty(), "{file} no longer writes its codes as `code(stage::reason)`");
        for code in codes {
            let reason = NOT_SHOWN.iter().find(|(hidden, _)| *hidden == code);
            assert_ne!(seen.contains(code), reason.is_some(), "`{code}` needs a folder in fixtures/reject");
        }
    }
    let syntax = seen.iter().filter(|code| code.starts_with("syntax::")).count();
    assert!(syntax >= 10, "only {syntax} mistakes of syntax are shown");
}

#[test]
fn every_diagnostic_code_is_explained_in_docs_errors() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let every = codes::every_code();
    for code in &every {
        assert!(page.contains(&format!("| `{code}` |")), "docs/errors.md does not explain `{code}`");
    }
    assert!(every.len() > 90, "only {} codes were found", every.len());
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, every.len(), "docs/errors.md explains a code that is gone, or one of them twice");
}

/// `stage::reason`, alone on its line or behind `Error: `.
fn code_of_line(line: &str) -> Option<&str> {
    Some(line.strip_prefix("Error: ").unwrap_or(line)).filter(|code| is_code(code))
}
