//! The commands: arguments enter, text and an exit code leave.
//!
//! Exit codes: 0, success. 1, success, but the operator must look. 2, wrong usage or unreadable input. 3, the bundle is
//! rejected. 4, this host cannot enforce it.

mod apply_command;
mod session;
mod trust_command;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apply_command::{ApplyArguments, BootArguments, BundleArguments};
use bfp_bundle::verify::Refusal;
use bfp_enforcer::admit::admission::AdmissionError;
use bfp_enforcer::admit::input::InputError;
use bfp_enforcer::admit::state::{STATE, StateError};
use bfp_enforcer::admit::trust::TrustError;
use bfp_enforcer::apply::ApplyError;
use bfp_enforcer::apply::memory::EnforcedError;
use bfp_enforcer::kernel::pins::PinsError;
use bfp_enforcer::report::doctor::{self, Prospect};
use bfp_enforcer::report::events::{self, EventsError, Reader};
use bfp_enforcer::report::shown::shown;
use bfp_enforcer::report::status::{self, StatusError};
use bfp_enforcer::report::watch::{self, WatchError};
use clap::{Parser, Subcommand, ValueEnum};
use session::Session;
use trust_command::{RecoverArguments, RemoveArguments, TrustArguments};

/// The BPF object.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(env!("BFP_EBPF_OBJECT"));

