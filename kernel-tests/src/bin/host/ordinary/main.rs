//! A real machine under a policy, from the host's side: a whole Debian system boots, does ordinary things, or works for
//! a long time, with ten thousand enforced rules about other programs.
//!
//! Status: 0 if nothing was broken; 1 otherwise, also if a kernel, the system or a program is missing.

mod boot;
mod staging;
mod units;
mod week;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bfp_kernel_tests::command::say;
use bfp_kernel_tests::{Debian, Guest, Kernel};
use clap::{Parser, Subcommand};

use staging::Staging;

/// The kernel of the Debian system.
const SERIES: &str = "6.12";
/// Enough for Postgres, a JVM and the tests.
const MEMORY_MIB: u32 = 1280;

/// Show that bfp does not break a real machine
#[derive(Parser)]
struct Arguments {
    /// Where bfpc, bfp-enforcer, probe and suite are
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Boot with and without a policy, install a package, and compare
    Boot,
    /// Try the ordinary things before, during and after a policy
    List {
        /// Only what has this in its name
        #[arg(long, value_name = "PATTERN")]
        only: Option<String>,
    },
    /// Mixed traffic for a time: every verdict is checked, and nothing may leak
    Soak {
        /// For how many minutes
        minutes: u64,
    },
    /// Boot with the units of packaging/systemd, and try what an operator does with them
    Units,
    /// An ordinary week of changes and restarts, while what is forbidden is tried without a pause
    Week,
    /// Run a shell command in the Debian system, beside what the soak has, which is not applied
    Run {
        /// The command
        command: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("ordinary: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let kernel = Kernel::find(SERIES).map_err(|error| error.to_string())?;
    let system = Debian::find().map_err(|error| error.to_string())?;
    let mut guest = Guest::new(&kernel).debian(system).memory_mib(MEMORY_MIB).cpus(2);
    guest = guest.lsm("landlock,lockdown,yama,integrity,apparmor,bpf").time_limit(Duration::from_secs(1800));
    let staging = Staging::new(&arguments.programs)?;
    match &arguments.what {
        What::Boot => boot::run(&staging.with_rules_alone()?.take_along(guest)),
        What::List { only } => {
            let filter = only.as_ref().map_or_else(String::new, |only| format!(" --only '{only}'"));
            show(&staging.with_entries()?.take_along(guest), &format!("suite --ordinary{filter}"))
        }
        What::Soak { minutes } => {
            let seconds = minutes * 60;
            let guest = guest.time_limit(Duration::from_secs(seconds + 1200));
            show(&staging.with_verdicts()?.take_along(guest), &format!("suite --soak {seconds}"))
        }
        What::Units => units::run(&staging.installed()?.take_along(guest)),
        What::Week => week::run(&staging.for_a_week()?.take_along(guest)),
        What::Run { command } => show(&staging.with_verdicts()?.take_along(guest), command),
    }
}

/// Runs a command and shows its output as it comes. Returns whether it succeeded.
fn show(guest: &Guest<'_>, command: &str) -> Result<bool, String> {
    let outcome = guest.run_into(command, &mut io::stdout().lock()).map_err(|failure| failure.to_string())?;
    Ok(outcome.status == 0)
}
