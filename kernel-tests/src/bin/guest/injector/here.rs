//! The series that need no enforcing kernel: commands that read and verify, and those that change the state on disk, in
//! a folder of their own. What enters: the folder with bfpc and bfp-enforcer. What always holds: nothing is attached
//! and no pin is created, because `apply` is left out on a host that could enforce.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bfp_kernel_tests::command::call;

use crate::points::{self, Pick};
use crate::report::{Report, Series};
use crate::series::{calls_of_ending, run_traced};
use crate::state::State;
use crate::trace::{End, Plan};
use crate::verdict;

const PINS: &str = "/sys/fs/bpf/bfp";
const CANNOT_ENFORCE: i32 = 4;

const POLICY: &str = "policy here\nonly \"/usr/bin/signer\" -> 127.0.0.10:443\n";

/// The arguments of the commands.
struct Desk {
    folder: PathBuf,
    enforcer: PathBuf,
}

/// A command, how it ends undisturbed, and what it leaves on disk.
struct Trial {
    name: String,
    arguments: Vec<String>,
    code: i32,
    /// How it ends if it was done before, if that differs: its exit code, and words of its output.
    done_before: Option<(i32, &'static str)>,
}

pub(crate) fn run(programs: &Path, report: &mut Report) -> Result<(), String> {
    if Path::new(PINS).exists() {
        return Err(format!("`{PINS}` is there: a policy is enforced on this host"));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let desk = Desk::prepare(folder.path(), programs)?;
    for trial in desk.trials()? {
        desk.killed(&trial, report)?;
        desk.failing(&trial, report)?;
    }
    if Path::new(PINS).exists() { Err(format!("`{PINS}` was left")) } else { Ok(()) }
}

impl Desk {
    fn prepare(folder: &Path, programs: &Path) -> Result<Desk, String> {
        let absolute = |name| fs::canonicalize(programs.join(name)).map_err(|error| format!("{name}: {error}"));
        let (bfpc, enforcer) = (absolute("bfpc")?, absolute("bfp-enforcer")?);
        let desk = Desk { folder: folder.to_owned(), enforcer };
        let bfpc = |line: &str| call(Command::new(&bfpc).args(line.split(' ')).current_dir(folder));
        fs::write(folder.join("policy.bfp"), POLICY).map_err(|error| error.to_string())?;
        bfpc("keygen a")?;
        bfpc("keygen b")?;
        bfpc("build policy.bfp -o policy.bfpb --key a")?;
        bfpc("trust-set --version 1 --threshold 1 --key b.pub -o set.bfpt")?;
        bfpc("sign set.bfpt --key a")?;
        bfpc("sign set.bfpt --key b")?;
        bfpc("token recover --policy here --from 0 --to 2 --expires 2100-01-01T00:00:00Z -o token.bfpk")?;
        bfpc("sign token.bfpk --key a")?;
        Ok(desk)
    }

    fn trials(&self) -> Result<Vec<Trial>, String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let trial = |line: &str, file, code, done_before| {
            let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            arguments.extend([path(file), "--trust".to_owned(), path("a.pub")]);
            Trial { name: arguments.first().cloned().unwrap_or_default(), arguments, code, done_before }
        };
        let mut trials = vec![
            trial("verify", "policy.bfpb", 0, None),
            // The first keys are not read any more then.
            trial("trust", "set.bfpt", 0, Some((2, "this host has adopted version 1"))),
            trial("recover --token", "token.bfpk", 0, Some((3, "the highest that this host has seen is 2"))),
        ];
        let doctor = Command::new(&self.enforcer).arg("doctor").output().map_err(|error| error.to_string())?;
        if doctor.status.success() {
            println!("     this host can enforce, so `apply` is not tried here but in a guest");
        } else {
            trials.push(trial("apply", "policy.bfpb", CANNOT_ENFORCE, None));
        }
        Ok(trials)
    }

    fn command(&self, trial: &Trial) -> Command {
        let mut command = Command::new(&self.enforcer);
        command.args(&trial.arguments).arg("--state").arg(self.state_folder());
        command
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Resets the host to one that has seen nothing.
    fn forget(&self) -> Result<(), String> {
        match fs::remove_dir_all(self.state_folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    fn remembered(&self) -> Result<State, String> {
        let state = State::read(&self.state_folder())?;
        state.is_whole(&[]).map(|()| state)
    }

    /// Runs the command undisturbed: it must end as on a host where nothing happened before.
    fn goes_on(&self, trial: &Trial, undisturbed: &State) -> Result<(), String> {
        let output = self.command(trial).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        let was_done = trial.done_before.is_some_and(|(end, words)| code == Some(end) && said.contains(words));
        if code != Some(trial.code) && !was_done {
            return Err(format!("the next `{}`: exit {} expected, {code:?} seen: {said}", trial.name, trial.code));
        }
        if Path::new(PINS).exists() {
            return Err(format!("`{PINS}` was made"));
        }
        let state = self.remembered()?;
        // A repeated command is rejected or reported as done, and writes nothing: the file that it was writing when it
        // ended stays until the next command that writes, beside one complete copy.
        if was_done { Ok(()) } else { state.is_tidy(undisturbed) }
    }

    /// What the command leaves on a fresh host.
    fn undisturbed(&self, trial: &Trial) -> Result<State, String> {
        self.forget()?;
        calls_of_ending(&mut self.command(trial), |_| true, End::Exit(trial.code))?;
        self.remembered()
    }

    fn killed(&self, trial: &Trial, report: &mut Report) -> Result<(), String> {
        let undisturbed = self.undisturbed(trial)?;
        self.forget()?;
        let calls = calls_of_ending(&mut self.command(trial), |_| true, End::Exit(trial.code))?;
        let points = points::kills(&calls, Pick::EverySide);
        let mut series = Series::of(format!("{} on a host that cannot enforce, killed", trial.name), points.len());
        for point in points {
            if series.is_hopeless() {
                break;
            }
            self.forget()?;
            let traced = run_traced(&mut self.command(trial), Pick::EverySide.counts(), point.plan())?;
            let Some(call) = &traced.hit else {
                series.not_reached();
                continue;
            };
            let outcome = self.remembered().and_then(|_| self.goes_on(trial, &undisturbed));
            series.tried(outcome.map_err(|fault| format!("killed {} {call}: {fault}", point.side())));
        }
        report.end(&series, &format!("{} system calls, both sides of each", calls.len()));
        Ok(())
    }

    fn failing(&self, trial: &Trial, report: &mut Report) -> Result<(), String> {
        let undisturbed = self.undisturbed(trial)?;
        self.forget()?;
        let calls = calls_of_ending(&mut self.command(trial), points::can_fail, End::Exit(trial.code))?;
        let points = points::failures(&calls, Pick::EverySide);
        let name = format!("{} on a host that cannot enforce, a failing call", trial.name);
        let mut series = Series::of(name, points.len());
        for (number, errno) in points {
            if series.is_hopeless() {
                break;
            }
            self.forget()?;
            let traced = run_traced(&mut self.command(trial), points::can_fail, Plan::Fail(number, errno))?;
            let Some(call) = &traced.hit else {
                series.not_reached();
                continue;
            };
            let outcome = verdict::judge(&traced);
            let outcome = outcome.and_then(|()| self.remembered()).and_then(|_| self.goes_on(trial, &undisturbed));
            let errno = call.fitting(errno);
            series.tried(outcome.map_err(|fault| format!("{call} fails with {errno:?}: {fault}")));
        }
        report.end(&series, &format!("{} calls, each in every way that makes sense", calls.len()));
        Ok(())
    }
}
