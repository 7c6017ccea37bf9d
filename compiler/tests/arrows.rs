//! The floors of each source tree: which module may use which. A module uses those of its own floor and of the floors
//! below, and never one above: a stage cannot look at a later one, nor what decides at what reports.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A source tree, its floors from the ground up, and what stands beside them.
const TREES: [(&str, &[&str], &[&str]); 4] = [
    (
        "compiler/src",
        &[
            "diagnostics",
            "source",
            "names",
            "policy",
            "resolve",
            "check",
            "lower",
            "prove",
            "query",
            "annotate",
            "pipeline",
        ],
        &["lib", "bin"],
    ),
    ("compiler/src/bin/bfpc", &["report", "signing", "files", "commands"], &["main"]),
    ("enforcer/src", &["failure", "host", "admit", "kernel", "apply", "report"], &["lib", "bin"]),
    ("enforcer-ebpf/src", &["kernel", "tables", "identity", "decision", "hooks"], &["main"]),
];

fn root(tree: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(tree)
}

#[test]
fn no_module_uses_one_of_a_floor_above() {
    let faults: Vec<String> = TREES.iter().flat_map(|(tree, floors, _)| faults(&root(tree), floors)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_has_a_floor() {
    for (tree, floors, beside) in TREES {
        let entries = fs::read_dir(root(tree)).unwrap().map(|entry| entry.unwrap().path());
        let found: BTreeSet<String> = entries.map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect();
        let known = floors.iter().chain(beside).map(|name| (*name).to_owned()).collect();
        assert_eq!(found, known, "{tree}");
    }
}

#[test]
fn arrow_upwards_is_found() {
    let used = |text| targets(text).collect::<Vec<_>>();
    assert_eq!(used("use crate::lower::cells;\n"), ["lower"]);
    assert_eq!(used("use crate::{check, lower::{self, cells}, Failure};\n"), ["check", "lower", "Failure"]);
    assert_eq!(used("    let image = crate::lower::lower(policy);\n"), ["lower"]);
    assert_eq!(used("//! See [`crate::lower`].\n    /// [`crate::prove`]\n"), [""; 0]);
}

/// Every use of a module by one below it.
fn faults(root: &Path, floors: &[&str]) -> Vec<String> {
    let floor = |name: &str| floors.iter().position(|known| *known == name);
    let mut faults = Vec::new();
    for path in files(root) {
        let inside = path.strip_prefix(root).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let Some(own) = floor(&module) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for used in targets(&text).filter_map(|target| floor(target).filter(|used| *used > own)) {
            faults.push(format!("{} is of `{module}`, and uses `{}`", path.display(), floors.get(used).unwrap()));
        }
    }
    faults
}

/// The top modules that a text names behind `crate::`, outside of comments.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").zip(text.split("crate::").skip(1)).flat_map(|(before, behind)| {
        let line = before.rsplit('\n').next().unwrap_or_default();
        // Behind `bfp_crate::` begins another crate.
        let is_other = line.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let list = match behind.strip_prefix('{') {
            _ if is_other || line.trim_start().starts_with("//") => Vec::new(),
            Some(group) => group_members(group),
            None => vec![behind],
        };
        list.into_iter().map(first_word)
    })
}

/// The members of `{a, b::{c, d}, e}`, behind its first brace.
fn group_members(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut members) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(group[begin..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(group[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Every file of Rust below a folder; of the library, without the program's. Tests may stand on any floor.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "bin" {
                found.extend(files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.file_name().unwrap() != "tests.rs"
        {
            found.push(path);
        }
    }
    found
}
