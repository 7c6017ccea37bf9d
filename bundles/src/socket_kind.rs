//! Kinds of sockets: whose requests can be judged, who may use the others, and which can only be judged by their
//! packets.

// Families, include/linux/socket.h.
/// `AF_UNIX`
pub const AF_UNIX: i32 = 1;
/// `AF_INET`
pub const AF_INET: i32 = 2;
/// `AF_INET6`
pub const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const AF_PACKET: i32 = 17;
const AF_ALG: i32 = 38;
/// `AF_XDP`
pub const AF_XDP: i32 = 44;

// Types, include/linux/net.h, and the bits that they have in `socket(2)`.
const TYPE_MASK: i32 = 0xf;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
/// `SOCK_RAW`
pub const SOCK_RAW: i32 = 3;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its requests can be judged, or do not leave the machine.
    Judged,
    /// It can send any packet: `raw` in a policy.
    Raw,
    /// Only the egress filter judges its packets.
    Other,
}

/// The kind of a socket, by the arguments of `socket(2)`. For a family alone, the rest is zero.
#[inline(always)]
pub const fn kind(family: i32, r#type: i32, protocol: i32) -> Kind {
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

/// Whether the requests of an Internet socket with this protocol are judged, and not its packets alone.
#[inline(always)]
pub const fn has_judged_requests(protocol: i32) -> bool {
    matches!(protocol, TCP | UDP | UDPLITE | ICMP | ICMPV6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOCK_SEQPACKET: i32 = 5;
    const SOCK_CLOEXEC: i32 = 0o2_000_000;
    const SOCK_NONBLOCK: i32 = 0o4_000;
    const MPTCP: i32 = 262;
    const SCTP: i32 = 132;

    #[test]
    fn sockets_with_a_destination_are_judged() {
        for family in [AF_INET, AF_INET6] {
            for (r#type, protocols) in
                [(SOCK_STREAM, &[DEFAULT, TCP][..]), (SOCK_DGRAM, &[DEFAULT, UDP, UDPLITE, ICMP, ICMPV6])]
            {
                for protocol in protocols {
                    assert_eq!(kind(family, r#type, *protocol), Kind::Judged, "{family} {type} {protocol}");
                }
            }
        }
    }

    #[test]
    fn sockets_that_stay_on_the_machine_are_judged() {
        for family in [AF_UNIX, AF_NETLINK, AF_ALG] {
            assert_eq!(kind(family, SOCK_DGRAM, 0), Kind::Judged);
            assert_eq!(kind(family, SOCK_RAW, 0), Kind::Judged, "netlink sockets can be raw");
        }
    }

    #[test]
    fn sockets_that_can_send_any_packet_are_raw() {
        for (family, r#type) in [
            (AF_PACKET, SOCK_RAW),
            (AF_PACKET, SOCK_DGRAM),
            (AF_XDP, SOCK_RAW),
            (AF_INET, SOCK_RAW),
            (AF_INET6, SOCK_RAW),
            (AF_INET, SOCK_PACKET),
        ] {
            for protocol in [DEFAULT, TCP, UDP, ICMP, 255] {
                assert_eq!(kind(family, r#type, protocol), Kind::Raw, "{family} {type} {protocol}");
            }
        }
        assert_eq!(kind(AF_PACKET, 0, 0), Kind::Raw, "by its family alone");
    }

    #[test]
    fn all_other_sockets_are_judged_by_their_packets_alone() {
        for (family, r#type, protocol) in [
            (AF_INET, SOCK_STREAM, MPTCP),
            (AF_INET, SOCK_STREAM, SCTP),
            (AF_INET6, SOCK_SEQPACKET, SCTP),
            (AF_INET, SOCK_STREAM, UDP),
            (AF_INET, SOCK_DGRAM, TCP),
            (AF_INET, 0, 0),
        ] {
            assert_eq!(kind(family, r#type, protocol), Kind::Other, "{family} {type} {protocol}");
        }
    }

    proptest! {
        #[test]
        fn flags_of_the_type_change_nothing(
            family in 0..46, r#type in 0..16, protocol in prop_oneof![0..300, any::<i32>()],
            flags in prop::sample::select(&[0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK, !TYPE_MASK][..]),
        ) {
            prop_assert_eq!(kind(family, r#type | flags, protocol), kind(family, r#type, protocol));
        }

        #[test]
        fn an_unknown_family_is_not_judged(family in any::<i32>(), r#type in any::<i32>(), protocol in any::<i32>()) {
            let known = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_XDP];
            prop_assume!(!known.contains(&family));
            prop_assert_eq!(kind(family, r#type, protocol), Kind::Other);
        }

        #[test]
        fn an_internet_socket_is_judged_only_by_a_protocol_with_judged_requests(
            family in prop::sample::select(&[AF_INET, AF_INET6][..]), r#type in any::<i32>(),
            protocol in prop_oneof![1..300, any::<i32>()],
        ) {
            prop_assume!(protocol != DEFAULT);
            if kind(family, r#type, protocol) == Kind::Judged {
                prop_assert!(has_judged_requests(protocol));
            }
        }
    }
}
