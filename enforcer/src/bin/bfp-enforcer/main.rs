//! The commands: arguments enter, text and an exit code leave.
//!
//! Exit codes: 0, success. 1, success, but the operator must look. 2, wrong usage or unreadable input. 3, the bundle is
//! rejected. 4, this host cannot enforce it.

mod apply_command;
mod command_error;
mod hosts_command;
mod session;
mod trust_command;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apply_command::{ApplyArguments, BootArguments, BundleArguments};
use bfp_enforcer::admit::state::STATE;
use bfp_enforcer::failure::{Exit, Failure};
use bfp_enforcer::kernel::about::About;
use bfp_enforcer::report::doctor::{self, Prospect};
use bfp_enforcer::report::events::{self, EventsError, Reader};
use bfp_enforcer::report::notes::Notes;
use bfp_enforcer::report::{status, watch};
use clap::{Parser, Subcommand, ValueEnum};
use command_error::{CommandError, message};
use hosts_command::HostsArguments;
use session::Session;
use trust_command::{RecoverArguments, RemoveArguments, TrustArguments};

/// The BPF object.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(env!("BFP_EBPF_OBJECT"));

/// Verifies a bfp bundle and makes the kernel enforce it
#[derive(Parser)]
#[command(name = "bfp-enforcer", version)]
struct Arguments {
    /// The directory of this host's rollback state, which only root can access
    #[arg(long, global = true, value_name = "FOLDER", default_value = STATE)]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a bundle and enforce it in place of the current policy
    Apply(ApplyArguments),
    /// At boot: apply the installed bundle, or the last good one if that is rejected
    Boot(BootArguments),
    /// Show what is enforced; exits with 1 if nothing is, or less than was applied
    Status {
        /// The output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Print denials, and what `audit` rules would deny
    Events {
        /// Keep waiting for new events
        #[arg(long)]
        follow: bool,
        /// The output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Wait until a symbolic link that the policy was applied through has another target
    Watch,
    /// Write the names of the enforced policy, with their addresses, into /etc/hosts
    Hosts(HostsArguments),
    /// Check whether this host can enforce, what to change, and whether /etc/bfp/policy.bfpb would be applied; attaches
    /// nothing
    Doctor {
        /// The output format
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Stop enforcing; under lockdown, this requires a token of the signers
    Remove(RemoveArguments),
    /// End lockdown with a token of the signers; the policy stays enforced
    Unlock(RemoveArguments),
    /// Verify a bundle as `apply` does, without applying it
    Verify(BundleArguments),
    /// Replace the keys that this host trusts by a signed trust set
    Trust(TrustArguments),
    /// Lower the highest revision that this host has seen, with a token of the signers
    Recover(RecoverArguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

fn main() -> ExitCode {
    let Arguments { state, command } = Arguments::parse();
    let done = match command {
        Command::Apply(arguments) => apply_command::apply_bundle(&arguments, &state),
        Command::Boot(arguments) => apply_command::boot(&arguments, &state),
        Command::Status { format } => show_status(format, &state),
        Command::Watch => watch_links(),
        Command::Events { follow, format } => show_events(follow, format, &state),
        Command::Hosts(arguments) => hosts_command::hosts(&arguments, &state),
        Command::Doctor { format } => return examine(format, &state),
        Command::Remove(arguments) => trust_command::remove(&arguments, &state),
        Command::Unlock(arguments) => trust_command::unlock(&arguments, &state),
        Command::Verify(arguments) => apply_command::verify_bundle(&arguments, &state),
        Command::Trust(arguments) => trust_command::adopt(&arguments, &state),
        Command::Recover(arguments) => trust_command::recover(&arguments, &state),
    };
    let failure = match done.and_then(|text| print(&text)) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    // Regular output, except for the exit code.
    if let Some(CommandError::Degraded(text)) = failure.find() {
        return code(print(text).err().map_or(failure.exit(), |unwritten| unwritten.exit()));
    }
    // If standard error is closed, the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "bfp-enforcer: {}\n  help: {}", message(&failure), failure.help());
    if let Some(log) = failure.log() {
        let _ = writeln!(io::stderr(), "{log}");
    }
    code(failure.exit())
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes()).map_err(CommandError::Output)?)
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}

fn show_events(follow: bool, format: Format, folder: &Path) -> Result<String, Failure> {
    let line = match format {
        Format::Human => events::to_text,
        Format::Json => events::to_json,
    };
    let reader = Reader::begin();
    if !reader.is_alone() {
        let words = "another reader takes events too, such as bfp-events.service: each event goes to only one reader";
        session::warn(words, "look in its journal: journalctl -u bfp-events");
    }
    let notes = |about: &About| Notes::kept(folder, about, &Session::capabilities());
    let read = events::read(&mut io::stdout().lock(), line, notes, follow).map(|()| String::new());
    read.or_else(|failure| match failure.find() {
        // The reader closed the pipe, which is not an error.
        Some(EventsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(String::new()),
        _ => Err(failure),
    })
}

fn show_status(format: Format, folder: &Path) -> Result<String, Failure> {
    let status = status::read(folder, &Session::capabilities(), session::clock()?)?;
    let text = match format {
        Format::Human => status::to_text(&status),
        Format::Json => status::to_json(&status),
    };
    if status.is_well() { Ok(text) } else { Err(CommandError::Degraded(text).into()) }
}

fn watch_links() -> Result<String, Failure> {
    Ok(watch::watch()?.into_iter().map(|changed| changed + "\n").collect())
}

fn examine(format: Format, state: &Path) -> ExitCode {
    let checks = doctor::examine(PROGRAMS);
    let prospect = apply_command::prospect(state);
    let text = match format {
        Format::Human => doctor::to_text(&checks, &prospect),
        Format::Json => doctor::to_json(&checks, &prospect),
    };
    if let Err(failure) = print(&text) {
        return code(failure.exit());
    }
    match prospect {
        _ if !doctor::can_enforce(&checks) => code(Exit::CannotEnforce),
        Prospect::Refused(_) => code(Exit::Finding),
        Prospect::Applied(_) | Prospect::NotYet(_) => ExitCode::SUCCESS,
    }
}
