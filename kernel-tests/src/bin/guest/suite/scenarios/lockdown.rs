//! Lockdown: what root tries against the policy is denied, and the enforcer keeps working.
//!
//! The harness puts /locked/N.bfpb there, revisions of one policy: the odd ones with lockdown, the even ones without. A
//! signed revision without it permits the end of lockdown, and so each scenario ends.
#![expect(
    unsafe_code,
    reason = "raw system calls: mounts of a thread's own, truncate, another process's descriptors, a terminal"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bfp_kernel_tests::objects::Objects;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal};

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use crate::attacks;
use crate::descriptors;
use crate::destination::Destination;
use crate::enforcer::{self, ENFORCER, PINS, VERIFICATION_REFUSED};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("lockdown: a locked policy decides as it would otherwise, and says that it is locked", decides),
    ("lockdown: root gets no descriptor of links and programs, nor of maps that can be written", no_descriptors),
    ("lockdown: root gets no program in the place of a kernel function", no_program_in_place_of_a_function),
    ("lockdown: root gets no security module that consents", no_security_module_that_consents),
    ("lockdown: root neither sees, opens, removes nor renames the pins", pins_are_out_of_reach),
    ("lockdown: root does not unmount the pins, nor what they stand on", pins_stay_mounted),
    ("lockdown: a shared copy of their mounts takes no pins along, and a private one may go", copies_of_mounts),
    ("lockdown: root does not change the enforcer's file, nor take its place", enforcers_file_stays),
    ("lockdown: a copy of the enforcer is nobody", copy_is_nobody),
    ("lockdown: a traced enforcer is nobody, and one that runs is not traced", traced_is_nobody),
    ("lockdown: root does not end or stop a reader of events, which goes on with the next policy", reader_goes_on),
    ("lockdown: a reader of events ends by Ctrl-C on its terminal", ctrl_c_ends_a_reader),
    ("lockdown: `remove` is refused, and another locked revision is applied", next_revision),
    ("lockdown: an apply that is killed leaves a locked policy, and the next one goes through", killed_apply),
    ("lockdown: what is opened again is gone without a trace when it is removed", leaves_nothing),
    ("lockdown: others use BPF and its filesystem as before", others_go_on),
];

/// The newest revision that was applied.
static REVISION: AtomicU32 = AtomicU32::new(0);

const CANNOT_ENFORCE: i32 = 4;

/// The bundle of the next revision with or without lockdown.
fn next(locked: bool) -> PathBuf {
    let odd = u32::from(locked);
    let mut revision = REVISION.load(Ordering::Relaxed) + 1;
    revision += u32::from(revision % 2 != odd);
    REVISION.store(revision, Ordering::Relaxed);
    PathBuf::from(format!("/locked/{revision}.bfpb"))
}

/// Puts the policy under lockdown, tries something, and ends enforcement.
fn locked(host: &Host, tried: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    enforcer::apply(&next(true))?;
    let tried = tried();
    let opened = enforcer::apply_under_lock(&next(false)).and_then(|()| enforcer::remove());
    tried.and(opened.map_err(|error| format!("afterwards: {error}")))
}

/// Checks that the kernel returned `EPERM`.
fn refused<T>(what: &str, tried: io::Result<T>) -> Result<(), String> {
    match tried {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        Err(error) => Err(format!("{what}: expected EPERM, seen {error}")),
        Ok(_) => Err(format!("{what}: expected EPERM, and it was done")),
    }
}

fn did<T, E: std::fmt::Display>(what: &str, tried: Result<T, E>) -> Result<T, String> {
    tried.map_err(|error| format!("{what}: {error}"))
}

fn is_enforced(host: &Host) -> Result<(), String> {
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.reaches(SIGNER, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))
}

fn says(locked: bool) -> Result<(), String> {
    let status = enforcer::status()?;
    let wanted = if locked { "lockdown  yes" } else { "lockdown  no" };
    if status.stdout.contains(wanted) { Ok(()) } else { Err(format!("no `{}` in {}", wanted, status.stdout)) }
}

fn decides(host: &Host) -> Result<(), String> {
    locked(host, || {
        is_enforced(host)?;
        says(true)
    })?;
    host.enforced()?;
    says(false)
}

