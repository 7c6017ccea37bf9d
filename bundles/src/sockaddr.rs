//! The address that a socket call names, and what it requests.
//!
//! Enters: the kernel's copy of a `struct sockaddr`. Leaves: the destination to judge. The family of the address
//! decides, never that of the socket: an IPv6 socket can send to an AF_INET address.
//!
//! **Invariant:** unknown means deny. An address that a protocol could take for an Internet address is judged as one,
//! or denied.

use crate::socket_kind;

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = socket_kind::AF_UNIX as u16;
const AF_INET: u16 = socket_kind::AF_INET as u16;
const AF_INET6: u16 = socket_kind::AF_INET6 as u16;

/// The shortest address that has a family.
const FAMILY_LENGTH: i32 = 2;
/// The length of a `struct sockaddr_in`.
const V4_LENGTH: i32 = 16;
/// The length of a `struct sockaddr_in6` without its scope (`SIN6_LEN_RFC2133`, include/net/ipv6.h).
const V6_LENGTH: i32 = 24;

/// The start of a `struct sockaddr_storage`, as long as `sockaddr_in6`. Numbers but the family are big-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// `AF_*`
    pub family: u16,
    /// The port.
    pub port: u16,
    /// AF_INET: the address. AF_INET6: the flow label.
    pub v4: u32,
    /// AF_INET6: the address.
    pub v6: [u32; 4],
    /// AF_INET6: the interface.
    pub scope: u32,
}

const _: () = assert!(size_of::<Name>() == 28);

/// How a call uses an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// An AF_UNSPEC address dissolves the connection.
    Connect,
    /// An AF_UNSPEC address is taken for an AF_INET one (net/ipv4/udp.c, `udp_sendmsg`).
    Send,
}

/// What a call requests by an address. Numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// No destination on an Internet: nothing is judged.
    Nothing,
    /// A Unix address. Of an abstract one, bytes 3 to 18 of its name are in two halves.
    Unix {
        /// The first eight bytes, as two words in host byte order.
        high: u64,
        /// The last eight bytes.
        low: u64,
    },
    /// The address is shorter than its family needs: the call fails.
    TooShort,
    /// It depends on the protocol what the address means, so it is denied to a governed process.
    Unjudged,
    /// An IPv4 destination.
    V4 {
        /// The address.
        address: u32,
        /// The port.
        port: u16,
    },
    /// An IPv6 destination.
    V6 {
        /// The first eight bytes of the address.
        high: u64,
        /// The last eight bytes.
        low: u64,
        /// The port.
        port: u16,
    },
}

