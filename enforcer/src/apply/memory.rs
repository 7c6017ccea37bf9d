//! All that a host remembers: its record on disk, and what the kernel tells of what it enforces.
//!
//! Neither can be left out. The disk outlives a restart; the kernel outlives a disk that was wiped or put back
//! to an earlier day. What is remembered is the higher of both.

use std::path::Path;

use bfp_bundle::verify::Trust;

use crate::admit::admission::Memory;
use crate::admit::state::Record;
use crate::admit::trust::{self, TRUST, TrustError};
use crate::kernel::about::{About, AboutError};
use crate::kernel::lockdown;
use crate::kernel::pins::{Pins, PinsError};

/// The disk's record and the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// On disk.
    pub record: Record,
    /// In the kernel, where something is enforced.
    pub enforced: Option<About>,
    /// Whether what is enforced is locked.
    pub is_locked: bool,
    /// Whether something is enforced, unlocked, whose record this release cannot read: it can be replaced.
    pub is_unreadable: bool,
}

/// Why the kernel does not tell.
#[derive(Debug, thiserror::Error)]
pub enum EnforcedError {
    /// The pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The record.
    #[error(transparent)]
    About(#[from] AboutError),
}

impl EnforcedError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            EnforcedError::Pins(error) => error.help(),
            EnforcedError::About(error) => error.help(),
        }
    }
}

/// Adds to a record what the kernel remembers.
pub fn recall(record: Record) -> Result<Remembered, EnforcedError> {
    let nothing = Remembered { record, ..Remembered::default() };
    let Some(pins) = Pins::find()? else { return Ok(nothing) };
    let is_locked = !lockdown::locked(&pins)?.is_empty();
    let Some(folder) = pins.newest()? else { return Ok(nothing) };
    match About::read(&folder.join("about")) {
        Ok(about) => Ok(Remembered { enforced: Some(about), is_locked, ..nothing }),
        // Nobody is kept from replacing it: what the disk remembers has to do.
        Err(AboutError::Newer(_)) if !is_locked => Ok(Remembered { is_unreadable: true, ..nothing }),
        Err(error) => Err(error.into()),
    }
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The latest time that the host has known: its clock's, unless that was set back.
    pub now: u64,
    /// What the clock says, where that is less.
    pub set_back_to: Option<u64>,
}

impl Remembered {
    /// Whether the kernel knows what the disk has forgotten.
    pub fn disk_has_forgotten(&self) -> bool {
        let Some(enforced) = self.enforced.as_ref().filter(|enforced| !self.is_taken_back(enforced)) else {
            return false;
        };
        let record = Memory { seen: self.record.seen.clone(), current: None };
        record.of(&enforced.policy).is_none_or(|seen| seen.revision < enforced.revision)
            || self.record.trust_sets.last().map_or(0, |(version, _)| *version) < enforced.trust.version
    }

