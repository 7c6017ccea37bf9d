//! docs/mistakes.md shows each policy of fixtures/mistakes, the report about it as it is printed, and the
//! policy after what the report says to do. `BFP_BLESS=1` writes them there.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("fixtures/mistakes")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn check(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut bfpc = Command::new(env!("CARGO_BIN_EXE_bfpc"));
    let ran = bfpc.arg("check").args(words).current_dir(folder).env_clear().output().unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap())
}

#[test]
fn page_of_mistakes_shows_what_is_printed() {
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let file = root().join("docs/mistakes.md");
    let mut page = fs::read_to_string(&file).unwrap();
    let mut wrong = String::new();
    let folders = folders();
    for folder in &folders {
        let name = folder.file_name().unwrap().to_string_lossy();
        let (code, _, report) = check(folder, &["policy.bfp"]);
        assert_eq!(code, Some(2), "{name}: {report}");
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let (policy, fixed) = (text("policy.bfp"), text("fixed.bfp"));
        let mut shown = format!("```bfp\n{policy}```\n\n```\n{report}```\n");
        if fixed != policy {
            shown += &format!("\n```bfp\n{fixed}```\n");
        }
        let begin = format!("<!-- {name} -->\n");
        let start = page.find(&begin).unwrap_or_else(|| unreachable!("docs/mistakes.md lacks {begin}")) + begin.len();
        let end = start + page[start..].find("<!-- end -->").unwrap();
        if page[start..end] != shown {
            wrong += &format!("{name}: docs/mistakes.md shows\n{}\nand this is printed\n{shown}\n", &page[start..end]);
            page.replace_range(start..end, &shown);
        }
    }
    if bless {
        fs::write(file, page).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong}`BFP_BLESS=1` writes what is printed");
    }
    assert!(folders.len() >= 10, "only {} mistakes", folders.len());
}

#[test]
fn what_the_report_says_to_do_mends_the_policy() {
    for folder in folders() {
        let (_, document, stderr) = check(&folder, &["--format", "json", "fixed.bfp"]);
        let told: serde_json::Value = serde_json::from_str(&document).unwrap_or_else(|_| unreachable!("{stderr}"));
        for told in told["diagnostics"].as_array().unwrap() {
            // Who follows the report asks DNS next.
            let fine = told["code"] == "resolve::not_locked" || told["severity"] == "warning";
            assert!(fine, "{}: {told:#}", folder.display());
        }
        let formatted = Command::new(env!("CARGO_BIN_EXE_bfpc"))
            .args(["fmt", "--check", "fixed.bfp"])
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(formatted.status.success(), "{} is not in the canonical form", folder.display());
    }
}
