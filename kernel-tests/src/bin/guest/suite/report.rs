//! What enters: outcomes of checks. What leaves: a line for each at once, so that a guest that hangs or panics shows
//! how far it got, and the closing line with the exit status.

use std::process::ExitCode;

/// Counts, and the patterns that select checks.
pub(crate) struct Report {
    only: Option<String>,
    passed: usize,
    failed: usize,
}

impl Report {
    pub(crate) fn new(only: Option<String>) -> Self {
        Report { only, passed: 0, failed: 0 }
    }

    /// Whether the command line selects this name: it contains one of the patterns, which `|` separates.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|patterns| patterns.split('|').any(|pattern| name.contains(pattern)))
    }

    pub(crate) fn check(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok  {name}");
            }
            Err(difference) => {
                self.failed += 1;
                println!("FAIL {name}: {}", difference.trim().replace('\n', " | "));
            }
        }
    }

    /// Prints the closing line. A run that checked nothing has not passed.
    pub(crate) fn close(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
