//! Commands of the host, and what is said to the person who runs the tests.

use std::io::{self, Write as _};
use std::process::Command;

/// How much of what a failed command said is passed on: a policy of ten thousand rules can have as many
/// complaints.
const TOLD: usize = 4000;

/// Runs a command to its end, which must be a success.
///
/// # Errors
/// The command, how it ended and what it said.
pub fn call(command: &mut Command) -> Result<(), String> {
    output_of(command).map(drop)
}

/// As [`call`]; what the command wrote on its standard output.
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

/// Says a line on standard error.
pub fn say(text: &str) {
    // Where even standard error is gone, the status still tells.
    let _unheard = writeln!(io::stderr(), "{text}");
}
