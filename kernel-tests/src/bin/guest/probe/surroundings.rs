//! Other processes and other views of the file system: what enters is the program to run or the view to enter, what
//! leaves is the exit status of the process that did the work. A child's output is this program's own, so a chain of
//! them still prints one line.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
use rustix::process::{Pid, WaitOptions, chdir, chroot, waitpid};

use crate::raw;

/// Runs a program as a child and waits for it.
pub(crate) fn spawn(program: &str, arguments: &[String]) -> io::Result<ExitCode> {
    let status = Command::new(program).args(arguments).status()?;
    Ok(exit_code(status.code()))
}

/// Becomes another program; returns only if that failed.
pub(crate) fn exec(program: &str, arguments: &[String]) -> io::Error {
    Command::new(program).args(arguments).exec()
}

/// Becomes a copy of `program` that has no name in any directory; returns only if that failed.
pub(crate) fn exec_from_memory(program: &str, arguments: &[String]) -> io::Error {
    let copy_and_exec = || -> io::Result<io::Error> {
        let memory = memfd_create("probe", MemfdFlags::empty())?;
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        io::copy(&mut std::fs::File::open(program)?, &mut std::fs::File::from(memory.try_clone()?))?;
        // Exec opens the path, so the descriptor has to live until then. Unlike a file that is
        // open for writing, a memfd does not answer ETXTBSY.
        Ok(exec(&path, arguments))
    };
    copy_and_exec().unwrap_or_else(|error| error)
}

/// Becomes a program that was opened earlier, whatever its name is now; returns only if that failed.
pub(crate) fn exec_opened(file: &std::fs::File, arguments: &[String]) -> io::Error {
    // Exec opens the path, so the descriptor has to live until then.
    exec(&format!("/proc/self/fd/{}", file.as_raw_fd()), arguments)
}

pub(crate) fn wait_for(child: Pid) -> ExitCode {
    match waitpid(Some(child), WaitOptions::empty()) {
        Ok(Some((_, status))) => exit_code(status.exit_status()),
        Ok(None) | Err(_) => ExitCode::from(2),
    }
}

pub(crate) fn enter_chroot(directory: &str) -> Result<(), Errno> {
    chroot(directory)?;
    chdir("/")
}

/// A mount namespace of its own, in which `source` covers `target`.
pub(crate) fn enter_mount_namespace(source: &str, target: &str) -> Result<(), Errno> {
    raw::unshare_mounts()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private)?;
    mount_bind_recursive(source, target)
}

/// A death by signal must not look like an answer.
fn exit_code(code: Option<i32>) -> ExitCode {
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::from(2), ExitCode::from)
}
