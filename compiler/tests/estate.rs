//! The policies of fixtures/estate, as whole teams would write them: eight hosts that share a library of names. Each is
//! canonical, has no finding that it does not accept with a reason, and passes its own tests, for every value of its
//! parameters.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::Place;

/// The values of the parameters that the policies declare. One without parameters has no choice.
const CHOICES: [(&str, &[&str]); 1] = [("payments", &["env=staging", "env=prod"])];

fn policies() -> Vec<PathBuf> {
    let estate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/estate");
    let entries = fs::read_dir(estate).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_policy_of_the_estate_is_accepted_without_a_finding_and_passes_its_tests() {
    let place = Place::new();
    let folders = policies();
    assert_eq!(folders.len(), 8);
    for folder in folders {
        for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "bfp") {
                place.bfpc(&["fmt", "--check", file.to_str().unwrap()]).ok();
            }
        }
        let policy = folder.join("policy.bfp");
        let policy = policy.to_str().unwrap();
        place.bfpc(&["check", "--locked", "--deny-warnings", policy]).ok();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let choices = CHOICES.iter().find(|(of, _)| *of == name).map_or(&[] as &[&str], |(_, choices)| choices);
        if choices.is_empty() {
            place.bfpc(&["test", policy]).ok();
        }
        for choice in choices {
            place.bfpc(&["test", policy, "--set", choice]).ok();
        }
    }
}
