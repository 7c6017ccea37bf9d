//! `bfpc`: the commands over the compiler's stages. Here are the files, the clock, the terminal and the
//! exit codes: 0 yes, 1 a finding, 2 usage or input, 3 verification refused.
//!
//! Always: an answer goes to the standard output, and only when the command is done, so that a command
//! that fails says nothing there; what is wrong goes to the standard error, with its cure, or, in a format
//! for machines, to the standard output as one document.

mod commands;
mod files;
mod report;
mod signing;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::lock_demands::LockDemands;
use commands::today::Today;
use files::settings::Settings;
use miette::Diagnostic;
use report::{Diagnostics, Exit, Failure, Format, human, in_file, in_sources};

/// Compiles bfp policies: which executable may reach which destination.
#[derive(Parser)]
#[command(name = "bfpc", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 yes or ok, 1 a finding, 2 usage or input error, 3 verification refused, or a review needed.";

#[derive(Subcommand)]
enum Command {
    /// Check policies against their lock files
    Check {
        /// The policies; a file that only declares programs and hosts is checked as an include
        #[arg(required = true)]
        policies: Vec<PathBuf>,
        #[command(flatten)]
        demands: LockDemands,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        today: Today,
        /// Exit 1 if there is a warning
        #[arg(long)]
        deny_warnings: bool,
        /// The format of diagnostics: text for people, or one document on the standard output
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
        /// The format of diagnostics: text for people, or one document on the standard output
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Resolve the DNS names that a policy's lock file lacks, and drop unused ones
    Lock(commands::lock::LockArguments),
    /// Fetch the lists that a policy has the URLs of, and lock their digests
    Fetch(commands::fetch::FetchArguments),
    /// Check by DNS whether names still have their locked addresses; exit 1 if not
    Drift(commands::drift::DriftArguments),
    /// Compile a policy, and sign it where keys are given
    Build(commands::build::BuildArguments),
    /// Add signatures to a bundle, a trust set or a token
    Sign(commands::sign::SignArguments),
    /// Write the bytes that an external signer signs, such as an HSM
    Payload(commands::sign::PayloadArguments),
    /// Write a trust set: the keys whose signatures hosts accept from now on
    TrustSet(commands::trust_set::TrustSetArguments),
    /// Write a token: the signers' permission for one act that a host otherwise refuses
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// Check the signatures and the integrity of a bundle, a trust set or a token
    Verify {
        /// The bundle, the trust set or the token
        file: PathBuf,
        #[command(flatten)]
        trust: signing::trust::TrustArguments,
    },
    /// Show the content of a bundle, a trust set or a token; without `--trust`, nothing is verified
    Inspect(commands::inspect::InspectArguments),
    /// Report whether a program may reach a destination, and by which rule; exit 1 if not
    Explain(commands::explain::ExplainArguments),
    /// Run the tests of a policy; exit 1 if one fails
    Test(commands::test::TestArguments),
    /// Show which programs gain or lose access between two policies or bundles; exit 1 if any does
    Diff(commands::diff::DiffArguments),
    /// Draw which programs may reach which destinations, as SVG
    Graph(commands::graph::GraphArguments),
    /// Print the pinned names as lines of /etc/hosts
    Hosts(commands::hosts::HostsArguments),
    /// Print the page about a diagnostic's code, such as `resolve::not_locked`; without one, list all codes
    ExplainCode {
        /// The code
        code: Option<String>,
    },
    /// Make a signing key: KEY (secret) and KEY.pub (public), both in PEM
    Keygen(commands::key::KeygenArguments),
    /// Print the ids of keys
    KeyId(commands::key::KeyIdArguments),
    /// Print the completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of this program, with all its commands
    Man,
}

/// What a command answers.
type Answer = Result<String, Failure>;

/// An argument that would write lines of its own wherever it is told of.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the argument `{shown}` contains a control character")]
#[diagnostic(
    code(source::control_character),
    help("remove it, and rename a file that has it: a report that names the file would contain forged lines")
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
        files::input::Format::Human => Format::Human,
        files::input::Format::Json => Format::Json,
    };
    let exit = match arguments.command {
        Command::Check { policies, demands, settings, today, deny_warnings, format } => {
            report::end(format, commands::policy::check(&policies, demands, &settings, today, deny_warnings))
        }
        Command::Fmt { policies, check, format } => report::end(format, commands::policy::format(&policies, check)),
        Command::Lock(arguments) => {
            let command = if arguments.refresh { commands::refresh::refresh } else { commands::lock::lock };
            report::end(arguments.format, command(&arguments))
        }
        Command::Fetch(arguments) => report::end(arguments.format, commands::fetch::fetch(&arguments)),
        Command::Drift(arguments) => report::end(either(arguments.format), commands::drift::drift(&arguments)),
        Command::Build(arguments) => report::end(arguments.format, commands::build::build(&arguments)),
        Command::Sign(arguments) => report::end(human, commands::sign::sign(&arguments)),
        Command::Payload(arguments) => report::end_bytes(commands::sign::payload(&arguments)),
        Command::TrustSet(arguments) => report::end(human, commands::trust_set::trust_set(&arguments)),
        Command::Token(command) => report::end(human, commands::token::token(&command)),
        Command::Verify { file, trust } => report::end(human, commands::verify::verify(&file, &trust)),
        Command::Inspect(arguments) => report::end(human, commands::inspect::inspect(&arguments)),
        Command::Explain(arguments) => report::end(human, commands::explain::explain(&arguments)),
        Command::ExplainCode { code } => report::end(human, commands::explain_code::explain(code.as_deref())),
        Command::Test(arguments) => report::end(arguments.format.of_reports(), commands::test::test(&arguments)),
        Command::Diff(arguments) => report::end(human, commands::diff::diff(&arguments)),
        Command::Graph(arguments) => report::end(human, commands::graph::graph(&arguments)),
        // No report but a file: a line of it may begin with `::1`.
        Command::Hosts(arguments) => report::end_bytes(commands::hosts::hosts(&arguments).map(String::into_bytes)),
        Command::Keygen(arguments) => report::end(human, commands::key::keygen(&arguments)),
        Command::KeyId(arguments) => report::end(human, commands::key::key_id(&arguments)),
        Command::Completions { shell } => report::end(human, commands::shell::completions(shell)),
        Command::Man => report::end(human, commands::shell::man()),
    };
    print(&exit)
}

/// Ends once all of the answer is written.
fn print(exit: &Exit) -> ExitCode {
    // Where the standard error is closed, the exit code says it alone.
    let _ = io::stderr().write_all(exit.stderr.as_bytes());
    let code = ExitCode::from(exit.code);
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&exit.stdout).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        // Whoever reads has read enough: `bfpc inspect BUNDLE | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            let failure = files::output::WriteError::of(Path::new("the standard output"), &error);
            let exit = report::end::<String>(Format::Human, Err(failure.into()));
            let _ = io::stderr().write_all(exit.stderr.as_bytes());
            ExitCode::from(exit.code)
        }
    }
}
