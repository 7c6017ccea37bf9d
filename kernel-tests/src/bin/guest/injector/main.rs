//! The crash injector: runs the enforcer again and again, kills it before and after each of its system calls in turn or
//! makes one of them fail, and checks that every forbidden request is denied at every moment.
//!
//! What enters: the enforcer and the bundles (see [`host`]), and how many points are tried. What leaves: a line for
//! each series, the totals, and exit status 1 if a point failed, a window was found, or nothing was tried. What always
//! holds: at the end nothing is enforced, and no process is left.
//!
//! ```text
//! injector series [thin] [NAME…]      # in a guest: again, next, failing, at-once, short, first, remove;
//!                                     # all without a name
//! injector here PROGRAMS              # on any host: what needs no kernel that enforces
//! injector list COMMAND…              # the system calls of a command, and which have an effect
//! injector prober … | start …         # what it runs itself
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its report on stdout is what this program is for")]

mod board;
mod call;
mod hardship;
mod here;
mod host;
mod points;
mod prober;
mod report;
mod series;
mod state;
mod trace;
mod verdict;
mod watch;
mod watched;

use std::process::{Command, ExitCode};

use host::Host;
use points::Pick;
use report::Report;
use series::Extent;

/// Every state of the world, which takes hours under emulation.
const WHOLE: Extent = Extent {
    again: Pick::EveryState,
    next: Pick::EveryState,
    failing: Pick::EveryState,
    short: Pick::EveryState,
    first: Pick::EveryState,
    remove: Pick::EveryState,
};

/// As many points as fit in one and a half minutes under emulation.
const THIN: Extent = Extent {
    again: Pick::WithTurns(2),
    next: Pick::Few(3),
    failing: Pick::Few(10),
    short: Pick::Few(4),
    first: Pick::Few(2),
    remove: Pick::Few(3),
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((word, rest)) = arguments.split_first() else { return usage() };
    let done = match word.as_str() {
        "series" => run_series(rest),
        "here" if !rest.is_empty() => run_here(rest),
        "list" if !rest.is_empty() => list(rest),
        "prober" => prober::run(rest).map(|()| ExitCode::SUCCESS),
        "start" if !rest.is_empty() => start(rest),
        _ => return usage(),
    };
    done.unwrap_or_else(|complaint| {
        eprintln!("injector: {complaint}");
        ExitCode::FAILURE
    })
}

fn usage() -> ExitCode {
    eprintln!("usage: injector series [thin] [NAME…] | here PROGRAMS | list COMMAND…");
    ExitCode::from(2)
}

fn run_series(arguments: &[String]) -> Result<ExitCode, String> {
    let (extent, names) = match arguments.split_first() {
        Some((first, names)) if first == "thin" => (THIN, names),
        _ => (WHOLE, arguments),
    };
    let mut report = Report::default();
    let host = Host::prepare()?;
    let wants = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let (windows, attempts) = series::run(&host, &extent, wants, &mut report)?;
    Ok(report.close(windows, attempts))
}

fn run_here(arguments: &[String]) -> Result<ExitCode, String> {
    let [programs] = arguments else { return Err("the folder with bfpc and bfp-enforcer is wanted".to_owned()) };
    let mut report = Report::default();
    here::run(programs.as_ref(), &mut report)?;
    Ok(report.close(0, 0))
}

/// Prints a line for each system call of a command.
fn list(arguments: &[String]) -> Result<ExitCode, String> {
    let (program, rest) = arguments.split_first().ok_or("a command is wanted")?;
    let calls = series::calls_of(Command::new(program).args(rest), |_| true)?;
    for (number, call) in calls.iter().enumerate() {
        let mark = |is: bool, mark: &'static str| if is { mark } else { " " };
        println!(
            "{number:5} {}{}{} {call}",
            mark(call.has_effect(), "E"),
            mark(call.is_turning_point(), "T"),
            mark(points::can_fail(call), "F")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a program, and exits at once.
fn start(arguments: &[String]) -> Result<ExitCode, String> {
    let (program, rest) = arguments.split_first().ok_or("a program is wanted")?;
    Command::new(program).args(rest).spawn().map_err(|error| format!("{program}: {error}"))?;
    Ok(ExitCode::SUCCESS)
}
