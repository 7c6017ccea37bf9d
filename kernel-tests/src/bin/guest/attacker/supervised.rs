//! Programs under a supervisor of their system calls, which any user can be for its own children: the supervisor
//! answers with its own files and sockets.
#![expect(unsafe_code, reason = "seccomp's listener takes raw structures, and a child that shares descriptors")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::other::SIGNER;
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] =
    &[("supervised-loader", supervised_loader), ("socket-of-a-supervisor", socket_of_supervisor)];

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

/// When the loader opens its second file, which is a library, it gets another one.
fn supervised_loader(aim: &Aim) -> Result<(), Refused> {
    let library = File::open(LIBRARY).map_err(Refused::io("open"))?;
    let mut signer = Command::new(SIGNER);
    signer.arg("untouched").args(aim.words()).env("BFP_AIM", aim.words().join(" "));
    supervise(signer, libc::SYS_openat, 1, &library.into())
}

/// A system call that no library makes.
const ASKING: libc::c_long = libc::SYS_getpgid;

/// The unlisted program connects, starts the attacker, and installs its socket there in answer to a call.
fn socket_of_supervisor(aim: &Aim) -> Result<(), Refused> {
    if std::env::var_os("BFP_SUPERVISED").is_some() {
        // SAFETY: takes a number; the descriptor that the supervisor answers with is this process's own.
        let socket = unsafe { OwnedFd::from_raw_fd(sys::check("getpgid", libc::syscall(ASKING, 0))? as RawFd) };
        return sys::send(&socket);
    }
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    let program = std::env::var("BFP_ATTACKER").map_err(|_| Refused::new("environment", libc::ENOENT))?;
    let mut attacker = Command::new(program);
    attacker.arg("socket-of-a-supervisor").args(aim.words()).env("BFP_SUPERVISED", "yes");
    supervise(attacker, ASKING, 0, &socket)
}

/// Executes a program in a child, and answers one of its calls with a descriptor of this process, after `before` such
/// calls. The program's output is the answer.
fn supervise(mut program: Command, call: libc::c_long, before: usize, answer: &OwnedFd) -> Result<(), Refused> {
    let (mut from_child, mut to_parent) = std::io::pipe().map_err(Refused::io("pipe"))?;
    // SAFETY: as a fork of a program with one thread, but that both see the same descriptors until the exec.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0) };
    if sys::check("clone", child)? == 0 {
        let listener = listen_to(call).unwrap_or(-1);
        let _told = to_parent.write_all(&listener.to_ne_bytes());
        let _failed = program.exec();
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
    answer_calls(&listener, before, answer)?;
    // SAFETY: a child of this process; its status is not asked for.
    unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) };
    std::process::exit(0)
}

/// From here on every such call of this process waits for the supervisor.
fn listen_to(call: libc::c_long) -> Result<RawFd, Refused> {
    let step = |code: u32, jump: u8, otherwise: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jump,
        jf: otherwise,
        k,
    };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
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

/// Answers until the supervised process is gone.
fn answer_calls(listener: &OwnedFd, before: usize, answer: &OwnedFd) -> Result<(), Refused> {
    let fd = listener.as_raw_fd();
    for made in 0.. {
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
            if made == before {
                let add = [id(&notice), u64::from(ADDFD_SEND) | (answer.as_raw_fd() as u64) << 32, 0];
                sys::check("ioctl", libc::ioctl(fd, NOTIF_ADDFD, add.as_ptr()).into())?;
            } else {
                let go_on = [id(&notice), 0, u64::from(RESPONSE_CONTINUE) << 32];
                sys::check("ioctl", libc::ioctl(fd, NOTIF_SEND, go_on.as_ptr()).into())?;
            }
        }
    }
    Ok(())
}
