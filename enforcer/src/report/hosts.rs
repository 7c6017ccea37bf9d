//! The names of the enforced policy as a block of a hosts file: the enforced bundle and a file's bytes enter, the file's
//! new bytes leave. Nothing here reads or writes.
//!
//! Always: bytes outside of the block stay as they are, and taking the block out gives back the bytes that were there
//! before it. Whatever a bundle contains, it adds lines of one address and one name, and no others.
//!
//! The block is the beginning of the file. There it needs no line break of its own, and its lines come before those of
//! others: a C library that stops at the first line of a name gets an address of the policy.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use bfp_bundle::debug::DebugName;
use bfp_bundle::verify::Refusal;

use crate::failure::{Actionable, Exit, Failure};
use crate::kernel::enforced_bundle::EnforcedBundle;
use crate::report::shown::shown;

#[cfg(test)]
mod tests;

/// The hosts file of the C library.
pub const HOSTS: &str = "/etc/hosts";

/// The most bytes of a hosts file.
pub const MAX_HOSTS_BYTES: u64 = 16 << 20;

/// The beginning of the first line of the block, and of the last. The policy follows.
const BEGIN: &str = "# BEGIN bfp-enforcer hosts:";
const END: &str = "# END bfp-enforcer hosts:";

/// The most characters of a policy's name in these lines. musl reads lines in pieces of 511 bytes, and would take a
/// further piece of a comment for a line of names (src/network/lookup_name.c, `name_from_hosts`).
const SHOWN_POLICY: usize = 64;

/// The longest name, and the longest part of one, in bytes (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_PART: usize = 63;

/// Why a hosts file is not changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum HostsError {
    #[error("nothing is enforced")]
    NothingEnforced,
    #[error("the names are unknown, because the good bundle on disk cannot be used: {0}")]
    NoBundle(Failure),
    #[error("the block of names in `{path}` is broken: {fault}")]
    Broken { path: PathBuf, fault: BrokenBlock },
    #[error("the standard output has no names to remove")]
    RemoveFromOutput,
}

impl Actionable for HostsError {
    fn help(&self) -> &'static str {
        match self {
            HostsError::NothingEnforced => {
                "apply a policy first; `bfp-enforcer hosts --remove` takes out earlier names"
            }
            HostsError::NoBundle(_) => "run it as root; apply the policy again, which writes its bundle to the disk",
            HostsError::Broken { .. } => {
                "delete the lines that begin with `# BEGIN bfp-enforcer hosts:` and `# END bfp-enforcer hosts:` and \
                 the names between them, and run it again"
            }
            HostsError::RemoveFromOutput => "name the file with `--file`",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            HostsError::NothingEnforced => Exit::Finding,
            HostsError::NoBundle(reason) => reason.exit(),
            HostsError::Broken { .. } | HostsError::RemoveFromOutput => Exit::Usage,
        }
    }
}

/// Why the block is not found in a file that has parts of it. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum BrokenBlock {
    #[error("it begins in line {0} and does not end")]
    NoEnd(usize),
    #[error("it ends in line {0} and does not begin before")]
    NoBegin(usize),
    #[error("it begins in line {0}, and again in line {1}")]
    Twice(usize, usize),
}

/// The names of the enforced policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The policy and its revision, on one line.
    policy: String,
    /// By name, IPv4 before IPv6: the order of the lines.
    addresses: BTreeSet<(String, IpAddr)>,
    left_out: BTreeSet<String>,
}

impl Names {
    /// The names of the enforced bundle.
    ///
    /// # Errors
    /// Its debug section cannot be decoded: no other check of a bundle reads it.
    pub fn of(enforced: &EnforcedBundle<'_>) -> Result<Names, Refusal> {
        let manifest = enforced.bundle().manifest();
        Ok(Names::new(&manifest.policy, manifest.revision, enforced.bundle().debug()?.names))
    }