fn no_descriptors(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    locked(host, || {
        let mut seen = [0; 3];
        for (kind, id) in before.since()? {
            match (kind.as_str(), descriptors::open(&kind, id)) {
                ("map", Ok(map)) => {
                    seen[2] += 1;
                    refused(&format!("writing to map {id}"), descriptors::overwrite(&map))?;
                }
                ("map", other) => {
                    seen[1] += 1;
                    refused(&format!("map {id}"), other)?;
                }
                (_, other) => {
                    seen[0] += 1;
                    refused(&format!("{kind} {id}"), other)?;
                }
            }
        }
        // Links and programs; maps that can be written; tables, which can be read.
        if seen[0] > 40 && seen[1] > 5 && seen[2] > 10 { Ok(()) } else { Err(format!("tried too few: {seen:?}")) }
    })
}

fn no_program_in_place_of_a_function(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    match descriptors::load_in_place_of_a_function() {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => {}
        other => return Err(format!("expected another refusal where nothing is locked, seen {other:?}")),
    }
    locked(host, || refused("BPF_PROG_LOAD", descriptors::load_in_place_of_a_function()))
}

/// For a kernel whose verifier accepts an LSM program that returns anything: the newest program is called first.
fn no_security_module_that_consents(host: &Host) -> Result<(), String> {
    let is_kept_out = attacks::series()? == "6.1";
    host.unenforced()?;
    let other = |when: &str| match descriptors::load_security_module() {
        Err(error) if error.raw_os_error() != Some(libc::EPERM) => Ok(()),
        other => Err(format!("expected another refusal {when}, seen {other:?}")),
    };
    other("where nothing is locked")?;
    locked(host, || match is_kept_out {
        true => refused("BPF_PROG_LOAD", descriptors::load_security_module()),
        false => other("by a kernel that takes no such answer"),
    })
}

fn pins_are_out_of_reach(host: &Host) -> Result<(), String> {
    locked(host, || {
        let pins = Path::new(PINS);
        let link = pins.join("generation-1/link_egress");
        refused("reading the folder", fs::read_dir(pins))?;
        refused("BPF_OBJ_GET of a link", descriptors::open_pin(&link))?;
        refused("BPF_OBJ_GET of a map", descriptors::open_pin(&pins.join("labels")))?;
        refused("removing a link", fs::remove_file(&link))?;
        refused("removing a generation", fs::remove_dir(pins.join("generation-1")))?;
        refused("moving a link", fs::rename(&link, "/sys/fs/bpf/link"))?;
        refused("another pin in there", fs::create_dir(pins.join("generation-9")))?;
        refused("renaming the folder", fs::rename(pins, "/sys/fs/bpf/other"))?;
        match fs::remove_dir(pins) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => {}
            other => return Err(format!("removing the folder: expected ENOTEMPTY, seen {other:?}")),
        }
        is_enforced(host)
    })
}

fn unmount(place: &str, flags: UnmountFlags) -> io::Result<()> {
    Ok(rustix::mount::unmount(place, flags)?)
}

fn pins_stay_mounted(host: &Host) -> Result<(), String> {
    locked(host, || {
        refused("umount", unmount("/sys/fs/bpf", UnmountFlags::empty()))?;
        for place in ["/sys/fs/bpf", "/sys"] {
            refused(&format!("umount -l {place}"), unmount(place, UnmountFlags::DETACH))?;
        }
        let remounted = rustix::mount::mount_remount("/sys/fs/bpf", rustix::mount::MountFlags::RDONLY, "");
        refused("remounting without writing", remounted.map_err(io::Error::from))?;
        is_enforced(host)
    })
}

