//! Runs a command under ptrace(2) and stops at each of its system calls. What enters: the command, which calls count,
//! and what to do at one of them. What leaves: how the command ended, its output, and which call it was. What always
//! holds: the command does not outlive this process, and its threads and children are followed.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::call::Call;

/// What to do to the command. Calls are numbered from 0, among those that count.
pub(crate) enum Plan<'a> {
    /// Reports each call, before and after it, while the command is stopped.
    Watch(&'a mut dyn FnMut(Side, &Call)),
    /// Kills it when it is about to make a call, which is then not made.
    KillBefore(usize),
    /// Kills it after a call.
    KillAfter(usize),
    /// Makes a call fail without being made, with this error or, if the call cannot fail so, with another: from run to
    /// run the numbers of calls can shift by a few. close(2) is made all the same: whatever it returns, the kernel has
    /// released the descriptor (fs/open.c, `close`), and its lock.
    Fail(usize, Errno),
}

/// A command that runs longer without being stopped does not end by itself.
const LIMIT: Duration = Duration::from_secs(120);

/// The side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Side::Before { "before" } else { "after" })
    }
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(Signal),
    /// It did not end.
    TooLate,
}

/// The outcome of the command.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// How many system calls it began, and how many of them counted.
    pub(crate) calls: usize,
    pub(crate) counted: usize,
    /// The call at which the plan was carried out. `None` if the command ended before.
    pub(crate) hit: Option<Call>,
}

/// A thread of the command.
#[derive(Default)]
struct Thread {
    /// The current call, and its number if it counts.
    inside: Option<(Call, Option<usize>)>,
    fails_with: Option<Errno>,
}

/// Runs a command. The calls for which `counts` holds count.
pub(crate) fn run(command: &mut Command, counts: fn(&Call) -> bool, mut plan: Plan<'_>) -> io::Result<Traced> {
    // Files take any length, so that nothing has to read while the command is stopped.
    let (mut stdout, mut stderr) = (unnamed_file()?, unnamed_file()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    #[expect(unsafe_code, reason = "a traced program asks for it itself, between fork and exec")]
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(io::Error::from))
    };
    let child = Pid::from_raw(i32::try_from(command.spawn()?.id()).map_err(io::Error::other)?);
    // It stops at its exec.
    waitpid(child, None)?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK;
    ptrace::setoptions(child, options)?;

    let watchdog = (!matches!(plan, Plan::Watch(_))).then(|| Watchdog::set(child, LIMIT));
    let mut threads = HashMap::from([(child, Thread::default())]);
    let mut history = History::default();
    let (mut calls, mut counted, mut hit, mut end) = (0, 0, None, None);
    go_on(child, None)?;
    while !threads.is_empty() {
        // Children of this thread alone: another thread may trace another command.
        let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Err(Errno::ECHILD) => break,
            status => status?,
        };
        match status {
            WaitStatus::PtraceSyscall(pid) => {
                let thread = threads.entry(pid).or_default();
                let mut registers = match ptrace::getregs(pid) {
                    // It was killed at this moment.
                    Err(Errno::ESRCH) => continue,
                    registers => registers?,
                };
                match thread.inside.take() {
                    None => {
                        let arguments =
                            [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
                        let call = history.tell(Call::new(pid.as_raw(), registers.orig_rax as i64, arguments));
                        calls += 1;
                        let number = counts(&call).then_some(counted);
                        counted += usize::from(number.is_some());
                        match &mut plan {
                            Plan::Watch(tell) if number.is_some() => tell(Side::Before, &call),
                            Plan::KillBefore(at) if number == Some(*at) => {
                                hit = Some(call.clone());
                                kill(child, Signal::SIGKILL)?;
                            }
                            Plan::Fail(at, errno) if number == Some(*at) => {
                                hit = Some(call.clone());
                                thread.fails_with = Some(call.fitting(*errno));
                                if call.number != libc::SYS_close {
                                    registers.orig_rax = u64::MAX;
                                    ptrace::setregs(pid, registers)?;
                                }
                            }
                            _ => {}
                        }
                        thread.inside = Some((call, number));
                    }
                    Some((call, number)) => {
                        if let Some(errno) = thread.fails_with.take() {
                            registers.rax = history.failure(&call, errno);
                            ptrace::setregs(pid, registers)?;
                        } else if call.number == libc::SYS_brk {
                            history.data_ends_at = registers.rax;
                        }
                        match &mut plan {
                            Plan::Watch(tell) if number.is_some() => tell(Side::After, &call),
                            Plan::KillAfter(at) if number == Some(*at) => {
                                hit = Some(call);
                                kill(child, Signal::SIGKILL)?;
                            }
                            _ => {}
                        }
                    }
                }
                go_on(pid, None)?;
            }
            WaitStatus::PtraceEvent(pid, _, _) => go_on(pid, None)?,
            WaitStatus::Stopped(pid, signal) => {
                // A new thread stops once by SIGSTOP, which no process sent.
                let is_new = !threads.contains_key(&pid) && signal == Signal::SIGSTOP;
                threads.entry(pid).or_default();
                go_on(pid, (!is_new).then_some(signal))?;
            }
            WaitStatus::Exited(pid, code) => {
                threads.remove(&pid);
                end = if pid == child { Some(End::Exit(code)) } else { end };
            }
            WaitStatus::Signaled(pid, signal, _) => {
                threads.remove(&pid);
                end = if pid == child { Some(End::Signal(signal)) } else { end };
            }
            _ => {}
        }
    }
    let mut end = end.ok_or_else(|| io::Error::other("the command's end was not seen"))?;
    if watchdog.is_some_and(Watchdog::has_bitten) {
        end = End::TooLate;
    }
    // Begun, and ended by the kill or by the end of the process.
    Ok(Traced { end, stdout: text(&mut stdout)?, stderr: text(&mut stderr)?, calls, counted, hit })
}

