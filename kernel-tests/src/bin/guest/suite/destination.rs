//! A destination: an address, a port and a protocol, written `192.0.2.1:443/tcp`, `[2001:db8::1]:443/udp` or, without a
//! port, `192.0.2.1/icmp`; or `raw`, a raw socket, which is created and not used.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// The loopback interface is the first of every network namespace; link-local addresses need one.
pub(crate) const LOOPBACK_INTERFACE: u32 = 1;

/// The protocols a verdict table may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    /// By ping sockets.
    Icmp,
    /// A raw socket.
    Raw,
}

/// One destination of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    pub(crate) address: IpAddr,
    /// 0 for ICMP.
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
}

impl Destination {
    pub(crate) fn tcp(address: IpAddr, port: u16) -> Self {
        Destination { address, port, protocol: Protocol::Tcp }
    }

    pub(crate) fn udp(address: IpAddr, port: u16) -> Self {
        Destination { address, port, protocol: Protocol::Udp }
    }

    /// Where the kernel delivers what is sent here: a mapped address to the IPv4 address that it carries, an
    /// unspecified one to loopback.
    pub(crate) fn delivered_to(self) -> Self {
        let address = match self.address.to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            other => other,
        };
        Destination { address, ..self }
    }

    /// As bind(2) takes it.
    pub(crate) fn socket_address(self) -> SocketAddr {
        match self.address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_multicast() => {
                SocketAddrV6::new(v6, self.port, 0, LOOPBACK_INTERFACE).into()
            }
            other => SocketAddr::new(other, self.port),
        }
    }

    /// The probe's ways to reach this destination that one verdict covers.
    pub(crate) fn ways(self) -> &'static [&'static str] {
        match (self.protocol, self.address) {
            (Protocol::Tcp, IpAddr::V4(_)) => &["tcp", "fastopen", "mapped-tcp", "mapped-fastopen"],
            (Protocol::Tcp, IpAddr::V6(_)) => &["tcp", "fastopen"],
            (Protocol::Udp, IpAddr::V4(_)) => {
                &["udp", "sendto", "sendmsg", "mapped-udp", "mapped-sendto", "inet-on-inet6-sendto"]
            }
            (Protocol::Udp, IpAddr::V6(_)) => &["udp", "sendto", "sendmsg"],
            (Protocol::Icmp, _) => &["icmp", "connected-icmp"],
            (Protocol::Raw, _) => &["raw-socket"],
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Raw => return f.write_str("raw"),
            Protocol::Icmp => {
                return match self.address {
                    IpAddr::V4(address) => write!(f, "{address}/icmp"),
                    IpAddr::V6(address) => write!(f, "[{address}]/icmp"),
                };
            }
        };
        write!(f, "{}/{protocol}", SocketAddr::new(self.address, self.port))
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "raw" {
            return Ok(Destination { address: Ipv4Addr::UNSPECIFIED.into(), port: 0, protocol: Protocol::Raw });
        }
        let (address, protocol) = text.rsplit_once('/').ok_or_else(|| format!("no protocol in `{text}`"))?;
        if protocol == "icmp" {
            let whole: SocketAddr = format!("{address}:0").parse().map_err(|_| format!("no address: `{address}`"))?;
            return Ok(Destination { address: whole.ip(), port: 0, protocol: Protocol::Icmp });
        }
        let address: SocketAddr = address.parse().map_err(|_| format!("no address with a port: `{address}`"))?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(format!("neither tcp, udp nor icmp: `{other}`")),
        };
        Ok(Destination { address: address.ip(), port: address.port(), protocol })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn a_destination_reads_back_as_it_is_written() {
        for text in [
            "192.0.2.1:443/tcp",
            "[2001:db8::1]:8000/udp",
            "[::ffff:192.0.2.1]:1/tcp",
            "192.0.2.1/icmp",
            "[2001:db8::1]/icmp",
            "raw",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn unspecified_and_mapped_addresses_are_delivered_elsewhere() {
        let delivered = |text: &str| text.parse::<Destination>().unwrap().delivered_to().to_string();
        assert_eq!(delivered("0.0.0.0:80/tcp"), "127.0.0.1:80/tcp");
        assert_eq!(delivered("[::]:80/udp"), "[::1]:80/udp");
        assert_eq!(delivered("[::ffff:192.0.2.1]:80/tcp"), "192.0.2.1:80/tcp");
        assert_eq!(delivered("[::ffff:0.0.0.0]:80/tcp"), "127.0.0.1:80/tcp");
        assert_eq!(delivered("[2001:db8::1]:80/tcp"), "[2001:db8::1]:80/tcp");
    }
}
