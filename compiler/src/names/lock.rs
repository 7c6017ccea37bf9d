//! The lock file. Enters: the text of `policy.bfp.lock`, or DNS answers. Leaves: the answers that a policy is compiled
//! with, or the text to commit.
//!
//! Always: equal locks have equal bytes. A written lock reads back as the same lock. A lock with anything that this
//! version does not understand is rejected as a whole. This module queries no resolver and reads no clock.

mod error;
mod refresh;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use miette::SourceSpan;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::names::dns_name::DnsName;

pub use error::{LockError, LockFault};
pub use refresh::{Changes, Refreshed, Review, refresh};

/// The version of the lock file that this compiler writes, and the only one that it reads.
pub const LOCK_VERSION: u32 = 2;

/// The DNS answers that a policy is compiled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// What each name resolved to.
    pub names: BTreeMap<DnsName, LockedName>,
    /// The SHA-256 of each file that a `ranges(…)` names, by its path from the policy's directory.
    pub files: BTreeMap<String, [u8; 32]>,
    /// From where those of them came that `bfpc fetch` has written.
    pub fetched: BTreeMap<String, Fetched>,
}

/// Where the content of a list came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The URL, as the policy writes it.
    pub url: String,
    /// The size in bytes.
    pub bytes: u64,
    /// When this content was first fetched from there.
    pub at: ResolvedAt,
}

/// The answer for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedName {
    /// Every address in an answer of any resolver in any round, IPv4 before IPv6. Never empty in a lock that was read
    /// or resolved, and without mapped addresses (`::ffff:a.b.c.d`), which are IPv4 addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The aliases that were followed, in order; the last one has the addresses.
    pub cname: Vec<DnsName>,
    /// The shortest TTL of the records that were used, in seconds.
    pub ttl_seconds: u32,
    /// Whether every answer was the same.
    pub stability: Stability,
    /// Whether every answer was signed and proven.
    pub dnssec: Dnssec,
    /// Why only IPv4 addresses were requested, where that is so.
    pub ipv4_only: Option<String>,
    /// The resolvers that were queried, as `IP` or `IP:PORT`, in the order given.
    pub resolvers: Vec<String>,
    /// When the name was resolved.
    pub resolved_at: ResolvedAt,
    /// Of the addresses that were not answered at `resolved_at` for the first and the last time: when they were. No
    /// other address is a key, and no time is after `resolved_at`.
    pub seen: BTreeMap<IpAddr, Seen>,
}

/// When an address was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For the first time, as far as the lock file goes back.
    pub first: ResolvedAt,
    /// For the last time.
    pub last: ResolvedAt,
}

impl Seen {
    /// An address that was answered once.
    pub fn once(at: ResolvedAt) -> Seen {
        Seen { first: at, last: at }
    }
}

impl LockedName {
    /// When an address was first and last seen. An entry that does not record it had the address at `resolved_at`.
    pub fn seen(&self, address: IpAddr) -> Seen {
        self.seen.get(&address).copied().unwrap_or(Seen::once(self.resolved_at))
    }

    /// The same answer, where `before` is the earlier entry of the name: an address that stays keeps its first time.
    #[must_use]
    pub fn after(mut self, before: &LockedName) -> LockedName {
        let last = self.resolved_at;
        let stay: Vec<IpAddr> = self.addresses.intersection(&before.addresses).copied().collect();
        for address in stay {
            // A clock that went back must not make the first time the later one.
            let first = before.seen(address).first.min(last);
            self.note_seen(address, Seen { first, last });
        }
        self
    }

    /// Records when an address was seen, unless that is what an entry says without a record.
    fn note_seen(&mut self, address: IpAddr, seen: Seen) {
        if seen == Seen::once(self.resolved_at) {
            self.seen.remove(&address);
        } else {
            self.seen.insert(address, seen);
        }
    }
}

/// Whether a name has the same addresses whenever and wherever it is queried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stability {
    /// Every resolver gave the same addresses in every round.
    #[default]
    Stable,
    /// The addresses changed between rounds or between resolvers: there may be more than were seen.
    Rotating,
}

/// Whether DNSSEC proves the addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dnssec {
    /// Every record of every answer is signed, by a chain that starts at a trust anchor.
    Secure,
    /// Nothing was proven: the zone is not signed, or the resolver hides its signatures. No key is written to the lock.
    #[default]
    Unproven,
}

/// A time in UTC, to the second, from the year 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// INVARIANT: the text has exactly one form, `2026-07-14T09:30:00Z`.
pub struct ResolvedAt(OffsetDateTime);

impl ResolvedAt {
    /// Drops the fraction of a second and the offset. A clock before 1970 counts as 1970.
    pub fn new(moment: OffsetDateTime) -> Self {
        let seconds = moment.unix_timestamp().max(0);
        Self(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }

    /// Reads the only form that is written: RFC 3339 in UTC, with seconds, ending in `Z`. `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
        let moment = PrimitiveDateTime::parse(text, &format).ok()?.assume_utc();
        let read = Self::new(moment);
        // The parser accepts a signed year too, and years before 1970 were moved.
        (read.to_string() == text).then_some(read)
    }

    /// The time itself, in UTC.
    pub fn moment(self) -> OffsetDateTime {
        self.0
    }
}

impl fmt::Display for ResolvedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second) = self.0.to_hms();
        let month = u8::from(month);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    ///
    /// Every fault that can be found, not only the first.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        text::parse(text)
    }

    /// Whether a text is a lock file, of any version and with any mistakes, such as the conflict markers of a merge.
    /// The beginning of a text is enough. Any other file is not shown, because it may be a secret, and is not
    /// overwritten.
    pub fn may_be(text: &str) -> bool {
        text::may_be_a_lock(text)
    }

    /// The place of each table's name in the text of a lock file; empty where that cannot be read.
    pub fn places(text: &str) -> BTreeMap<DnsName, SourceSpan> {
        text::places(text)
    }

    /// Writes the lock file: sorted by name, one fact on each line, ready for review.
    pub fn to_text(&self) -> String {
        text::write(self)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use time::macros::datetime;

    use super::*;

    #[test]
    fn moment_is_utc_without_a_fraction() {
        let moment = datetime!(2026-07-14 11:30:00.987 +2);
        assert_eq!(ResolvedAt::new(moment).to_string(), "2026-07-14T09:30:00Z");
    }

    #[test]
    fn clock_before_1970_counts_as_1970() {
        let moment = datetime!(-0044-03-15 12:00 UTC);
        assert_eq!(ResolvedAt::new(moment).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn only_the_written_form_of_a_moment_is_read() {
        let read = ResolvedAt::parse("2026-07-14T09:30:00Z").unwrap();
        assert_eq!(read.moment(), datetime!(2026-07-14 09:30 UTC));
        for text in [
            "2026-07-14T09:30:00+00:00",
            "2026-07-14T11:30:00+02:00",
            "2026-07-14t09:30:00z",
            "2026-07-14 09:30:00Z",
            "2026-07-14T09:30:00.5Z",
            "+2026-07-14T09:30:00Z",
            "2026-02-30T09:30:00Z",
            "1969-12-31T23:59:59Z",
            "2026-07-14T09:30:60Z",
            "2026-07-14T09:30:00Z ",
            "2026-07-14",
            "",
        ] {
            assert_eq!(ResolvedAt::parse(text), None, "{text}");
        }
    }
}
