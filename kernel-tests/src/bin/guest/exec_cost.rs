//! The cost of starting a program: the median over several rounds, in nanoseconds of the machine's own clock. Under
//! QEMU's `-icount shift=0` a nanosecond is one guest instruction (docs/kernel-programs.md).
//!
//! `exec_cost NAME COUNT PROGRAM`: starts PROGRAM COUNT times a round, waits for each, and prints the figure after
//! NAME.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command says what it found")]

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const ROUNDS: usize = 9;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count, program] = arguments.as_slice() else {
        eprintln!("exec_cost NAME COUNT PROGRAM");
        return ExitCode::from(2);
    };
    match count.parse().map_err(|error| format!("{count}: {error}")).and_then(|count| median(count, program)) {
        Ok(each) => {
            println!("{name} {each}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("exec_cost: {error}");
            ExitCode::from(2)
        }
    }
}

/// The median of the rounds, for one start.
fn median(count: u32, program: &str) -> Result<u128, String> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..count {
            let status = Command::new(program).stdin(Stdio::null()).stdout(Stdio::null()).status();
            let status = status.map_err(|error| format!("{program}: {error}"))?;
            if !status.success() {
                return Err(format!("{program}: {status}"));
            }
        }
        rounds.push(began.elapsed().as_nanos() / u128::from(count.max(1)));
    }
    rounds.sort_unstable();
    rounds.get(ROUNDS / 2).copied().ok_or_else(|| "no rounds".to_owned())
}
