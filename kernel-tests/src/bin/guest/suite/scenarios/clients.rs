//! Answers to clients, under fixtures/accept/clients: a confined server answers whoever connects to it, and nothing else
//! counts as an answer.
//!
//! What enters: who connects from where, and what the server does with the connection. What leaves: its answer, and
//! whether a byte came to the client.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, connect, sendto, socket_with};

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, LOOPBACK_V4, LOOPBACK_V6, OUTSIDE_V4, OUTSIDE_V6, THIEF, to};
use crate::enforcer;
use crate::programs::{Programs, Running, answer_of};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a confined server answers its clients, and connects to none", answers),
    ("a confined server answers a client that sends with its first segment", answers_fast),
    ("a server without `clients` answers nobody, and its event says what to grant", silent_server),
    ("clients from a network are answered, and others are not", from_network),
    ("a client of another port of the server is not answered", another_port),
    ("a client at a denied address is not answered", denied_address),
    ("a connection that a program opens again is not its client's", opened_again),
    ("a connection that both sides open is nobody's client", opened_by_both),
    ("an accepted connection that is passed on is answered by whoever may answer", passed_on),
    ("a connection accepted before the first policy is not known for one", older_connection),
    ("a connection accepted under a policy is known under the next one", replaced_policy),
];

const SERVER: &str = "/usr/bin/server";
const METRICS: &str = "/usr/bin/metrics";
const WORKER: &str = "/usr/bin/worker";
const BUNDLE: &str = "/bundles/clients/policy.bfpb";
const EVERYWHERE: &str = "::";
const DENIED_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// Enforces the policy while `then` runs.
fn under(host: &Host, then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    let _programs = Programs::install([SERVER, METRICS, WORKER])?;
    enforcer::apply(Path::new(BUNDLE))?;
    then().and(enforcer::remove())
}

/// How a client connects.
#[derive(Clone, Copy)]
enum Way {
    Connect,
    /// With a byte in its first segment.
    FastOpen,
}

/// A connection from one address to a port at another; `None` if the server ended it before this call did.
fn connect_from(from: IpAddr, to: SocketAddr, way: Way) -> Result<Option<TcpStream>, String> {
    let open = || -> rustix::io::Result<_> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddr::new(from, 0))?;
        match way {
            Way::Connect => connect(&socket, &to)?,
            // `MSG_FASTOPEN`, linux/socket.h.
            Way::FastOpen => drop(sendto(&socket, b"x", SendFlags::from_bits_retain(0x2000_0000), &to)?),
        }
        Ok(socket)
    };
    let stream = match open() {
        Ok(socket) => TcpStream::from(socket),
        Err(Errno::CONNRESET) => return Ok(None),
        Err(errno) => return Err(format!("cannot connect from {from} to {to}: {errno}")),
    };
    let limited = stream.set_read_timeout(Some(Duration::from_millis(500)));
    limited.map_err(|error| error.to_string())?;
    Ok(Some(stream))
}

/// How many bytes come to a client before the connection ends, or nothing more comes.
fn received(client: &mut Option<TcpStream>) -> usize {
    client.as_mut().map_or(0, |client| client.read(&mut [0; 8]).unwrap_or(0))
}

/// What a client experiences.
#[derive(Clone, Copy)]
struct Visit {
    from: IpAddr,
    to: IpAddr,
    port: u16,
    way: Way,
}

/// A client at one of this machine's addresses, and a server there.
fn visit(address: IpAddr, port: u16) -> Visit {
    Visit { from: address, to: address, port, way: Way::Connect }
}

/// Starts a program that accepts a connection at every address and then does the rest, and connects to it. What the
/// program answers and whether a byte comes must be as expected: `ok` and a byte, or the error and none.
fn tried(program: &str, rest: &str, visit: Visit, expected: &str) -> Result<(), String> {
    let arguments = format!("accept {EVERYWHERE} {} {rest}", visit.port);
    let mut server = Running::start_until(program, &arguments.split_whitespace().collect::<Vec<_>>(), "ready")?;
    let mut client = connect_from(visit.from, SocketAddr::new(visit.to, visit.port), visit.way)?;
    let answer = server.answer()?;
    let bytes = received(&mut client);
    // Before 6.5 a denied sendfile succeeds, and nothing is sent.
    let is_as_expected = answer == expected || rest.contains("sendfile") && expected != "ok";
    if is_as_expected && bytes == usize::from(expected == "ok") {
        Ok(())
    } else {
        let Visit { from, port, .. } = visit;
        Err(format!("{program} {rest}, to {from} at {port}: expected `{expected}`, seen `{answer}` and {bytes} bytes"))
    }
}

