//! docs/names.md has the table and the picture that `just bench-names` makes, and what the page claims of them holds.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "../benches/replay/simulation/mod.rs"]
mod simulation;

use std::fs;
use std::path::{Path, PathBuf};

use simulation::{Count, PICTURE, Row, SEED, picture, run, tables, variants};

const BEGIN: &str = "<!-- replay -->\n";
const END: &str = "<!-- end -->\n";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn sum(rows: &[Row], strategy: usize, count: fn(&Count) -> u32) -> u32 {
    rows.iter().map(|row| count(row.counts.get(strategy).unwrap())).sum()
}

#[test]
fn page_has_the_numbers_of_the_replay() {
    let bless = std::env::var_os("BFP_BLESS").is_some() && std::env::var_os("CI").is_none();
    let rows = run(SEED);
    let text_of_page = tables(&rows, &variants(SEED));
    let (page, drawing) = (docs().join("names.md"), docs().join(PICTURE));
    let text = fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if bless {
        fs::write(&page, format!("{before}{BEGIN}{text_of_page}{END}{after}")).unwrap();
        fs::write(&drawing, picture(&rows)).unwrap();
    } else {
        assert_eq!(written, text_of_page, "`BFP_BLESS=1` brings the numbers of the replay");
        assert_eq!(fs::read_to_string(&drawing).unwrap(), picture(&rows));
    }
    let [refresher, learned, ours] = [0, 1, 2];
    assert_eq!(sum(&rows, ours, |count| count.wrong_allows), 0);
    assert!(
        sum(&rows, refresher, |count| count.wrong_allows) > 0 && sum(&rows, learned, |count| count.wrong_allows) > 0
    );
    assert!(sum(&rows, ours, |count| count.wrong_denials) < sum(&rows, refresher, |count| count.wrong_denials));
}

#[test]
fn another_seed_gives_the_same_answer() {
    let rows = run(SEED + 1);
    assert_eq!(sum(&rows, 2, |count| count.wrong_allows), 0);
    assert!(sum(&rows, 2, |count| count.wrong_denials) < sum(&rows, 0, |count| count.wrong_denials));
}
