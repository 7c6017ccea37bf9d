//! Ordinary things on a whole Debian system, under a policy about other programs, and confined programs within their
//! grants. What enters: the entries of fixtures/ordinary/ with their two bundles and stage.sh. What leaves: a check for
//! each entry before its policy, during, and after. What always holds: no verdict under the unrelated policy is a
//! denial, for any program; a confined program is seen to be confined.

use std::path::Path;
use std::process::{Command, Stdio};

use bfp_kernel_tests::entries::User;
use bfp_kernel_tests::ordinary::{Entry, Under, read_entries};

use crate::enforcer;
use crate::programs::become_user;
use crate::report::Report;

/// Where the harness puts them.
const FOLDER: &str = "/bfp/ordinary";
/// How long an entry may take. An emulated machine is slow to start a JVM.
const LIMIT: &str = "120";
/// The enforcer's counters of denials.
const REFUSALS: [&str; 7] = ["denied", "exclusive", "confined", "not_granted", "overflow", "fault", "dropped"];

pub(crate) fn run(report: &mut Report) {
    let entries = match read_entries(Path::new(FOLDER)) {
        Ok(entries) => entries,
        Err(complaint) => return report.check("ordinary: entries", Err(complaint)),
    };
    let staged = shell(User::Root, &format!("cd {FOLDER} && . ./stage.sh")).map(drop);
    let is_staged = staged.is_ok();
    report.check("ordinary: stage", staged);
    if !is_staged {
        return;
    }
    for (under, policy) in [(Under::Unrelated, "unrelated"), (Under::Confined, "confined")] {
        let entries: Vec<&Entry> =
            entries.iter().filter(|entry| entry.under == under && report.wants(&entry.name)).collect();
        if entries.is_empty() {
            continue;
        }
        try_all(&entries, false, "before", report);
        let applied = enforcer::apply(&Path::new("/bfp").join(policy).with_extension("bfpb"));
        let enforced = applied.is_ok();
        report.check(&format!("ordinary: apply {policy}"), applied);
        if !enforced {
            continue;
        }
        try_all(&entries, true, "during", report);
        if under == Under::Unrelated {
            report.check("ordinary: nobody was refused anything", nothing_was_refused());
        }
        report.check(&format!("ordinary: remove {policy}"), enforcer::remove());
        try_all(&entries, false, "after", report);
    }
}

fn try_all(entries: &[&Entry], enforced: bool, phase: &str, report: &mut Report) {
    for entry in entries {
        let name = format!("ordinary {}: {phase}", entry.name);
        if let Err(complaint) = shell(User::Root, &entry.prepare) {
            report.check(&name, Err(format!("prepare: {complaint}")));
        } else {
            report.check(&name, try_one(entry, enforced));
            if let Some(refused) = &entry.refused {
                let outcome = try_outside(entry.user, refused, enforced);
                report.check(&format!("ordinary {}, outside: {phase}", entry.name), outcome);
            }
        }
        if let Err(complaint) = shell(User::Root, &entry.clean) {
            report.check(&name, Err(format!("clean: {complaint}")));
        }
    }
}

fn try_one(entry: &Entry, enforced: bool) -> Result<(), String> {
    let counted = || if enforced { counts().unwrap_or_default() } else { String::new() };
    let said = shell(entry.user, &entry.run).map_err(|complaint| format!("{complaint}{}", counted()))?;
    if said.trim() == entry.expect.trim() {
        return Ok(());
    }
    Err(format!("expected `{}`, seen `{}`{}", entry.expect.trim(), said.trim(), counted()))
}

fn try_outside(user: User, refused: &str, enforced: bool) -> Result<(), String> {
    match (shell(user, refused), enforced) {
        (Ok(_), false) | (Err(_), true) => Ok(()),
        (Err(complaint), false) => Err(complaint),
        (Ok(said), true) => Err(format!("expected a refusal, seen `{said}`")),
    }
}

/// The output of shell commands; their error output too if they fail.
fn shell(user: User, commands: &str) -> Result<String, String> {
    if commands.trim().is_empty() {
        return Ok(String::new());
    }
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "5",
        LIMIT,
        "bash",
        "-euc",
        "set -o pipefail; . /bfp/ordinary/words.sh; eval \"$0\"",
        commands,
    ]);
    command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").current_dir("/tmp");
    let home = match user {
        User::Root => "/root",
        User::Somebody => "/home/somebody",
    };
    command.env("HOME", home);
    become_user(&mut command, user);
    // A service that a command starts keeps its output open; a file is read when the command has ended.
    let (said, complained) = (scratch()?, scratch()?);
    command.stdout(said.write()?).stderr(complained.write()?);
    let status = command.status().map_err(|error| format!("cannot run timeout: {error}"))?;
    if status.success() {
        return said.text();
    }
    Err(format!("{status}: {} {}", said.text()?.trim(), complained.text()?.trim()))
}

/// A file for a command's output.
struct Scratch {
    file: tempfile::NamedTempFile,
}

fn scratch() -> Result<Scratch, String> {
    Ok(Scratch { file: tempfile::NamedTempFile::new().map_err(|error| error.to_string())? })
}

impl Scratch {
    fn write(&self) -> Result<std::fs::File, String> {
        self.file.reopen().map_err(|error| error.to_string())
    }

    fn text(&self) -> Result<String, String> {
        let bytes = std::fs::read(self.file.path()).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Checks that the enforcer has counted no denial.
fn nothing_was_refused() -> Result<(), String> {
    let status = enforcer::status()?.stdout;
    for reason in REFUSALS {
        let count = status.lines().find_map(|line| line.trim_start().strip_prefix(reason)?.split_whitespace().next());
        match count {
            Some("0") => {}
            Some(count) => return Err(format!("`status` counts {count} that are `{reason}`")),
            None => return Err(format!("`status` does not count `{reason}`: {status}")),
        }
    }
    Ok(())
}

/// The counters in one line, for an error message.
fn counts() -> Result<String, String> {
    let status = enforcer::status()?.stdout;
    let some = status.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (word, count) = (words.next()?, words.next()?);
        (REFUSALS.contains(&word) && count != "0").then(|| format!(" {word}={count}"))
    });
    Ok(some.collect())
}
