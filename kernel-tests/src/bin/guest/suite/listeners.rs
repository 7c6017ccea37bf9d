//! One socket for every destination that a check names. What enters: destinations. What leaves: the destinations at
//! which something arrived. What always holds: each socket is bound to its one address, so an arrival shows the real
//! destination.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};

use crate::destination::{Destination, LOOPBACK_INTERFACE, Protocol};

/// Long enough for an emulated CPU; only an arrival that never comes takes this long.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(2);
/// Loopback delivers within the send itself, so a short wait suffices to establish silence.
const SILENCE: Duration = Duration::from_millis(10);
const MOMENT: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(1);

enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// A raw socket, which sees what the kernel itself answers.
    Icmp(OwnedFd),
}

/// The expected outcome of one attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// The program prints `ok` and the traffic arrives here and nowhere else. A raw socket is not used, so it sends
    /// none.
    Reaches(Destination),
    /// The program prints `EPERM` and nothing arrives anywhere.
    Refused,
}

/// All sockets of a table or of the scenarios.
pub(crate) struct Listeners {
    at: BTreeMap<Destination, Listener>,
}

impl Listeners {
    pub(crate) fn open(destinations: impl IntoIterator<Item = Destination>) -> Result<Self, String> {
        let wanted = destinations.into_iter().filter(|destination| destination.protocol != Protocol::Raw);
        let wanted: BTreeSet<Destination> = wanted.map(Destination::delivered_to).collect();
        let listen_at = |destination: Destination| {
            let listener = listen(destination).map_err(|error| format!("cannot listen at {destination}: {error}"))?;
            Ok((destination, listener))
        };
        let at = wanted.into_iter().map(listen_at).collect::<Result<_, String>>()?;
        Ok(Listeners { at })
    }

    /// Forgets what has arrived so far.
    pub(crate) fn clear(&self) {
        self.arrivals();
    }

    /// Compares the answer of a program and the arrivals since `clear` with what is expected.
    pub(crate) fn judge(&self, answer: &str, expected: Expected) -> Result<(), String> {
        let (word, arrived) = match expected {
            Expected::Reaches(Destination { protocol: Protocol::Raw, .. }) => ("ok", self.arrivals_after(SILENCE)),
            Expected::Reaches(destination) => ("ok", self.arrivals_until(destination.delivered_to())),
            Expected::Refused => ("EPERM", self.arrivals_after(SILENCE)),
        };
        let as_expected = match expected {
            Expected::Refused | Expected::Reaches(Destination { protocol: Protocol::Raw, .. }) => arrived.is_empty(),
            Expected::Reaches(destination) => {
                let there = destination.delivered_to();
                !arrived.is_empty() && arrived.iter().all(|arrival| *arrival == there)
            }
        };
        if answer == word && as_expected {
            return Ok(());
        }
        let expected = match expected {
            Expected::Reaches(destination) => {
                format!("`ok` and an arrival at {}", destination.delivered_to())
            }
            Expected::Refused => "`EPERM` and no arrival".to_owned(),
        };
        let arrived = match arrived.as_slice() {
            [] => "no arrival".to_owned(),
            some => {
                let names: Vec<String> = some.iter().map(Destination::to_string).collect();
                format!("an arrival at {}", names.join(", "))
            }
        };
        Err(format!("expected {expected}, seen `{answer}` and {arrived}"))
    }

    /// Takes the next connection that arrives at a destination, and keeps it open; reading from it times out after a
    /// moment.
    pub(crate) fn take_connection(&self, at: Destination) -> Result<TcpStream, String> {
        let Some(Listener::Tcp(listener)) = self.at.get(&at) else {
            return Err(format!("nobody listens at {at}"));
        };
        let started = Instant::now();
        loop {
            match listener.accept() {
                Ok((connection, _)) => {
                    connection.set_read_timeout(Some(MOMENT)).map_err(|error| error.to_string())?;
                    return Ok(connection);
                }
                Err(_) if started.elapsed() < ARRIVAL_LIMIT => sleep(PAUSE),
                Err(error) => return Err(format!("no connection at {at}: {error}")),
            }
        }
    }

    fn arrivals_after(&self, time: Duration) -> Vec<Destination> {
        sleep(time);
        self.arrivals()
    }

    fn arrivals_until(&self, wanted: Destination) -> Vec<Destination> {
        let started = Instant::now();
        let mut arrived = Vec::new();
        loop {
            arrived.extend(self.arrivals());
            if arrived.contains(&wanted) || started.elapsed() > ARRIVAL_LIMIT {
                return arrived;
            }
            sleep(PAUSE);
        }
    }

    fn arrivals(&self) -> Vec<Destination> {
        let mut arrived = Vec::new();
        for (destination, listener) in &self.at {
            while take_one(listener) {
                arrived.push(*destination);
            }
        }
        arrived
    }
}

fn take_one(listener: &Listener) -> bool {
    match listener {
        Listener::Tcp(listener) => listener.accept().is_ok(),
        Listener::Udp(socket) => socket.recv(&mut [0; 16]).is_ok(),
        Listener::Icmp(socket) => {
            let mut packet = [0; 64];
            loop {
                match rustix::io::read(socket, &mut packet) {
                    Ok(length) if is_echo_request(packet.get(..length).unwrap_or_default()) => return true,
                    // An answer to another request, or an error that was reported here.
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        }
    }
}

/// Whether this is an echo request, after an IPv4 header or, over IPv6, alone.
fn is_echo_request(packet: &[u8]) -> bool {
    const ECHO_REQUEST_V6: u8 = 128;
    const ECHO_REQUEST_V4: u8 = 8;
    match packet.first() {
        Some(&ECHO_REQUEST_V6) => true,
        Some(first) if first >> 4 == 4 => packet.get(usize::from(first & 15) * 4) == Some(&ECHO_REQUEST_V4),
        _ => false,
    }
}

fn listen(at: Destination) -> io::Result<Listener> {
    match at.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(at.socket_address())?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(listener))
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(at.socket_address())?;
            socket.set_nonblocking(true)?;
            match at.address {
                IpAddr::V4(group) if group.is_multicast() => {
                    socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
                }
                IpAddr::V6(group) if group.is_multicast() => {
                    socket.join_multicast_v6(&group, LOOPBACK_INTERFACE)?;
                }
                _ => {}
            }
            Ok(Listener::Udp(socket))
        }
        Protocol::Icmp => {
            let (family, protocol) = match at.address {
                IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
                IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
            bind(&socket, &at.socket_address())?;
            Ok(Listener::Icmp(socket))
        }
        Protocol::Raw => Err(io::Error::other("nothing arrives at a raw socket that nobody uses")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_echo_request;

    #[test]
    fn requests_are_told_from_answers() {
        let v4 = |length: u8, kind: u8| {
            let mut packet = vec![0x40 | length];
            packet.resize(usize::from(length) * 4, 0);
            packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            packet
        };
        assert!(is_echo_request(&v4(5, 8)) && is_echo_request(&v4(6, 8)));
        assert!(!is_echo_request(&v4(5, 0)) && !is_echo_request(&v4(5, 3)));
        assert!(is_echo_request(&[128, 0, 0, 0]));
        assert!(!is_echo_request(&[129, 0, 0, 0]) && !is_echo_request(&[]) && !is_echo_request(&[0x45]));
    }
}