/// Kills a command that does not end.
struct Watchdog {
    /// Dropped when the command has ended.
    ended: Sender<()>,
    bites: JoinHandle<bool>,
}

impl Watchdog {
    fn set(command: Pid, limit: Duration) -> Watchdog {
        let (ended, is_ended) = mpsc::channel();
        let bites = thread::spawn(move || {
            let is_late = is_ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            is_late && kill(command, Signal::SIGKILL).is_ok()
        });
        Watchdog { ended, bites }
    }

    fn has_bitten(self) -> bool {
        drop(self.ended);
        self.bites.join().unwrap_or(true)
    }
}

/// Continues a thread to its next stop, with or without a signal.
fn go_on(thread: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::syscall(thread, signal) {
        // It was killed while it was stopped.
        Err(Errno::ESRCH) => Ok(()),
        other => Ok(other?),
    }
}

/// Distinguishes the program's calls from those that start and end it, and detects repetitions.
#[derive(Default)]
struct History {
    /// How often an alternate signal stack was set: by std before `main`, and after it.
    stacks: usize,
    is_own: bool,
    /// The last call, and how often it was made in a row.
    last: Option<(Call, usize)>,
    /// Where brk(2) has put the end of the data segment.
    data_ends_at: u64,
}

impl History {
    /// The result of a failing call. brk(2) reports no error, but leaves the end where it was.
    fn failure(&self, call: &Call, errno: Errno) -> u64 {
        if call.number == libc::SYS_brk { self.data_ends_at } else { (-i64::from(errno as i32)) as u64 }
    }

    fn tell(&mut self, mut call: Call) -> Call {
        match call.number {
            libc::SYS_sigaltstack if call.sets_a_stack() => {
                self.stacks += 1;
                self.is_own = false;
            }
            // What std still does before `main`.
            libc::SYS_gettid | libc::SYS_rt_sigaction => {}
            _ if self.stacks == 1 => self.is_own = true,
            _ => {}
        }
        let row = match &self.last {
            Some((last, row)) if last.is_same_kind(&call) => row + 1,
            _ => 0,
        };
        self.last = Some((call.clone(), row));
        call.is_own = self.is_own;
        call.is_repeated = row >= 2;
        call
    }
}

fn unnamed_file() -> io::Result<std::fs::File> {
    tempfile::tempfile()
}

fn text(file: &mut std::fs::File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn is_mkdir(call: &Call) -> bool {
        call.number == libc::SYS_mkdir
    }

    fn everything(_: &Call) -> bool {
        true
    }

    #[test]
    fn a_command_that_is_left_alone_ends_as_it_would() {
        let mut sides = (0, 0);
        let mut tell = |side, _: &Call| if side == Side::Before { sides.0 += 1 } else { sides.1 += 1 };
        // A shell that starts a child: both are followed.
        let mut command = Command::new("sh");
        command.args(["-c", "true | cat; echo done"]);
        let traced = run(&mut command, everything, Plan::Watch(&mut tell)).unwrap();
        assert_eq!((traced.end, traced.stdout.as_str()), (End::Exit(0), "done\n"));
        assert_eq!(traced.calls, traced.counted);
        // Processes end inside a call, and a new one begins after one.
        assert!(sides.0 > 100 && sides.1 > 100, "{sides:?}");
    }

    #[test]
    fn killed_before_a_call_it_was_not_made_and_after_it_it_was() {
        for (plan, made) in [(Plan::KillBefore(0), false), (Plan::KillAfter(0), true)] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new("mkdir");
            let traced = run(command.arg(folder.path().join("a")), is_mkdir, plan).unwrap();
            assert_eq!(traced.end, End::Signal(Signal::SIGKILL));
            assert!(traced.hit.is_some());
            assert_eq!(folder.path().join("a").exists(), made);
        }
    }

    #[test]
    fn a_call_that_fails_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mkdir");
        command.arg(folder.path().join("a"));
        let traced = run(&mut command, is_mkdir, Plan::Fail(0, Errno::ENOSPC)).unwrap();
        assert_eq!(traced.end, End::Exit(1));
        assert!(traced.stderr.contains("No space left on device"), "{}", traced.stderr);
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_close_that_fails_is_made() {
        fn is_the_file(call: &Call) -> bool {
            call.number == libc::SYS_close && call.to_string().contains("closed-in-vain")
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("closed-in-vain"), "").unwrap();
        let opened = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(folder.path());
            run(&mut command, is_the_file, Plan::Fail(0, Errno::EIO)).unwrap()
        };
        let traced = opened("exec 9<closed-in-vain; exec 9<&-; ls -l /proc/$$/fd");
        assert!(traced.hit.is_some() && !traced.stdout.contains("closed-in-vain"), "{traced:?}");
        let traced = opened("exec 9<closed-in-vain; ls -l /proc/$$/fd");
        assert!(traced.stdout.contains("closed-in-vain"), "{traced:?}");
    }

    #[test]
    fn a_command_that_does_not_end_is_killed() {
        let mut endless = Command::new("sleep").arg("600").spawn().unwrap();
        let watchdog = Watchdog::set(Pid::from_raw(endless.id() as i32), Duration::from_millis(10));
        assert!(!endless.wait().unwrap().success());
        assert!(watchdog.has_bitten());
        assert!(!Watchdog::set(Pid::from_raw(i32::MAX), LIMIT).has_bitten());
    }

    #[test]
    fn a_point_that_is_never_reached_is_told() {
        let traced = run(&mut Command::new("true"), everything, Plan::KillBefore(usize::MAX)).unwrap();
        assert_eq!((traced.end, traced.hit.is_none()), (End::Exit(0), true));
    }
}
