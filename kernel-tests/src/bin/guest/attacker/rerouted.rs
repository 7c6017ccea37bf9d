//! A granted address named in the call, and the forbidden one put on the wire.

use std::net::IpAddr;

use crate::Technique;
use crate::aim::{Aim, Transport};
use crate::sys::{self, Message, Name, Refused};

/// include/uapi/linux/in.h: options in a control message.
const IP_RETOPTS: i32 = 7;
const IPV6_RTHDR: i32 = 57;
const IPV6_HDRINCL: i32 = 36;
/// A segment routing header (RFC 8754).
const SEGMENT_ROUTING: u8 = 4;

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("source-route-by-option", source_route_by_option),
    ("source-route-by-control-message", source_route_by_control_message),
    ("source-route-in-sendmmsg", source_route_in_sendmmsg),
    ("routing-header-by-option", routing_header_by_option),
    ("header-included", header_included),
    ("header-included-on-raw-protocol", header_included_on_raw_protocol),
];

/// A loose source route over the forbidden address, which goes into the header, and the granted one into the route.
pub(crate) fn source_route(aim: &Aim) -> Vec<u8> {
    let mut option = vec![131, 7, 4];
    option.extend(aim.forbidden_v4().octets());
    option.push(0);
    option
}

fn source_route_by_option(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::set_bytes(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &source_route(aim))?;
    match aim.transport {
        Transport::Tcp => {
            sys::connect(&socket, &Name::of(aim.granted))?;
            sys::send(&socket)
        }
        Transport::Udp => sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.granted)),
    }
}

pub(crate) fn source_route_by_control_message(aim: &Aim) -> Result<(), Refused> {
    let control = sys::control(libc::IPPROTO_IP, IP_RETOPTS, &source_route(aim));
    let granted = Name::of(aim.granted);
    sys::sendmsg(&sys::open(aim)?, &Message::new(Some(&granted), &control), 0)
}

/// No hook is called for the second message, because the address repeats.
fn source_route_in_sendmmsg(aim: &Aim) -> Result<(), Refused> {
    let control = sys::control(libc::IPPROTO_IP, IP_RETOPTS, &source_route(aim));
    let granted = Name::of(aim.granted);
    sys::sendmmsg(&sys::open(aim)?, &[Message::new(Some(&granted), &[]), Message::new(Some(&granted), &control)])
}

fn routing_header_by_option(aim: &Aim) -> Result<(), Refused> {
    let IpAddr::V6(forbidden) = aim.forbidden.ip() else { return Err(Refused::new("aim", libc::EINVAL)) };
    // Next header, length in units of eight bytes, type, segments left, last entry, flags, tag; two segments.
    let mut header = vec![0, 4, SEGMENT_ROUTING, 1, 1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(forbidden.octets());
    let socket = sys::open(aim)?;
    sys::set_bytes(&socket, libc::IPPROTO_IPV6, IPV6_RTHDR, &header)?;
    match aim.transport {
        Transport::Tcp => {
            sys::connect(&socket, &Name::of(aim.granted))?;
            sys::send(&socket)
        }
        Transport::Udp => sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.granted)),
    }
}

/// The socket gets one destination, and the packet's header has another.
fn header_included(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    if aim.family() == libc::AF_INET6 {
        sys::set(&socket, libc::IPPROTO_IPV6, IPV6_HDRINCL, &1i32)?;
    }
    let mut granted = aim.granted;
    granted.set_port(0);
    sys::sendto(&socket, &packet(aim), 0, &Name::of(granted))
}

fn header_included_on_raw_protocol(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    sys::set(&socket, libc::IPPROTO_IP, libc::IP_HDRINCL, &1i32)?;
    let mut granted = aim.granted;
    granted.set_port(0);
    sys::sendto(&socket, &packet(aim), 0, &Name::of(granted))
}

/// A whole UDP datagram from loopback to the forbidden address, including its header. Without checksums: UDP over IPv4
/// needs none, and it only has to be on the wire.
pub(crate) fn packet(aim: &Aim) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(40000u16.to_be_bytes());
    udp.extend(aim.forbidden.port().to_be_bytes());
    udp.extend((8 + sys::MESSAGE.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(sys::MESSAGE);
    let mut packet = Vec::new();
    match aim.forbidden.ip() {
        IpAddr::V4(forbidden) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + udp.len() as u16).to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
            packet.extend(aim.granted_v4().octets());
            packet.extend(forbidden.octets());
        }
        IpAddr::V6(forbidden) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((udp.len() as u16).to_be_bytes());
            packet.extend([17, 64]);
            packet.extend(std::net::Ipv6Addr::LOCALHOST.octets());
            packet.extend(forbidden.octets());
        }
    }
    packet.extend(udp);
    packet
}
