//! What enters: a way to send and a destination. What leaves: whether the kernel accepted the byte, or the errno of the
//! first call that failed. Every socket has a time limit of two seconds, so that there is always an answer (a
//! connection that hangs is `EINPROGRESS`).

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind, connect, connect_unspec,
    ipproto, send as send_connected, sendmsg_addr, sendto, socket_with,
};

use crate::raw;

const TIME_LIMIT: Duration = Duration::from_secs(2);
const BYTE: &[u8] = b"b";
/// Opens a connection and sends with it in one call (linux/socket.h), which rustix does not name.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// The loopback interface is the first of every network namespace; link-local addresses need one.
const LOOPBACK_INTERFACE: u32 = 1;

/// A way to send a byte out of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Tcp,
    Udp,
    Sendto,
    Sendmsg,
    FastOpen,
    MappedTcp,
    MappedUdp,
    MappedSendto,
    MappedFastOpen,
    InetOnInet6Sendto,
    UnspecSendto,
    ConnectUnspecThenTcp,
    ConnectedThenSendto,
    Icmp,
    ConnectedIcmp,
    BoundUnspecified,
    RawSocket,
}

impl How {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "tcp" => How::Tcp,
            "udp" => How::Udp,
            "sendto" => How::Sendto,
            "sendmsg" => How::Sendmsg,
            "fastopen" => How::FastOpen,
            "mapped-tcp" => How::MappedTcp,
            "mapped-udp" => How::MappedUdp,
            "mapped-sendto" => How::MappedSendto,
            "mapped-fastopen" => How::MappedFastOpen,
            "inet-on-inet6-sendto" => How::InetOnInet6Sendto,
            "unspec-sendto" => How::UnspecSendto,
            "raw-socket" => How::RawSocket,
            "connect-unspec-then-tcp" => How::ConnectUnspecThenTcp,
            "connected-then-sendto" => How::ConnectedThenSendto,
            "icmp" => How::Icmp,
            "connected-icmp" => How::ConnectedIcmp,
            "bound-unspecified" => How::BoundUnspecified,
            _ => return None,
        })
    }
}

/// The destination, the local address, and the first peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Journey {
    pub(crate) to: SocketAddr,
    pub(crate) bind: Option<IpAddr>,
    /// The peer that `connected-then-sendto` connects to before it names another destination.
    pub(crate) via: Option<SocketAddr>,
}

pub(crate) fn send(how: How, journey: &Journey) -> Result<(), Errno> {
    let to = with_interface(journey.to);
    match how {
        How::Tcp => {
            let socket = open(to, SocketType::STREAM, journey)?;
            connect(&socket, &to)?;
            send_one_byte(&socket)
        }
        How::Udp => {
            let socket = open(to, SocketType::DGRAM, journey)?;
            connect(&socket, &to)?;
            send_one_byte(&socket)
        }
        How::Sendto => {
            let socket = open(to, SocketType::DGRAM, journey)?;
            sent(sendto(&socket, BYTE, SendFlags::NOSIGNAL, &to))
        }
        How::Sendmsg => {
            let socket = open(to, SocketType::DGRAM, journey)?;
            let mut no_control = SendAncillaryBuffer::default();
            let flags = SendFlags::NOSIGNAL;
            sent(sendmsg_addr(&socket, &to, &[IoSlice::new(BYTE)], &mut no_control, flags))
        }
        How::FastOpen => {
            let socket = open(to, SocketType::STREAM, journey)?;
            let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(MSG_FASTOPEN);
            sent(sendto(&socket, BYTE, flags, &to))
        }
        How::MappedTcp => send(How::Tcp, &mapped(journey)?),
        How::MappedUdp => send(How::Udp, &mapped(journey)?),
        How::MappedSendto => send(How::Sendto, &mapped(journey)?),
        How::MappedFastOpen => send(How::FastOpen, &mapped(journey)?),
        How::InetOnInet6Sendto => {
            expect_v4(to)?;
            let on_inet6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
            let socket = open(on_inet6, SocketType::DGRAM, journey)?;
            sent(sendto(&socket, BYTE, SendFlags::NOSIGNAL, &to))
        }
        How::UnspecSendto => {
            let (address, port) = expect_v4(to)?;
            let socket = open(to, SocketType::DGRAM, journey)?;
            raw::sendto_unspec(&socket, BYTE, address, port)
        }
        How::ConnectUnspecThenTcp => {
            let socket = open(to, SocketType::STREAM, journey)?;
            // Whether dissolving is denied does not matter here: what counts is the next call.
            let _ = connect_unspec(&socket);
            connect(&socket, &to)?;
            send_one_byte(&socket)
        }
        How::ConnectedThenSendto => {
            let first = journey.via.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
            let socket = open(to, SocketType::DGRAM, journey)?;
            connect(&socket, &with_interface(first))?;
            sent(sendto(&socket, BYTE, SendFlags::NOSIGNAL, &to))
        }
        // It is not used: the question is whether a process may have it.
        How::RawSocket => {
            socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP)).map(drop)
        }
        How::Icmp => {
            let (socket, request) = ping_socket(to)?;
            sent(sendto(&socket, &request, SendFlags::NOSIGNAL, &to))
        }
        How::ConnectedIcmp => {
            let (socket, request) = ping_socket(to)?;
            connect(&socket, &to)?;
            sent(send_connected(&socket, &request, SendFlags::NOSIGNAL))
        }
        How::BoundUnspecified => {
            let unspecified: IpAddr = match journey.bind {
                Some(IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
                Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
                None => return Err(Errno::INVAL),
            };
            let to = SocketAddr::new(unspecified, to.port());
            send(How::Tcp, &Journey { to, ..journey.clone() })
        }
    }
}

