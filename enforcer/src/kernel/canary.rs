//! The canary: an address that must be denied, which proves that the kernel calls the programs.
//!
//! If `bpf` is not among the security modules, programs load and attach without an error, but are never called. So the
//! enforcer makes up an abstract Unix address that the programs deny to every process, and tries it, and another one
//! that they must allow.

use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::failure::Actionable;

/// The length of an abstract name: the rest of the place of the port and of an IPv4 address, then the sixteen bytes
/// that are compared (enforcer-ebpf/src/decision/socket.rs, `Name`).
const NAME_LENGTH: usize = 5 + 16;

/// Why the host is not known to enforce.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum CanaryError {
    #[error("the programs are attached, but the kernel does not call them: a forbidden `{0}` was not denied")]
    NotRefused(&'static str),
    #[error("`{call}` to a test address that is not forbidden failed: {error}")]
    Trial { call: &'static str, error: io::Error },
    #[error("enforcement cannot be tested: {0}")]
    Setup(io::Error),
}

impl Actionable for CanaryError {
    fn help(&self) -> &'static str {
        match self {
            CanaryError::NotRefused(_) => {
                "check `lsm=` on the kernel's command line, and that `kernel.ftrace_enabled` is 1"
            }
            _ => "check that this process may use Unix sockets",
        }
    }
}

/// Sixteen random bytes, as the programs compare them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The first eight bytes.
    pub high: u64,
    /// The last eight bytes.
    pub low: u64,
}

impl Canary {
    /// A canary that cannot be guessed.
    pub fn random() -> Result<Canary, CanaryError> {
        let mut bytes = [0; 16];
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(CanaryError::Setup)?;
        let number = u128::from_ne_bytes(bytes);
        // Zero means that there is no canary.
        Ok(Canary { high: (number >> 64) as u64 | 1, low: number as u64 })
    }

    fn name(&self) -> [u8; NAME_LENGTH] {
        let mut name = [b'-'; NAME_LENGTH];
        let words = [self.high >> 32, self.high, self.low >> 32, self.low].map(|word| (word as u32).to_ne_bytes());
        for (place, byte) in name.iter_mut().skip(5).zip(words.as_flattened()) {
            *place = *byte;
        }
        name
    }
}

/// Tries the canary and another address with both calls that are judged.
pub fn try_out(canary: &Canary) -> Result<(), CanaryError> {
    let socket = UnixDatagram::unbound().map_err(CanaryError::Setup)?;
    let forbidden = SocketAddr::from_abstract_name(canary.name()).map_err(CanaryError::Setup)?;
    let harmless = SocketAddr::from_abstract_name(Canary::random()?.name()).map_err(CanaryError::Setup)?;
    let connect = |address: &SocketAddr| socket.connect_addr(address);
    let send = |address: &SocketAddr| socket.send_to_addr(&[], address).map(drop);
    for (call, result) in [("connect", connect(&forbidden)), ("sendto", send(&forbidden))] {
        if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EPERM)) {
            return Err(CanaryError::NotRefused(call));
        }
    }
    for (call, result) in [("connect", connect(&harmless)), ("sendto", send(&harmless))] {
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
            Err(error) => return Err(CanaryError::Trial { call, error }),
            Ok(()) => {
                return Err(CanaryError::Trial { call, error: io::Error::other("another process answers there") });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn the_name_lies_where_the_programs_compare_it() {
        let canary = Canary { high: 0x0001_0203_0405_0607, low: 0x0809_0a0b_0c0d_0e0f };
        let name = canary.name();
        let word = |index: usize| {
            // `sun_path` starts two bytes into the address, with a zero; the compared words start at byte 8.
            let at = 8 + 4 * index - 2 - 1;
            u64::from(u32::from_ne_bytes(*name.get(at..).unwrap().first_chunk().unwrap()))
        };
        assert_eq!((word(0) << 32 | word(1), word(2) << 32 | word(3)), (canary.high, canary.low));
    }

    #[test]
    fn where_nothing_is_attached_the_canary_says_so() {
        assert!(matches!(try_out(&Canary::random().unwrap()), Err(CanaryError::NotRefused("connect"))));
    }
}
