//! The program that plays signer, thief and unlisted program in the guest: the suite copies it to the path of every
//! program that a policy names, so that only the path distinguishes them.
//!
//! What enters: a way to send and a destination. What leaves: one line, `ok` or the name of the errno, and exit status
//! 0 or 1. What always holds: no message is longer than one byte, and no attempt lasts longer than two seconds.
//!
//! ```text
//! probe HOW ADDRESS PORT [--bind ADDRESS] [--via ADDRESS:PORT]
//! probe hammer ADDRESS PORT       # prints `ready`, tries until a line arrives on stdin, sums up
//! probe tally MS ADDRESS PORT    # tries every MS milliseconds, and prints `FIRST LAST COUNT ANSWER` of each series
//! probe hold-tcp ADDRESS PORT     # connects, then sends one byte for each line on stdin
//! probe times N HOW ADDRESS PORT          # the answer to the last
//! probe sweep N HOW ADDRESS PORT          # the same to N addresses, one after the other from this
//! probe accept ADDRESS PORT …     # prints `ready`, accepts a connection, keeps it, and does the rest
//! probe self-connect ADDRESS PORT …       # connects a socket to itself, keeps it, and does the rest
//! probe answer | answer-by-sendfile       # sends a byte by the kept connection
//! probe answer-after-connect ADDRESS PORT | answer-after-dissolving ADDRESS PORT
//! probe wait-then …               # prints `ready`, waits for a line on stdin, then does the rest
//! probe fork … | thread …         # the rest in a forked process, or in a second thread
//! probe spawn PATH ARG… | exec PATH ARG…
//! probe exec-from-memory PATH ARG…        # runs a copy of PATH that only memory holds
//! probe exec-opened PATH ARG…     # opens it, prints `ready`, waits for a line, runs what it opened
//! probe map-file PATH | map-memory | map-written-memory   # for execution
//! probe in-chroot DIR … | in-mount-namespace SOURCE TARGET …
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its one line on stdout is what this program is for")]

mod command;
mod errno_name;
mod raw;
mod serving;
mod surroundings;
mod tally;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match command::Command::parse(&arguments) {
        Ok(command) => command.run(),
        Err(complaint) => {
            eprintln!("probe: {complaint}");
            ExitCode::from(2)
        }
    }
}
