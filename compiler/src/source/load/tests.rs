#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use miette::{GraphicalReportHandler, GraphicalTheme, Report};

use super::*;
use crate::source::fs_verity;

/// Files in memory.
struct Memory(BTreeMap<PathBuf, String>);

impl Memory {
    fn new(files: &[(&str, &str)]) -> Memory {
        Memory(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
    }
}

impl Read for Memory {
    fn text(&self, path: &Path) -> Result<String, SourceError> {
        let missing = || SourceError::Missing { path: path.display().to_string(), reason: "no such file".to_owned() };
        self.0.get(path).cloned().ok_or_else(missing)
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        Ok(fs_verity::digest(self.text(path)?.as_bytes()).unwrap())
    }
}

fn loaded(files: &[(&str, &str)]) -> Loaded {
    load(Path::new("repo/policy.bfp"), &Memory::new(files)).unwrap()
}

fn reports(files: &[(&str, &str)]) -> String {
    let LoadFailure { findings, sources } = load(Path::new("repo/policy.bfp"), &Memory::new(files)).unwrap_err();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut all = String::new();
    for finding in findings {
        handler.render_report(&mut all, Report::new_boxed(finding).with_source_code(sources.clone()).as_ref()).unwrap();
    }
    all
}

#[test]
fn included_statements_stand_in_place_of_the_include() {
    let loaded = loaded(&[
        ("repo/policy.bfp", "policy p\ninclude \"common/hosts.bfp\"\ndeny * -> kms\n"),
        ("repo/common/hosts.bfp", "include \"../more.bfp\"\nhost kms = 192.0.2.1\n"),
        ("repo/more.bfp", "host more = 192.0.2.2"),
    ]);
    let names: Vec<&str> = loaded.sources.files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["policy.bfp", "common/hosts.bfp", "more.bfp"]);
    let texts: Vec<&str> =
        loaded.syntax.statements.iter().map(|statement| statement.span.text_in(loaded.sources.text())).collect();
    assert_eq!(texts, ["policy p", "host more = 192.0.2.2", "host kms = 192.0.2.1", "deny * -> kms"]);
}

#[test]
fn file_that_is_included_twice_is_read_once() {
    let loaded = loaded(&[
        ("repo/policy.bfp", "include \"a.bfp\"\ninclude \"./b/../b.bfp\"\n"),
        ("repo/a.bfp", "include \"b.bfp\"\n"),
        ("repo/b.bfp", "host b = 192.0.2.1\n"),
    ]);
    assert_eq!(loaded.syntax.statements.len(), 1);
}

#[test]
fn policy_that_cannot_be_read_is_a_finding_about_no_text() {
    let LoadFailure { findings, sources } = load(Path::new("gone.bfp"), &Memory::new(&[])).unwrap_err();
    let codes: Vec<String> = findings.iter().map(|finding| finding.code().unwrap().to_string()).collect();
    assert_eq!(codes, ["source::unreadable"]);
    assert!(sources.files().is_empty());
}

#[test]
fn faults_of_all_files_are_told_in_their_files() {
    insta::assert_snapshot!(reports(&[
        ("repo/policy.bfp", "include \"common/a.bfp\"\ninclude \"/etc/b.bfp\"\ninclude \"gone.bfp\"\nonyl x -> y\n"),
        ("repo/common/a.bfp", "host a = 10.0.0.1:99999\n\ninclude \"../policy.bfp\"\n"),
    ]));
}