fn copies_of_mounts(host: &Host) -> Result<(), String> {
    const COPY: &str = "/var/bfp-copy";
    let share = |flags| rustix::mount::mount_change("/", flags | MountPropagationFlags::REC).map_err(io::Error::from);
    did("a folder", fs::create_dir_all(COPY))?;
    did("sharing mounts", share(MountPropagationFlags::SHARED))?;
    let tried = locked(host, || {
        did("a recursive bind mount", rustix::mount::mount_bind_recursive("/sys", COPY).map_err(io::Error::from))?;
        refused("umount -l of a shared copy", unmount(COPY, UnmountFlags::DETACH))?;
        let elsewhere = thread::spawn(|| -> Result<(), String> {
            did("unshare", leave_mounts())?;
            refused("umount -l in a namespace that shares", unmount("/sys", UnmountFlags::DETACH))?;
            refused("umount in a namespace that shares", unmount("/sys/fs/bpf", UnmountFlags::empty()))?;
            let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            did("making them private", rustix::mount::mount_change("/", flags).map_err(io::Error::from))?;
            did("umount in a private namespace", unmount("/sys/fs/bpf", UnmountFlags::empty()))?;
            did("umount -l in a private namespace", unmount("/sys", UnmountFlags::DETACH))
        });
        elsewhere.join().map_err(|_panic| "the thread died")??;
        // As careful tools do it.
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        did("a private copy", rustix::mount::mount_change(COPY, flags).map_err(io::Error::from))?;
        did("umount -l of it", unmount(COPY, UnmountFlags::DETACH))?;
        did("the pins' filesystem", fs::read_dir("/sys/fs/bpf").map(drop))?;
        is_enforced(host)
    });
    tried.and(did("keeping mounts private", share(MountPropagationFlags::PRIVATE)))
}

fn leave_mounts() -> io::Result<()> {
    // SAFETY: takes a number; this thread alone is concerned.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn enforcers_file_stays(host: &Host) -> Result<(), String> {
    let other = "/var/bfp-other";
    did("another file", fs::write(other, "#!/bin/sh\n"))?;
    let link = "/bin/bfp-link";
    did("a link", fs::hard_link(ENFORCER, link))?;
    let tried = locked(host, || {
        refused("opening it to write", OpenOptions::new().write(true).open(ENFORCER))?;
        refused("opening it by another name", OpenOptions::new().append(true).open(link))?;
        refused("truncating it", truncate(ENFORCER))?;
        refused("removing it", fs::remove_file(ENFORCER))?;
        refused("moving it", fs::rename(ENFORCER, "/bin/bfp-moved"))?;
        refused("another file in its place", fs::rename(other, ENFORCER))?;
        // And every other file can be written as before.
        did("another file", fs::write(other, "as before"))?;
        says(true)
    });
    did("the link", fs::remove_file(link)).and(did("the file", fs::remove_file(other))).and(tried)
}

fn truncate(path: &str) -> io::Result<()> {
    let path = std::ffi::CString::new(path)?;
    // SAFETY: the path ends with a zero.
    if unsafe { libc::truncate(path.as_ptr(), 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Checks that the enforcer, run in this way, cannot access the pins.
fn is_nobody(command: &mut Command) -> Result<(), String> {
    let ended = enforcer::end(command)?;
    ended.expect_code(CANNOT_ENFORCE)?;
    let wanted = "cannot be opened: Operation not permitted";
    if ended.stderr.contains(wanted) { Ok(()) } else { Err(format!("no `{wanted}` in {}", ended.stderr)) }
}

fn copy_is_nobody(host: &Host) -> Result<(), String> {
    let copy = "/var/bfp-copied-enforcer";
    locked(host, || {
        did("a copy", fs::copy(ENFORCER, copy).map(drop))?;
        did("its mode", fs::set_permissions(copy, fs::Permissions::from_mode(0o755)))?;
        let bundle = next(true);
        let tried = is_nobody(Command::new(copy).arg("status"))
            .and_then(|()| is_nobody(Command::new(copy).arg("remove")))
            .and_then(|()| is_nobody(Command::new(copy).args(enforcer::applying_under_lock(&bundle))));
        did("removing the copy", fs::remove_file(copy)).and(tried)?;
        // Under another name the file still counts.
        let link = "/bin/bfp-link";
        did("a link", std::os::unix::fs::symlink(ENFORCER, link))?;
        let same = enforcer::end(Command::new(link).arg("status"));
        did("removing the link", fs::remove_file(link))?;
        let same = same?;
        // The state of this test is elsewhere.
        same.expect_code(1)?;
        if same.stdout.contains("lockdown  yes") { Ok(()) } else { Err(format!("no lock in {}", same.stdout)) }
    })
}

fn traced_is_nobody(host: &Host) -> Result<(), String> {
    locked(host, || {
        let traced = enforcer::end(Command::new("strace").args(["-o", "/dev/null", ENFORCER, "status"]))?;
        traced.expect_code(CANNOT_ENFORCE)?;
        let reader = Reader::start()?;
        let attached = enforcer::end(Command::new("strace").args(["-o", "/dev/null", "-p", &reader.pid().to_string()]));
        let memory = OpenOptions::new().write(true).open(format!("/proc/{}/mem", reader.pid()));
        let taken = take_descriptor(reader.pid());
        reader.end()?;
        refused("pidfd_getfd", taken)?;
        let attached = attached?;
        if !attached.stderr.contains("Operation not permitted") {
            return Err(format!("expected strace refused, seen {}", attached.stderr));
        }
        match memory {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) => Ok(()),
            other => Err(format!("writing its memory: expected EPERM or EACCES, seen {other:?}")),
        }
    })
}

/// Takes another process's standard output.
fn take_descriptor(process: u32) -> io::Result<OwnedFd> {
    let descriptor = |result: libc::c_long| match i32::try_from(result) {
        // SAFETY: a descriptor that the kernel has just made.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: takes numbers.
    let handle = descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: as above.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), 1, 0) })
}

