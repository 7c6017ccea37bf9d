//! Every code has a page in docs/errors, whose wrong example gives the code and whose right example does not.
//!
//! A page is a title, what is wrong (one line), why it matters, and blocks: ```` ```bfp wrong ````,
//! ```` ```bfp right ````; further files have their name behind that, and `both` stands in both. An example
//! of DNS names has a lock file made for it, unless it brings one. A page that cannot be tried begins with
//! `<!-- not compiled: REASON -->`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod codes;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bfp_compiler::resolve;
use bfp_compiler::source::Disk;
use bfp_compiler::source::load;
use bfp_compiler::source::parameters;
use tempfile::TempDir;

/// Stands in for `policy.bfp` where a page is about another file.
const POLICY: &str = "only \"/usr/bin/signer\" -> kms.internal:443";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

struct Page {
    code: String,
    text: String,
}

/// A file of an example.
struct Block {
    side: String,
    name: String,
    text: String,
}

impl Page {
    fn all() -> Vec<Page> {
        let mut pages = Vec::new();
        for stage in fs::read_dir(docs().join("errors")).unwrap() {
            let stage = stage.unwrap().path();
            for page in fs::read_dir(&stage).unwrap() {
                let page = page.unwrap().path();
                let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
                let code = format!("{}::{}", name(&stage), name(&page));
                pages.push(Page { code, text: fs::read_to_string(&page).unwrap() });
            }
        }
        pages.sort_by(|a, b| a.code.cmp(&b.code));
        pages
    }

    fn is_compiled(&self) -> bool {
        let reason = self.text.strip_prefix("<!-- not compiled: ").and_then(|text| text.split_once(" -->\n\n"));
        assert_eq!(reason.is_none(), !self.text.starts_with("<!--"), "{}: the first line is not understood", self.code);
        reason.is_none_or(|(reason, _)| reason.is_empty())
    }

    /// What is wrong, and why that matters.
    fn paragraphs(&self) -> (&str, &str) {
        let title = format!("# `{}`\n\n", self.code);
        let text = self.text.split_once("-->\n\n").map_or(self.text.as_str(), |(_, text)| text);
        let text = text.strip_prefix(&title).unwrap_or_else(|| unreachable!("{} has no title {title}", self.code));
        let (what, rest) = text.split_once("\n\n").unwrap();
        (what, rest.split_once("\n\n").unwrap().0)
    }

    fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut inside = false;
        for line in self.text.lines() {
            match line.strip_prefix("```") {
                Some("") => inside = false,
                Some(info) => {
                    let mut words = info.split(' ').skip(1);
                    let side = words.next().unwrap_or_default().to_owned();
                    assert!(["wrong", "right", "both"].contains(&side.as_str()), "{}: ```{info}", self.code);
                    let name = words.next().unwrap_or("policy.bfp").to_owned();
                    blocks.push(Block { side, name, text: String::new() });
                    inside = true;
                }
                None if inside => blocks.last_mut().unwrap().text += &format!("{line}\n"),
                None => {}
            }
        }
        for side in ["wrong", "right"] {
            assert!(blocks.iter().any(|block| block.side == side), "{} has no {side} example", self.code);
        }
        blocks
    }

    /// Writes one of the two examples into a folder.
    fn lay_out(&self, side: &str, place: &Path) {
        let at = |name: &str| place.join(name);
        fs::write(at("policy.bfp"), POLICY).unwrap();
        for block in self.blocks().iter().filter(|block| block.side == side || block.side == "both") {
            fs::write(at(&block.name), &block.text).unwrap();
        }
        if !at("policy.bfp.lock").exists() {
            fs::write(at("policy.bfp.lock"), lock_for(&at("policy.bfp"))).unwrap();
        }
    }

    /// The codes that `bfpc check` gives for one of the two examples.
    fn tried(&self, side: &str) -> BTreeSet<String> {
        let place = TempDir::new().unwrap();
        self.lay_out(side, place.path());
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc"))
            .args(["check", "--format", "json", "policy.bfp"])
            .current_dir(place.path())
            .output()
            .unwrap();
        let told: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        let diagnostics = told.get("diagnostics").and_then(|diagnostics| diagnostics.as_array()).unwrap();
        diagnostics.iter().map(|told| told.get("code").unwrap().as_str().unwrap().to_owned()).collect()
    }
}

/// A lock that has an address for each name of a policy.
fn lock_for(policy: &Path) -> String {
    let Ok(loaded) = load::load(policy, &Disk) else { return "version = 2\n".to_owned() };
    let choices = parameters::choices(&loaded, &[]).unwrap_or_default();
    let loaded = loaded.with_any(&choices);
    let names = resolve::dns_names(&loaded).unwrap_or_default();
    let mut text = "version = 2\n".to_owned();
    for (number, name) in names.keys().enumerate() {
        let (name, last) = (name.as_str(), number + 10);
        write!(text, "\n[[name]]\nname = \"{name}\"\naddresses = [\"203.0.113.{last}\"]\nttl_seconds = 300\n").unwrap();
        text += "stability = \"stable\"\nresolvers = [\"192.0.2.53\"]\nresolved_at = \"2026-07-14T09:30:00Z\"\n";
    }
    for list in loaded.lists.values() {
        let digest: String = list.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        write!(text, "\n[[file]]\npath = \"{}\"\nsha256 = \"{digest}\"\n", list.name).unwrap();
    }
    text
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = Page::all().into_iter().map(|page| page.code).collect();
    let codes: BTreeSet<String> = codes::every_code().into_iter().collect();
    let mut missing = String::new();
    for code in codes.difference(&pages) {
        let (stage, reason) = code.split_once("::").unwrap();
        missing += &format!(
            "`{code}` has no page: write docs/errors/{stage}/{reason}.md as its neighbours are written (title, what \
             is wrong, why it matters, a wrong and a right example)\n"
        );
    }
    for code in pages.difference(&codes) {
        let (stage, reason) = code.split_once("::").unwrap();
        missing += &format!("no source has the code `{code}`: remove docs/errors/{stage}/{reason}.md\n");
    }
    assert!(missing.is_empty(), "{missing}");
}

