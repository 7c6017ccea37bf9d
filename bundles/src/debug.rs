//! The debug section: from the numbers in the tables back to the source text. The kernel never reads it, and no verdict
//! depends on it.
//!
//! It answers every question about a bundle without its source: which rule decided, which other rules apply, and what
//! their sides are called.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
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
    /// What the lock file says of names beside their addresses. A name of which it says nothing more is left out.
    // Written behind the other fields, and not at all if it is empty: see `to_bytes`.
    #[serde(skip)]
    pub locked: Vec<DebugLocked>,
    /// The notes of the rules that have some, by the number of the rule.
    #[serde(skip)]
    pub notes: Vec<DebugNotes>,
}

impl Debug {
    /// The bytes of the section.
    #[cfg(feature = "sign")]
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_allocvec(self)?;
        if !self.locked.is_empty() || !self.notes.is_empty() {
            bytes.extend(postcard::to_allocvec(&self.locked)?);
        }
        if !self.notes.is_empty() {
            bytes.extend(postcard::to_allocvec(&self.notes)?);
        }
        Ok(bytes)
    }

    /// The section that these bytes are; `None` where they are none.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Debug> {
        let (mut debug, rest) = postcard::take_from_bytes::<Debug>(bytes).ok()?;
        if rest.is_empty() {
            return Some(debug);
        }
        let (locked, rest) = postcard::take_from_bytes::<Vec<DebugLocked>>(rest).ok()?;
        // What is empty has one form: a list that is last is not.
        if rest.is_empty() {
            debug.locked = locked;
            return (!debug.locked.is_empty()).then_some(debug);
        }
        let (notes, rest) = postcard::take_from_bytes::<Vec<DebugNotes>>(rest).ok()?;
        if notes.is_empty() || !rest.is_empty() {
            return None;
        }
        (debug.locked, debug.notes) = (locked, notes);
        Some(debug)
    }

    /// The notes of a rule.
    pub fn notes_of(&self, rule: usize) -> Option<&DebugNotes> {
        self.notes.iter().find(|notes| usize::try_from(notes.rule).is_ok_and(|number| number == rule))
    }
}

/// What the author of a rule wrote about it. It changes no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DebugNotes {
    /// The number of the rule.
    pub rule: u32,
    /// The day from which the policy no longer compiles with the rule, as YYYY-MM-DD.
    pub until: Option<String>,
    /// Who answers for the rule.
    pub owner: Option<String>,
    /// Where it was decided.
    pub ticket: Option<String>,
    /// Why it exists.
    pub reason: Option<String>,
}

impl fmt::Display for DebugNotes {
    /// As a policy writes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        if let Some(until) = &self.until {
            write!(f, "until {until}")?;
            space = " ";
        }
        for (word, text) in [("owner", &self.owner), ("ticket", &self.ticket), ("because", &self.reason)] {
            let Some(text) = text else { continue };
            write!(f, "{space}{word} \"")?;
            for character in text.chars() {
                match character {
                    '"' | '\\' => write!(f, "\\{character}")?,
                    plain => write!(f, "{plain}")?,
                }
            }
            f.write_str("\"")?;
            space = " ";
        }
        Ok(())
    }
}

/// What the lock file says of a DNS name, for `bfpc drift`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugLocked {
    /// The name.
    pub name: String,
    /// Its addresses change from answer to answer.
    pub is_rotating: bool,
    /// Only its IPv4 addresses were requested.
    pub is_ipv4_only: bool,
    /// Its rules cover a list, whatever it answers.
    pub is_within: bool,
    /// The addresses that were no longer answered, and stay for a time.
    pub kept: Vec<DebugAddress>,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugAddress(#[serde(with = "address_as_text")] pub IpAddr);

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
    /// Its programs (behind `* except`, those that it leaves out), as indexes in [`Debug::programs`], ascending. `None`
    /// means every program.
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
    /// `deny * except P -> D`
    DenyOthers,
    /// `allow * except P -> D`
    AllowOthers,
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

#[cfg(all(test, feature = "sign"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use alloc::borrow::ToOwned as _;
    use alloc::vec;

    use super::*;

    fn with_a_kept_address() -> Debug {
        let name = "kms.internal".to_owned();
        let kept = vec![DebugAddress([203, 0, 113, 9].into()), DebugAddress([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())];
        let locked = DebugLocked { name, is_rotating: false, is_ipv4_only: true, is_within: false, kept };
        Debug { locked: vec![locked], ..Debug::default() }
    }

    #[test]
    fn what_the_lock_says_is_written_behind_the_rest_or_not_at_all() {
        for debug in [Debug::default(), with_a_kept_address()] {
            assert_eq!(Debug::of_bytes(&debug.to_bytes().unwrap()), Some(debug));
        }
        let plain = Debug::default().to_bytes().unwrap();
        assert_eq!(plain, postcard::to_allocvec(&Debug::default()).unwrap());
        assert!(with_a_kept_address().to_bytes().unwrap().starts_with(&plain));
    }

    #[test]
    fn damaged_end_is_no_section() {
        let whole = with_a_kept_address().to_bytes().unwrap();
        let plain = Debug::default().to_bytes().unwrap().len();
        for end in plain + 1..whole.len() {
            assert_eq!(Debug::of_bytes(whole.get(..end).unwrap()), None, "{end} bytes");
        }
        let with = |more: &[u8]| [&whole, more].concat();
        assert_eq!(Debug::of_bytes(&with(&[0])), None);
        // An empty list is not written.
        let mut empty = Debug::default().to_bytes().unwrap();
        empty.push(0);
        assert_eq!(Debug::of_bytes(&empty), None);
    }
}
