//! The enforcer as an operator runs it: what enters are its arguments, what leaves is its exit status and its output.

use std::path::Path;
use std::process::Command;

pub(crate) const ENFORCER: &str = "/bin/bfp-enforcer";
const TRUST: &str = "/trust";
/// The directory of everything that the enforcer pins.
pub(crate) const PINS: &str = "/sys/fs/bpf/bfp";
/// The exit status for a bundle that did not verify.
pub(crate) const VERIFICATION_REFUSED: i32 = 3;

/// How a run of the enforcer ended.
pub(crate) struct Ended {
    code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Whether a signal ended it.
    pub(crate) fn is_killed(&self) -> bool {
        self.code.is_none_or(|code| code > 128)
    }

    pub(crate) fn expect_code(&self, wanted: i32) -> Result<(), String> {
        match self.code {
            Some(code) if code == wanted => Ok(()),
            Some(code) => Err(format!("expected exit {wanted}, seen exit {code}: {}{}", self.stdout, self.stderr)),
            None => Err(format!("expected exit {wanted}, seen a death by signal: {}", self.stderr)),
        }
    }
}

/// The arguments of `bfp-enforcer` to apply a bundle. Each bundle has its own state: the fixtures' bundles are
/// unrelated, and some of them are revision 1 of policies with the same name.
pub(crate) fn applying(bundle: &Path) -> [String; 6] {
    let bundle = bundle.to_string_lossy().into_owned();
    let state = format!("/tmp/state/{}", bundle.replace('/', "-"));
    ["apply".to_owned(), bundle, "--trust".to_owned(), TRUST.to_owned(), "--state".to_owned(), state]
}

pub(crate) fn try_apply(bundle: &Path) -> Result<Ended, String> {
    end(Command::new(ENFORCER).args(applying(bundle)))
}

pub(crate) fn apply(bundle: &Path) -> Result<(), String> {
    try_apply(bundle)?.expect_code(0)
}

/// Applies an enforced bundle again, in full.
pub(crate) fn apply_again(bundle: &Path) -> Result<(), String> {
    end(Command::new(ENFORCER).args(applying(bundle)).arg("--again"))?.expect_code(0)
}

/// The arguments of `bfp-enforcer` to apply a bundle under lockdown, where the trust set is fixed.
pub(crate) fn applying_under_lock(bundle: &Path) -> [String; 4] {
    let [apply, bundle, _, _, state, folder] = applying(bundle);
    [apply, bundle, state, folder]
}

pub(crate) fn apply_under_lock(bundle: &Path) -> Result<(), String> {
    end(Command::new(ENFORCER).args(applying_under_lock(bundle)))?.expect_code(0)
}

pub(crate) fn try_remove() -> Result<Ended, String> {
    run(&["remove"])
}

pub(crate) fn remove() -> Result<(), String> {
    run(&["remove"])?.expect_code(0)
}

pub(crate) fn status() -> Result<Ended, String> {
    run(&["status"])
}

/// The status for an applied bundle, whose state is elsewhere than a host's.
pub(crate) fn status_of(bundle: &Path) -> Result<Ended, String> {
    let [_, _, _, _, state, folder] = applying(bundle);
    run(&["status", &state, &folder])
}

/// `hosts` with these arguments, for an applied bundle, whose state is elsewhere than a host's.
pub(crate) fn hosts_of(bundle: &Path, arguments: &[&str]) -> Result<Ended, String> {
    let [_, _, _, _, state, folder] = applying(bundle);
    run(&[&["hosts", &state, &folder], arguments].concat())
}

/// The unread events of denials, one line of JSON each.
pub(crate) fn events() -> Result<Vec<String>, String> {
    let ended = try_events()?;
    ended.expect_code(0)?;
    Ok(ended.stdout.lines().map(str::to_owned).collect())
}

pub(crate) fn try_events() -> Result<Ended, String> {
    run(&["events", "--format", "json"])
}

/// A number in the output of `status`, by its name. Other findings are ignored: a scenario may remove a policy's
/// programs.
pub(crate) fn counted(name: &str) -> Result<u64, String> {
    let ended = run(&["status", "--format", "json"])?;
    let told = ended.stdout.split_once(&format!("\"{name}\":"));
    let count = told.and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok());
    count.ok_or_else(|| format!("`status` tells no `{name}`: {}", ended.stdout))
}

/// How many requests the enforcer has counted that an audited rule would deny.
pub(crate) fn audited() -> Result<u64, String> {
    counted("audited")
}

fn run(arguments: &[&str]) -> Result<Ended, String> {
    end(Command::new(ENFORCER).args(arguments))
}

/// Runs a command to its end, such as the enforcer in other surroundings.
pub(crate) fn end(command: &mut Command) -> Result<Ended, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
