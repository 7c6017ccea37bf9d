//! A process that the policy restricts, and that tries forbidden requests as fast as it can: it connects, sends
//! datagrams, and sends on connections that it inherited. What enters: the page, its slot there, destinations, and the
//! descriptors of connections. What leaves: what it writes to the page. What always holds: it ends when the page says
//! so, and an answer other than EPERM is recorded as let through.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, sendto, socket_with};

use crate::board::Board;

/// The lowest priority, so that it hardly slows down the watched program.
const NICE: i32 = 15;

/// The attempts of each round, in this order.
enum Attempt {
    /// `connect` of a TCP socket.
    Connect(SocketAddr),
    /// `sendto` of a UDP socket.
    Datagram(SocketAddr),
    /// `send` on a connection that another program opened.
    Inherited(RawFd),
}

fn attempts(aims: &[SocketAddr], connections: &[RawFd]) -> Vec<Attempt> {
    let aimed = aims.iter().flat_map(|aim| [Attempt::Connect(*aim), Attempt::Datagram(*aim)]);
    aimed.chain(connections.iter().map(|fd| Attempt::Inherited(*fd))).collect()
}

/// An attempt of a prober, in words.
pub(crate) fn describe(aims: &[SocketAddr], connections: usize, attempt: u64) -> String {
    let attempt = attempt as usize;
    match (aims.get(attempt / 2), attempt % 2) {
        (Some(aim), 0) => format!("connect to {aim}"),
        (Some(aim), _) => format!("sendto {aim}"),
        (None, _) => format!("send on inherited connection {} of {connections}", attempt + 1 - 2 * aims.len()),
    }
}

/// Starts one as a program. `by`, if there is one, starts it and exits.
pub(crate) fn start(
    program: &str,
    by: Option<&str>,
    board: &Path,
    slot: usize,
    aims: &[SocketAddr],
    connections: &[RawFd],
) -> Result<Child, String> {
    let words = |list: Vec<String>| if list.is_empty() { "-".to_owned() } else { list.join(",") };
    let mut command = match by {
        Some(parent) => Command::new(parent),
        None => Command::new(program),
    };
    if by.is_some() {
        command.args(["start", program]);
    }
    command.arg("prober").arg(board).arg(slot.to_string());
    command.arg(words(aims.iter().map(ToString::to_string).collect()));
    command.arg(words(connections.iter().map(ToString::to_string).collect()));
    command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))
}

/// Runs until the page says stop.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let [board, slot, aims, connections] = arguments else {
        return Err("a prober wants a board, a slot, aims and connections".to_owned());
    };
    let board = Board::open(Path::new(board)).map_err(|error| format!("{board}: {error}"))?;
    let slot = slot.parse().map_err(|_| format!("no slot: `{slot}`"))?;
    let aims = list::<SocketAddr>(aims)?;
    let connections = list::<RawFd>(connections)?;
    let attempts = attempts(&aims, &connections);
    rustix::process::nice(NICE).map_err(|error| format!("nice: {error}"))?;
    while !board.is_stopped() {
        for (number, attempt) in attempts.iter().enumerate() {
            // If a control begins or ends during an attempt, the attempt does not count as a window.
            let before = board.is_control();
            let answer = match attempt.make() {
                Err(Errno::PERM) => None,
                Err(errno) => Some(errno.raw_os_error().unsigned_abs().into()),
                Ok(()) => Some(0),
            };
            board.note(slot, number, before | board.is_control(), answer);
        }
        board.note_round(slot);
    }
    Ok(())
}

fn list<T: std::str::FromStr>(words: &str) -> Result<Vec<T>, String> {
    let parts = words.split(',').filter(|word| *word != "-");
    parts.map(|word| word.parse().map_err(|_| format!("cannot read `{word}`"))).collect()
}

impl Attempt {
    fn make(&self) -> Result<(), Errno> {
        match self {
            Attempt::Connect(aim) => connect(&open(aim, SocketType::STREAM)?, aim),
            Attempt::Datagram(aim) => sendto(&open(aim, SocketType::DGRAM)?, b"b", FLAGS, aim).map(drop),
            Attempt::Inherited(fd) => {
                // SAFETY: whoever started this process left the descriptor open for it, and nothing closes it.
                #[expect(unsafe_code, reason = "an inherited descriptor is a number")]
                let connection = unsafe { BorrowedFd::borrow_raw(*fd) };
                send(connection, b"b", FLAGS).map(drop)
            }
        }
    }
}

const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

fn open(aim: &SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if aim.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn attempts_are_told_in_the_order_in_which_they_are_made() {
        let aims: Vec<SocketAddr> = ["192.0.2.1:443", "[2001:db8::1]:443"].map(|aim| aim.parse().unwrap()).into();
        let told: Vec<String> = (0..attempts(&aims, &[5, 6]).len()).map(|n| describe(&aims, 2, n as u64)).collect();
        assert_eq!(
            told,
            [
                "connect to 192.0.2.1:443",
                "sendto 192.0.2.1:443",
                "connect to [2001:db8::1]:443",
                "sendto [2001:db8::1]:443",
                "send on inherited connection 1 of 2",
                "send on inherited connection 2 of 2",
            ]
        );
    }
}
