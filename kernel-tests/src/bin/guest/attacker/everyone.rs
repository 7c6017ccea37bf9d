//! Addresses that no rule names and that lead to a machine which a rule names: broadcast and multicast in its network.
//! The other machine is a network namespace here, connected to the attacker's by a pair of devices.
#![expect(unsafe_code, reason = "numbers of threads, users and devices come from raw calls")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Technique;
use crate::aim::Aim;
use crate::families::anywhere;
use crate::other::{enter_user_namespace, shell, unshare};
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[("address-of-everyone", address_of_everyone)];

/// How long the other machine waits, whose devices need a moment.
const PATIENCE: Duration = Duration::from_secs(20);

fn address_of_everyone(aim: &Aim) -> Result<(), Refused> {
    // SAFETY: takes nothing.
    match unsafe { libc::geteuid() } {
        0 => unshare(libc::CLONE_NEWNET)?,
        _ => enter_user_namespace(libc::CLONE_NEWNET)?,
    }
    let (say_who, who) = channel();
    let (join, joined) = channel();
    let victim = aim.clone();
    let other = thread::spawn(move || -> Result<(), Refused> {
        unshare(libc::CLONE_NEWNET)?;
        // SAFETY: takes nothing.
        let _gone = say_who.send(unsafe { libc::gettid() });
        receive(&victim, &joined)
    });
    let who = who.recv_timeout(PATIENCE).map_err(|_| Refused::new("the other machine", libc::ESRCH))?;
    let ip = "/usr/sbin/ip";
    shell(&format!("{ip} link add near type veth peer name far netns {who}"))?;
    // SAFETY: ends with a zero.
    let (own, everyone) = beside(aim, unsafe { libc::if_nametoindex(c"near".as_ptr()) });
    shell(&format!("{ip} address add {own} dev near; {ip} link set near up"))?;
    let _gone = join.send(());
    let socket = UdpSocket::bind(anywhere(aim, 0)).map_err(Refused::io("bind"))?;
    socket.set_broadcast(true).map_err(Refused::io("setsockopt"))?;
    while !other.is_finished() {
        match socket.send_to(sys::MESSAGE, everyone) {
            // The devices are not up yet.
            Err(error) if error.raw_os_error() != Some(libc::EPERM) => {}
            sent => sent.map(drop).map_err(Refused::io("sendto"))?,
        }
        thread::sleep(Duration::from_millis(20));
    }
    other.join().unwrap_or(Err(Refused::new("thread", 0)))
}

/// In the network of the forbidden address: another address, as the device gets it, and the address of all machines.
fn beside(aim: &Aim, device: u32) -> (String, SocketAddr) {
    let port = aim.forbidden.port();
    match aim.forbidden.ip() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            (format!("{a}.{b}.{c}.1/24 brd +"), SocketAddr::new(Ipv4Addr::new(a, b, c, 255).into(), port))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let own = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 1);
            let everyone = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            (format!("{own}/64"), SocketAddrV6::new(everyone, port, 0, device).into())
        }
    }
}

/// The machine with the forbidden address: whether the message arrived, at a socket for any address.
fn receive(aim: &Aim, joined: &Receiver<()>) -> Result<(), Refused> {
    joined.recv_timeout(PATIENCE).map_err(|_| Refused::new("the other machine", libc::ESRCH))?;
    let (ip, own, bits) = ("/usr/sbin/ip", aim.forbidden.ip(), if aim.forbidden.is_ipv4() { 24 } else { 64 });
    shell(&format!("{ip} address add {own}/{bits} dev far; {ip} link set far up"))?;
    let socket = UdpSocket::bind(anywhere(aim, aim.forbidden.port())).map_err(Refused::io("bind"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(Refused::io("setsockopt"))?;
    let (mut message, until) = ([0; 64], Instant::now() + PATIENCE);
    while Instant::now() < until {
        let (length, _) = socket.recv_from(&mut message).map_err(Refused::io("recv"))?;
        if message.get(..length) == Some(sys::MESSAGE) {
            return Ok(());
        }
    }
    Err(Refused::new("recv", libc::EAGAIN))
}
