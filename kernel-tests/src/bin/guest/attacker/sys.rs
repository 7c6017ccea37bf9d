//! Raw system calls, since an attack passes arguments that no library would. Each error names its call.
#![expect(unsafe_code, reason = "raw system calls with unusual arguments")]

use std::fmt;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The content of every message.
pub(crate) const MESSAGE: &[u8] = b"bfp-secret";

/// A call that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    call: &'static str,
    errno: i32,
}

/// No errno.
const KILLED: i32 = -libc::SIGKILL;

impl Refused {
    pub(crate) fn new(call: &'static str, errno: i32) -> Refused {
        Refused { call, errno }
    }

    /// The kernel killed the program.
    pub(crate) fn killed(call: &'static str) -> Refused {
        Refused { call, errno: KILLED }
    }

    pub(crate) fn last(call: &'static str) -> Refused {
        Refused::new(call, io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    pub(crate) fn io(call: &'static str) -> impl FnOnce(io::Error) -> Refused {
        move |error| Refused::new(call, error.raw_os_error().unwrap_or(0))
    }
}

impl Refused {
    pub(crate) fn is(&self, errno: i32) -> bool {
        self.errno == errno
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.errno {
            KILLED => "SIGKILL",
            libc::EPERM => "EPERM",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::ENOENT => "ENOENT",
            libc::EINVAL => "EINVAL",
            libc::EAGAIN => "EAGAIN",
            libc::EAFNOSUPPORT => "EAFNOSUPPORT",
            libc::EPROTONOSUPPORT => "EPROTONOSUPPORT",
            libc::ESOCKTNOSUPPORT => "ESOCKTNOSUPPORT",
            libc::ENOPROTOOPT => "ENOPROTOOPT",
            libc::ECONNREFUSED => "ECONNREFUSED",
            libc::EINPROGRESS => "EINPROGRESS",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::EHOSTUNREACH => "EHOSTUNREACH",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::ESRCH => "ESRCH",
            libc::ETXTBSY => "ETXTBSY",
            libc::EXDEV => "EXDEV",
            libc::EBUSY => "EBUSY",
            libc::ENOTCONN => "ENOTCONN",
            other => return write!(f, "{} errno {other}", self.call),
        };
        write!(f, "{} {name}", self.call)
    }
}

/// -1 means the errno of `call`.
pub(crate) fn check(call: &'static str, result: i64) -> Result<i64, Refused> {
    if result < 0 { Err(Refused::last(call)) } else { Ok(result) }
}

/// The outcome of several attempts, if it is the same for all; otherwise the first one that differs, by its name.
pub(crate) fn of_all_alike(outcomes: Vec<(&'static str, Result<(), Refused>)>) -> Result<(), Refused> {
    let errno = |outcome: &Result<(), Refused>| outcome.as_ref().err().map(|refused| refused.errno);
    let first = outcomes.first().and_then(|(_, outcome)| errno(outcome));
    match outcomes.iter().find(|(_, outcome)| errno(outcome) != first) {
        // An errno that no row expects, if this is the attempt that was not denied.
        Some((name, outcome)) => Err(Refused::new(name, errno(outcome).unwrap_or(0))),
        None => outcomes.into_iter().next().map_or(Ok(()), |(_, outcome)| outcome),
    }
}

/// A socket whose sends and connections time out after two seconds.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Refused> {
    // SAFETY: takes numbers; the descriptor is new, and nothing else owns it.
    let socket = unsafe {
        let fd = check("socket", libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol).into())?;
        OwnedFd::from_raw_fd(fd as RawFd)
    };
    let limit = libc::timeval { tv_sec: 2, tv_usec: 0 };
    // Some families have no such limit.
    let _ = set(&socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &limit);
    let _ = set(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &limit);
    Ok(socket)
}

/// Sets an option whose value is `value` byte for byte.
pub(crate) fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<(), Refused> {
    // SAFETY: the value is alive and as long as is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (value as *const T).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check("setsockopt", result.into()).map(drop)
}

/// Sets an option to bytes.
pub(crate) fn set_bytes(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> Result<(), Refused> {
    // SAFETY: as above.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), value.len() as libc::socklen_t)
    };
    check("setsockopt", result.into()).map(drop)
}

/// A socket address as the kernel takes it.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) length: libc::socklen_t,
}

