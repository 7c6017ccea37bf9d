//! The debug section: from the numbers in the tables back to the source text. The kernel never reads it, and no verdict
//! depends on it.
//!
//! It answers every question about a bundle without its source: which rule decided, which other rules apply, and what
//! their sides are called.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The source of an image's rules and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debug {
    /// The rules, indexed by the number that a verdict carries.
    pub rules: Vec<DebugRule>,
    /// The statement that denies what no rule grants. `None` under `default allow`.
    pub default: Option<Place>,
    /// The rules that cover each cell, ascending, indexed by the number of the cell.
    pub cells: Vec<Vec<u32>>,
    /// The addresses that came from DNS names.
    pub names: Vec<DebugName>,
    /// The programs.
    pub programs: Vec<DebugProgram>,
    /// The declared hosts.
    pub hosts: Vec<DebugHost>,
}

/// An address that came from a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugName {
    /// The address.
    #[serde(with = "address_as_text")]
    pub address: IpAddr,
    /// The name.
    pub name: String,
}

/// A program as the policy names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugProgram {
    /// Its path.
    pub path: String,
    /// The name that the policy gave it; without one, the path as written.
    pub name: String,
}

/// A declared host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugHost {
    /// Its name.
    pub name: String,
    /// Its destinations, as written.
    pub destinations: String,
}

/// A statement and its position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The text, on one line.
    pub text: String,
}

/// One rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRule {
    /// The whole statement. The two rules of `only P -> only D` share one place.
    pub place: Place,
    /// What it does.
    pub effect: DebugEffect,
    /// It is an audited rule: it is judged and reported, not enforced.
    pub is_audited: bool,
    /// Its programs, as indexes in [`Debug::programs`], ascending. `None` means every program.
    pub subjects: Option<Vec<u32>>,
    /// Its right-hand side, as written.
    pub destinations: String,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DebugEffect {
    /// `only P -> D`
    Exclusive,
    /// `P -> only D`
    Confined,
    /// `deny P -> D`
    Deny,
    /// `allow P -> D`
    Allow,
}

/// A bundle holds an address as text. A text that is not an address makes the section undecodable.
mod address_as_text {
    use core::net::IpAddr;

    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(address: &IpAddr, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(address)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<IpAddr, D::Error> {
        <&str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