/// Clients over IPv4, over IPv6, and over IPv4 at a socket of IPv6: every one here, as the server listens at `::`.
const ADDRESSES: [IpAddr; 6] = [KMS_V4, KMS_V6, OUTSIDE_V4, OUTSIDE_V6, LOOPBACK_V4, LOOPBACK_V6];

fn answers(host: &Host) -> Result<(), String> {
    under(host, || {
        for address in ADDRESSES {
            tried(SERVER, "answer", visit(address, 8443), "ok")?;
            tried(SERVER, "answer-by-sendfile", visit(address, 8443), "ok")?;
        }
        // At a socket of IPv4 too.
        let mut server = Running::start_until(SERVER, &["accept", "0.0.0.0", "8443", "answer"], "ready")?;
        let mut client = connect_from(KMS_V4, SocketAddr::new(KMS_V4, 8443), Way::Connect)?;
        match (server.answer()?.as_str(), received(&mut client)) {
            ("ok", 1) => {}
            (answer, bytes) => return Err(format!("at 0.0.0.0: `{answer}` and {bytes} bytes")),
        }
        for address in [KMS_V4, KMS_V6, OUTSIDE_V6] {
            host.refused(SERVER, &to("tcp", address))?;
            host.refused(SERVER, &to("fastopen", address))?;
        }
        host.refused(SERVER, &format!("tcp {KMS_V4} 8443"))
    })
}

fn answers_fast(host: &Host) -> Result<(), String> {
    const SWITCH: &str = "/proc/sys/net/ipv4/tcp_fastopen";
    // Both sides, without a cookie, at every listening socket (net/ipv4/tcp_fastopen.c).
    const ALWAYS: &str = "1543";
    let before = fs::read_to_string(SWITCH).map_err(|error| format!("{SWITCH}: {error}"))?;
    under(host, || {
        let set = |value: &str| fs::write(SWITCH, value.trim()).map_err(|error| format!("{SWITCH}: {error}"));
        set(ALWAYS)?;
        let fast = |address| Visit { way: Way::FastOpen, ..visit(address, 8443) };
        let answered = [KMS_V4, KMS_V6].into_iter().try_for_each(|address| {
            tried(SERVER, "answer", fast(address), "ok")?;
            tried(WORKER, "answer", fast(address), "EPERM")
        });
        answered.and(set(&before))
    })
}

fn silent_server(host: &Host) -> Result<(), String> {
    under(host, || {
        enforcer::events()?;
        for address in ADDRESSES {
            tried(WORKER, "answer-by-sendfile", visit(address, 8443), "EPERM")?;
        }
        enforcer::events()?;
        tried(WORKER, "answer", visit(KMS_V4, 8443), "EPERM")?;
        // Before 6.5, the sockets of the denied sendfile still try to send, and the egress filter says so.
        let mut events = enforcer::events()?;
        events.retain(|event| !event.contains("\"kind\":\"packet\""));
        match events.as_slice() {
            [event] if event.contains("\"kind\":\"answer\"") && event.contains("\"address\":\"127.0.0.10\"") => Ok(()),
            other => Err(format!("expected one event about an answer, seen {other:?}")),
        }
    })
}

fn from_network(host: &Host) -> Result<(), String> {
    under(host, || {
        for address in [KMS_V4, KMS_V6, LOOPBACK_V4] {
            tried(METRICS, "answer", visit(address, 9100), "ok")?;
            tried(METRICS, "answer-by-sendfile", visit(address, 9100), "ok")?;
        }
        for address in [OUTSIDE_V4, OUTSIDE_V6, LOOPBACK_V6] {
            tried(METRICS, "answer", visit(address, 9100), "EPERM")?;
            tried(METRICS, "answer-by-sendfile", visit(address, 9100), "EPERM")?;
        }
        // The client's address counts, and not the server's.
        tried(METRICS, "answer", Visit { from: OUTSIDE_V4, ..visit(KMS_V4, 9100) }, "EPERM")?;
        tried(METRICS, "answer", Visit { from: KMS_V4, ..visit(OUTSIDE_V4, 9100) }, "ok")
    })
}

fn another_port(host: &Host) -> Result<(), String> {
    under(host, || {
        for address in [KMS_V4, KMS_V6] {
            tried(SERVER, "answer", visit(address, 8444), "EPERM")?;
            tried(METRICS, "answer", visit(address, 8443), "EPERM")?;
        }
        Ok(())
    })
}

