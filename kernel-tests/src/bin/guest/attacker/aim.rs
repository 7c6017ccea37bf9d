//! The target of an attack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// An attack's parameters.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    pub(crate) transport: Transport,
    /// The address that the message must not reach.
    pub(crate) forbidden: SocketAddr,
    /// The address that the attacker may send to.
    pub(crate) granted: SocketAddr,
}

impl Aim {
    /// From the words `tcp|udp FORBIDDEN GRANTED`.
    pub(crate) fn parse(words: &[&str]) -> Option<Aim> {
        let [transport, forbidden, granted] = words else { return None };
        let transport = match *transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return None,
        };
        Some(Aim { transport, forbidden: forbidden.parse().ok()?, granted: granted.parse().ok()? })
    }

    /// As the arguments of another attacker.
    pub(crate) fn words(&self) -> [String; 3] {
        let transport = if self.transport == Transport::Tcp { "tcp" } else { "udp" };
        [transport.to_owned(), self.forbidden.to_string(), self.granted.to_string()]
    }

    pub(crate) fn family(&self) -> i32 {
        if self.forbidden.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
    }

    pub(crate) fn kind(&self) -> i32 {
        if self.transport == Transport::Tcp { libc::SOCK_STREAM } else { libc::SOCK_DGRAM }
    }

    /// The forbidden IPv4 address; unspecified if it is IPv6.
    pub(crate) fn forbidden_v4(&self) -> Ipv4Addr {
        v4(self.forbidden)
    }

    /// The granted IPv4 address.
    pub(crate) fn granted_v4(&self) -> Ipv4Addr {
        v4(self.granted)
    }
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