    /// What it remembers of policies.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory {
            seen: self.record.seen.clone(),
            current: self.record.current.as_ref().map(|current| current.policy.clone()),
        };
        if let Some(enforced) = &self.enforced {
            if !self.is_taken_back(enforced) {
                memory.see(enforced.seen());
            }
            memory.current = Some(enforced.policy.clone());
        }
        memory
    }

    /// Whether the signers have taken back the revision that is enforced. Of one that is locked the disk is not
    /// believed to say so: root writes the disk.
    fn is_taken_back(&self, enforced: &About) -> bool {
        !self.is_locked
            && self
                .record
                .recovered
                .as_ref()
                .is_some_and(|recovered| recovered.policy == enforced.policy && recovered.from == enforced.revision)
    }

    /// Whom the host trusts: the keys at `named` or those of its administrator, and the trust sets that
    /// followed.
    ///
    /// What the kernel enforces says whom the host trusted then. That holds where a trust set was adopted, or the
    /// policy is locked: the administrator's files are then not asked. Where the documents of the sets were lost,
    /// the disk says under which of them it enforced last.
    pub fn trust(&self, named: Option<&Path>) -> Result<Trust, TrustError> {
        let adopted = self.record.trust_sets.last().map(|(version, _)| *version);
        let enforced = self.enforced.as_ref().map(|enforced| &enforced.trust);
        let last = self.record.current.as_ref().map(|current| &current.trust);
        let kept = match enforced.filter(|set| set.version > 0 || self.is_locked) {
            Some(set) => Some(set),
            None => last.filter(|set| set.version > adopted.unwrap_or(0)),
        };
        let version = kept.map(|set| set.version).max(adopted);
        if let (Some(version), Some(_)) = (version, named) {
            return Err(TrustError::Adopted(version));
        }
        let first = match kept {
            Some(set) => Trust::of_set(set).map_err(TrustError::BrokenChain)?,
            None => trust::read(named.unwrap_or(Path::new(TRUST)))?,
        };
        trust::follow(first, &self.record.trust_sets)
    }

    /// What time it is, by a clock that may have been set back.
    pub fn time(&self, clock: u64) -> Time {
        let enforced = self.enforced.as_ref().map_or(0, |enforced| enforced.applied_at);
        // Of what is locked the disk takes nothing back.
        let is_taken_back = !self.is_locked && self.record.time_taken_back == Some(enforced);
        let enforced = if is_taken_back { 0 } else { enforced };
        let known = self.record.last_time.max(enforced);
        Time { now: clock.max(known), set_back_to: (clock < known).then_some(clock) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::admit::admission::Seen;
    use crate::admit::state::{Current, Recovered};
    use crate::kernel::about::tests::about;

    fn record(revision: u64) -> Record {
        let seen = vec![Seen { policy: "web".to_owned(), revision, manifest_digest: Some([1; 32]) }];
        Record { seen, last_time: 100, ..Record::default() }
    }

    fn highest(remembered: &Remembered) -> Option<u64> {
        remembered.memory().of("web").map(|seen| seen.revision)
    }

    #[test]
    fn the_higher_of_disk_and_kernel_is_remembered() {
        for (disk, kernel, expected, forgotten) in [(3, 5, 5, true), (5, 3, 5, false), (4, 4, 4, false)] {
            let remembered =
                Remembered { record: record(disk), enforced: Some(about("web", kernel)), ..Remembered::default() };
            assert_eq!(highest(&remembered), Some(expected));
            assert_eq!(remembered.disk_has_forgotten(), forgotten);
        }
        let wiped = Remembered { record: Record::default(), enforced: Some(about("web", 5)), ..Remembered::default() };
        assert_eq!((highest(&wiped), wiped.disk_has_forgotten()), (Some(5), true));
        assert_eq!(highest(&Remembered::default()), None);
    }

    #[test]
    fn a_revision_that_was_taken_back_is_not_remembered_by_the_kernel_either() {
        let recovered = Some(Recovered { policy: "web".to_owned(), from: 9 });
        let remembered = Remembered {
            record: Record { recovered, ..record(3) },
            enforced: Some(about("web", 9)),
            ..Remembered::default()
        };
        assert_eq!((highest(&remembered), remembered.disk_has_forgotten()), (Some(3), false));
    }

    #[test]
    fn the_disk_takes_nothing_back_of_what_is_locked() {
        let recovered = Some(Recovered { policy: "web".to_owned(), from: 9 });
        let remembered = Remembered {
            record: Record { recovered, ..record(3) },
            enforced: Some(about("web", 9)),
            is_locked: true,
            ..Remembered::default()
        };
        assert_eq!(highest(&remembered), Some(9));
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let remembered = Remembered { record: record(3), enforced: Some(about("web", 3)), ..Remembered::default() };
        assert_eq!(remembered.time(150), Time { now: 150, set_back_to: None });
        assert_eq!(remembered.time(99), Time { now: 100, set_back_to: Some(99) });
    }

    #[test]
    fn a_time_that_was_taken_back_is_not_told_by_the_kernel_either() {
        let ahead = About { applied_at: 9000, ..about("web", 3) };
        let of = |time_taken_back, is_locked| {
            let record = Record { time_taken_back, ..record(3) };
            Remembered { record, enforced: Some(ahead.clone()), is_locked, is_unreadable: false }.time(150).now
        };
        assert_eq!(of(None, false), 9000);
        assert_eq!(of(Some(9000), false), 150);
        assert_eq!(of(Some(8000), false), 9000);
        assert_eq!(of(Some(9000), true), 9000);
    }

    #[test]
    fn a_trust_set_whose_documents_are_lost_is_still_in_force() {
        use bfp_bundle::secret_key::SecretKey;
        use bfp_bundle::verify::TrustSet;
        let key = SecretKey::from_seed(&[1; 32]).public();
        let trust = TrustSet { version: 2, threshold: 1, keys: vec![key.to_bytes()], revoked: vec![] };
        let current = Current {
            policy: "web".to_owned(),
            revision: 3,
            manifest_digest: [1; 32],
            accepted_at: 7,
            trust,
            labels: vec![],
        };
        let record = Record { current: Some(current), ..record(3) };
        let remembered = Remembered { record, ..Remembered::default() };
        assert_eq!(remembered.trust(None).unwrap().keys(), [key]);
        assert!(matches!(remembered.trust(Some(Path::new("/"))), Err(TrustError::Adopted(2))));
    }

    #[test]
    fn a_locked_policy_keeps_the_trust_that_it_was_applied_under() {
        use bfp_bundle::secret_key::SecretKey;
        let key = |seed: u8| SecretKey::from_seed(&[seed; 32]).public();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.pem"), key(2).to_pem().unwrap()).unwrap();
        let mut locked = about("web", 3);
        locked.trust.keys = vec![key(1).to_bytes()];
        let remembered =
            Remembered { record: record(3), enforced: Some(locked), is_locked: true, ..Remembered::default() };
        assert!(matches!(remembered.trust(Some(folder.path())), Err(TrustError::Adopted(0))));
        assert_eq!(remembered.trust(None).unwrap().keys(), [key(1)]);
    }
}
