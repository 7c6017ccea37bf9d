//! The debug section: from the numbers in the tables back to what was written. The kernel never needs
//! it, and no verdict depends on it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where the rules and addresses of an image came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debug {
    /// The rules, indexed by the number that a verdict carries.
    pub rules: Vec<DebugRule>,
    /// The addresses that came from DNS names, as text, with the name.
    pub names: Vec<(String, String)>,
    /// The paths of the programs, with the names that the policy gave them.
    pub programs: Vec<(String, String)>,
}

/// One rule as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRule {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The text.
    pub text: String,
}
