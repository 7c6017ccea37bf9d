//! The findings of the series: faults as they are found, a line for each series as it ends, and the totals at the end.

use std::process::ExitCode;
use std::time::Instant;

/// How many faults of one series are enough; a broken enforcer has as many as there are points.
const ENOUGH: usize = 10;

/// A series can take an hour: its progress is printed after this many points.
const STRETCH: usize = 100;

/// A running series.
pub(crate) struct Series {
    name: String,
    /// The number of points, if known.
    of: Option<usize>,
    /// The points that were tried.
    points: usize,
    /// The points that the command did not reach, because it ended before.
    not_reached: usize,
    faults: usize,
    began: Instant,
}

impl Series {
    pub(crate) fn begin(name: impl Into<String>) -> Series {
        Series { name: name.into(), of: None, points: 0, not_reached: 0, faults: 0, began: Instant::now() }
    }

    /// A series of this many points.
    pub(crate) fn of(name: impl Into<String>, points: usize) -> Series {
        Series { of: Some(points), ..Series::begin(name) }
    }

    /// Records the outcome of one point.
    pub(crate) fn tried(&mut self, outcome: Result<(), String>) {
        self.points += 1;
        if let Err(fault) = outcome {
            println!("     FAULT {}: {}", self.name, fault.trim().replace('\n', " | "));
            self.faults += 1;
        }
        if self.points.is_multiple_of(STRETCH) {
            let of = self.of.map_or(String::new(), |of| format!(" of {of}"));
            println!("     {}: {}{of} points so far", self.name, self.points);
        }
    }

    pub(crate) fn not_reached(&mut self) {
        self.not_reached += 1;
    }

    /// Whether continuing is useless.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.faults >= ENOUGH
    }
}

/// The totals.
#[derive(Default)]
pub(crate) struct Report {
    points: usize,
    faults: usize,
}

impl Report {
    pub(crate) fn end(&mut self, series: &Series, note: &str) {
        let Series { name, points, not_reached, faults, began, .. } = series;
        let missed = if *not_reached == 0 { String::new() } else { format!(", {not_reached} not reached") };
        let seconds = began.elapsed().as_secs();
        let word = if *faults == 0 { "ok  " } else { "FAIL" };
        println!("{word} {name}: {points} points{missed}; {note}; {seconds} s");
        self.points += points;
        self.faults += faults;
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
