//! Copies of the probe under the names that a policy knows, and their answers. What always holds: what was installed
//! here is removed when its owner is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bfp_kernel_tests::entries::User;

const PROBE: &str = "/bin/probe";

/// Copies of the probe at the paths of programs.
#[derive(Default)]
pub(crate) struct Programs {
    paths: BTreeSet<PathBuf>,
}

impl Programs {
    pub(crate) fn install<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        Programs::install_copies_of(PROBE, paths)
    }

    /// Copies of another program, likewise.
    pub(crate) fn install_copies_of<'a>(
        program: &str,
        paths: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let mut programs = Programs::default();
        for path in paths {
            programs.add(program, path)?;
        }
        Ok(programs)
    }

    fn add(&mut self, program: &str, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        if self.paths.contains(path) {
            return Ok(());
        }
        copy_to(program, path)?;
        self.paths.insert(path.to_owned());
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for path in &self.paths {
            // A check may have renamed or removed it already.
            let _ = fs::remove_file(path);
        }
    }
}

/// A new file at `path`, which replaces any earlier one.
pub(crate) fn copy_probe_to(path: &Path) -> Result<(), String> {
    copy_to(PROBE, path)
}

fn copy_to(program: &str, path: &Path) -> Result<(), String> {
    let copy = || -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if fs::symlink_metadata(path).is_ok() {
            fs::remove_file(path)?;
        }
        fs::copy(program, path).map(|_| ())
    };
    copy().map_err(|error| format!("cannot copy {program} to {}: {error}", path.display()))
}

/// Runs a copy of the probe to its end; its one line is the answer.
pub(crate) fn answer_of(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match (line.is_empty(), complaint.is_empty()) {
        (false, _) => Ok(line),
        (true, false) => Err(format!("{program} says: {complaint}")),
        (true, true) => Err(format!("{program} said nothing, {}", output.status)),
    }
}

/// An unprivileged user, `somebody` where users have names.
const SOMEBODY: u32 = 1000;

/// Makes a command run as a user.
pub(crate) fn become_user(command: &mut Command, user: User) {
    if user == User::Somebody {
        command.uid(SOMEBODY).gid(SOMEBODY);
    }
}

/// A probe that waits for a line on its stdin between two steps.
pub(crate) struct Running {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let to = child.stdin.take();
        let from = child.stdout.take().map(BufReader::new).ok_or("the child has no stdout")?;
        Ok(Running { child, to, from })
    }

    /// Starts a program and waits for its first line.
    pub(crate) fn start_until(program: &str, arguments: &[&str], line: &str) -> Result<Self, String> {
        let mut running = Running::start(program, arguments)?;
        let seen = running.answer()?;
        if seen == line { Ok(running) } else { Err(format!("expected `{line}` first, seen `{seen}`")) }
    }

    /// Its process ID.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The answer to one more line.
    pub(crate) fn go_on(&mut self) -> Result<String, String> {
        let to = self.to.as_mut().ok_or("the child has no stdin")?;
        to.write_all(b"\n").and_then(|()| to.flush()).map_err(|error| error.to_string())?;
        self.answer()
    }

    /// The next line.
    pub(crate) fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.from.read_line(&mut line) {
            Ok(0) => Err("the program ended without an answer".to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The end of its input ends a probe; one that is gone needs nothing.
        self.to.take();
        let _ = self.child.wait();
    }
}