#[test]
fn files_without_end_are_refused() {
    let mut files: Vec<(String, String)> =
        (0..400).map(|at| (format!("repo/{at}.bfp"), format!("include \"{}.bfp\"\n", at + 1))).collect();
    files.push(("repo/policy.bfp".to_owned(), "include \"0.bfp\"\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert!(reports(&files).contains("more than 256 files"));
}

#[test]
fn artifacts_and_lists_are_read_beside_the_file_that_names_them() {
    let loaded = loaded(&[
        ("repo/policy.bfp", "include \"common/a.bfp\"\ndeny \"/a\" verity file(\"dist/a\") -> 192.0.2.1\n"),
        ("repo/common/a.bfp", "host s3 = { ranges(\"s3.txt\"):443, ranges(\"s3.txt\"):80 }\n"),
        ("repo/common/s3.txt", "192.0.2.0/24\n"),
        ("repo/dist/a", "content"),
    ]);
    let digests: Vec<[u8; 32]> = loaded.digests.values().copied().collect();
    assert_eq!(digests, [fs_verity::digest(b"content".as_slice()).unwrap()]);
    let lists: Vec<&str> = loaded.lists.values().map(|list| list.name.as_str()).collect();
    assert_eq!(lists, ["common/s3.txt"; 2]);
}

#[test]
fn named_files_stay_within_the_tree_of_the_policy() {
    let place = tempfile::TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    for folder in ["repo/policies", "repo/common", "repo/.git"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::write(at("secret"), "TOKEN=hunter2\n").unwrap();
    std::fs::write(at("repo/.git/config"), "TOKEN=hunter2\n").unwrap();
    std::fs::write(at("repo/common/base.bfp"), "deny * -> metadata\n").unwrap();
    std::os::unix::fs::symlink("../../secret", at("repo/policies/link.bfp")).unwrap();
    std::os::unix::fs::symlink("../..", at("repo/policies/up")).unwrap();
    std::os::unix::fs::symlink("../common/base.bfp", at("repo/policies/base.bfp")).unwrap();
    let told = |statement: &str| {
        std::fs::write(at("repo/policies/p.bfp"), statement).unwrap();
        match load(&at("repo/policies/p.bfp"), &source::Disk) {
            Ok(_) => "ok".to_owned(),
            Err(LoadFailure { findings, .. }) => {
                findings.iter().map(|error| error.code().unwrap().to_string()).collect()
            }
        }
    };
    for inside in ["../common/base.bfp", "base.bfp"] {
        assert_eq!(told(&format!("include \"{inside}\"")), "ok", "{inside}");
    }
    for outside in ["../../secret", "link.bfp", "up/secret", "../.git/config", "../../gone", "up/gone"] {
        assert_eq!(told(&format!("include \"{outside}\"")), "load::outside", "{outside}");
        assert_eq!(told(&format!("deny * -> ranges(\"{outside}\")")), "load::outside", "{outside}");
        let artifact = format!("program x = \"/usr/bin/x\" verity file(\"{outside}\")");
        assert_eq!(told(&artifact), "load::outside", "{outside}");
    }
    // Without a work tree, the folder of the policy is all there is.
    std::fs::remove_dir_all(at("repo/.git")).unwrap();
    assert_eq!(told("include \"../common/base.bfp\""), "load::outside");
    assert_eq!(told("include \"base.bfp\""), "load::outside", "a link is followed first");
    std::fs::copy(at("repo/common/base.bfp"), at("repo/policies/own.bfp")).unwrap();
    assert_eq!(told("include \"own.bfp\""), "ok");
}

#[test]
fn file_that_a_link_leads_to_is_read_once() {
    let place = tempfile::TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir_all(at("sub")).unwrap();
    std::fs::write(at("a.bfp"), "host a = 192.0.2.1\n").unwrap();
    std::fs::write(at("list.txt"), "192.0.2.0/24\n").unwrap();
    std::fs::write(at("sub/list.txt"), "198.51.100.0/24\n").unwrap();
    std::fs::write(at("lists.bfp"), "deny * -> ranges(\"list.txt\")\n").unwrap();
    for (target, link) in [
        ("a.bfp", "b.bfp"),
        ("../a.bfp", "sub/c.bfp"),
        ("lists.bfp", "same.bfp"),
        ("../lists.bfp", "sub/lists.bfp"),
        ("p.bfp", "itself.bfp"),
    ] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    let read = |policy: &str| {
        std::fs::write(at("p.bfp"), policy).unwrap();
        load(&at("p.bfp"), &source::Disk).map_err(|failure| failure.findings.first().unwrap().to_string())
    };
    let statements = |policy: &str| read(policy).unwrap().syntax.statements.len();
    assert_eq!(statements("include \"a.bfp\"\ninclude \"b.bfp\"\ninclude \"sub/c.bfp\"\n"), 1);
    assert_eq!(statements("include \"sub/c.bfp\"\ninclude \"a.bfp\"\n"), 1);
    assert_eq!(statements("include \"lists.bfp\"\ninclude \"same.bfp\"\n"), 1);
    // What it names is another file there, and a `deny` must not get lost.
    let both = read("include \"lists.bfp\"\ninclude \"sub/lists.bfp\"\ninclude \"same.bfp\"\n").unwrap();
    let lists: Vec<&str> = both.lists.values().map(|list| list.name.as_str()).collect();
    assert_eq!(lists, ["list.txt", "sub/list.txt"]);
    assert!(read("include \"itself.bfp\"\n").unwrap_err().contains("includes itself"));
}

#[test]
fn what_is_no_policy_is_not_shown() {
    for secret in ["TOKEN=hunter2", "PATH=/bin\0TOKEN=hunter2\0", "root:x:0:0:root:/root:/bin/bash", "hunter2\n"] {
        let shown = reports(&[("repo/policy.bfp", "include \"a\""), ("repo/a", secret)]);
        assert!(shown.contains("load::not_a_policy") && !shown.contains("hunter2"), "{shown}");
    }
    for policy in ["deny * ->", "program x = /usr/bin/x", "\u{feff}deny * -> nowhere:99999", "include common"] {
        let shown = reports(&[("repo/policy.bfp", "include \"a\""), ("repo/a", policy)]);
        assert_eq!(shown.contains("load::not_a_policy"), policy == "include common", "{shown}");
    }
    assert_eq!(loaded(&[("repo/policy.bfp", "include \"a\""), ("repo/a", "# later\n")]).syntax.statements.len(), 0);
}