    fn new(policy: &str, revision: u64, names: Vec<DebugName>) -> Names {
        let policy: String = shown(policy).chars().take(SHOWN_POLICY).collect();
        let (good, bad): (Vec<_>, Vec<_>) = names.into_iter().partition(|one| is_host_name(&one.name));
        Names {
            policy: format!("policy {policy} revision {revision}"),
            addresses: good.into_iter().map(|DebugName { address, name }| (name, address)).collect(),
            left_out: bad.into_iter().map(|one| one.name).collect(),
        }
    }

    /// The block: a comment that names the policy, a line for each address of each name, and a comment.
    pub fn block(&self) -> String {
        let mut block = format!("{BEGIN} {}\n", self.policy);
        for (name, address) in &self.addresses {
            let _ = writeln!(block, "{address} {name}");
        }
        let _ = writeln!(block, "{END} {}", self.policy);
        block
    }

    /// What the block is about, in words.
    pub fn words(&self) -> String {
        let names: BTreeSet<&str> = self.addresses.iter().map(|(name, _)| name.as_str()).collect();
        format!("the names of {} ({})", self.policy, names.len())
    }

    /// The names that cannot be lines of a hosts file, such as a wildcard.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    /// The lines of a file, outside of the block, that give one of these names another address than the policy: the
    /// name, and the address as it is written there.
    ///
    /// # Errors
    /// The block is broken.
    pub fn contradictions(&self, file: &[u8]) -> Result<Vec<(String, String)>, BrokenBlock> {
        let names: BTreeSet<&str> = self.addresses.iter().map(|(name, _)| name.as_str()).collect();
        let mut found = Vec::new();
        for line in without_block(file)?.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line).to_ascii_lowercase();
            let mut words = line.split_ascii_whitespace();
            let Some(written) = words.next() else { continue };
            let address = written.parse::<IpAddr>().map(|address| address.to_canonical()).ok();
            for name in words.filter(|word| names.contains(word)) {
                let is_of_the_policy =
                    address.is_some_and(|address| self.addresses.contains(&(name.to_owned(), address)));
                if !is_of_the_policy {
                    found.push((name.to_owned(), written.to_owned()));
                }
            }
        }
        Ok(found)
    }
}

/// Whether a text is a host name, and so one word of a line. A bundle is signed, yet nothing in it may write a line of
/// its own.
fn is_host_name(name: &str) -> bool {
    let is_part = |part: &str| {
        (1..=LONGEST_PART).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_part)
}

/// A file with this block in place of an earlier one.
///
/// # Errors
/// The earlier block is broken.
pub fn with_block(file: &[u8], block: &str) -> Result<Vec<u8>, BrokenBlock> {
    let place = find(file)?.unwrap_or(0..0);
    let before = file.get(..place.start).unwrap_or_default();
    let after = file.get(place.end..).unwrap_or_default();
    Ok([before, block.as_bytes(), after].concat())
}

/// A file without the block.
///
/// # Errors
/// The block is broken.
pub fn without_block(file: &[u8]) -> Result<Vec<u8>, BrokenBlock> {
    with_block(file, "")
}

/// The bytes of the block, with the line breaks of both its comments. `None` if there is no block.
fn find(file: &[u8]) -> Result<Option<Range<usize>>, BrokenBlock> {
    let mut begun: Option<(usize, usize)> = None;
    let mut whole: Option<(usize, Range<usize>)> = None;
    let mut at = 0;
    for (index, line) in file.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let (start, number) = (at, index + 1);
        at += line.len();
        if line.starts_with(BEGIN.as_bytes()) {
            if let Some(first) = begun.map(|(number, _)| number).or(whole.as_ref().map(|(number, _)| *number)) {
                return Err(BrokenBlock::Twice(first, number));
            }
            begun = Some((number, start));
        } else if line.starts_with(END.as_bytes()) {
            let (first, start) = begun.take().ok_or(BrokenBlock::NoBegin(number))?;
            whole = Some((first, start..at));
        }
    }
    match begun {
        Some((number, _)) => Err(BrokenBlock::NoEnd(number)),
        None => Ok(whole.map(|(_, place)| place)),
    }
}
