//! Pages, and comments that name a file of this repository, lead somewhere.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files of this repository with one of these endings, without what a build makes.
fn files(below: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            // Neither the build's nor git's; fixtures hold texts that are wrong on purpose.
            if !matches!(name.as_str(), "target" | ".git" | "corpus" | "reject" | "warn") {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found
}

/// The text without fenced blocks.
fn prose(text: &str) -> String {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a page, as GitHub makes them of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    headings
        .map(|heading| {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    for page in files(&root(), &[".md"]) {
        let text = fs::read_to_string(&page).unwrap();
        for link in prose(&text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let leads = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(anchor));
            if !leads {
                faults.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_of_this_repository_that_a_text_names_exists() {
    const TREES: [&str; 8] = [
        "bundles/",
        "compiler/",
        "enforcer/",
        "enforcer-ebpf/",
        "fixtures/",
        "grammar/",
        "kernel-tests/",
        "packaging/",
    ];
    let is_of_a_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let mut faults = Vec::new();
    for file in files(&root(), &[".md", ".rs", "justfile", ".toml", ".sh"]) {
        let text = fs::read_to_string(&file).unwrap();
        for word in text.split(|c| !is_of_a_path(c)) {
            let word = word.trim_end_matches('.');
            let names_a_file = [".rs", ".sh", ".py", ".md"].iter().any(|ending| word.ends_with(ending));
            if names_a_file && TREES.iter().any(|tree| word.starts_with(tree)) && !root().join(word).exists() {
                faults.push(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn headings_become_anchors() {
    let text = "# One `two`: three\n```\n# no heading\n```\n## A-b, c_d\n";
    assert_eq!(anchors(text), ["one-two-three".to_owned(), "a-b-c_d".to_owned()].into());
}
