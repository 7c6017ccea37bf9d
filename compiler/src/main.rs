//! `bfpc`: the commands over the compiler's stages. Here are the files, the clock, the terminal and the
//! exit codes: 0 yes, 1 a finding, 2 usage or input, 3 verification refused.
//!
//! Always: an answer goes to the standard output, and only when the command is done, so that a command
//! that fails says nothing there; what is wrong goes to the standard error, with its cure, or, in a format
//! for machines, to the standard output as one document.

mod bundle_command;
mod error_page;
mod explain_command;
mod policy_command;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bfp_compiler::source;
use clap::{Args, Parser, Subcommand};

use report::{Complaints, Ending, Failure, Format, human, in_file, in_sources};

/// Compiles bfp policies: which executable may reach which destination.
#[derive(Parser)]
#[command(name = "bfpc", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 yes or ok, 1 a finding, 2 usage or input error, 3 verification refused.";

#[derive(Subcommand)]
enum Command {
    /// Check a policy against its lock file
    Check {
        /// The policy
        policy: PathBuf,
        /// Exit 1 where there is a warning
        #[arg(long)]
        deny_warnings: bool,
        /// How diagnostics are written: for people, or as one document on the standard output
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Write policies in the canonical form
    Fmt {
        /// The policies
        #[arg(required = true)]
        policies: Vec<PathBuf>,
        /// Change nothing; exit 1 if a file is not in the canonical form
        #[arg(long)]
        check: bool,
        /// How diagnostics are written: for people, or as one document on the standard output
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Resolve the DNS names of a policy once, and write the answers to its lock file
    Lock(LockArguments),
    /// Compile and sign a policy
    Build(BuildArguments),
    /// Check the signatures and the integrity of a bundle
    Verify {
        /// The bundle
        bundle: PathBuf,
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Show what a bundle is and what it holds, after verifying it
    Inspect {
        /// The bundle
        bundle: PathBuf,
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Say whether a program may reach a destination, and by which rule; exit 1 if not
    Explain(ExplainArguments),
    /// Print the page about a diagnostic's code, such as `resolve::not_locked`; without one, list all codes
    ExplainCode {
        /// The code
        code: Option<String>,
    },
    /// Make a signing key: KEY (secret) and KEY.pub (public), both in PEM
    Keygen {
        /// Where the secret key is written
        key: PathBuf,
    },
}

#[derive(Args)]
struct LockArguments {
    /// The policy
    policy: PathBuf,
    /// A DNS server; may be given several times, and all must agree. Without it: those of this system
    #[arg(long, value_name = "IP[:PORT]")]
    resolver: Vec<String>,
    /// How diagnostics are written: for people, or as one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Args)]
struct BuildArguments {
    /// The policy
    policy: PathBuf,
    /// Where the bundle is written
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
    /// A secret key to sign with; may be given several times
    #[arg(long, required = true, value_name = "PEM")]
    key: Vec<PathBuf>,
    /// The revision: a host accepts no lower one
    #[arg(long, default_value_t = 1, value_name = "N")]
    revision: u64,
    /// Hosts refuse the bundle before this time, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Hosts refuse the bundle from this time on, such as 2028-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// A label of the hosts that the bundle is for; may be given several times. Without it: every host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
    /// Exit 1 where there is a warning, and write no bundle
    #[arg(long)]
    deny_warnings: bool,
    /// How diagnostics are written: for people, or as one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Args)]
struct TrustArguments {
    /// The trusted public key, or a directory of them (*.pem)
    #[arg(long, value_name = "PATH")]
    trust: PathBuf,
    /// How many trusted keys must have signed
    #[arg(long, default_value_t = 1, value_name = "M")]
    threshold: usize,
    /// A label of the host that it is verified for, where the bundle is not for every host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
}

#[derive(Args)]
struct ExplainArguments {
    /// The policy, or the bundle (then `--trust` is needed)
    file: PathBuf,
    /// A path, or a name that the policy declares
    program: String,
    /// ADDRESS:PORT[/PROTOCOL] or NAME:PORT[/PROTOCOL]; the protocol is `tcp` unless it is given
    destination: String,
    /// For a bundle: the trusted public key, or a directory of them (*.pem)
    #[arg(long, value_name = "PATH")]
    trust: Option<PathBuf>,
    /// For a bundle that is not for every host: a label of the host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
}

/// What a command answers.
type Answer = Result<String, Failure>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    human::set_style();
    let human = Format::Human;
    let ending = match arguments.command {
        Command::Check { policy, deny_warnings, format } => {
            report::end(format, policy_command::check(&policy, deny_warnings))
        }
        Command::Fmt { policies, check, format } => report::end(format, policy_command::format(&policies, check)),
        Command::Lock(arguments) => report::end(arguments.format, policy_command::lock(&arguments)),
        Command::Build(arguments) => report::end(arguments.format, bundle_command::build(&arguments)),
        Command::Verify { bundle, trust } => report::end(human, bundle_command::verify(&bundle, &trust)),
        Command::Inspect { bundle, trust } => report::end(human, bundle_command::inspect(&bundle, &trust)),
        Command::Explain(arguments) => report::end(human, explain_command::explain(&arguments)),
        Command::ExplainCode { code } => report::end(human, error_page::explain(code.as_deref())),
        Command::Keygen { key } => report::end(human, bundle_command::keygen(&key)),
    };
    print(&ending)
}

/// Ends once all of the answer is written.
fn print(ending: &Ending) -> ExitCode {
    // Where the standard error is closed, the exit code says it alone.
    let _ = io::stderr().write_all(ending.stderr.as_bytes());
    let code = ExitCode::from(ending.code);
    let mut stdout = io::stdout().lock();
    match stdout.write_all(ending.stdout.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        // Whoever reads has read enough: `bfpc inspect BUNDLE | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            let path = "the standard output".to_owned();
            let failure = policy_command::WriteError { path, reason: source::reason(&error) };
            let told = report::end::<String>(Format::Human, Err(failure.into()));
            let _ = io::stderr().write_all(told.stderr.as_bytes());
            ExitCode::from(told.code)
        }
    }
}
