//! Other processes of the attack: programs that it becomes or starts, children, its own namespaces. What leaves is the
//! outcome of the attack there.
#![expect(unsafe_code, reason = "fork, unshare and mount are raw system calls here")]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::aim::Aim;
use crate::sys::{self, Refused};

/// The program that the policy names, and that alone may reach the forbidden address. The suite installs it there.
pub(crate) const SIGNER: &str = "/usr/bin/signer";
/// An unlisted program.
pub(crate) const STRANGER: &str = "/usr/bin/stranger";
/// A folder where every user may create files, on the filesystem that has the signer.
pub(crate) const WORKSHOP: &str = "/var/bfp-workshop";

/// A path for a file of this process alone.
pub(crate) fn own_place(name: &str) -> PathBuf {
    Path::new(WORKSHOP).join(format!("{name}-{}", std::process::id()))
}

/// Copies this program.
pub(crate) fn copy_self(to: &Path) -> Result<(), Refused> {
    let own = std::env::current_exe().map_err(Refused::io("readlink"))?;
    std::fs::copy(own, to).map(drop).map_err(Refused::io("open"))
}

/// The plain attack, by another copy of this program.
pub(crate) fn attack_by(program: impl AsRef<Path>, aim: &Aim) -> Command {
    let mut command = Command::new(program.as_ref());
    command.arg("connect").args(aim.words());
    command
}

/// Becomes a program, whose output is the answer. Returns only if that failed.
pub(crate) fn become_program(mut command: Command) -> Result<(), Refused> {
    Err(Refused::io("execve")(command.exec()))
}

/// Runs a program to its end, and judges its output.
pub(crate) fn run(mut command: Command) -> Result<(), Refused> {
    let ended = command.stdin(Stdio::null()).output().map_err(Refused::io("execve"))?;
    let said = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    judge(&said)
}

/// The answer of another copy of the attacker.
pub(crate) fn judge(said: &str) -> Result<(), Refused> {
    match said {
        "ok" => Ok(()),
        said if said.ends_with("EPERM") => Err(Refused::new("the other's call", libc::EPERM)),
        _ => Err(Refused::new("the other", libc::EINVAL)),
    }
}

/// Prints that it waits, and continues at the next line of its input.
pub(crate) fn wait_for_the_suite() {
    println!("waits");
    // The end of the input ends the wait as well.
    let _line = std::io::stdin().read_line(&mut String::new());
}

/// Runs a shell command line, for what only a tool can do.
pub(crate) fn shell(line: &str) -> Result<(), Refused> {
    let ended = Command::new("/bin/sh").args(["-ec", line]).stdin(Stdio::null()).output();
    let ended = ended.map_err(Refused::io("execve"))?;
    if ended.status.success() {
        return Ok(());
    }
    eprintln!("{line}: {}", String::from_utf8_lossy(&ended.stderr));
    Err(Refused::new("sh", libc::EINVAL))
}

/// What the parent of a fork does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Waits for the child.
    Waits,
    /// Exits at once: the child becomes an orphan.
    Leaves,
}

/// From here on only a child of this process continues, and gives the answer.
pub(crate) fn fork(parent: Parent) -> Result<(), Refused> {
    // SAFETY: this program has one thread.
    let child = sys::check("fork", unsafe { libc::fork() }.into())?;
    go_on_in_child(child, parent);
    Ok(())
}

/// The end of a parent, after a call that has made it two processes.
pub(crate) fn go_on_in_child(child: i64, parent: Parent) {
    if child != 0 {
        if parent == Parent::Waits {
            // SAFETY: a child of this process; its status is not asked for.
            unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) };
        }
        std::process::exit(0);
    }
}

/// Enters new namespaces, besides those of `more`, in a user namespace in which this process is root.
pub(crate) fn enter_user_namespace(more: i32) -> Result<(), Refused> {
    // SAFETY: takes numbers.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | more)?;
    for (file, line) in
        [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {user} 1")), ("gid_map", format!("0 {group} 1"))]
    {
        std::fs::write(format!("/proc/self/{file}"), line).map_err(Refused::io("write"))?;
    }
    Ok(())
}

pub(crate) fn unshare(flags: i32) -> Result<(), Refused> {
    // SAFETY: takes numbers.
    sys::check("unshare", unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Enters a new mount namespace: root needs no user namespace for it.
pub(crate) fn enter_mount_namespace() -> Result<(), Refused> {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        unshare(libc::CLONE_NEWNS)?;
    } else {
        enter_user_namespace(libc::CLONE_NEWNS)?;
    }
    mount("none", "/", libc::MS_REC | libc::MS_PRIVATE)
}

/// Shows `source` at `target`.
pub(crate) fn bind_mount(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Refused> {
    mount(source, target, libc::MS_BIND)
}

fn mount(source: impl AsRef<Path>, target: impl AsRef<Path>, flags: libc::c_ulong) -> Result<(), Refused> {
    let (source, target) = (path(source)?, path(target)?);
    let none = std::ptr::null();
    // SAFETY: both end with a zero, and the call reads nothing else.
    let mounted = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), none, flags, none.cast()) };
    sys::check("mount", mounted.into()).map(drop)
}

/// Unmounts a path, even one that is in use.
pub(crate) fn unmount(target: &str) -> Result<(), Refused> {
    let target = path(target)?;
    // SAFETY: ends with a zero.
    sys::check("umount", unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}

pub(crate) fn path(path: impl AsRef<Path>) -> Result<CString, Refused> {
    CString::new(path.as_ref().as_os_str().as_bytes()).map_err(|_| Refused::new("path", libc::EINVAL))
}
