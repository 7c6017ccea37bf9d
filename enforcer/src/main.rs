//! The commands: arguments enter, sentences and an exit code leave.
//!
//! 0: done. 1: a finding. 2: wrong usage or unreadable input. 3: the bundle is refused. 4: this host
//! cannot enforce it.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use bfp_bundle::identity::Part;
use bfp_bundle::manifest::Need;
use bfp_bundle::verify::{Host, MAX_BUNDLE_BYTES, Refusal, Trust, VerifiedBundle, verify};
use bfp_enforcer::apply::{Applied, ApplyError, apply};
use bfp_enforcer::doctor;
use bfp_enforcer::events::{self, EventsError};
use bfp_enforcer::lockdown;
use bfp_enforcer::pins::{Pins, PinsError, ROOT};
use bfp_enforcer::status::{self, StatusError};
use bfp_enforcer::trust::{self, TrustError};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// What these programs enforce. A policy that needs more is refused, never weakened.
const OFFERS: [Need; 4] = [Need::BpfLsm, Need::Verity, Need::RawSockets, Need::Libraries];

/// The programs for the kernel.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(env!("BFP_EBPF_OBJECT"));

/// Verifies a bfp bundle and has the kernel enforce it
#[derive(Parser)]
#[command(name = "bfp-enforcer", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Verify a bundle and enforce it, in place of what is enforced now
    Apply(BundleArguments),
    /// Say what is enforced, and count its verdicts
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
    /// Say whether this host can enforce, and what to change; attaches nothing
    Doctor {
        /// For people or for programs
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
    /// Enforce nothing any more
    Remove,
    /// Verify a bundle, and do nothing else
    Verify(BundleArguments),
}

