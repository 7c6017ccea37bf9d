//! `socket_create`: what carries no destination that could be judged is refused to those whom the policy
//! names, and left to the rules on `raw` for everyone else.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use bfp_bundle::event;

use crate::{labels, socket::refuse, storage::Missing, verdict};

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

enum Kind {
    /// Its sends can be judged, or leave no machine.
    Judged,
    /// It sends whatever it likes: `raw` in a policy.
    Raw,
    /// Its packets are judged by the backstop alone.
    Other,
}

#[inline(always)]
fn kind(family: i32, r#type: i32, protocol: i32) -> Kind {
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

#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    let by_kernel: i32 = ctx.arg(3);
    if earlier != 0 || by_kernel != 0 {
        return earlier;
    }
    // `(int family, int type, int protocol, int kern)`
    match kind(ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        Kind::Judged => 0,
        Kind::Raw => verdict::errno(verdict::judge_raw(labels::of(labels::current(), Missing::Leave))),
        Kind::Other if labels::current_label().is_governed() => refuse(event::Kind::Unjudged),
        Kind::Other => 0,
    }
}
