//! The calls without a safe wrapper: fork, unshare, a send to an address with a family that no library builds, and
//! memory that may be executed. What always holds: this is the only file of the probe with `unsafe` in it.
#![expect(unsafe_code, reason = "raw system calls that rustix does not wrap safely")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// The side of a fork.
pub(crate) enum Fork {
    Child,
    Parent { child: Pid },
}

/// Forks without an exec.
pub(crate) fn fork() -> Result<Fork, Errno> {
    // SAFETY: fork has no arguments. Its one hazard is a lock held by a thread that the child does
    // not have: when the arguments put `fork` after `thread`, the first thread only waits in join
    // and holds none.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Pid::from_raw(pid).map(|child| Fork::Parent { child }).ok_or(Errno::SRCH),
        _ => Err(last_errno()),
    }
}

/// The descriptor under which a connection stays open in every program that the process becomes.
const PLACE: i32 = 9;

/// Keeps a connection.
pub(crate) fn place(connection: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: the place is no descriptor that this program owns, and the new one is not closed at exec.
    match unsafe { libc::dup2(connection.as_raw_fd(), PLACE) } {
        PLACE => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Another descriptor of the kept connection.
pub(crate) fn placed() -> Result<OwnedFd, Errno> {
    // SAFETY: a new descriptor, or an error.
    match unsafe { libc::dup(PLACE) } {
        // SAFETY: it is open, and nobody else's.
        number if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(last_errno()),
    }
}

/// Gives the process a mount namespace of its own.
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: the flag touches neither memory nor file descriptors.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// A datagram whose destination is an IPv4 address under the family AF_UNSPEC, which net/ipv4/udp.c:udp_sendmsg takes
/// for AF_INET.
pub(crate) fn sendto_unspec(socket: &OwnedFd, message: &[u8], address: Ipv4Addr, port: u16) -> Result<(), Errno> {
    let name = libc::sockaddr_in {
        sin_family: libc::AF_UNSPEC as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&name) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the message and the name
    // are read within the lengths given, which are their own.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_NOSIGNAL,
            (&raw const name).cast(),
            length,
        )
    };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Maps the first page of a file for execution.
pub(crate) fn map_executable(file: &File) -> Result<(), Errno> {
    map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE, file.as_raw_fd()).map(drop)
}

/// Maps a page of memory that no file backs, for execution.
pub(crate) fn map_executable_memory() -> Result<(), Errno> {
    map(libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1).map(drop)
}

/// Maps a page that can be written, and lets it be executed from then on, as a JIT compiler does.
pub(crate) fn make_written_memory_executable() -> Result<(), Errno> {
    let page = map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    // SAFETY: the page is mapped, and nothing else refers to it.
    match unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

const PAGE: usize = 4096;

/// A new mapping of one page; it stays until the process ends.
fn map(protection: libc::c_int, flags: libc::c_int, file: libc::c_int) -> Result<*mut libc::c_void, Errno> {
    // SAFETY: the kernel chooses the place, so nothing that is mapped already is touched.
    match unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, file, 0) } {
        libc::MAP_FAILED => Err(last_errno()),
        place => Ok(place),
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
