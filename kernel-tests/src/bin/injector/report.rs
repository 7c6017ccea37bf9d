//! What the series found: a line for each as it ends, and the sums at the end.

use std::process::ExitCode;
use std::time::Instant;

/// How many faults of one series are told; a broken enforcer has as many as there are points.
const TOLD: usize = 10;

/// A series that runs.
pub(crate) struct Series {
    name: String,
    /// How many points were tried,
    points: usize,
    /// and how many of them the command never came to, for it ended before.
    not_reached: usize,
    faults: Vec<String>,
    began: Instant,
}

impl Series {
    pub(crate) fn begin(name: impl Into<String>) -> Series {
        Series { name: name.into(), points: 0, not_reached: 0, faults: Vec::new(), began: Instant::now() }
    }

    /// One point was tried.
    pub(crate) fn tried(&mut self, outcome: Result<(), String>) {
        self.points += 1;
        if let Err(fault) = outcome {
            self.faults.push(fault);
        }
    }

    pub(crate) fn not_reached(&mut self) {
        self.not_reached += 1;
    }

    /// Whether there is no use in going on.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.faults.len() >= TOLD
    }
}

/// The sums.
#[derive(Default)]
pub(crate) struct Report {
    points: usize,
    faults: usize,
}

impl Report {
    pub(crate) fn end(&mut self, series: &Series, note: &str) {
        let Series { name, points, not_reached, faults, began } = series;
        let missed = if *not_reached == 0 { String::new() } else { format!(", {not_reached} not reached") };
        let seconds = began.elapsed().as_secs();
        let word = if faults.is_empty() { "ok  " } else { "FAIL" };
        println!("{word} {name}: {points} points{missed}; {note}; {seconds} s");
        for fault in faults {
            println!("     {}", fault.trim().replace('\n', " | "));
        }
        self.points += points;
        self.faults += faults.len();
    }

    /// The closing line, and the exit status. A run that tried nothing has not passed.
    pub(crate) fn close(self, windows: usize, attempts: u64) -> ExitCode {
        println!(
            "points: {}, faults: {}, windows found: {windows}, attempts of the probers: {attempts}",
            self.points, self.faults
        );
        if self.faults == 0 && windows == 0 && self.points > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
