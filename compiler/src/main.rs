//! `bfpc`: the commands over the compiler's stages. Here are the files, the clock, the terminal and the
//! exit codes: 0 yes, 1 a finding, 2 usage or input, 3 verification refused.
//!
//! Always: an answer goes to the standard output, and only when the command is done, so that a command
//! that fails says nothing there; what is wrong goes to the standard error, with its cure, or, in a format
//! for machines, to the standard output as one document.

mod build_command;
mod diff_command;
mod drift_command;
mod explain_code_command;
mod explain_command;
mod git_revision;
mod graph_command;
mod hosts_command;
mod input;
mod inspect_command;
mod inspect_trust;
mod inspected;
mod key_command;
mod key_file;
mod lock_command;
mod lock_demands;
mod output;
mod passphrase;
mod permissions;
mod policy_command;
mod policy_files;
mod reach_command;
mod refusal;
mod report;
mod shell_command;
mod sign_command;
mod signed_document;
mod test_command;
mod token_command;
mod trust;
mod trust_set_command;
mod validity;
mod verify_command;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, value_parser};
use lock_demands::LockDemands;
use miette::Diagnostic;
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
    /// Check policies against their lock files
    Check {
        /// The policies; a file that only declares programs and hosts is checked as one to include
        #[arg(required = true)]
        policies: Vec<PathBuf>,
        #[command(flatten)]
        demands: LockDemands,
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
    /// Resolve the DNS names that a policy's lock file lacks, and drop those that are not used any more
    Lock(LockArguments),
    /// Ask DNS whether names still have the addresses that were locked; exit 1 if not
    Drift(DriftArguments),
    /// Compile a policy, and sign it where keys are given
    Build(BuildArguments),
    /// Add signatures to a bundle, a trust set or a token
    Sign(sign_command::SignArguments),
    /// Write the bytes that a signer elsewhere signs, such as an HSM
    Payload(sign_command::PayloadArguments),
    /// Write a trust set: whose signatures hosts believe from now on
    TrustSet(trust_set_command::TrustSetArguments),
    /// Write a token: the signers' consent to something that a host refuses otherwise
    #[command(subcommand)]
    Token(token_command::TokenCommand),
    /// Check the signatures and the integrity of a bundle, a trust set or a token
    Verify {
        /// The bundle, the trust set or the token
        file: PathBuf,
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Show what a bundle, a trust set or a token holds; without `--trust`, what it says of itself
    Inspect(inspect_command::InspectArguments),
    /// Say whether a program may reach a destination, and by which rule; exit 1 if not
    Explain(explain_command::ExplainArguments),
    /// Run the tests of a policy; exit 1 if one fails
    Test(test_command::TestArguments),
    /// Show who gains and who loses what between two policies or bundles; exit 1 if anyone does
    Diff(diff_command::DiffArguments),
    /// Draw who may reach what, as SVG
    Graph(graph_command::GraphArguments),
    /// Print the pinned names as lines of /etc/hosts
    Hosts(hosts_command::HostsArguments),
    /// Print the page about a diagnostic's code, such as `resolve::not_locked`; without one, list all codes
    ExplainCode {
        /// The code
        code: Option<String>,
    },
    /// Make a signing key: KEY (secret) and KEY.pub (public), both in PEM
    Keygen(key_command::KeygenArguments),
    /// Print the ids that name keys
    KeyId(key_command::KeyIdArguments),
    /// Print what completes this program's commands in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, with all its commands
    Man,
}

#[derive(Args)]
struct LockArguments {
    /// The policy
    policy: PathBuf,
    /// Ask again for every name, or for those that are given
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Ask for this name again, and fail unless DNSSEC proves the answers; may be given several times
    #[arg(long, value_name = "NAME", num_args = 1..)]
    require_dnssec: Vec<String>,
    /// Ask for the IPv4 addresses of this name alone, where a resolver has no answer for IPv6; may be given several times
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "because")]
    ipv4_only: Vec<String>,
    /// With --ipv4-only: the reason, which stands in the lock file
    #[arg(long, value_name = "REASON", requires = "ipv4_only", value_parser = NonEmptyStringValueParser::new())]
    because: Option<String>,
    #[command(flatten)]
    resolvers: ResolverArguments,
    /// How diagnostics are written: for people, or as one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Args)]
struct DriftArguments {
    /// The policy, or the bundle (then `--trust` is needed)
    file: PathBuf,
    /// What the answer looks like
    #[arg(long, value_enum, default_value_t = input::Format::Human, value_name = "FORMAT")]
    format: input::Format,
    /// For a bundle: the trusted public key, a directory of them (*.pem), or the trust set in force
    #[arg(long, value_name = "PATH")]
    trust: Option<PathBuf>,
    /// For a bundle that is not for every host: a label of the host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
    #[command(flatten)]
    resolvers: ResolverArguments,
}

#[derive(Args)]
struct ResolverArguments {
    /// A DNS server; may be given several times, and each must have an answer. Without it: those of this
    /// system
    #[arg(long, value_name = "IP[:PORT]")]
    resolver: Vec<String>,
    /// So many of the servers must give the same addresses; who gives others, or none, is outvoted
    #[arg(long, value_name = "N")]
    quorum: Option<usize>,
    /// How long one server may take for one name, with every alias and attempt
    #[arg(long, value_name = "SECONDS", default_value_t = bfp_compiler::dns::TIMEOUT_SECONDS, value_parser = value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// A file of DS or DNSKEY records, one a line: what DNSSEC does not prove below their zones is refused
    #[arg(long, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,
}

