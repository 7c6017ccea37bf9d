//! Sockets without a destination that could be judged, or connections that the kernel opens itself.
#![expect(unsafe_code, reason = "ioctl and addresses of families that no library builds")]

use std::fs::{self, OpenOptions};
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::Technique;
use crate::aim::{Aim, Transport};
use crate::rerouted::packet;
use crate::sys::{self, Name, Refused};

/// include/uapi/linux/in.h
const IPPROTO_L2TP: i32 = 115;
const IPPROTO_SCTP: i32 = 132;
pub(crate) const IPPROTO_MPTCP: i32 = 262;
const MSG_FASTOPEN: i32 = 0x2000_0000;
/// include/linux/socket.h
pub(crate) const AF_XDP: i32 = 44;
const AF_SMC: i32 = 43;
/// include/uapi/linux/if_tun.h
pub(crate) const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
pub(crate) const IFF_TUN_NO_PI: i16 = 0x1001;
/// include/uapi/linux/sctp.h
const SCTP_SOCKOPT_CONNECTX: i32 = 110;

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("ping", ping),
    ("raw-icmp", raw_icmp),
    ("packet-socket", packet_socket),
    ("old-packet-socket", old_packet_socket),
    ("xdp-socket", xdp_socket),
    ("tun-device", tun_device),
    ("mptcp-connect", mptcp_connect),
    ("mptcp-fastopen", mptcp_fastopen),
    ("sctp-connect", sctp_connect),
    ("sctp-connectx", sctp_connectx),
    ("sctp-connectx-without-room", sctp_connectx_without_room),
    ("sctp-sendto", sctp_sendto),
    ("l2tp-sendto", l2tp_sendto),
    ("vsock", vsock),
    ("smc", smc),
    ("every-other-family", every_other_family),
];

fn echo_request(aim: &Aim) -> Vec<u8> {
    let mut request = vec![if aim.forbidden.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 0];
    request.extend(sys::MESSAGE);
    request
}

fn icmp(aim: &Aim) -> i32 {
    if aim.forbidden.is_ipv4() { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 }
}

fn ping(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_DGRAM, icmp(aim))?;
    sys::sendto(&socket, &echo_request(aim), 0, &Name::of(aim.forbidden))
}

fn raw_icmp(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_RAW, icmp(aim))?;
    let mut forbidden = aim.forbidden;
    forbidden.set_port(0);
    sys::sendto(&socket, &echo_request(aim), 0, &Name::of(forbidden))
}

/// The loopback interface.
pub(crate) const INTERFACE: i32 = 1;

fn packet_socket(aim: &Aim) -> Result<(), Refused> {
    send_packet(&sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?, aim)
}

/// Sends a whole packet by a packet socket.
pub(crate) fn send_packet(socket: &OwnedFd, aim: &Aim) -> Result<(), Refused> {
    let protocol = (if aim.forbidden.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 }) as u16;
    // SAFETY: zeros are a valid value of every field.
    let mut name: libc::sockaddr_ll = unsafe { zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = protocol.to_be();
    name.sll_ifindex = INTERFACE;
    name.sll_halen = 6;
    let packet = packet(aim);
    // SAFETY: bytes and name are alive and as long as is said.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const name).cast(),
            size_of_val(&name) as libc::socklen_t,
        )
    };
    sys::check("sendto", sent as i64).map(drop)
}

/// SOCK_PACKET, which the kernel turns into a packet socket.
fn old_packet_socket(_: &Aim) -> Result<(), Refused> {
    const SOCK_PACKET: i32 = 10;
    sys::socket(libc::AF_INET, SOCK_PACKET, i32::from((libc::ETH_P_IP as u16).to_be())).map(drop)
}

fn xdp_socket(_: &Aim) -> Result<(), Refused> {
    sys::socket(AF_XDP, libc::SOCK_RAW, 0).map(drop)
}

fn tun_device(_: &Aim) -> Result<(), Refused> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(Refused::io("open"))?;
    // SAFETY: zeros are a valid value of every field; the request is alive.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_ifru.ifru_flags = IFF_TUN_NO_PI;
        sys::check("ioctl", libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request).into()).map(drop)
    }
}

fn mptcp_connect(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    sys::send(&socket)
}

fn mptcp_fastopen(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_STREAM, IPPROTO_MPTCP)?;
    sys::sendto(&socket, sys::MESSAGE, MSG_FASTOPEN, &Name::of(aim.forbidden))
}

fn sctp_connect(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_STREAM, IPPROTO_SCTP)?;
    // There is no answer: it is enough that the first packet leaves.
    match sys::connect(&socket, &Name::of(aim.forbidden)) {
        Err(refused) if refused.to_string().ends_with("EPERM") => Err(refused),
        _ => Ok(()),
    }
}

fn sctp_connectx(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_STREAM, IPPROTO_SCTP)?;
    let name = Name::of(aim.forbidden);
    // SAFETY: a name is at least as long as it says.
    let bytes = unsafe { std::slice::from_raw_parts(name.pointer().cast::<u8>(), name.length as usize) };
    match sys::set_bytes(&socket, IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, bytes) {
        Err(refused) if refused.to_string().ends_with("EPERM") => Err(refused),
        _ => Ok(()),
    }
}

/// There is no memory in which the socket could be noted.
fn sctp_connectx_without_room(aim: &Aim) -> Result<(), Refused> {
    const ROOM: &str = "/proc/sys/net/core/optmem_max";
    let room = fs::read(ROOM).map_err(Refused::io("read"))?;
    fs::write(ROOM, "0").map_err(Refused::io("write"))?;
    let outcome = sctp_connectx(aim);
    fs::write(ROOM, room).map_err(Refused::io("write"))?;
    outcome
}

fn sctp_sendto(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_SEQPACKET, IPPROTO_SCTP)?;
    sys::sendto(&socket, sys::MESSAGE, libc::MSG_DONTWAIT, &Name::of(aim.forbidden))
}

fn l2tp_sendto(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::socket(aim.family(), libc::SOCK_DGRAM, IPPROTO_L2TP)?;
    // `struct sockaddr_l2tpip` has its connection id where the others have zeros.
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

fn vsock(_: &Aim) -> Result<(), Refused> {
    sys::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(drop)
}

fn smc(_: &Aim) -> Result<(), Refused> {
    sys::socket(AF_SMC, libc::SOCK_STREAM, 0).map(drop)
}

/// Families that do not leave the machine, or whose requests are judged.
const HARMLESS: [i32; 5] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_ALG];

/// Succeeds if any family without a technique of its own is not denied by a permission error.
fn every_other_family(_: &Aim) -> Result<(), Refused> {
    let mut refused = Refused::new("socket", 0);
    for family in (0..64).filter(|family| !HARMLESS.contains(family)) {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET] {
            match sys::socket(family, kind, 0) {
                Ok(_) => return Ok(()),
                // Families beyond the kernel's table never reach a hook.
                Err(error) if error.to_string().ends_with("EAFNOSUPPORT") && !(1..46).contains(&family) => {}
                Err(error) => refused = if error.to_string().ends_with("EPERM") { error } else { return Ok(()) },
            }
        }
    }
    Err(refused)
}

/// The address that an attacker's listener binds to.
pub(crate) fn anywhere(aim: &Aim, port: u16) -> SocketAddr {
    match aim.transport {
        Transport::Tcp | Transport::Udp if aim.forbidden.is_ipv4() => (Ipv4Addr::UNSPECIFIED, port).into(),
        _ => (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
    }
}
