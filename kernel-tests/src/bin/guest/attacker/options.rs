//! Sockets made unusual by options, flags and races before the forbidden address is named.
#![expect(unsafe_code, reason = "an address that changes while the kernel reads it")]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Technique;
use crate::aim::Aim;
use crate::sys::{self, Message, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("changing-name", changing_name),
    ("corked-datagram", corked),
    ("connection-without-a-handshake", repaired),
    ("bound-to-a-device", bound_to_device),
    ("transparent-source", transparent),
    ("source-by-control-message", source_by_control_message),
    ("encapsulating-socket", encapsulating),
    ("zero-copy", zero_copy),
    ("routing-header-by-flow-label", flow_label),
    ("header-options-of-a-connection", header_options),
];

/// One thread changes the address from the granted one to the forbidden one and back, another sends.
fn changing_name(aim: &Aim) -> Result<(), Refused> {
    const CHANGES: usize = 40;
    // On one processor both threads must get their turns, with either address.
    const TURN: Duration = Duration::from_micros(100);
    let socket = sys::open(aim)?;
    let names = [Name::of(aim.granted), Name::of(aim.forbidden)];
    let length = names[0].length;
    let changing = Box::into_raw(Box::new(names[0].storage)) as usize;
    let changed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in names.iter().cycle().take(CHANGES) {
                // SAFETY: the place is as large, and lives until the process ends. The kernel copies it with no
                // lock, which is the attack; nobody here reads it.
                unsafe { std::ptr::write_volatile(changing as *mut libc::sockaddr_storage, name.storage) };
                std::thread::sleep(2 * TURN);
                changed.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut outcome = Ok(());
        while changed.load(Ordering::Relaxed) < CHANGES {
            // SAFETY: message and name are alive and as long as is said.
            let sent = unsafe {
                let (message, name) = (sys::MESSAGE.as_ptr().cast(), changing as *const libc::sockaddr);
                libc::sendto(socket.as_raw_fd(), message, sys::MESSAGE.len(), libc::MSG_DONTWAIT, name, length)
            };
            if let Err(refused) = sys::check("sendto", sent as i64)
                && refused.is(libc::EPERM)
            {
                outcome = Err(refused);
            }
            std::thread::sleep(TURN);
        }
        outcome
    })
}

/// The address in a call that sends nothing yet.
fn corked(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::sendto(&socket, sys::MESSAGE, libc::MSG_MORE, &Name::of(aim.forbidden))?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.granted))
}

/// Chosen text in the headers of whatever a connection sends, by every option that puts it there, including those of
/// RFC 2292.
fn header_options(aim: &Aim) -> Result<(), Refused> {
    const IPV6_2292DSTOPTS: i32 = 4;
    // Sixteen bytes: the next header and the length, which the kernel sets, and an option of twelve bytes that is
    // skipped.
    let options = *b"\0\x01\x1e\x0cforbidden...";
    let as_message = sys::control(libc::IPPROTO_IPV6, IPV6_2292DSTOPTS, &options);
    let all: [(&'static str, i32, &[u8]); 6] = [
        ("IPV6_DSTOPTS", 59, &options),
        ("IPV6_HOPOPTS", 54, &options),
        ("IPV6_RTHDRDSTOPTS", 55, &options),
        // The next two are switches today, which request received headers.
        ("IPV6_2292HOPOPTS", 3, &[1, 0, 0, 0]),
        ("IPV6_2292DSTOPTS", IPV6_2292DSTOPTS, &[1, 0, 0, 0]),
        ("IPV6_2292PKTOPTIONS", 6, &as_message),
    ];
    let mut outcomes = Vec::new();
    for (name, option, value) in all {
        outcomes.push((name, sys::set_bytes(&sys::open(aim)?, libc::IPPROTO_IPV6, option, value)));
    }
    sys::of_all_alike(outcomes)
}

/// TCP_REPAIR creates a connection from given values, and sends nothing for it.
fn repaired(aim: &Aim) -> Result<(), Refused> {
    const TCP_REPAIR: i32 = 19;
    const TCP_REPAIR_WINDOW: i32 = 29;
    const TCP_REPAIR_OFF_NO_WP: i32 = -1;
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::IPPROTO_TCP, TCP_REPAIR, &1i32)?;
    sys::bind(&socket, &Name::of(SocketAddr::new(aim.granted.ip(), 0)))?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    // `struct tcp_repair_window`: what the far end, which does not know of the connection, would accept.
    sys::set(&socket, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, &[0u32, 0xffff, 0xffff, 0xffff, 0])?;
    // Only the message: anything else that the kernel would send is answered with a reset.
    sys::set(&socket, libc::IPPROTO_TCP, TCP_REPAIR, &TCP_REPAIR_OFF_NO_WP)?;
    sys::send(&socket)
}

