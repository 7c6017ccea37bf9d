//! The guest for the series: the enforcer, bundles of rising revisions, programs under the names that the policy knows,
//! and listeners at the forbidden destinations.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::state::State;
use crate::watch::{Wanted, Watch};

const ENFORCER: &str = "/bin/bfp-enforcer";
const TRUST: &str = "/trust";
const REVISIONS: &str = "/revisions";
const SIGNER: &str = "/usr/bin/signer";
const THIEF: &str = "/usr/bin/thief";
/// The destination of the signer alone.
const KMS: [&str; 2] = ["127.0.0.10:443", "[fd00:bf::10]:443"];
/// The destination that is forbidden to it.
const OUTSIDE: [&str; 2] = ["198.51.100.7:443", "[2001:db8::7]:443"];
/// The enforcer's rollback state.
const STATE: &str = "/var/lib/bfp";
const BOARD: &str = "/dev/shm/bfp-board";

/// Listeners, and connections that are older than any policy.
pub(crate) struct Host {
    connections: Vec<(SocketAddr, Connection)>,
    _listeners: Vec<(TcpListener, UdpSocket)>,
    /// Every bundle, from revision 1 on.
    bundles: Vec<Vec<u8>>,
}

enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Host {
    pub(crate) fn prepare() -> Result<Host, String> {
        bfp_kernel_tests::network::make_every_address_local()?;
        for path in [SIGNER, THIEF] {
            fs::copy("/proc/self/exe", path).map_err(|error| format!("{path}: {error}"))?;
        }
        let wrong = |aim: &SocketAddr| {
            let aim = *aim;
            move |error: std::io::Error| format!("{aim}: {error}")
        };
        let (mut listeners, mut connections) = (Vec::new(), Vec::new());
        for aim in addresses(&KMS)?.into_iter().chain(addresses(&OUTSIDE)?) {
            listeners.push((TcpListener::bind(aim).map_err(wrong(&aim))?, UdpSocket::bind(aim).map_err(wrong(&aim))?));
            let tcp = TcpStream::connect(aim).map_err(wrong(&aim))?;
            let any: &str = if aim.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let udp = UdpSocket::bind(any).and_then(|udp| udp.connect(aim).map(|()| udp)).map_err(wrong(&aim))?;
            for fd in [tcp.as_fd(), udp.as_fd()] {
                // Child processes inherit it.
                fcntl_setfd(fd, FdFlags::empty()).map_err(|error| format!("fcntl: {error}"))?;
            }
            connections.push((aim, Connection::Tcp(tcp)));
            connections.push((aim, Connection::Udp(udp)));
        }
        let count = fs::read_dir(REVISIONS).map_err(|error| format!("{REVISIONS}: {error}"))?.count() as u64;
        let read = |revision| fs::read(bundle(revision)).map_err(|error| format!("revision {revision}: {error}"));
        let bundles = (1..=count).map(read).collect::<Result<_, _>>()?;
        Ok(Host { connections, _listeners: listeners, bundles })
    }

    /// The highest revision with a bundle.
    pub(crate) fn last_revision(&self) -> u64 {
        self.bundles.len() as u64
    }

    /// The state on disk, every file of it complete.
    pub(crate) fn remembered(&self) -> Result<State, String> {
        let state = State::read(STATE.as_ref())?;
        state.is_whole(&self.bundles).map(|()| state)
    }

    /// Starts the probers, under an enforced policy.
    pub(crate) fn watch(&self) -> Result<Watch, String> {
        let (kms, outside) = (addresses(&KMS)?, addresses(&OUTSIDE)?);
        let wanted = |name, program, by, aims: &[SocketAddr]| Wanted {
            name,
            program,
            by,
            aims: aims.to_vec(),
            connections: self.connections_to(aims),
        };
        Watch::start(
            BOARD.as_ref(),
            vec![
                wanted("the stranger", THIEF, None, &kms),
                wanted("the confined program", SIGNER, None, &outside),
                wanted("what the confined program started", THIEF, Some(SIGNER), &outside),
            ],
        )
    }

    fn connections_to(&self, aims: &[SocketAddr]) -> Vec<RawFd> {
        let to = self.connections.iter().filter(|(aim, _)| aims.contains(aim));
        let fds = to.map(|(_, connection)| match connection {
            Connection::Tcp(tcp) => tcp.as_raw_fd(),
            Connection::Udp(udp) => udp.as_raw_fd(),
        });
        fds.collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for path in [SIGNER, THIEF] {
            let _gone = fs::remove_file(path);
        }
    }
}

fn addresses(texts: &[&str]) -> Result<Vec<SocketAddr>, String> {
    texts.iter().map(|text| text.parse().map_err(|_| format!("no address: {text}"))).collect()
}

/// `apply` of a revision, in full even if that revision is already enforced.
pub(crate) fn apply(revision: u64) -> Command {
    let mut command = Command::new(ENFORCER);
    command.arg("apply").arg(bundle(revision)).args(["--trust", TRUST, "--again"]);
    command
}

fn bundle(revision: u64) -> PathBuf {
    PathBuf::from(REVISIONS).join(format!("{revision}.bfpb"))
}

pub(crate) fn remove() -> Command {
    let mut command = Command::new(ENFORCER);
    command.arg("remove");
    command
}

/// Runs a command, which must succeed. Returns its output.
pub(crate) fn succeeds(mut command: Command) -> Result<String, String> {
    let output = bfp_kernel_tests::command::output_of(&mut command)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// The revision that `status` reports. `None` if nothing is enforced.
pub(crate) fn enforced() -> Result<Option<u64>, String> {
    let mut command = Command::new(ENFORCER);
    command.args(["status", "--format", "json"]);
    // It exits with 1 if nothing is enforced, or less than was applied.
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("`status`: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let Some((_, rest)) = said.split_once("\"revision\":") else { return Ok(None) };
    let number = rest.split([',', '}']).next().unwrap_or_default();
    number.trim().parse().map(Some).map_err(|_| format!("`status` tells no revision: {said}"))
}