/// `bfp-enforcer events --follow`.
struct Reader {
    child: Child,
    lines: io::Lines<BufReader<ChildStdout>>,
}

impl Reader {
    fn start() -> Result<Reader, String> {
        let mut command = Command::new(ENFORCER);
        command.args(["events", "--follow"]).stdout(Stdio::piped());
        let mut child = did(ENFORCER, command.spawn())?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Reader { child, lines: BufReader::new(output).lines() })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads up to a line that contains these words.
    fn until(&mut self, wanted: &str) -> Result<(), String> {
        for line in self.lines.by_ref() {
            if did("the reader", line)?.contains(wanted) {
                return Ok(());
            }
        }
        Err(format!("the reader ended before `{wanted}`"))
    }

    /// It ends by itself when its output is closed.
    fn end(mut self) -> Result<(), String> {
        drop(self.lines);
        // An event for it to report.
        let _refused = descriptors::load_in_place_of_a_function();
        let ended = did("the reader", self.child.wait())?;
        if ended.success() { Ok(()) } else { Err(format!("the reader ended by {ended}")) }
    }
}

fn reader_goes_on(host: &Host) -> Result<(), String> {
    locked(host, || {
        let mut reader = Reader::start()?;
        host.refused(THIEF, &to("tcp", KMS_V4))?;
        reader.until("refused 127.0.0.10:443/tcp")?;
        let pid = i32::try_from(reader.pid()).ok().and_then(Pid::from_raw).ok_or("no number")?;
        let tried = [Signal::KILL, Signal::TERM, Signal::STOP, Signal::INT].into_iter().try_for_each(|signal| {
            let killed = rustix::process::kill_process(pid, signal).map_err(io::Error::from);
            refused(&format!("{signal:?}"), killed)
        });
        // Testing whether it exists is allowed.
        let there = did("signal 0", rustix::process::test_kill_process(pid).map_err(io::Error::from));
        let next = enforcer::apply_under_lock(&next(true)).and_then(|()| {
            // It checks for a newer policy twice a second.
            thread::sleep(Duration::from_millis(1500));
            host.refused(THIEF, &to("sendto", KMS_V4))?;
            reader.until("refused 127.0.0.10:443/udp")
        });
        reader.end().and(tried).and(there).and(next)
    })
}

/// The kernel sends the signals of a terminal's keys without calling a hook (kernel/signal.c, `check_kill_permission`).
fn ctrl_c_ends_a_reader(host: &Host) -> Result<(), String> {
    const CTRL_C: &[u8] = b"\x03";
    locked(host, || {
        let terminal = did("a terminal", nix::pty::openpty(None, None))?;
        let mut shown = BufReader::new(File::from(terminal.master));
        let mut command = Command::new(ENFORCER);
        command.args(["events", "--follow"]);
        let slave = || did("the terminal", terminal.slave.try_clone().map(Stdio::from));
        command.stdin(slave()?).stdout(slave()?).stderr(terminal.slave);
        // SAFETY: two system calls, which touch no memory.
        unsafe { command.pre_exec(make_it_the_terminal) };
        let mut reader = did(ENFORCER, command.spawn())?;
        // Only the reader has the terminal: if it ends early, reading fails (EIO) instead of waiting.
        drop(command);
        host.refused(THIEF, &to("tcp", KMS_V4))?;
        let mut line = String::new();
        while !line.contains("refused 127.0.0.10:443/tcp") {
            line.clear();
            did("what it shows", shown.read_line(&mut line))?;
        }
        did("Ctrl-C", shown.get_mut().write_all(CTRL_C))?;
        for _ in 0..100 {
            if let Some(ended) = did("the reader", reader.try_wait())? {
                let by = ended.signal();
                return if by == Some(libc::SIGINT) { Ok(()) } else { Err(format!("the reader ended by {ended}")) };
            }
            thread::sleep(Duration::from_millis(100));
        }
        // Its terminal is closed with the last descriptor, and the kernel hangs up.
        Err("the reader goes on".to_owned())
    })
}

