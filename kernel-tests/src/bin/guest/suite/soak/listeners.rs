//! Listeners at every address of some ports, which count arrivals and keep nothing.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::net::sockopt::set_ipv6_v6only;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The counts. The threads that listen end with the process.
pub(super) struct Sinks {
    tcp: Arc<AtomicU64>,
    udp: Arc<AtomicU64>,
}

impl Sinks {
    pub(super) fn open(ports: impl IntoIterator<Item = u16>) -> Result<Self, String> {
        let sinks = Sinks { tcp: Arc::default(), udp: Arc::default() };
        for port in ports {
            for at in [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()] {
                sinks.listen_at(at).map_err(|error| format!("cannot listen at {at}: {error}"))?;
            }
        }
        Ok(sinks)
    }

    /// Connections and datagrams so far.
    pub(super) fn arrived(&self) -> (u64, u64) {
        (self.tcp.load(Ordering::Relaxed), self.udp.load(Ordering::Relaxed))
    }

    fn listen_at(&self, at: SocketAddr) -> std::io::Result<()> {
        let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let stream = socket(family, SocketType::STREAM, None)?;
        let datagram = socket(family, SocketType::DGRAM, None)?;
        for fd in [&stream, &datagram] {
            if at.is_ipv6() {
                set_ipv6_v6only(fd, true)?;
            }
            bind(fd, &at)?;
        }
        listen(&stream, BACKLOG)?;
        let (listener, datagrams) = (TcpListener::from(stream), UdpSocket::from(datagram));
        let (tcp, udp) = (Arc::clone(&self.tcp), Arc::clone(&self.udp));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                tcp.fetch_add(1, Ordering::Relaxed);
                // A connection that stays open must not block the others.
                thread::spawn(move || drain(connection));
            }
        });
        thread::spawn(move || {
            while datagrams.recv(&mut [0; 64]).is_ok() {
                udp.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(())
    }
}

fn drain(mut connection: std::net::TcpStream) {
    while let Ok(1..) = connection.read(&mut [0; 64]) {}
}