#[derive(Args)]
struct BuildArguments {
    /// The policy
    policy: PathBuf,
    /// Where the bundle is written
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
    /// A secret key to sign with; may be given several times. Without it, the bundle waits for `bfpc sign`
    #[arg(long, value_name = "PEM")]
    key: Vec<PathBuf>,
    /// A file whose first line is the passphrase of encrypted keys. Without it, it is asked for on the terminal
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    demands: LockDemands,
    /// The revision: a host accepts no lower one
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..))]
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
    /// While it is enforced, nobody on the host may take it apart without a release token
    #[arg(long)]
    lockdown: bool,
    /// Exit 1 where there is a warning, and write no bundle
    #[arg(long)]
    deny_warnings: bool,
    /// How diagnostics are written: for people, or as one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Args)]
struct TrustArguments {
    /// The trusted public key, a directory of them (*.pem), or the trust set in force
    #[arg(long, value_name = "PATH")]
    trust: PathBuf,
    /// How many trusted keys must have signed, where that is more than is written there
    #[arg(long, default_value_t = 1, value_name = "M", value_parser = value_parser!(u16).range(1..))]
    threshold: u16,
    /// A label of the host that it is verified for, where the bundle is not for every host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
}

/// What a command answers.
type Answer = Result<String, Failure>;

/// An argument that would write lines of its own wherever it is told of.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the argument `{shown}` holds a control character")]
#[diagnostic(
    code(source::control_character),
    help("leave it out, and rename a file that has it: what is told about it would show lines that nobody wrote")
)]
struct ControlCharacter {
    shown: String,
}

/// Refuses arguments that no file, name, destination or reason has.
fn refuse_control_characters(arguments: impl Iterator<Item = OsString>) -> Result<(), ControlCharacter> {
    let mut texts = arguments.map(|argument| argument.to_string_lossy().into_owned());
    match texts.find(|text| text.chars().any(char::is_control)) {
        Some(text) => Err(ControlCharacter { shown: text.escape_debug().to_string() }),
        None => Ok(()),
    }
}

fn main() -> ExitCode {
    human::set_style();
    let human = Format::Human;
    if let Err(refused) = refuse_control_characters(std::env::args_os()) {
        return print(&report::end::<String>(human, Err(refused.into())));
    }
    let arguments = Arguments::parse();
    // The formats of a question are for people and as JSON.
    let either = |format| match format {
        input::Format::Human => Format::Human,
        input::Format::Json => Format::Json,
    };
    let ending = match arguments.command {
        Command::Check { policies, demands, deny_warnings, format } => {
            report::end(format, policy_command::check(&policies, demands, deny_warnings))
        }
        Command::Fmt { policies, check, format } => report::end(format, policy_command::format(&policies, check)),
        Command::Lock(arguments) => report::end(arguments.format, lock_command::lock(&arguments)),
        Command::Drift(arguments) => report::end(either(arguments.format), drift_command::drift(&arguments)),
        Command::Build(arguments) => report::end(arguments.format, build_command::build(&arguments)),
        Command::Sign(arguments) => report::end(human, sign_command::sign(&arguments)),
        Command::Payload(arguments) => report::end_bytes(sign_command::payload(&arguments)),
        Command::TrustSet(arguments) => report::end(human, trust_set_command::trust_set(&arguments)),
        Command::Token(command) => report::end(human, token_command::token(&command)),
        Command::Verify { file, trust } => report::end(human, verify_command::verify(&file, &trust)),
        Command::Inspect(arguments) => report::end(human, inspect_command::inspect(&arguments)),
        Command::Explain(arguments) => report::end(human, explain_command::explain(&arguments)),
        Command::ExplainCode { code } => report::end(human, explain_code_command::explain(code.as_deref())),
        Command::Test(arguments) => report::end(arguments.format.of_reports(), test_command::test(&arguments)),
        Command::Diff(arguments) => report::end(human, diff_command::diff(&arguments)),
        Command::Graph(arguments) => report::end(human, graph_command::graph(&arguments)),
        // No report but a file: a line of it may begin with `::1`.
        Command::Hosts(arguments) => report::end_bytes(hosts_command::hosts(&arguments).map(String::into_bytes)),
        Command::Keygen(arguments) => report::end(human, key_command::keygen(&arguments)),
        Command::KeyId(arguments) => report::end(human, key_command::key_id(&arguments)),
        Command::Completions { shell } => report::end(human, shell_command::completions(shell)),
        Command::Man => report::end(human, shell_command::man()),
    };
    print(&ending)
}

/// Ends once all of the answer is written.
fn print(ending: &Ending) -> ExitCode {
    // Where the standard error is closed, the exit code says it alone.
    let _ = io::stderr().write_all(ending.stderr.as_bytes());
    let code = ExitCode::from(ending.code);
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&ending.stdout).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        // Whoever reads has read enough: `bfpc inspect BUNDLE | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            let failure = output::WriteError::of(Path::new("the standard output"), &error);
            let told = report::end::<String>(Format::Human, Err(failure.into()));
            let _ = io::stderr().write_all(told.stderr.as_bytes());
            ExitCode::from(told.code)
        }
    }
}