/// Verifies a bfp bundle and has the kernel enforce it
#[derive(Parser)]
#[command(name = "bfp-enforcer", version)]
struct Arguments {
    /// Where this host remembers what it has seen; only root may enter
    #[arg(long, global = true, value_name = "FOLDER", default_value = STATE)]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a bundle and enforce it, in place of what is enforced now
    Apply(ApplyArguments),
    /// When the host comes up: apply the bundle that lies there, and the last good one where it is refused
    Boot(BootArguments),
    /// Say what is enforced, and whether all of it still is; 1 where nothing is, or less than was applied
    Status {
        /// For people or for programs
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Say what was refused, and what `audit` rules would refuse
    Events {
        /// Wait for more, until it is stopped
        #[arg(long)]
        follow: bool,
        /// For people or for programs
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Wait until a symbolic link that was followed when the policy was applied leads elsewhere
    Watch,
    /// Say whether this host can enforce, what to change, and whether /etc/bfp/policy.bfpb would be applied; attaches
    /// nothing
    Doctor {
        /// For people or for programs
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Enforce nothing any more; a locked policy needs a token of its signers
    Remove(RemoveArguments),
    /// Take the lock off a policy, with a token of its signers; the policy stays enforced
    Unlock(RemoveArguments),
    /// Verify a bundle as `apply` would, and do nothing else
    Verify(BundleArguments),
    /// Let a signed trust set take the place of the keys that this host trusts
    Trust(TrustArguments),
    /// Take back the highest revision that this host has seen, with a token of the signers
    Recover(RecoverArguments),
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("`{path}` is refused: {refusal}")]
    Refused { path: PathBuf, refusal: Refusal },
    #[error("`{path}` is refused: {error}")]
    NotAdmitted { path: PathBuf, error: AdmissionError },
    #[error("the trusted keys cannot be used: {0}")]
    Demanding(Refusal),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Enforced(#[from] EnforcedError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("{done}bfp-enforcer: but not all is well: {}", .losses.join("; "))]
    Partly { done: String, losses: Vec<String> },
    #[error("{}\nbfp-enforcer: the last good bundle is enforced instead: {done}", failure.in_a_line())]
    LastGood { failure: Box<Failure>, done: String },
    #[error("{}, but not all of it holds on this host: {lacks} warnings above say what", done.trim_end())]
    Incomplete { done: String, lacks: usize },
    #[error("{done}, but {lost}")]
    Remain { done: String, lost: String },
    #[error("policy `{policy}` revision {revision} is locked")]
    Locked { policy: String, revision: u64 },
    #[error(
        "the token releases `{policy}` up to revision {revision}, and revision {enforced_revision} of `{enforced}` is \
         enforced"
    )]
    OtherRelease { policy: String, revision: u64, enforced: String, enforced_revision: u64 },
    #[error("this is not a {wanted} token")]
    OtherAct { wanted: &'static str },
    #[error("the token takes back revision {from} of `{policy}`, and the highest that this host has seen is {highest}")]
    NotFrom { policy: String, from: u64, highest: u64 },
    #[error("the token takes back revision {from} of `{policy}`, and was used on this host before")]
    UsedToken { policy: String, from: u64 },
    /// The output of `status`, which reports a fault.
    #[error("{0}")]
    Unwell(String),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error("this host's clock is before 1970")]
    Clock,
    #[error("the answer cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    /// Whether it only reports that something is absent.
    fn is_of_absence(&self) -> bool {
        let (Failure::Input(InputError::Unreadable { error, .. })
        | Failure::Trust(TrustError::Unreadable { error, .. })) = self
        else {
            return false;
        };
        error.kind() == io::ErrorKind::NotFound
    }

    /// On one line: text that is quoted from a file cannot start a new one.
    fn in_a_line(&self) -> String {
        shown(&self.to_string())
    }

    /// The message for the operator, with its second line if there is one.
    fn told(&self) -> String {
        match self {
            Failure::Partly { .. } | Failure::LastGood { .. } => self.to_string(),
            other => other.in_a_line(),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Failure::LastGood { .. }
            | Failure::Unwell(_)
            | Failure::Partly { .. }
            | Failure::Incomplete { .. }
            | Failure::Remain { .. }
            | Failure::Events(EventsError::NothingEnforced) => 1,
            Failure::Refused { .. }
            | Failure::NotAdmitted { .. }
            | Failure::Demanding(_)
            | Failure::Locked { .. }
            | Failure::OtherRelease { .. }
            | Failure::OtherAct { .. }
            | Failure::NotFrom { .. }
            | Failure::UsedToken { .. }
            | Failure::State(StateError::Damaged(_) | StateError::Input(_))
            | Failure::Input(InputError::Oversize { .. } | InputError::Writable { .. })
            | Failure::Trust(
                TrustError::Unusable { .. }
                | TrustError::BrokenChain(_)
                | TrustError::Input(InputError::Writable { .. }),
            ) => 3,
            Failure::Apply(_)
            | Failure::Pins(_)
            | Failure::Status(_)
            | Failure::Events(_)
            | Failure::Watch(_)
            | Failure::Enforced(_)
            | Failure::State(_) => 4,
            Failure::Input(_) | Failure::Trust(_) | Failure::Clock | Failure::Output(_) => 2,
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Failure::Apply(error) => error.help(),
            Failure::Refused { refusal, .. } | Failure::Demanding(refusal) => refusal.help(),
            Failure::NotAdmitted { error, .. } => error.help(),
            Failure::State(error) => error.help(),
            Failure::Enforced(error) => error.help(),
            Failure::Input(error) => error.help(),
            Failure::Status(error) => error.help(),
            Failure::Events(error) => error.help(),
            Failure::Pins(error) => error.help(),
            Failure::Trust(error) => error.help(),
            Failure::LastGood { failure, .. } => failure.help(),
            Failure::Incomplete { .. } => "mend what is missing; `bfp-enforcer status` shows what is left",
            Failure::Remain { .. } => session::LOST_LINKS,
            Failure::Locked { .. } => "name a release token of the signers with `--token` (docs/lockdown.md)",
            Failure::OtherRelease { .. } => "have the signers release what is enforced on this host",
            Failure::OtherAct { .. } => "name the token that was made for this command: `bfpc inspect` shows it",
            Failure::Partly { .. } => "find out what happened to /var/lib/bfp: docs/operations.md",
            Failure::UsedToken { .. } => "a token is good once: have the signers sign one that expires at another time",
            Failure::NotFrom { .. } => "have the signers sign a token for what this host has seen",
            Failure::Unwell(_) => "docs/operations.md says what to do",
            Failure::Watch(error) => error.help(),
            Failure::Clock => "set the clock: bundles are valid for a time",
            Failure::Output(_) => "check where standard output goes",
        }
    }

    /// A document at `path` that fails verification.
    fn refused(path: &Path) -> impl FnOnce(Refusal) -> Failure {
        let path = path.to_owned();
        move |refusal| Failure::Refused { path, refusal }
    }

    /// A bundle at `path` that admission rejects.
    fn not_admitted(path: &Path) -> impl FnOnce(AdmissionError) -> Failure {
        let path = path.to_owned();
        move |error| Failure::NotAdmitted { path, error }
    }

    fn log(&self) -> Option<&str> {
        match self {
            Failure::Apply(error) => error.log(),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let Arguments { state, command } = Arguments::parse();
    let done = match command {
        Command::Apply(arguments) => apply_command::apply_bundle(&arguments, &state),
        Command::Boot(arguments) => apply_command::boot(&arguments, &state),
        Command::Status { format } => show_status(format, &state),
        Command::Watch => watch_links(),
        Command::Events { follow, format } => show_events(follow, format),
        Command::Doctor { format } => return examine(format, &state),
        Command::Remove(arguments) => trust_command::remove(&arguments, &state),
        Command::Unlock(arguments) => trust_command::unlock(&arguments, &state),
        Command::Verify(arguments) => apply_command::verify_bundle(&arguments, &state),
        Command::Trust(arguments) => trust_command::adopt(&arguments, &state),
        Command::Recover(arguments) => trust_command::recover(&arguments, &state),
    };
    match done.and_then(|text| io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)) {
        Ok(()) => ExitCode::SUCCESS,
        // Regular output, except for the exit code.
        Err(Failure::Unwell(text)) => {
            let written = io::stdout().write_all(text.as_bytes());
            ExitCode::from(if written.is_ok() { 1 } else { 2 })
        }
        Err(failure) => {
            // If standard error is closed, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "bfp-enforcer: {}\n  help: {}", failure.told(), failure.help());
            if let Some(log) = failure.log() {
                let _ = writeln!(io::stderr(), "{log}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn show_events(follow: bool, format: Format) -> Result<String, Failure> {
    let line = match format {
        Format::Human => events::to_text,
        Format::Json => events::to_json,
    };
    let reader = Reader::begin();
    if !reader.is_alone() {
        let words =
            "another reader takes events too, such as bfp-events.service: each event is told once, to one of them";
        session::warn(words, "look in its journal: journalctl -u bfp-events");
    }
    match events::read(&mut io::stdout().lock(), line, follow) {
        // The reader closed the pipe, which is not an error.
        Err(EventsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(String::new()),
        read => Ok(read.map(|()| String::new())?),
    }
}

fn show_status(format: Format, folder: &Path) -> Result<String, Failure> {
    let status = status::read(folder, &Session::offers(), session::clock()?)?;
    let text = match format {
        Format::Human => status::to_text(&status),
        Format::Json => status::to_json(&status),
    };
    if status.is_well() { Ok(text) } else { Err(Failure::Unwell(text)) }
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
    let written = io::stdout().write_all(text.as_bytes()).is_ok();
    ExitCode::from(match (written, doctor::can_enforce(&checks), prospect) {
        (true, true, Prospect::Refused(_)) => 1,
        (true, true, _) => 0,
        (true, false, _) => 4,
        (false, ..) => 2,
    })
}