fn denied_address(host: &Host) -> Result<(), String> {
    under(host, || {
        let denied = Visit { from: DENIED_V4, ..visit(KMS_V4, 8443) };
        tried(SERVER, "answer", denied, "EPERM")?;
        tried(SERVER, "answer-by-sendfile", denied, "EPERM")?;
        tried(THIEF, "answer", denied, "EPERM")
    })
}

/// As a socket of IPv6 names an address.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// By `AF_UNSPEC` a socket loses its peer, and can get another one, which did not connect to it.
fn opened_again(host: &Host) -> Result<(), String> {
    under(host, || {
        for (own, other) in [(KMS_V4, OUTSIDE_V4), (OUTSIDE_V4, KMS_V4), (KMS_V4, KMS_V4)] {
            // Back to the client's address too: the client did not connect again.
            let dissolving = format!("answer-after-dissolving {} 444", mapped(other));
            tried(SERVER, &dissolving, visit(own, 8443), "EPERM")?;
        }
        // A connect that is denied changes nothing.
        let denied = format!("answer-after-connect {} 444", mapped(OUTSIDE_V4));
        tried(SERVER, &denied, visit(KMS_V4, 8443), "ok")?;
        // One that the policy allows takes the mark, also where the kernel then finds the socket connected.
        let connecting = format!("answer-after-connect {} 443", mapped(OUTSIDE_V4));
        tried(SERVER, &connecting, visit(KMS_V4, 8443), "EPERM")
    })
}

/// A socket that is connected to itself has sent and received the first segment, and nobody accepted it
/// (net/ipv4/tcp_input.c, `tcp_rcv_synsent_state_process`).
fn opened_by_both(host: &Host) -> Result<(), String> {
    under(host, || {
        for address in [KMS_V4, KMS_V6] {
            let opened = format!("self-connect {address} 8443");
            let thief = answer_of(THIEF, &words(&format!("{opened} answer")))?;
            let server = answer_of(THIEF, &words(&format!("{opened} exec {SERVER} answer")))?;
            host.refused(SERVER, &format!("tcp {address} 8443"))?;
            if (thief.as_str(), server.as_str()) != ("ok", "EPERM") {
                return Err(format!("{address}: `{thief}` by the thief, and `{server}` by the server"));
            }
        }
        Ok(())
    })
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The socket was accepted, whoever has it; whether it may be answered depends on who sends.
fn passed_on(host: &Host) -> Result<(), String> {
    under(host, || {
        for address in [KMS_V4, KMS_V6] {
            tried(THIEF, &format!("exec {SERVER} answer"), visit(address, 8443), "ok")?;
            tried(THIEF, &format!("exec {WORKER} answer"), visit(address, 8443), "EPERM")?;
            // What the server starts stays under its restriction, and the worker adds its own.
            tried(SERVER, &format!("exec {THIEF} answer"), visit(address, 8443), "ok")?;
            tried(SERVER, &format!("exec {WORKER} answer"), visit(address, 8443), "EPERM")?;
        }
        Ok(())
    })
}

/// A connection that a server has accepted, and that it answers after the next line.
fn accepted(address: IpAddr) -> Result<(Running, Option<TcpStream>), String> {
    let arguments = ["accept", EVERYWHERE, "8443", "wait-then", "answer"];
    let mut server = Running::start_until(SERVER, &arguments, "ready")?;
    let client = connect_from(address, SocketAddr::new(address, 8443), Way::Connect)?;
    match server.answer()?.as_str() {
        "ready" => Ok((server, client)),
        other => Err(format!("expected the server to accept, seen `{other}`")),
    }
}

fn older_connection(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let _programs = Programs::install([SERVER, METRICS, WORKER])?;
    let (mut server, mut client) = accepted(KMS_V4)?;
    let _applied = enforcer::try_apply(Path::new(BUNDLE))?;
    let answer = server.go_on()?;
    let bytes = received(&mut client);
    let tried = match (answer.as_str(), bytes) {
        ("EPERM", 0) => tried(SERVER, "answer", visit(KMS_V4, 8443), "ok"),
        _ => Err(format!("expected `EPERM`, seen `{answer}` and {bytes} bytes")),
    };
    tried.and(enforcer::remove())
}

fn replaced_policy(host: &Host) -> Result<(), String> {
    under(host, || {
        let (mut server, mut client) = accepted(KMS_V6)?;
        enforcer::apply_again(Path::new(BUNDLE))?;
        let answer = server.go_on()?;
        match (answer.as_str(), received(&mut client)) {
            ("ok", 1) => Ok(()),
            (answer, bytes) => Err(format!("expected `ok`, seen `{answer}` and {bytes} bytes")),
        }
    })
}
