//! `bfpc`: the commands over the compiler's stages. Here are the files, the clock, the terminal and the
//! exit codes: 0 yes, 1 a finding, 2 usage or input, 3 verification refused.
//!
//! Always: an answer goes to the standard output, and only when the command is done, so that a command
//! that fails says nothing there; what is wrong goes to the standard error, with its cure.

mod bundle_command;
mod diff_command;
mod drift_command;
mod explain_command;
mod git_revision;
mod graph_command;
mod hosts_command;
mod input;
mod inspect_command;
mod lock_command;
mod policy_command;
mod reach_command;
mod shell_command;
mod test_command;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bfp_compiler::pipeline::Findings;
use bfp_compiler::source;
use bfp_compiler::source_map::SourceMap;
use clap::{Args, Parser, Subcommand};
use lock_command::Locked;
use miette::{Diagnostic, MietteHandlerOpts, Report, Severity};

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
        /// Fail where `bfpc lock` would change the lock file: a name is missing in it, or no longer used
        #[arg(long)]
        locked: bool,
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
    /// Resolve the DNS names that a policy's lock file lacks, and drop those that are not used any more
    Lock(LockArguments),
    /// Ask DNS whether names still have the addresses that were locked; exit 1 if not
    Drift(DriftArguments),
    /// Compile and sign a policy
    Build(BuildArguments),
    /// Check the signatures and the integrity of a bundle
    Verify {
        /// The bundle
        bundle: PathBuf,
        #[command(flatten)]
        trust: TrustArguments,
    },
    /// Show what a bundle is and what it holds; without `--trust`, what it says of itself
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
    /// Make a signing key: KEY (secret) and KEY.pub (public), both in PEM
    Keygen {
        /// Where the secret key is written
        key: PathBuf,
    },
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
    /// Fail unless DNSSEC proves what is locked for this name; may be given several times
    #[arg(long, value_name = "NAME", num_args = 1..)]
    require_dnssec: Vec<String>,
    #[command(flatten)]
    resolvers: ResolverArguments,
}

#[derive(Args)]
struct DriftArguments {
    /// The policy, or the bundle (then `--trust` is needed)
    file: PathBuf,
    /// What the answer looks like
    #[arg(long, value_enum, default_value_t = input::Format::Human, value_name = "FORMAT")]
    format: input::Format,
    /// For a bundle: the trusted public key, or a directory of them (*.pem)
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
    /// A secret key to sign with; may be given several times
    #[arg(long, required = true, value_name = "PEM")]
    key: Vec<PathBuf>,
    /// Fail where `bfpc lock` would change the lock file: a name is missing in it, or no longer used
    #[arg(long)]
    locked: bool,
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

/// What a command answers.
type Answer = Result<String, Failure>;

/// How a command ends when it does not end well.
enum Failure {
    /// The answer is no, in these words.
    Finding(String),
    /// What was given cannot be used.
    Input(Complaints),
    /// A bundle is refused.
    Refused(Report),
}

/// What is wrong with the input, and how many errors that are in which file.
#[derive(Default)]
struct Complaints {
    reports: Vec<Report>,
    closing: String,
}

impl<D: Diagnostic + Send + Sync + 'static> From<D> for Failure {
    fn from(diagnostic: D) -> Failure {
        Failure::Input(Complaints { reports: vec![Report::new(diagnostic)], closing: String::new() })
    }
}

/// Shows findings in the one file that they are about.
fn in_file(findings: Findings, file: &str, text: &str) -> Complaints {
    let mut sources = SourceMap::default();
    sources.add(file.to_owned(), file.to_owned(), text);
    in_sources(findings, file, &sources)
}

/// Shows findings in the texts that they are about.
fn in_sources(findings: Findings, file: &str, sources: &SourceMap) -> Complaints {
    // A lock file's faults stand under one heading.
    let count = |wanted: bool| -> usize {
        let of = findings.iter().filter(|finding| (finding.severity() == Some(Severity::Warning)) == wanted);
        of.map(|finding| finding.related().map_or(1, Iterator::count)).sum()
    };
    let counted = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{number} {what}s")),
    };
    let both: Vec<String> =
        [counted(count(false), "error"), counted(count(true), "warning")].into_iter().flatten().collect();
    let closing = format!("{} in {file}\n", both.join(" and "));
    let sources = Arc::new(sources.shown_as(visible));
    let shown = findings.into_iter().map(|finding| Report::new_boxed(finding).with_source_code(Arc::clone(&sources)));
    Complaints { reports: shown.collect(), closing }
}

/// The text with everything that a terminal would obey, or not show, replaced by what it shows. Every place
/// in it stays the same.
fn visible(text: &str) -> String {
    let invisible = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            )
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            _ if !invisible(c) => shown.push(c),
            1 => shown.push('?'),
            2 => shown.push_str("??"),
            3 => shown.push('\u{fffd}'),
            _ => shown.push_str("\u{fffd}?"),
        }
    }
    shown
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // It fails only where it was done before.
    let _ = miette::set_hook(Box::new(|_| Box::new(style().build())));
    let answer = match arguments.command {
        Command::Check { policy, locked } => policy_command::check(&policy, Locked::of(locked)),
        Command::Fmt { policies, check } => policy_command::format(&policies, check),
        Command::Lock(arguments) => lock_command::lock(&arguments),
        Command::Drift(arguments) => drift_command::drift(&arguments),
        Command::Build(arguments) => bundle_command::build(&arguments),
        Command::Verify { bundle, trust } => bundle_command::verify(&bundle, &trust),
        Command::Inspect(arguments) => inspect_command::inspect(&arguments),
        Command::Explain(arguments) => explain_command::explain(&arguments),
        Command::Test(arguments) => test_command::test(&arguments),
        Command::Diff(arguments) => diff_command::diff(&arguments),
        Command::Graph(arguments) => graph_command::graph(&arguments),
        Command::Hosts(arguments) => hosts_command::hosts(&arguments),
        Command::Keygen { key } => bundle_command::keygen(&key),
        Command::Completions { shell } => shell_command::completions(shell),
        Command::Man => shell_command::man(),
    };
    match answer {
        Ok(text) => print(&text, 0),
        Err(Failure::Finding(text)) => print(&text, 1),
        Err(Failure::Input(Complaints { reports, closing })) => {
            reports.iter().for_each(complain);
            let _ = io::stderr().write_all(closing.as_bytes());
            ExitCode::from(2)
        }
        Err(Failure::Refused(report)) => {
            complain(&report);
            ExitCode::from(3)
        }
    }
}

/// How reports look: coloured only on a terminal and without `NO_COLOR`; as wide as the terminal.
fn style() -> MietteHandlerOpts {
    let set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let terminal = io::stderr().is_terminal();
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let style = MietteHandlerOpts::new().color(terminal && !dumb && !set("NO_COLOR")).terminal_links(false);
    if terminal { style } else { style.width(100) }
}

/// Ends with `code` once all of the answer is written.
fn print(text: &str, code: u8) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(code),
        // Whoever reads has read enough: `bfpc inspect BUNDLE | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => {
            let path = "the standard output".to_owned();
            complain(&Report::new(policy_command::WriteError { path, reason: source::reason(&error) }));
            ExitCode::from(2)
        }
    }
}

/// Where the standard error is closed, the exit code says it alone.
fn complain(report: &Report) {
    let _ = writeln!(io::stderr(), "{report:?}");
}