impl Name {
    pub(crate) fn of(address: SocketAddr) -> Name {
        // SAFETY: zeros are a valid value of every field.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let place = (&raw mut storage).cast::<u8>();
        let length = match address {
            SocketAddr::V4(v4) => {
                let name = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: a storage has room for every kind of address.
                unsafe { place.cast::<libc::sockaddr_in>().write(name) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let name = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: 0,
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(name) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Name { storage, length: length as libc::socklen_t }
    }

    /// The same bytes under another family.
    pub(crate) fn under(mut self, family: i32) -> Name {
        self.storage.ss_family = family as libc::sa_family_t;
        self
    }

    pub(crate) fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

pub(crate) fn connect(socket: &OwnedFd, name: &Name) -> Result<(), Refused> {
    // SAFETY: the name is alive and as long as it says.
    check("connect", unsafe { libc::connect(socket.as_raw_fd(), name.pointer(), name.length) }.into()).map(drop)
}

pub(crate) fn bind(socket: &OwnedFd, name: &Name) -> Result<(), Refused> {
    // SAFETY: as above.
    check("bind", unsafe { libc::bind(socket.as_raw_fd(), name.pointer(), name.length) }.into()).map(drop)
}

pub(crate) fn send(socket: &OwnedFd) -> Result<(), Refused> {
    send_bytes(socket, MESSAGE)
}

pub(crate) fn send_bytes(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Refused> {
    // SAFETY: the bytes are alive and as long as is said.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    check("send", sent as i64).map(drop)
}

pub(crate) fn sendto(socket: &OwnedFd, bytes: &[u8], flags: i32, name: &Name) -> Result<(), Refused> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: bytes and name are alive and as long as they say.
    let sent = unsafe {
        libc::sendto(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags, name.pointer(), name.length)
    };
    check("sendto", sent as i64).map(drop)
}

/// A message with an address and control data, whose pointers are valid as long as this value.
pub(crate) struct Message<'a> {
    name: Option<&'a Name>,
    control: &'a [u8],
    part: Box<libc::iovec>,
}

impl<'a> Message<'a> {
    pub(crate) fn new(name: Option<&'a Name>, control: &'a [u8]) -> Message<'a> {
        let part = libc::iovec { iov_base: MESSAGE.as_ptr().cast_mut().cast(), iov_len: MESSAGE.len() };
        Message { name, control, part: Box::new(part) }
    }

    /// As the kernel takes it, for as long as `self` lives.
    pub(crate) fn header(&self) -> libc::msghdr {
        // SAFETY: zeros are a valid value of every field.
        let mut header: libc::msghdr = unsafe { zeroed() };
        if let Some(name) = self.name {
            header.msg_name = name.pointer().cast_mut().cast();
            header.msg_namelen = name.length;
        }
        header.msg_iov = (&raw const *self.part).cast_mut();
        header.msg_iovlen = 1;
        if !self.control.is_empty() {
            header.msg_control = self.control.as_ptr().cast_mut().cast();
            header.msg_controllen = self.control.len() as _;
        }
        header
    }
}

pub(crate) fn sendmsg(socket: &OwnedFd, message: &Message<'_>, flags: i32) -> Result<(), Refused> {
    let header = message.header();
    // SAFETY: what the header points to is borrowed by the message.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags | libc::MSG_NOSIGNAL) };
    check("sendmsg", sent as i64).map(drop)
}

/// Sends all of them, or reports the error: `sendmmsg` succeeds with the first.
pub(crate) fn sendmmsg(socket: &OwnedFd, messages: &[Message<'_>]) -> Result<(), Refused> {
    let mut headers: Vec<libc::mmsghdr> =
        messages.iter().map(|message| libc::mmsghdr { msg_hdr: message.header(), msg_len: 0 }).collect();
    let mut left = headers.as_mut_slice();
    while !left.is_empty() {
        // SAFETY: the headers are alive, and what they point to is borrowed by the messages.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, libc::MSG_NOSIGNAL) };
        let sent = check("sendmmsg", sent.into())? as usize;
        left = left.split_at_mut(sent.min(left.len())).1;
    }
    Ok(())
}

/// One control message.
pub(crate) fn control(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((size_of::<libc::cmsghdr>() + data.len()).to_ne_bytes());
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
    bytes
}

/// A socket of the aim's family and kind.
pub(crate) fn open(aim: &crate::aim::Aim) -> Result<OwnedFd, Refused> {
    socket(aim.family(), aim.kind(), 0)
}