/// What a call requests by a name of `length` bytes. `is_governed` is asked whether an enforced rule governs the
/// process, if that matters.
///
/// # Preconditions
/// `name` is the kernel's own copy, which the process cannot change any more. What lies beyond `length` does not count.
#[inline(always)]
pub fn named(call: Call, name: &Name, length: i32, is_governed: impl FnOnce() -> bool) -> Named {
    if length < FAMILY_LENGTH {
        return Named::Nothing; // Too short for a family: the protocol refuses it.
    }
    let port = u16::from_be(name.port);
    match name.family {
        AF_UNIX => {
            let [a, b, c, d] = name.v6.map(u64::from);
            Named::Unix { high: a << 32 | b, low: c << 32 | d }
        }
        AF_UNSPEC if matches!(call, Call::Connect) => Named::Nothing,
        AF_UNSPEC if is_governed() => Named::Unjudged,
        AF_INET | AF_UNSPEC if length < V4_LENGTH => Named::TooShort,
        AF_INET | AF_UNSPEC => Named::V4 { address: u32::from_be(name.v4), port },
        AF_INET6 if length < V6_LENGTH => Named::TooShort,
        AF_INET6 => {
            let [a, b, c, d] = name.v6.map(|word| u64::from(u32::from_be(word)));
            Named::V6 { high: a << 32 | b, low: c << 32 | d, port }
        }
        _ => Named::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AF_PACKET: u16 = 17;
    const ADDRESS: u32 = 0xc000_0201;
    const WHOLE: i32 = size_of::<Name>() as i32;

    fn of_family(family: u16) -> Name {
        let v6 = [0x2001_0db8u32, 1, 2, 3].map(u32::to_be);
        Name { family, port: 443u16.to_be(), v4: ADDRESS.to_be(), v6, scope: 0 }
    }

    fn not_asked() -> bool {
        unreachable!("it does not matter here")
    }

    #[test]
    fn an_internet_address_is_read_in_network_byte_order() {
        for call in [Call::Connect, Call::Send] {
            assert_eq!(
                named(call, &of_family(AF_INET), 16, not_asked),
                Named::V4 { address: ADDRESS, port: 443 },
                "{call:?}"
            );
            assert_eq!(
                named(call, &of_family(AF_INET6), 28, not_asked),
                Named::V6 { high: 0x2001_0db8_0000_0001, low: 0x0000_0002_0000_0003, port: 443 },
                "{call:?}"
            );
        }
    }

    #[test]
    fn an_address_that_is_too_short_is_an_error_at_every_length() {
        for length in [i32::MIN, -1, 0, 1] {
            for family in [AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6] {
                assert_eq!(named(Call::Send, &of_family(family), length, not_asked), Named::Nothing, "{length}");
            }
        }
        for length in 2..=WHOLE {
            let v4 = named(Call::Connect, &of_family(AF_INET), length, not_asked);
            assert_eq!(v4 == Named::TooShort, length < 16, "{length}");
            let unspecified = named(Call::Send, &of_family(AF_UNSPEC), length, || false);
            assert_eq!(unspecified == Named::TooShort, length < 16, "{length}");
            let v6 = named(Call::Connect, &of_family(AF_INET6), length, not_asked);
            assert_eq!(v6 == Named::TooShort, length < 24, "{length}");
        }
    }

    #[test]
    fn an_unspecified_family_dissolves_a_connection() {
        assert_eq!(named(Call::Connect, &of_family(AF_UNSPEC), 16, not_asked), Named::Nothing);
    }

    #[test]
    fn an_unspecified_family_is_a_destination_of_a_send() {
        assert_eq!(named(Call::Send, &of_family(AF_UNSPEC), 16, || false), Named::V4 { address: ADDRESS, port: 443 });
        for length in 2..=WHOLE {
            assert_eq!(named(Call::Send, &of_family(AF_UNSPEC), length, || true), Named::Unjudged, "{length}");
        }
    }

    #[test]
    fn the_name_of_a_unix_address_is_compared_as_it_lies_in_memory() {
        let name = Name { family: AF_UNIX, v6: [1, 2, 3, 4], ..Name::default() };
        let expected = Named::Unix { high: 0x0000_0001_0000_0002, low: 0x0000_0003_0000_0004 };
        assert_eq!(named(Call::Connect, &name, 2, not_asked), expected);
        assert_eq!(named(Call::Send, &name, 110, not_asked), expected);
    }

    proptest! {
        #[test]
        fn every_internet_address_of_full_length_is_judged(
            family in prop::sample::select(&[AF_UNSPEC, AF_INET, AF_INET6][..]),
            port in any::<u16>(), v4 in any::<u32>(), v6 in any::<[u32; 4]>(), scope in any::<u32>(),
            length in prop_oneof![28..256, Just(i32::MAX)], governed in any::<bool>(),
        ) {
            let name = Name { family, port, v4, v6, scope };
            let found = named(Call::Send, &name, length, || governed);
            let [a, b, c, d] = v6.map(|word| u128::from(u32::from_be(word)));
            let address = a << 96 | b << 64 | c << 32 | d;
            let port = u16::from_be(port);
            let expected = match family {
                AF_UNSPEC if governed => Named::Unjudged,
                AF_INET6 => Named::V6 { high: (address >> 64) as u64, low: address as u64, port },
                _ => Named::V4 { address: u32::from_be(v4), port },
            };
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn other_families_have_no_destination(family in any::<u16>(), length in any::<i32>(), send in any::<bool>()) {
            prop_assume!(![AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6].contains(&family));
            let call = if send { Call::Send } else { Call::Connect };
            prop_assert_eq!(named(call, &of_family(family), length, not_asked), Named::Nothing);
        }
    }

    #[test]
    fn a_packet_socket_is_judged_by_its_kind_and_not_by_its_address() {
        assert_eq!(named(Call::Send, &of_family(AF_PACKET), 20, not_asked), Named::Nothing);
    }
}
