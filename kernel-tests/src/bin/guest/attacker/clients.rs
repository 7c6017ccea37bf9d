//! Connections at a port where a rule grants the attacker its clients.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use crate::Technique;
use crate::aim::Aim;
use crate::passed::{INHERITED, accept, connect_from_forbidden, with_far_end};
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("answer-to-a-client", |aim| as_a_client("answer-to-a-client", aim, |_, _| Ok(()))),
    ("client-socket-opened-again", |aim| as_a_client("client-socket-opened-again", aim, opened_again)),
];

/// The port of `clients:4434` in fixtures/attacks/policy.bfp.
const PORT: u16 = 4434;

type Prepare = fn(&OwnedFd, &Aim) -> Result<(), Refused>;

/// The attacker listens, a program at the forbidden address connects, and the attacker sends by that socket.
fn as_a_client(name: &str, aim: &Aim, prepare: Prepare) -> Result<(), Refused> {
    if std::env::var_os(INHERITED).is_some() {
        let connection = accept(aim, PORT)?;
        prepare(&connection, aim)?;
        return sys::send(&connection);
    }
    with_far_end(name, aim, |victim| {
        // The sniffer determines whether something arrives.
        let _silence = TcpStream::from(connect_from_forbidden(&victim, PORT)?).read(&mut [0; 16]);
        Ok(())
    })
}

/// The socket loses its peer and gets another one, at the same address.
fn opened_again(connection: &OwnedFd, aim: &Aim) -> Result<(), Refused> {
    sys::connect(connection, &Name::of(aim.forbidden).under(libc::AF_UNSPEC))?;
    sys::connect(connection, &Name::of(aim.forbidden))
}
