//! The request: an address, a port and a protocol, and which address is judged for it.
//!
//! Enters: what a socket call named. Leaves: the one or two addresses that are looked up in the policy.

/// An address, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IPv4 address.
    V4(u32),
    /// An IPv6 address, as two halves: 128-bit arithmetic is a library call on the BPF target.
    V6 {
        /// The first eight bytes.
        high: u64,
        /// The last eight bytes.
        low: u64,
    },
}

/// 127.0.0.1
pub const LOOPBACK_V4: u32 = 0x7f00_0001;

/// The high half of the low 64 bits in `::ffff:0:0/96` (IPv4-mapped addresses).
const MAPPED_PREFIX: u64 = 0xffff;

/// The low half of `::ffff:0.0.0.0`.
const MAPPED_UNSPECIFIED: u64 = MAPPED_PREFIX << 32;

/// The high half of 64:ff9b::/96, the well-known prefix of NAT64 (RFC 6052).
const NAT64_HIGH: u64 = 0x0064_ff9b_0000_0000;

impl Address {
    /// An IPv6 address from its value, split into two halves.
    #[inline(always)]
    pub const fn v6(bits: u128) -> Address {
        Address::V6 { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// Whether the kernel sends to an address of its own choice instead: the bound source, or loopback.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        matches!(self, Address::V4(0) | Address::V6 { high: 0, low: 0 | MAPPED_UNSPECIFIED })
    }

    /// The address that is looked up in the policy. An IPv4-mapped address is the IPv4 address that it carries, and an
    /// unspecified address means loopback, because the kernel connects it there.
    #[inline(always)]
    pub const fn judged(self) -> Address {
        match self {
            Address::V4(0) => Address::V4(LOOPBACK_V4),
            Address::V4(_) => self,
            Address::V6 { high: 0, low: 0 } => Address::V6 { high: 0, low: 1 },
            Address::V6 { high: 0, low } if low >> 32 == MAPPED_PREFIX => Address::V4(low as u32).judged_v4(),
            Address::V6 { .. } => self,
        }
    }

    #[inline(always)]
    const fn judged_v4(self) -> Address {
        match self {
            Address::V4(0) => Address::V4(LOOPBACK_V4),
            other => other,
        }
    }

    /// The IPv4 address to which a NAT64 gateway would forward this one. It is judged too, if a rule names it.
    #[inline(always)]
    pub const fn behind_nat64(self) -> Option<u32> {
        match self {
            Address::V6 { high: NAT64_HIGH, low } if low >> 32 == 0 => Some(low as u32),
            _ => None,
        }
    }
}

/// A protocol, as far as a policy distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, and MPTCP, whose first subflow is a TCP connection.
    Tcp = 0,
    /// UDP and UDP-Lite.
    Udp = 1,
    /// ICMP and ICMPv6 by a ping socket.
    Icmp = 2,
    /// Everything else.
    Other = 3,
    /// An answer to a client, over TCP: a segment of a connection that the kernel accepted for a listening socket.
    /// Its address is the client's, and its port that of the server: the local one. Only the tables of a policy that
    /// names `clients` distinguish it ([`Policy::CLIENTS`](crate::record::Policy::CLIENTS)).
    Answer = 4,
}

impl Protocol {
    /// Every protocol of a request, ordered by number.
    pub const ALL: [Protocol; 4] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Other];

    /// The same, and [`Protocol::Answer`].
    pub const WITH_ANSWERS: [Protocol; 5] =
        [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::Other, Protocol::Answer];

    /// From its number. An unknown one is [`Protocol::Other`].
    #[inline(always)]
    pub const fn from_number(number: u32) -> Protocol {
        match number {
            0 => Protocol::Tcp,
            1 => Protocol::Udp,
            2 => Protocol::Icmp,
            4 => Protocol::Answer,
            _ => Protocol::Other,
        }
    }

    /// From the kernel's `sk_protocol` (IPPROTO_*).
    #[inline(always)]
    pub const fn from_ipproto(number: u16) -> Protocol {
        match number {
            6 | 262 => Protocol::Tcp,
            17 | 136 => Protocol::Udp,
            1 | 58 => Protocol::Icmp,
            _ => Protocol::Other,
        }
    }
}

/// What a process requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// The destination as the call named it: [`Address::judged`] has not been applied.
    pub address: Address,
    /// The port. 0 if the protocol has none.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl Request {
    /// Port and protocol as one number, so that one search tree distinguishes both.
    #[inline(always)]
    pub const fn port_key(&self) -> u32 {
        port_key(self.protocol, self.port)
    }
}

/// See [`Request::port_key`].
#[inline(always)]
pub const fn port_key(protocol: Protocol, port: u16) -> u32 {
    (protocol as u32) << 16 | port as u32
}

/// The largest [`port_key`] of a request that is not an answer.
pub const LAST_PORT_KEY: u32 = port_key(Protocol::Other, u16::MAX);

/// The largest [`port_key`] of an answer.
pub const LAST_ANSWER_KEY: u32 = port_key(Protocol::Answer, u16::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_the_ipv4_address_they_carry() {
        let mapped = Address::v6(0xffff_c000_0201);
        assert_eq!(mapped.judged(), Address::V4(0xc000_0201));
        assert_eq!(Address::v6(0xffff_0000_0000).judged(), Address::V4(LOOPBACK_V4));
    }

    #[test]
    fn ipv4_compatible_addresses_are_not_mapped() {
        let compatible = Address::v6(0xc000_0201);
        assert_eq!(compatible.judged(), compatible);
    }

    #[test]
    fn unspecified_addresses_are_loopback() {
        assert_eq!(Address::V4(0).judged(), Address::V4(LOOPBACK_V4));
        assert_eq!(Address::v6(0).judged(), Address::v6(1));
        for bits in [0, 1, 0xffff_0000_0000, 0xffff_0000_0001, 0xffff_7f00_0001, 1 << 64] {
            let address = Address::v6(bits);
            let is_loopback = [Address::V4(LOOPBACK_V4), Address::v6(1)].contains(&address.judged());
            assert_eq!(address.is_unspecified(), is_loopback && bits & 0xffff_ffff == 0, "{bits:x}");
        }
        assert!(Address::V4(0).is_unspecified() && !Address::V4(LOOPBACK_V4).is_unspecified());
    }

    #[test]
    fn nat64_carries_an_ipv4_address_in_the_well_known_prefix_only() {
        assert_eq!(Address::v6(0x0064_ff9b_0000_0000_0000_0000_c000_0201).behind_nat64(), Some(0xc000_0201));
        assert_eq!(Address::v6(0x0064_ff9b_0001_0000_0000_0000_c000_0201).behind_nat64(), None);
        assert_eq!(Address::v6(0x0064_ff9b_0000_0000_0000_0001_c000_0201).behind_nat64(), None);
    }
}
