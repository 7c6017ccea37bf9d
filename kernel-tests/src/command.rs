//! Commands of the host, and messages to the person who runs the tests.

use std::io::{self, Write as _};
use std::process::Command;

/// How much of a failed command's output is shown: a policy of ten thousand rules can have as many diagnostics.
const TOLD: usize = 4000;

/// Runs a command to its end.
///
/// # Errors
/// The command failed: the command, how it ended and what it printed.
pub fn call(command: &mut Command) -> Result<(), String> {
    output_of(command).map(drop)
}

/// As [`call`]. Returns the command's standard output.
///
/// # Errors
/// As those of [`call`].
pub fn output_of(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = [output.stdout, output.stderr].concat();
    let text: String = String::from_utf8_lossy(&said).chars().take(TOLD).collect();
    Err(format!("{command:?}: {}\n{text}", output.status))
}

/// Prints a line on standard error.
pub fn say(text: &str) {
    // If standard error is closed, the status still reports the outcome.
    let _unheard = writeln!(io::stderr(), "{text}");
}