#[test]
fn wrong_example_gives_the_code_and_the_right_one_does_not() {
    let mut faults = String::new();
    let mut tried = 0;
    for page in Page::all() {
        let (what, why) = page.paragraphs();
        assert!(!what.contains('\n') && !what.is_empty() && why.len() > 10, "{}: {what}\n{why}", page.code);
        assert!(!page.blocks().is_empty());
        if !page.is_compiled() {
            continue;
        }
        tried += 1;
        let (wrong, right) = (page.tried("wrong"), page.tried("right"));
        // The heading of a lock's faults is no finding of its own.
        let gives = match page.code.as_str() {
            "lock::unusable" => wrong.iter().any(|code| code.starts_with("lock::")),
            code => wrong.contains(code),
        };
        if !gives {
            faults += &format!("docs/errors: the wrong example of `{}` gives {wrong:?}\n", page.code);
        }
        let broken =
            |code: &String| ["syntax::", "load::", "lock::", "resolve::"].iter().any(|at| code.starts_with(at));
        if right.contains(&page.code) || right.iter().any(broken) {
            faults += &format!("docs/errors: the right example of `{}` gives {right:?}\n", page.code);
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(tried >= 70, "only {tried} pages were tried");
}

/// What a page says whose right example does that.
const WIDENS: &str = "The right example grants more than the wrong one: ";

#[test]
fn right_example_widens_nothing_unless_its_page_says_so() {
    let (mut faults, mut compared) = (String::new(), 0);
    for page in Page::all().iter().filter(|page| page.is_compiled()) {
        let place = TempDir::new().unwrap();
        for side in ["wrong", "right"] {
            fs::create_dir(place.path().join(side)).unwrap();
            page.lay_out(side, &place.path().join(side));
        }
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc"))
            .args(["diff", "--deny-widening", "wrong/policy.bfp", "right/policy.bfp"])
            .current_dir(place.path())
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        match (ran.status.code(), page.text.contains(WIDENS)) {
            (Some(0), false) | (Some(1), true) => compared += 1,
            // The wrong example is refused, so that there is nothing to compare.
            (Some(2), false) => {}
            (Some(0), true) => faults += &format!("{} says that it widens, and does not\n", page.code),
            _ => faults += &format!("{} does not say `{WIDENS}…`: {said}\n", page.code),
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(compared >= 18, "only {compared} pages were compared");
}

#[test]
fn index_of_codes_says_what_the_pages_say() {
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let file = docs().join("errors.md");
    let mut index = fs::read_to_string(&file).unwrap();
    let mut wrong = String::new();
    for page in Page::all() {
        let (what, _) = page.paragraphs();
        let begin = format!("| `{}` | ", page.code);
        let Some(row) = index.lines().find(|line| line.starts_with(&begin)).map(str::to_owned) else {
            wrong +=
                &format!("docs/errors.md has no row for `{}`: put `{begin}{what} |` where it belongs\n", page.code);
            continue;
        };
        let more = row.strip_prefix(&begin).unwrap().split_once(" |").unwrap().1;
        let expected = format!("{begin}{what} |{more}");
        if row != expected {
            wrong += &format!("docs/errors.md says\n{row}\nand the page says\n{expected}\n");
            index = index.replace(&row, &expected);
        }
    }
    if bless {
        fs::write(file, index).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong}`BFP_BLESS=1` brings what the pages say");
    }
}

#[test]
fn page_is_printed_and_all_are_listed() {
    let bfpc = |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).output().unwrap();
    let printed = String::from_utf8(bfpc(&["explain-code", "key::twice"]).stdout).unwrap();
    assert!(printed.starts_with("# `key::twice`\n\nOne key is named twice.\n\n"), "{printed}");
    assert!(printed.contains("\n```sh right\n"), "{printed}");
    let listed = String::from_utf8(bfpc(&["explain-code"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), Page::all().len());
    for page in Page::all() {
        let row = listed.lines().find(|line| line.split(' ').next() == Some(&page.code)).unwrap();
        assert!(row.ends_with(page.paragraphs().0), "{row}");
    }
    let unknown = bfpc(&["explain-code", "resolve::nothing"]);
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("no diagnostic has the code `resolve::nothing`"));
    for (written, meant) in [
        ("not_locked", "did you mean `resolve::not_locked`?"),
        ("path_grant", "did you mean `check::path_grant`?"),
        ("check::not_locked", "did you mean `resolve::not_locked`?"),
        ("resolve::not_loked", "did you mean `resolve::not_locked`?"),
        ("pathgrant", "did you mean `check::path_grant`?"),
        ("cycle", "did you mean `load::cycle` or `resolve::cycle`?"),
        ("", "`bfpc explain-code` lists all codes"),
    ] {
        let said = String::from_utf8(bfpc(&["explain-code", written]).stderr).unwrap();
        assert!(said.contains(&format!("help: {meant}")), "{written}: {said}");
    }
}
