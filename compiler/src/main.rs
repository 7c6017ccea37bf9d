//! `bfpc`: the commands over the compiler's stages. Here are the files, the clock, the terminal and the
//! exit codes: 0 yes, 1 a finding, 2 usage or input, 3 verification refused.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the program that speaks to people")]

mod bundle_command;
mod explain_command;
mod policy_command;

use std::path::PathBuf;
use std::process::ExitCode;

use bfp_compiler::pipeline::Findings;
use clap::{Args, Parser, Subcommand};
use miette::{Diagnostic, NamedSource, Report};

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
    },
    /// Write policies in the canonical form
    Fmt {
        /// The policies
        #[arg(required = true)]
        policies: Vec<PathBuf>,
        /// Change nothing; exit 1 if a file is not in the canonical form
        #[arg(long)]
        check: bool,
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
    /// Say whether a program may reach a destination, and which rule decides; exit 1 if it may not
    Explain {
        /// The policy, or the bundle (then `--trust` is needed)
        file: PathBuf,
        /// A path, or a name that the policy declares
        program: String,
        /// ADDRESS:PORT[/PROTOCOL] or NAME:PORT[/PROTOCOL]; the protocol is `tcp` unless it is given
        destination: String,
        /// The trusted public key, or a directory of them (*.pem), for a bundle
        #[arg(long, value_name = "PATH")]
        trust: Option<PathBuf>,
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
    /// A DNS server; several must agree. Without it: those of this system
    #[arg(long, value_name = "IP[:PORT]")]
    resolver: Vec<String>,
}

#[derive(Args)]
struct BuildArguments {
    /// The policy
    policy: PathBuf,
    /// Where the bundle is written
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
    /// A secret key to sign with
    #[arg(long, required = true, value_name = "PEM")]
    key: Vec<PathBuf>,
    /// The revision: a host accepts no lower one
    #[arg(long, default_value_t = 1, value_name = "N")]
    revision: u64,
    /// Hosts refuse the bundle before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Hosts refuse the bundle from this time on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// A label of the hosts that the bundle is for
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
}

#[derive(Args)]
struct TrustArguments {
    /// The trusted public key, or a directory of them (*.pem)
    #[arg(long, value_name = "PATH")]
    trust: PathBuf,
    /// How many trusted keys must have signed
    #[arg(long, default_value_t = 1, value_name = "M")]
    threshold: usize,
}

/// How a command ends when it does not end well.
enum Failure {
    /// The answer is no, and was printed.
    Finding,
    /// What was given cannot be used.
    Input(Vec<Report>),
    /// A bundle is refused.
    Refused(Report),
}

impl<D: Diagnostic + Send + Sync + 'static> From<D> for Failure {
    fn from(diagnostic: D) -> Failure {
        Failure::Input(vec![Report::new(diagnostic)])
    }
}

/// Shows findings in the text that they are about.
fn in_source(findings: Findings, file: &str, text: &str) -> Failure {
    let shown = findings
        .into_iter()
        .map(|finding| Report::new_boxed(finding).with_source_code(NamedSource::new(file, text.to_owned())));
    Failure::Input(shown.collect())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Check { policy } => policy_command::check(&policy),
        Command::Fmt { policies, check } => policy_command::format(&policies, check),
        Command::Lock(arguments) => policy_command::lock(&arguments),
        Command::Build(arguments) => bundle_command::build(&arguments),
        Command::Verify { bundle, trust } => bundle_command::verify(&bundle, &trust),
        Command::Inspect { bundle, trust } => bundle_command::inspect(&bundle, &trust),
        Command::Explain { file, program, destination, trust } => {
            explain_command::explain(&file, &program, &destination, trust.as_deref())
        }
        Command::Keygen { key } => bundle_command::keygen(&key),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Finding) => ExitCode::from(1),
        Err(Failure::Input(reports)) => {
            reports.iter().for_each(|report| eprintln!("{report:?}"));
            ExitCode::from(2)
        }
        Err(Failure::Refused(report)) => {
            eprintln!("{report:?}");
            ExitCode::from(3)
        }
    }
}
