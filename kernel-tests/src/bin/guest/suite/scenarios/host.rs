//! The host of the scenarios: signer and thief in their places, listeners at the KMS and elsewhere, and whether the
//! policy is enforced at the moment. What enters: the bundle. What leaves: the three statements that scenarios consist
//! of (`reaches`, `refused`, `answers`).

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::{Expected, Listeners};
use crate::programs::{Programs, Running, answer_of};

pub(crate) const SIGNER: &str = "/usr/bin/signer";
/// An unlisted program.
pub(crate) const THIEF: &str = "/usr/bin/thief";

pub(crate) const PORT: u16 = 443;
pub(crate) const KMS_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));
pub(crate) const KMS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xbf, 0, 0, 0, 0, 0, 0x10));
/// An address on the Internet.
pub(crate) const OUTSIDE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub(crate) const OUTSIDE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
pub(crate) const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

pub(crate) struct Host {
    pub(crate) listeners: Listeners,
    pub(crate) bundle: PathBuf,
    enforced: Cell<bool>,
    _programs: Programs,
}

impl Host {
    pub(crate) fn prepare(bundle: &Path) -> Result<Self, String> {
        let addresses = [KMS_V4, KMS_V6, OUTSIDE_V4, OUTSIDE_V6, LOOPBACK_V4, LOOPBACK_V6];
        let destinations = addresses.into_iter().flat_map(both_protocols);
        Ok(Host {
            listeners: Listeners::open(destinations)?,
            bundle: bundle.to_owned(),
            enforced: Cell::new(false),
            _programs: Programs::install([SIGNER, THIEF])?,
        })
    }

    pub(crate) fn is_enforced(&self) -> bool {
        self.enforced.get()
    }

    /// From here on the policy is enforced.
    pub(crate) fn enforced(&self) -> Result<(), String> {
        if !self.enforced.get() {
            enforcer::apply(&self.bundle)?;
            self.enforced.set(true);
        }
        Ok(())
    }

    /// From here on nothing is enforced.
    pub(crate) fn unenforced(&self) -> Result<(), String> {
        if self.enforced.get() {
            enforcer::remove()?;
            self.enforced.set(false);
        }
        Ok(())
    }

    /// The program, run with these arguments, reaches the destination.
    pub(crate) fn reaches(&self, program: &str, arguments: &str, at: Destination) -> Result<(), String> {
        self.try_program(program, arguments, Expected::Reaches(at))
    }

    /// The program, run with these arguments, is denied by the kernel, and nothing arrives anywhere.
    pub(crate) fn refused(&self, program: &str, arguments: &str) -> Result<(), String> {
        self.try_program(program, arguments, Expected::Refused)
    }

    /// A waiting program continues, and ends as expected.
    pub(crate) fn goes_on(&self, running: &mut Running, expected: Expected) -> Result<(), String> {
        self.listeners.clear();
        self.listeners.judge(&running.go_on()?, expected)
    }

    fn try_program(&self, program: &str, arguments: &str, expected: Expected) -> Result<(), String> {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        self.listeners.clear();
        answer_of(program, &words)
            .and_then(|answer| self.listeners.judge(&answer, expected))
            .map_err(|difference| format!("{program} {arguments}: {difference}"))
    }
}

fn both_protocols(address: IpAddr) -> [Destination; 2] {
    [Destination::tcp(address, PORT), Destination::udp(address, PORT)]
}

/// Every way to send to both protocols of some addresses, as the probe's arguments, and its destination.
pub(crate) fn every_way_to(addresses: [IpAddr; 2]) -> impl Iterator<Item = (String, Destination)> {
    addresses
        .into_iter()
        .flat_map(both_protocols)
        .flat_map(|destination| destination.ways().iter().map(move |way| (to(way, destination.address), destination)))
}

/// `WAY ADDRESS PORT`, as the probe takes it.
pub(crate) fn to(way: &str, address: IpAddr) -> String {
    format!("{way} {address} {PORT}")
}
