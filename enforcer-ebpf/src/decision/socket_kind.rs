//! Kinds of sockets: whose requests can be judged, and which tasks may use the others.

use bfp_bundle::{event, label::Label};

use crate::decision::events;
use crate::decision::verdict;
use crate::tables;

// Families, include/linux/socket.h.
const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const AF_PACKET: i32 = 17;
const AF_ALG: i32 = 38;
const AF_XDP: i32 = 44;

// Types, include/linux/net.h, and the bits that they have in `socket(2)`.
const TYPE_MASK: i32 = 0xf;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
/// An old name for packet sockets, in the family AF_INET (net/socket.c, `__sock_create`).
const SOCK_PACKET: i32 = 10;

// Protocols, include/uapi/linux/in.h.
const DEFAULT: i32 = 0;
const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;
const UDPLITE: i32 = 136;

/// What is known about a socket before it has a peer.
pub enum Kind {
    /// Its requests can be judged, or do not leave the machine.
    Judged,
    /// It can send any packet: `raw` in a policy.
    Raw,
    /// Only the egress filter judges its packets.
    Other,
}

/// The kind of a socket. For a family alone, the rest is zero.
#[inline(always)]
pub fn kind(family: i32, r#type: i32, protocol: i32) -> Kind {
    match family {
        AF_UNIX | AF_NETLINK | AF_ALG => Kind::Judged,
        AF_PACKET | AF_XDP => Kind::Raw,
        AF_INET | AF_INET6 => match (r#type & TYPE_MASK, protocol) {
            (SOCK_STREAM, DEFAULT | TCP) => Kind::Judged,
            (SOCK_DGRAM, DEFAULT | UDP | UDPLITE | ICMP | ICMPV6) => Kind::Judged,
            (SOCK_RAW | SOCK_PACKET, _) => Kind::Raw,
            // MPTCP too: the kernel opens its further subflows itself.
            _ => Kind::Other,
        },
        _ => Kind::Other,
    }
}

/// Judges the use of a kind of socket by a task with this label; 0 or -EPERM.
#[inline(always)]
pub fn judge_kind(label: *const Label, kind: Kind) -> i32 {
    match kind {
        Kind::Judged => 0,
        Kind::Raw => judge_raw(label),
        Kind::Other => {
            if label.is_null() {
                return events::refuse(event::Kind::NoLabel);
            }
            if tables::is_governed(label) { events::refuse(event::Kind::Unjudged) } else { 0 }
        }
    }
}

/// Judges the use of raw and packet sockets by a task with this label; 0 or -EPERM.
#[inline(always)]
pub fn judge_raw(label: *const Label) -> i32 {
    verdict::errno(verdict::judge_raw(label))
}