fn bound_to_device(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::set_bytes(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo\0")?;
    sys::connect(&socket, &Name::of(aim.forbidden))?;
    sys::send(&socket)
}

/// Sends from an address that is not this host's.
fn transparent(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &1i32)?;
    sys::bind(&socket, &Name::of(SocketAddr::new([8, 8, 4, 4].into(), 0)))?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

/// IP_PKTINFO and IPV6_PKTINFO name source and interface, beside the destination address.
fn source_by_control_message(aim: &Aim) -> Result<(), Refused> {
    let control = match aim.granted.ip() {
        IpAddr::V4(source) => {
            let mut info = 0i32.to_ne_bytes().to_vec();
            info.extend(source.octets());
            info.extend([0; 4]);
            sys::control(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
        }
        IpAddr::V6(source) => {
            let mut info = source.octets().to_vec();
            info.extend(0i32.to_ne_bytes());
            sys::control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
        }
    };
    sys::sendmsg(&sys::open(aim)?, &Message::new(Some(&Name::of(aim.forbidden)), &control), 0)
}

/// A socket that the kernel takes for the outside of IPsec.
fn encapsulating(aim: &Aim) -> Result<(), Refused> {
    const UDP_ENCAP: i32 = 100;
    const UDP_ENCAP_ESPINUDP: i32 = 2;
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::IPPROTO_UDP, UDP_ENCAP, &UDP_ENCAP_ESPINUDP)?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.forbidden))
}

fn zero_copy(aim: &Aim) -> Result<(), Refused> {
    const SO_ZEROCOPY: i32 = 60;
    const MSG_ZEROCOPY: i32 = 0x0400_0000;
    let socket = sys::open(aim)?;
    sys::set(&socket, libc::SOL_SOCKET, SO_ZEROCOPY, &1i32)?;
    let (granted, forbidden) = (Name::of(aim.granted), Name::of(aim.forbidden));
    sys::sendmsg(&socket, &Message::new(Some(&granted), &[]), MSG_ZEROCOPY)?;
    sys::sendmsg(&socket, &Message::new(Some(&forbidden), &[]), MSG_ZEROCOPY)
}

/// A flow label holds a routing header, which goes into every packet with the label.
fn flow_label(aim: &Aim) -> Result<(), Refused> {
    const IPV6_FLOWLABEL_MGR: i32 = 32;
    const IPV6_FLOWINFO_SEND: i32 = 33;
    const IPV6_RTHDR: i32 = 57;
    let (IpAddr::V6(granted), IpAddr::V6(forbidden)) = (aim.granted.ip(), aim.forbidden.ip()) else {
        return Err(Refused::new("aim", libc::EINVAL));
    };
    // A label stays its process's alone for a while after the process is gone.
    let label = 0x1_0000 + std::process::id();
    // Mobility's routing header (RFC 6275): next header, length, type 2, one segment left, four bytes, address.
    let mut header = vec![0, 2, 2, 1, 0, 0, 0, 0];
    header.extend(forbidden.octets());
    // `struct in6_flowlabel_req`: address, label, action GET, share EXCL, flags CREATE, times; then control messages.
    let mut request = granted.octets().to_vec();
    request.extend(label.to_be_bytes());
    request.extend([0, 1]);
    request.extend(1u16.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(sys::control(libc::IPPROTO_IPV6, IPV6_RTHDR, &header));
    let socket = sys::open(aim)?;
    sys::set_bytes(&socket, libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &request)?;
    sys::set(&socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO_SEND, &1i32)?;
    let mut name = Name::of(aim.granted);
    // SAFETY: an IPv6 name has its flow label there.
    unsafe { (*(&raw mut name.storage).cast::<libc::sockaddr_in6>()).sin6_flowinfo = label.to_be() };
    sys::sendto(&socket, sys::MESSAGE, 0, &name)
}
