//! The crash injector, from the host's side: signs bundles of rising revisions of the demo's policy, takes them and the
//! injector into a guest for each kernel, and passes on its output.
//!
//! Status: 0 if every kernel passed; 1 otherwise, also if a kernel or a program is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bfp_kernel_tests::command::{call, say};
use bfp_kernel_tests::guest::side_by_side;
use bfp_kernel_tests::progress::Progress;
use bfp_kernel_tests::{Guest, Kernel};
use clap::Parser;

/// Kill the enforcer at each of its system calls in turn, under stock Debian kernels
#[derive(Parser)]
struct Arguments {
    /// Where bfpc, bfp-enforcer and injector are
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The policy that is enforced meanwhile
    #[arg(long, value_name = "FILE", default_value = "fixtures/accept/signer-kms/policy.bfp")]
    policy: PathBuf,
    /// Try some points alone, so that it takes some minutes
    #[arg(long)]
    thin: bool,
    /// Run these series alone: again, next, failing, at-once, short, first, remove
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run each series under one of the kernels alone
    #[arg(long, conflicts_with = "only")]
    divided: bool,
    /// Series of the kernels: 6.1, 6.12, 6.18, 7.3
    #[arg(required = true)]
    kernels: Vec<String>,
}

/// The series, so that every second of them takes about as long as the others do.
const SERIES: [&str; 7] = ["again", "next", "first", "failing", "remove", "short", "at-once"];

/// More than there are states in an `apply`, each of which gets its own revision.
const REVISIONS: u64 = 500;
/// As many as the thin series need.
const FEW_REVISIONS: u64 = 40;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("killer: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let staging = tempfile::tempdir().map_err(|error| error.to_string())?;
    bundles(arguments, staging.path())?;
    side_by_side(&arguments.kernels, |series| test(arguments, staging.path(), series))
}

impl Arguments {
    /// The series to run under a kernel; none means all.
    fn series_of(&self, kernel: &str) -> Vec<&str> {
        if !self.divided {
            return self.only.iter().map(String::as_str).collect();
        }
        let shares = self.kernels.len();
        let share = self.kernels.iter().position(|name| name == kernel).unwrap_or(0);
        SERIES.into_iter().skip(share).step_by(shares).collect()
    }
}

/// Whether every series under this kernel passed. Each is reported when it ends, because it takes long.
fn test(arguments: &Arguments, root: &Path, series: &str) -> Result<bool, String> {
    let failed = |failure| format!("kernel {series}: {failure}");
    let kernel = Kernel::find(series).map_err(failed)?;
    let limit = if arguments.thin { 1800 } else { 6 * 3600 };
    let mut guest = Guest::new(&kernel).memory_mib(512).time_limit(Duration::from_secs(limit)).tree(root, "/");
    for name in ["bfp-enforcer", "injector"] {
        guest = guest.file(arguments.programs.join(name), format!("/bin/{name}"));
    }
    let thin = if arguments.thin { " thin" } else { "" };
    let command = format!("injector series{thin} {}", arguments.series_of(series).join(" "));
    let outcome = guest.run_into(&command, &mut Progress::new(series, |_| true)).map_err(failed)?;
    Ok(outcome.status == 0)
}

/// Lays out /revisions and /trust for the guest.
fn bundles(arguments: &Arguments, root: &Path) -> Result<(), String> {
    let bfpc = arguments.programs.join("bfpc");
    let (trust, revisions) = (root.join("trust"), root.join("revisions"));
    for folder in [&trust, &revisions] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    // The secret key stays outside the guest.
    let keys = tempfile::tempdir().map_err(|error| error.to_string())?;
    let key = keys.path().join("key");
    call(Command::new(&bfpc).arg("keygen").arg(&key))?;
    fs::copy(keys.path().join("key.pub"), trust.join("key.pem")).map_err(|error| error.to_string())?;
    for revision in 1..=if arguments.thin { FEW_REVISIONS } else { REVISIONS } {
        let mut build = Command::new(&bfpc);
        build.arg("build").arg(&arguments.policy).arg("-o").arg(revisions.join(format!("{revision}.bfpb")));
        call(build.arg("--key").arg(&key).arg("--revision").arg(revision.to_string()))?;
    }
    Ok(())
}
