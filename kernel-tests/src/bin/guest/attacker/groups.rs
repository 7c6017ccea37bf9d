//! Multicast groups: joining one, or choosing its sources, makes the kernel report group and sources to the network, in
//! a packet without a socket. To the reader of the report, all of them are bytes that the attacker chose.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::Technique;
use crate::aim::Aim;
use crate::families::INTERFACE;
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[("multicast-report", report)];

/// Options of both versions of IP, include/uapi/linux/in.h.
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_MSFILTER: i32 = 48;
const MCAST_INCLUDE: u32 = 1;

/// Uses every option that makes the kernel report: all must succeed, and all must be denied.
fn report(aim: &Aim) -> Result<(), Refused> {
    let (level, group) = match aim.granted.ip() {
        IpAddr::V4(_) => (libc::IPPROTO_IP, SocketAddr::from(([232, 1, 2, 3], 0))),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, SocketAddr::from(([0xff3e, 0, 0, 0, 0, 0, 0x1234, 0x5678], 0))),
    };
    let (group, source) = (Name::of(group).storage, Name::of(aim.granted).storage);
    let one = Sources { interface: INTERFACE as u32, group, mode: MCAST_INCLUDE, number: 1, first: source };
    let joined = Joined { interface: INTERFACE as u32, group };
    let with_source = JoinedForSource { interface: INTERFACE as u32, group, source };
    // Sources are chosen for a joined group; if joining is denied, the choice is tried all the same.
    let after_joining = |choose: &dyn Fn(&OwnedFd) -> Result<(), Refused>| {
        let socket = sys::open(aim)?;
        let _joined = sys::set(&socket, level, MCAST_JOIN_GROUP, &joined);
        choose(&socket)
    };
    let mut outcomes = vec![
        ("MCAST_JOIN_GROUP", sys::set(&sys::open(aim)?, level, MCAST_JOIN_GROUP, &joined)),
        ("MCAST_JOIN_SOURCE_GROUP", sys::set(&sys::open(aim)?, level, MCAST_JOIN_SOURCE_GROUP, &with_source)),
        ("MCAST_MSFILTER", after_joining(&|socket| sys::set(socket, level, MCAST_MSFILTER, &one))),
    ];
    match aim.granted.ip() {
        IpAddr::V4(source) => {
            const IP_MSFILTER: i32 = 41;
            const GROUP: [u8; 4] = [232, 1, 2, 3];
            const OWN: [u8; 4] = [127, 0, 0, 1];
            let (own, source) = (OWN, source.octets());
            // `struct ip_mreq`: group, interface. `struct ip_mreq_source`: group, interface, source.
            let join = sys::set(&sys::open(aim)?, level, libc::IP_ADD_MEMBERSHIP, &[GROUP, own]);
            outcomes.push(("IP_ADD_MEMBERSHIP", join));
            let join = sys::set(&sys::open(aim)?, level, libc::IP_ADD_SOURCE_MEMBERSHIP, &[GROUP, own, source]);
            outcomes.push(("IP_ADD_SOURCE_MEMBERSHIP", join));
            // `struct ip_msfilter`: group, interface, mode, number of sources, sources.
            let filter = [GROUP, own, MCAST_INCLUDE.to_ne_bytes(), 1u32.to_ne_bytes(), source];
            let socket = sys::open(aim)?;
            let _joined = sys::set(&socket, level, libc::IP_ADD_MEMBERSHIP, &[GROUP, own]);
            outcomes.push(("IP_MSFILTER", sys::set(&socket, level, IP_MSFILTER, &filter)));
        }
        IpAddr::V6(_) => {
            // `struct ipv6_mreq`: group, interface.
            let mut join = [0xff, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78].to_vec();
            join.extend(INTERFACE.to_ne_bytes());
            let join = sys::set_bytes(&sys::open(aim)?, level, libc::IPV6_ADD_MEMBERSHIP, &join);
            outcomes.push(("IPV6_ADD_MEMBERSHIP", join));
        }
    }
    sys::of_all_alike(outcomes)
}

/// `struct group_req`, include/uapi/linux/in.h.
#[repr(C)]
struct Joined {
    interface: u32,
    group: libc::sockaddr_storage,
}

/// `struct group_source_req`
#[repr(C)]
struct JoinedForSource {
    interface: u32,
    group: libc::sockaddr_storage,
    source: libc::sockaddr_storage,
}

/// `struct group_filter`
#[repr(C)]
struct Sources {
    interface: u32,
    group: libc::sockaddr_storage,
    mode: u32,
    number: u32,
    first: libc::sockaddr_storage,
}
