//! The signer under a supervisor of its system calls, which any user may be of what they start: when the
//! loader opens a library, the supervisor opens another one for it.
#![expect(unsafe_code, reason = "seccomp's listener takes raw structures, and a child that shares descriptors")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::other::SIGNER;
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[("supervised-loader", supervised_loader)];

const LIBRARY: &str = "/lib/misleading.so";

// include/uapi/linux/seccomp.h
const SET_MODE_FILTER: u32 = 1;
const FLAG_NEW_LISTENER: u32 = 8;
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const RESPONSE_CONTINUE: u32 = 1;
const ADDFD_SEND: u32 = 2;

fn supervised_loader(aim: &Aim) -> Result<(), Refused> {
    let (mut from_child, mut to_parent) = std::io::pipe().map_err(Refused::io("pipe"))?;
    let library = File::open(LIBRARY).map_err(Refused::io("open"))?;
    let mut signer = Command::new(SIGNER);
    signer.arg("untouched").args(aim.words()).env("BFP_AIM", aim.words().join(" "));
    // SAFETY: as a fork of a program with one thread, but that both see the same descriptors until the exec.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0) };
    if sys::check("clone", child)? == 0 {
        let listener = listen_to_opens().unwrap_or(-1);
        let _told = to_parent.write_all(&listener.to_ne_bytes());
        let _failed = signer.exec();
        std::process::exit(1);
    }
    let mut number = [0; 4];
    from_child.read_exact(&mut number).map_err(Refused::io("read"))?;
    let number = RawFd::from_ne_bytes(number);
    if number < 0 {
        return Err(Refused::new("seccomp", libc::EINVAL));
    }
    // SAFETY: the child made it, and leaves it to this process.
    let listener = unsafe { OwnedFd::from_raw_fd(number) };
    supervise(&listener, &library)?;
    // SAFETY: a child of this process; its status is not asked for. What it says is the answer.
    unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) };
    std::process::exit(0)
}

/// From here on every `openat` of this process waits for the supervisor.
fn listen_to_opens() -> Result<RawFd, Refused> {
    let step = |code: u32, jump: u8, otherwise: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump,
        jf: otherwise,
        k,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_openat as u32),
        step(libc::BPF_RET, 0, 0, RET_USER_NOTIF),
        step(libc::BPF_RET, 0, 0, RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers; the program is alive and as long as it says.
    unsafe {
        sys::check("prctl", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        let listener = libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, FLAG_NEW_LISTENER, &raw const program);
        Ok(sys::check("seccomp", listener)? as RawFd)
    }
}

/// `struct seccomp_notif`: an id, the process, and the call.
type Notice = [u64; 10];

/// Answers until the supervised process is gone. The first file that a loader opens is the list of libraries;
/// the second one is a library.
fn supervise(listener: &OwnedFd, library: &File) -> Result<(), Refused> {
    let fd = listener.as_raw_fd();
    for opened in 0.. {
        let mut wait = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which is alive.
        let ready = unsafe { libc::poll(&raw mut wait, 1, 5000) };
        if ready < 1 || wait.revents & libc::POLLIN == 0 {
            return Ok(());
        }
        let mut notice: Notice = [0; 10];
        let id = |notice: &Notice| notice[0];
        // SAFETY: the structures are alive, and as large as the numbers say.
        unsafe {
            if libc::ioctl(fd, NOTIF_RECV, notice.as_mut_ptr()) < 0 {
                return Ok(());
            }
            if opened == 1 {
                let add = [id(&notice), u64::from(ADDFD_SEND) | (library.as_raw_fd() as u64) << 32, 0];
                sys::check("ioctl", libc::ioctl(fd, NOTIF_ADDFD, add.as_ptr()).into())?;
            } else {
                let go_on = [id(&notice), 0, u64::from(RESPONSE_CONTINUE) << 32];
                sys::check("ioctl", libc::ioctl(fd, NOTIF_SEND, go_on.as_ptr()).into())?;
            }
        }
    }
    Ok(())
}