#[derive(Args)]
struct BundleArguments {
    /// The bundle
    bundle: PathBuf,
    /// A public key in PEM, or a folder of *.pem
    #[arg(long, value_name = "PATH", default_value = "/etc/bfp/trust")]
    trust: PathBuf,
    /// How many trusted keys must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// A label of this host, beside its name: a bundle can be for some hosts only
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// What ends a command before it is done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("the bundle `{path}` cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("the bundle `{0}` is not a regular file")]
    NotAFile(PathBuf),
    #[error("the policy is locked: removing it needs a release token")]
    Locked,
    #[error("this host's clock is before 1970")]
    Clock,
    #[error("the answer cannot be written: {0}")]
    Output(io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Refused(_) | Failure::Locked | Failure::Apply(ApplyError::Revision(_)) => 3,
            Failure::Events(EventsError::NothingEnforced) => 1,
            Failure::Apply(_) | Failure::Pins(_) | Failure::Status(_) | Failure::Events(_) => 4,
            _ => 2,
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Failure::Apply(error) => error.help(),
            Failure::Refused(error) => error.help(),
            Failure::Status(error) => error.help(),
            Failure::Events(error) => error.help(),
            Failure::Pins(error) => error.help(),
            Failure::Trust(error) => error.help(),
            Failure::Unreadable { .. } | Failure::NotAFile(_) => "name the file that `bfpc build` wrote",
            Failure::Locked => "have those sign a release token whose keys the policy was applied with",
            Failure::Clock => "set the clock: bundles are valid for a time",
            Failure::Output(_) => "check where standard output goes",
        }
    }

    fn log(&self) -> Option<&str> {
        match self {
            Failure::Apply(error) => error.log(),
            _ => None,
        }
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Apply(arguments) => apply_bundle(&arguments),
        Command::Status { format } => show_status(format),
        Command::Events { follow, format } => show_events(follow, format),
        Command::Doctor { format } => return examine(format),
        Command::Remove => remove(),
        Command::Verify(arguments) => verify_bundle(&arguments),
    };
    match done.and_then(|text| io::stdout().write_all(text.as_bytes()).map_err(Failure::Output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code still says it.
            let _ = writeln!(io::stderr(), "bfp-enforcer: {failure}\n  help: {}", failure.help());
            if let Some(log) = failure.log() {
                let _ = writeln!(io::stderr(), "{log}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn apply_bundle(arguments: &BundleArguments) -> Result<String, Failure> {
    with_bundle(arguments, |bundle, now| {
        let Applied { about, impostors } = apply(PROGRAMS, bundle, now)?;
        for impostor in impostors {
            let path = &impostor.path;
            let loss = match impostor.part {
                Part::Program => "it holds no grants".to_owned(),
                Part::Mapped => format!("`{}` cannot load it", impostor.program),
            };
            // Where standard error is closed, the policy is enforced all the same.
            let _ = writeln!(
                io::stderr(),
                "bfp-enforcer: warning: the content of `{path}` is none that the policy pins: {loss}\n  \
                 help: install the build that the policy names and enable fs-verity on it (`fsverity enable {path}`)"
            );
        }
        Ok(format!("policy `{}` revision {} is enforced\n", about.policy, about.revision))
    })
}

fn show_events(follow: bool, format: Format) -> Result<String, Failure> {
    let line = match format {
        Format::Human => events::to_text,
        Format::Json => events::to_json,
    };
    match events::read(&mut io::stdout().lock(), line, follow) {
        // Whoever read them has seen enough.
        Err(EventsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(String::new()),
        read => Ok(read.map(|()| String::new())?),
    }
}

fn verify_bundle(arguments: &BundleArguments) -> Result<String, Failure> {
    with_bundle(arguments, |bundle, _| {
        let manifest = bundle.manifest();
        let signers: Vec<String> = bundle.signers().iter().map(ToString::to_string).collect();
        Ok(format!(
            "policy `{}` revision {} is signed by {}\nmanifest sha256:{}\n",
            manifest.policy,
            manifest.revision,
            signers.join(", "),
            status::hex(&bundle.manifest_digest())
        ))
    })
}

fn show_status(format: Format) -> Result<String, Failure> {
    let status = status::read(now()?)?;
    Ok(match format {
        Format::Human => status::to_text(status.as_ref()),
        Format::Json => status::to_json(status.as_ref()),
    })
}

fn examine(format: Format) -> ExitCode {
    let checks = doctor::examine(PROGRAMS);
    let text = match format {
        Format::Human => doctor::to_text(&checks),
        Format::Json => doctor::to_json(&checks),
    };
    let written = io::stdout().write_all(text.as_bytes()).is_ok();
    ExitCode::from(match (written, doctor::can_enforce(&checks)) {
        (true, true) => 0,
        (true, false) => 4,
        (false, _) => 2,
    })
}

fn remove() -> Result<String, Failure> {
    let Some(pins) = Pins::find()? else {
        return Ok("nothing is enforced, so nothing was removed\n".to_owned());
    };
    if !lockdown::locked(&pins)?.is_empty() {
        return Err(Failure::Locked);
    }
    // What was enforced is said where it can be read; it goes either way.
    let name = pins
        .generations()?
        .last()
        .and_then(|number| bfp_enforcer::about::About::read(&pins.generation(*number).join("about")).ok());
    pins.remove_all()?;
    Ok(match name {
        Some(about) => format!("removed policy `{}` revision {} and all labels\n", about.policy, about.revision),
        None => format!("removed `{ROOT}`\n"),
    })
}

fn with_bundle(
    arguments: &BundleArguments,
    then: impl FnOnce(&VerifiedBundle<'_>, u64) -> Result<String, Failure>,
) -> Result<String, Failure> {
    let trust = Trust::first(trust::read(&arguments.trust)?, arguments.threshold)?;
    let mut audience = arguments.audience.clone();
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        audience.push(name.trim().to_owned());
    }
    let now = now()?;
    let bytes = read_bundle(&arguments.bundle)?;
    then(&verify(&bytes, &trust, &Host { now, labels: audience, offers: OFFERS.to_vec() })?, now)
}

fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::Unreadable { path: path.to_owned(), error };
    // A pipe would block the opening otherwise.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Failure::NotAFile(path.to_owned()));
    }
    let oversize = |found| Refusal::Oversize { what: "file", found, limit: MAX_BUNDLE_BYTES };
    if about.len() > MAX_BUNDLE_BYTES {
        return Err(oversize(about.len()).into());
    }
    // It can still grow while it is read.
    let mut bytes = Vec::new();
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BUNDLE_BYTES {
        return Err(oversize(bytes.len() as u64).into());
    }
    Ok(bytes)
}

fn now() -> Result<u64, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map(|since| since.as_secs()).map_err(|_| Failure::Clock)
}