pub(crate) fn connect_tcp(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let to = with_interface(to);
    let socket = open(to, SocketType::STREAM, &Journey { to, bind: None, via: None })?;
    connect(&socket, &to)?;
    Ok(socket)
}

pub(crate) fn send_one_byte(socket: &OwnedFd) -> Result<(), Errno> {
    sent(send_connected(socket, BYTE, SendFlags::NOSIGNAL))
}

fn sent(outcome: Result<usize, Errno>) -> Result<(), Errno> {
    outcome.map(|_one| ())
}

/// A socket of the family of `to`, bound if the journey says so.
fn open(to: SocketAddr, kind: SocketType, journey: &Journey) -> Result<OwnedFd, Errno> {
    let socket = open_with(to, kind, None)?;
    if let Some(local) = journey.bind {
        bind(&socket, &with_interface(SocketAddr::new(local, 0)))?;
    }
    Ok(socket)
}

fn open_with(to: SocketAddr, kind: SocketType, protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
    // connect(2) uses the send timeout as well.
    set_socket_timeout(&socket, Timeout::Send, Some(TIME_LIMIT))?;
    Ok(socket)
}

/// An unprivileged ping socket, and an echo request without a payload.
fn ping_socket(to: SocketAddr) -> Result<(OwnedFd, [u8; 8]), Errno> {
    let (protocol, request) = match to {
        SocketAddr::V4(_) => (ipproto::ICMP, [8, 0, 0, 0, 0, 0, 0, 0]),
        SocketAddr::V6(_) => (ipproto::ICMPV6, [128, 0, 0, 0, 0, 0, 0, 0]),
    };
    Ok((open_with(to, SocketType::DGRAM, Some(protocol))?, request))
}

fn expect_v4(to: SocketAddr) -> Result<(Ipv4Addr, u16), Errno> {
    match to {
        SocketAddr::V4(to) => Ok((*to.ip(), to.port())),
        SocketAddr::V6(_) => Err(Errno::INVAL),
    }
}

fn mapped(journey: &Journey) -> Result<Journey, Errno> {
    let (address, port) = expect_v4(journey.to)?;
    let bind = match journey.bind {
        Some(IpAddr::V4(local)) => Some(local.to_ipv6_mapped().into()),
        other => other,
    };
    let to = SocketAddr::new(address.to_ipv6_mapped().into(), port);
    Ok(Journey { to, bind, via: journey.via })
}

fn with_interface(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V6(to) if needs_interface(to.ip()) => {
            SocketAddrV6::new(*to.ip(), to.port(), 0, LOOPBACK_INTERFACE).into()
        }
        other => other,
    }
}

/// Unicast (fe80::/10) and multicast (ff01::, ff02::) addresses that mean nothing without a link.
fn needs_interface(address: &Ipv6Addr) -> bool {
    matches!(address.octets(), [0xff, scope, ..] if matches!(scope & 0x0f, 1 | 2)) || address.is_unicast_link_local()
}
