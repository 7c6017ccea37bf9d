//! docs/keys.md is one session: its commands for the build side are run here, from top to bottom, as they stand
//! there. Those for a host are its blocks "sh host", which want a kernel.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// What stands in the page's blocks of this kind.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(info) if !inside && info == kind => {
                inside = true;
                found.push(String::new());
            }
            Some(_) => inside = false,
            None if inside => *found.last_mut().unwrap() += &format!("{line}\n"),
            None => {}
        }
    }
    found
}

#[test]
fn commands_of_the_page_work_as_they_stand_there() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/keys.md")).unwrap();
    let place = TempDir::new().unwrap();
    let [policy] = blocks(&page, "bfp").try_into().unwrap();
    fs::write(place.path().join("policy.bfp"), policy).unwrap();
    let commands = blocks(&page, "sh");
    assert!(commands.len() >= 8, "only {} blocks were found", commands.len());
    let programs = Path::new(env!("CARGO_BIN_EXE_bfpc")).parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    // Each block by itself, so that the one that fails is told.
    for block in commands {
        let ran = Command::new("sh").args(["-euc", &block]).current_dir(place.path()).env("PATH", &path).output();
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{block}{}{said}", String::from_utf8_lossy(&ran.stdout));
    }
}
