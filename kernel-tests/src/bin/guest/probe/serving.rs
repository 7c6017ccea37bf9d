//! Connections that a program keeps under a fixed descriptor: what it accepted, or opened to itself. What enters: where to
//! listen. What leaves: the connection, for the rest of the command, which may be another program's.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, connect_unspec, socket_with};

use crate::command::println_now;
use crate::raw;
use crate::traffic::send_one_byte;

/// How long a server waits for its client. The suite runs many programs at once, on a slow machine perhaps.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What to do with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To send a byte.
    Send,
    /// To send a byte of a file, which before Linux 6.5 calls no socket hook.
    SendFile,
    /// To connect it to another address, whatever comes of that, and send a byte to whoever is its peer then.
    Reconnect(SocketAddr),
    /// To dissolve it, connect it to another address, and send a byte there.
    Dissolve(SocketAddr),
}

/// Prints `ready`, and accepts a connection.
pub(crate) fn accept(at: SocketAddr) -> Result<(), Errno> {
    let listener = TcpListener::bind(at).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    // Where nobody comes, accept(2) fails with EAGAIN.
    set_socket_timeout(&listener, Timeout::Recv, Some(TIME_LIMIT))?;
    println_now("ready");
    let accepted = listener.accept().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    raw::place(&accepted.0.into())
}

/// Connects a socket to its own address: a connection that both sides open at the same time, and that nobody accepts.
pub(crate) fn connect_to_itself(at: SocketAddr) -> Result<(), Errno> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Earlier connections of this port may not be forgotten yet.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &at)?;
    connect(&socket, &at)?;
    raw::place(&socket)
}

/// Does something with the connection.
pub(crate) fn answer(how: Answer) -> Result<(), Errno> {
    let connection = raw::placed()?;
    match how {
        Answer::Send => send_one_byte(&connection),
        Answer::SendFile => {
            let file = std::fs::File::open("/proc/self/exe").map_err(|_| Errno::NOENT)?;
            rustix::fs::sendfile(&connection, &file, None, 1).map(drop)
        }
        Answer::Reconnect(to) => {
            let _is_connected = connect(&connection, &to);
            send_one_byte(&connection)
        }
        Answer::Dissolve(to) => {
            connect_unspec(&connection)?;
            connect(&connection, &to)?;
            send_one_byte(&connection)
        }
    }
}