/// Gives a new process its own session, with its standard input as the terminal.
fn make_it_the_terminal() -> io::Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: takes numbers.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn next_revision(host: &Host) -> Result<(), String> {
    locked(host, || {
        let removed = enforcer::try_remove()?;
        removed.expect_code(VERIFICATION_REFUSED)?;
        if !removed.stderr.contains("a signed release token") {
            return Err(format!("expected a word about a release token, seen {}", removed.stderr));
        }
        is_enforced(host)?;
        for _ in 0..2 {
            enforcer::apply_under_lock(&next(true))?;
            says(true)?;
            refused("reading the folder", fs::read_dir(PINS))?;
        }
        is_enforced(host)
    })
}

/// The kernel kills every process in a cgroup without calling a hook (kernel/cgroup/cgroup.c, `__cgroup_kill`).
const CGROUP: &str = "/sys/fs/cgroup/bfp-lockdown";

fn killed_apply(host: &Host) -> Result<(), String> {
    did(CGROUP, fs::create_dir_all(CGROUP))?;
    let tried = locked(host, || {
        let mut killed = 0;
        for pause in [50, 200, 400, 700, 1000, 1300, 1600, 2000, 2500, 3000] {
            // The same revision again: it is applied again, and so are all programs.
            let bundle = PathBuf::from(format!("/locked/{}.bfpb", REVISION.load(Ordering::Relaxed)));
            let mut shell = Command::new("/bin/sh");
            let arguments = enforcer::applying_under_lock(&bundle).join(" ");
            let script = format!("echo 0 > {CGROUP}/cgroup.procs && exec {ENFORCER} {arguments} --again");
            let mut child = did("sh", shell.args(["-c", &script]).stdout(Stdio::null()).spawn())?;
            thread::sleep(Duration::from_millis(pause));
            did("cgroup.kill", fs::write(format!("{CGROUP}/cgroup.kill"), "1"))?;
            killed += u32::from(did("wait", child.wait())?.code().is_none());
            refused("reading the folder", fs::read_dir(PINS))
                .and(is_enforced(host))
                .map_err(|difference| format!("killed after {pause} ms: {difference}"))?;
        }
        enforcer::apply_under_lock(&next(true))?;
        is_enforced(host)?;
        if killed > 2 { Ok(()) } else { Err(format!("only {killed} were killed before they were done")) }
    });
    did(CGROUP, fs::remove_dir(CGROUP)).and(tried)
}

fn leaves_nothing(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    locked(host, || is_enforced(host))?;
    before.are_all()
}

fn others_go_on(host: &Host) -> Result<(), String> {
    locked(host, || {
        let folder = "/sys/fs/bpf/somebody";
        did("a folder", fs::create_dir(folder))?;
        did("renaming it", fs::rename(folder, "/sys/fs/bpf/else"))?;
        did("removing it", fs::remove_dir("/sys/fs/bpf/else"))?;
        let place = "/var/bfp-mounted";
        did(place, fs::create_dir_all(place))?;
        let flags = rustix::mount::MountFlags::empty();
        did("mounting", rustix::mount::mount("bpf", place, "bpf", flags, None).map_err(io::Error::from))?;
        did("its folder", fs::create_dir(format!("{place}/bfp")))?;
        did("unmounting", unmount(place, UnmountFlags::empty()))?;
        did("a file", File::create("/bin/bfp-new").map(drop))?;
        did("removing it", fs::remove_file("/bin/bfp-new"))
    })
}
