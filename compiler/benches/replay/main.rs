//! Three ways to keep a policy's names true, over histories of 30 simulated days: how often each allows what is wrong, and
//! denies what is right. [docs/names.md](../../../docs/names.md#proof-by-replay) defines the counts and discusses them.
//!
//! `just bench-names` prints the table and writes the picture, both for the seed of the page. `just bench-names 7` runs
//! another seed, and writes nothing.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench talks to the person who started it")]

mod simulation;

use std::fs;
use std::path::Path;

fn main() {
    // Cargo passes `--bench`.
    let seed = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let number = seed.unwrap_or(simulation::SEED);
    let rows = simulation::run(number);
    print!("{}", simulation::tables(&rows, &simulation::variants(number)));
    if seed.is_none() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(simulation::PICTURE);
        fs::write(&file, simulation::picture(&rows)).expect("the folder of the pages can be written to");
        println!("\n{}", file.display());
    }
}
