//! What is enforced, in words and as JSON.

use std::fmt::Write;

use aya::maps::{Map, MapData, MapError, PerCpuArray};

use bfp_bundle::verify::TrustSet;
use bfp_bundle::verify::refusal::Utc;

use crate::about::{About, AboutError};
use crate::json::quote;
use crate::lockdown;
use crate::pins::{Pins, PinsError};

/// The reasons in the order of their numbers (`bfp_bundle::decide::Reason`), and what they say. The last
/// three are no reasons: see enforcer-ebpf/src/counters.rs, `AUDITED`, `DROPPED` and `LOST`.
pub(crate) const REASONS: [(&str, &str); 11] = [
    ("default", "allowed: no rule refuses"),
    ("granted", "allowed by a rule"),
    ("denied", "refused by `deny`"),
    ("exclusive", "refused: only other programs may"),
    ("confined", "refused: outside of a program's confinement"),
    ("not_granted", "refused: no rule grants it"),
    ("overflow", "refused: started by too many restricted programs"),
    ("fault", "refused: a table could not be read"),
    ("audited", "allowed, and an `audit` rule would refuse it (counted above too)"),
    ("dropped", "packets to elsewhere than what was judged"),
    ("lost", "events that nobody read in time"),
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The record.
    #[error(transparent)]
    About(#[from] AboutError),
    /// The counters.
    #[error("the verdicts' counters cannot be read: {0}")]
    Counters(#[from] MapError),
}

impl StatusError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            StatusError::Pins(error) => error.help(),
            StatusError::About(error) => error.help(),
            StatusError::Counters(_) => "check that this process runs as root",
        }
    }
}

/// What is enforced now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The policy.
    pub about: About,
    /// Whether others are kept from taking it apart.
    pub is_locked: bool,
    /// Verdicts by reason.
    pub verdicts: [u64; REASONS.len()],
    /// The time of the question, in seconds since 1970-01-01 UTC.
    pub now: u64,
}

/// Asks the kernel; `None` where nothing is enforced.
pub fn read(now: u64) -> Result<Option<Status>, StatusError> {
    let Some(pins) = Pins::find()? else { return Ok(None) };
    let Some(folder) = pins.newest()? else { return Ok(None) };
    let about = About::read(&folder.join("about"))?;
    let map = Map::from_map_data(MapData::from_pin(folder.join("verdicts"))?)?;
    let counters = PerCpuArray::<MapData, u64>::try_from(map)?;
    let mut verdicts = [0; REASONS.len()];
    for (index, sum) in (0..).zip(&mut verdicts) {
        *sum = counters.get(&index, 0)?.iter().sum();
    }
    Ok(Some(Status { about, is_locked: lockdown::is_locked(&folder)?, verdicts, now }))
}

/// As sentences.
pub fn to_text(status: Option<&Status>) -> String {
    let Some(Status { about, is_locked, verdicts, now }) = status else {
        return "nothing is enforced\n".to_owned();
    };
    let mut text = String::new();
    let lockdown = if *is_locked { "yes: nobody takes it apart without a release token" } else { "no" };
    let expiry = match about.expires {
        None => "never".to_owned(),
        Some(expires) if about.has_expired(*now) => format!("{}: it has expired, and stays enforced", Utc(expires)),
        Some(expires) => Utc(expires).to_string(),
    };
    for (name, value) in [
        ("policy", about.policy.clone()),
        ("revision", about.revision.to_string()),
        ("manifest", format!("sha256:{}", hex(&about.manifest_digest))),
        ("applied", Utc(about.applied_at).to_string()),
        ("expires", expiry),
        ("lockdown", lockdown.to_owned()),
        ("trust", trusted(about)),
    ] {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    let _ = writeln!(text, "verdicts");
    for ((name, meaning), count) in REASONS.iter().zip(verdicts) {
        let _ = writeln!(text, "  {name:<13}{count:>12}  {meaning}");
    }
    text
}

/// Whom the host trusted when the policy was applied.
fn trusted(about: &About) -> String {
    let TrustSet { version, threshold, keys, .. } = &about.trust;
    let origin = if *version == 0 { "the administrator's keys".to_owned() } else { format!("trust set {version}") };
    format!("{threshold} of {} signatures by {origin}", keys.len())
}

/// As one line of JSON. `version` rises when a field changes its meaning or goes.
pub fn to_json(status: Option<&Status>) -> String {
    let Some(Status { about, is_locked, verdicts, now }) = status else {
        return "{\"version\":1,\"enforced\":false,\"message\":\"nothing is enforced\"}\n".to_owned();
    };
    let mut text = String::from("{\"version\":1,\"enforced\":true,\"policy\":");
    quote(&mut text, &about.policy);
    let expires = about.expires.map_or("null".to_owned(), |time| time.to_string());
    let _ = write!(
        text,
        ",\"revision\":{},\"manifest_sha256\":\"{}\",\"applied_at\":{},\"expires\":{expires},\"expired\":{},\"lockdown\":{is_locked},\"trust\":{{\"version\":{},\"threshold\":{},\"keys\":{}}},\"verdicts\":{{",
        about.revision,
        hex(&about.manifest_digest),
        about.applied_at,
        about.has_expired(*now),
        about.trust.version,
        about.trust.threshold,
        about.trust.keys.len()
    );
    for (index, ((name, _), count)) in REASONS.iter().zip(verdicts).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":{count}");
    }
    text.push_str("}}\n");
    text
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::about::tests::about;

    fn status(expires: Option<u64>) -> Status {
        let about = About { manifest_digest: [0xab; 32], applied_at: 0, expires, ..about("we\"b", 3) };
        Status { about, is_locked: expires.is_some(), verdicts: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], now: 1000 }
    }

    #[test]
    fn an_expired_policy_says_so() {
        assert!(to_text(Some(&status(Some(1000)))).contains("it has expired, and stays enforced"));
        assert!(!to_text(Some(&status(Some(1001)))).contains("expired,"));
        assert!(to_json(Some(&status(Some(1000)))).contains("\"expired\":true"));
        assert!(to_json(Some(&status(None))).contains("\"expires\":null,\"expired\":false"));
    }

    #[test]
    fn a_locked_policy_says_so() {
        assert!(to_text(Some(&status(Some(1)))).contains("lockdown  yes: "));
        assert!(to_text(Some(&status(None))).contains("lockdown  no\n"));
        assert!(to_json(Some(&status(Some(1)))).contains("\"lockdown\":true,"));
        assert!(to_json(Some(&status(None))).contains("\"lockdown\":false,"));
    }

    #[test]
    fn nothing_enforced_is_said_in_both_formats() {
        assert!(to_text(None).contains("nothing is enforced"));
        assert!(to_json(None).contains("nothing is enforced"));
    }

    #[test]
    fn json_quotes_names_and_counts_every_reason() {
        let json = to_json(Some(&status(None)));
        assert!(json.starts_with("{\"version\":1,\"enforced\":true,\"policy\":\"we\\\"b\",\"revision\":3,"));
        assert!(json.ends_with("\"fault\":8,\"audited\":9,\"dropped\":10,\"lost\":11}}\n"));
    }
}
