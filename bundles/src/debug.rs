//! The debug section: from the numbers in the tables back to what was written. The kernel never needs
//! it, and no verdict depends on it.
//!
//! It answers every question about a bundle without its source: which rule decided, which others apply,
//! what their sides are called.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where the rules and addresses of an image came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debug {
    /// The rules, indexed by the number that a verdict carries.
    pub rules: Vec<DebugRule>,
    /// The statement that refuses what nothing grants; `None` under `default allow`.
    pub default: Option<Place>,
    /// The rules that cover each cell, ascending, indexed by the number of the cell.
    pub cells: Vec<Vec<u32>>,
    /// The addresses that came from DNS names, as text, with the name.
    pub names: Vec<(String, String)>,
    /// The paths of the programs, with the names that the policy gave them.
    pub programs: Vec<(String, String)>,
    /// The names of the declared hosts, with the text of what they stand for.
    pub hosts: Vec<(String, String)>,
}

/// A statement, and where it stands.
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
    /// The whole of it. The two rules of `only P -> only D` have one place.
    pub place: Place,
    /// What it does.
    pub effect: DebugEffect,
    /// It is judged and reported, not enforced.
    pub is_audited: bool,
    /// Its programs, as places in [`Debug::programs`], ascending; `None` is everyone.
    pub subjects: Option<Vec<u32>>,
    /// Its right side, as it was written.
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
