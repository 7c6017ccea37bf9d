//! The forbidden address named in a call.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::Technique;
use crate::aim::{Aim, Transport};
use crate::sys::{self, Message, Name, Refused};

/// include/linux/socket.h
const MSG_FASTOPEN: i32 = 0x2000_0000;
/// include/uapi/linux/tcp.h
const TCP_FASTOPEN_CONNECT: i32 = 30;

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("connect", connect),
    ("sendto", sendto),
    ("sendmsg", sendmsg),
    ("sendmmsg-to-two", sendmmsg_to_two),
    ("sendto-while-connected", sendto_while_connected),
    ("disconnect-then-sendto", disconnect_then_sendto),
    ("mapped-address", mapped_address),
    ("inet-name-on-inet6-socket", inet_name_on_inet6_socket),
    ("unspec-name", unspec_name),
    ("fastopen", fastopen),
    ("fastopen-on-connect", fastopen_on_connect),
    ("bound-and-unspecified", bound_and_unspecified),
];

pub(crate) fn connect(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    sys::send(&socket)
}

fn sendto(aim: &Aim) -> Result<(), Refused> {
    sys::sendto(&sys::open(aim)?, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

fn sendmsg(aim: &Aim) -> Result<(), Refused> {
    sys::sendmsg(&sys::open(aim)?, &Message::new(Some(&Name::of(aim.forbidden)), &[]), 0)
}

/// The kernel judges an address again only if it differs from the one before it.
fn sendmmsg_to_two(aim: &Aim) -> Result<(), Refused> {
    let (granted, forbidden) = (Name::of(aim.granted), Name::of(aim.forbidden));
    let to = |name| Message::new(Some(name), &[]);
    sys::sendmmsg(&sys::open(aim)?, &[to(&granted), to(&granted), to(&forbidden)])
}

fn sendto_while_connected(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.granted))?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

fn disconnect_then_sendto(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::connect(&socket, &Name::of(aim.granted))?;
    sys::connect(&socket, &Name::of(aim.granted).under(libc::AF_UNSPEC))?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

fn mapped_address(aim: &Aim) -> Result<(), Refused> {
    let mapped = SocketAddr::new(aim.forbidden_v4().to_ipv6_mapped().into(), aim.forbidden.port());
    connect(&Aim { forbidden: mapped, ..aim.clone() })
}

fn inet_name_on_inet6_socket(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

/// net/ipv4/udp.c takes AF_UNSPEC for AF_INET.
fn unspec_name(aim: &Aim) -> Result<(), Refused> {
    sys::sendto(&sys::open(aim)?, sys::MESSAGE, 0, &Name::of(aim.forbidden).under(libc::AF_UNSPEC))
}

/// Never reaches `connect`.
fn fastopen(aim: &Aim) -> Result<(), Refused> {
    sys::sendto(&sys::open(aim)?, sys::MESSAGE, MSG_FASTOPEN, &Name::of(aim.forbidden))
}

fn fastopen_on_connect(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &1i32)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    sys::send(&socket)
}

/// An unspecified destination means the bound source.
fn bound_and_unspecified(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::SOL_IP, libc::IP_FREEBIND, &1i32)?;
    sys::bind(&socket, &Name::of(SocketAddr::new(aim.forbidden.ip(), 0)))?;
    let nowhere = match aim.forbidden.ip() {
        IpAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let nowhere = Name::of(SocketAddr::new(nowhere, aim.forbidden.port()));
    match aim.transport {
        Transport::Tcp => sys::connect(&socket, &nowhere).and_then(|()| sys::send(&socket)),
        Transport::Udp => sys::sendto(&socket, sys::MESSAGE, 0, &nowhere),
    }
}
