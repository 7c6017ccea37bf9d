//! The full rollback state of a host: its record on disk, and what the kernel reports of the policy that it enforces.
//!
//! Both are needed. The disk survives a restart; the kernel's copy survives a disk that was wiped or restored from an
//! older image. The higher of the two counts.

use std::path::Path;

use bfp_bundle::verify::Trust;

use crate::admit::admission::Revisions;
use crate::admit::state::Record;
use crate::admit::trust::{self, TRUST, TrustError};
use crate::failure::Failure;
use crate::kernel::about::{About, AboutError};
use crate::kernel::lockdown;
use crate::kernel::pins::Pins;

/// The rollback state of disk and kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RollbackState {
    /// The record on disk.
    pub record: Record,
    /// The record in the kernel, if a policy is enforced.
    pub enforced: Option<About>,
    /// Whether the enforced policy is under lockdown.
    pub is_under_lockdown: bool,
    /// Whether a policy is enforced, without lockdown, whose record this release cannot read. It can be replaced.
    pub is_unreadable: bool,
}

/// Combines a record from disk with the kernel's.
///
/// # Errors
/// The pins or the kernel's record cannot be read.
pub fn recall(record: Record) -> Result<RollbackState, Failure> {
    let nothing = RollbackState { record, ..RollbackState::default() };
    let Some(pins) = Pins::find()? else { return Ok(nothing) };
    let is_under_lockdown = !lockdown::generations(&pins)?.is_empty();
    let Some(folder) = pins.newest()? else { return Ok(nothing) };
    match About::read(&folder.join("about")) {
        Ok(about) => Ok(RollbackState { enforced: Some(about), is_under_lockdown, ..nothing }),
        // Without lockdown it can be replaced by anyone privileged, so the disk's record must do.
        Err(AboutError::Newer(_)) if !is_under_lockdown => Ok(RollbackState { is_unreadable: true, ..nothing }),
        Err(error) => Err(error.into()),
    }
}

/// The current time, as the host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The latest time that the host has known: the clock's, unless the clock was set back.
    pub now: u64,
    /// The clock's time, if it is earlier than that.
    pub set_back_to: Option<u64>,
}

impl RollbackState {
    /// Whether the kernel knows a revision that the disk has lost.
    pub fn disk_has_forgotten(&self) -> bool {
        let Some(enforced) = self.enforced.as_ref().filter(|enforced| !self.is_taken_back(enforced)) else {
            return false;
        };
        let record = Revisions { seen: self.record.seen.clone(), current: None };
        record.of(&enforced.policy).is_none_or(|seen| seen.revision < enforced.revision)
            || self.record.trust_sets.last().map_or(0, |(version, _)| *version) < enforced.trust.version
    }

    /// The highest revisions, for admission.
    pub fn revisions(&self) -> Revisions {
        let mut revisions = Revisions {
            seen: self.record.seen.clone(),
            current: self.record.current.as_ref().map(|current| current.policy.clone()),
        };
        if let Some(enforced) = &self.enforced {
            if !self.is_taken_back(enforced) {
                revisions.see(enforced.seen());
            }
            revisions.current = Some(enforced.policy.clone());
        }
        revisions
    }

    /// Whether the signers rolled back the enforced revision. Under lockdown the disk cannot claim this: root can write
    /// the disk.
    fn is_taken_back(&self, enforced: &About) -> bool {
        !self.is_under_lockdown
            && self
                .record
                .recovered
                .as_ref()
                .is_some_and(|recovered| recovered.policy == enforced.policy && recovered.from == enforced.revision)
    }

    /// Whom the host trusts: the keys at `named` or the administrator's, and the trust sets that replaced them by
    /// rotation.
    ///
    /// The kernel's record has the trust set from when the policy was applied. It takes precedence if a trust set was
    /// adopted or the policy is under lockdown; the administrator's files are then not read. If the documents of the
    /// sets were lost, the disk has the set under which a policy was last enforced.
    pub fn trust(&self, named: Option<&Path>) -> Result<Trust, TrustError> {
        let adopted = self.record.trust_sets.last().map(|(version, _)| *version);
        let enforced = self.enforced.as_ref().map(|enforced| &enforced.trust);
        let last = self.record.current.as_ref().map(|current| &current.trust);
        let kept = match enforced.filter(|set| set.version > 0 || self.is_under_lockdown) {
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

    /// The current time, from a clock that may have been set back.
    pub fn time(&self, clock: u64) -> Time {
        let enforced = self.enforced.as_ref().map_or(0, |enforced| enforced.applied_at);
        // Under lockdown the disk cannot roll back the time.
        let is_taken_back = !self.is_under_lockdown && self.record.time_taken_back == Some(enforced);
        let enforced = if is_taken_back { 0 } else { enforced };
        let known = self.record.last_time.max(enforced);
        Time { now: clock.max(known), set_back_to: (clock < known).then_some(clock) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::admit::admission::HighestRevision;
    use crate::admit::state::{LastGood, Recovered};
    use crate::kernel::about::tests::about;

    fn record(revision: u64) -> Record {
        let seen = vec![HighestRevision { policy: "web".to_owned(), revision, manifest_digest: Some([1; 32]) }];
        Record { seen, last_time: 100, ..Record::default() }
    }

    fn highest(rollback_state: &RollbackState) -> Option<u64> {
        rollback_state.revisions().of("web").map(|seen| seen.revision)
    }

    #[test]
    fn the_higher_of_disk_and_kernel_is_remembered() {
        for (disk, kernel, expected, forgotten) in [(3, 5, 5, true), (5, 3, 5, false), (4, 4, 4, false)] {
            let rollback_state = RollbackState {
                record: record(disk),
                enforced: Some(about("web", kernel)),
                ..RollbackState::default()
            };
            assert_eq!(highest(&rollback_state), Some(expected));
            assert_eq!(rollback_state.disk_has_forgotten(), forgotten);
        }
        let wiped =
            RollbackState { record: Record::default(), enforced: Some(about("web", 5)), ..RollbackState::default() };
        assert_eq!((highest(&wiped), wiped.disk_has_forgotten()), (Some(5), true));
        assert_eq!(highest(&RollbackState::default()), None);
    }

    #[test]
    fn a_revision_that_was_taken_back_is_not_remembered_by_the_kernel_either() {
        let recovered = Some(Recovered { policy: "web".to_owned(), from: 9 });
        let rollback_state = RollbackState {
            record: Record { recovered, ..record(3) },
            enforced: Some(about("web", 9)),
            ..RollbackState::default()
        };
        assert_eq!((highest(&rollback_state), rollback_state.disk_has_forgotten()), (Some(3), false));
    }

    #[test]
    fn the_disk_takes_nothing_back_of_what_is_locked() {
        let recovered = Some(Recovered { policy: "web".to_owned(), from: 9 });
        let rollback_state = RollbackState {
            record: Record { recovered, ..record(3) },
            enforced: Some(about("web", 9)),
            is_under_lockdown: true,
            ..RollbackState::default()
        };
        assert_eq!(highest(&rollback_state), Some(9));
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let rollback_state =
            RollbackState { record: record(3), enforced: Some(about("web", 3)), ..RollbackState::default() };
        assert_eq!(rollback_state.time(150), Time { now: 150, set_back_to: None });
        assert_eq!(rollback_state.time(99), Time { now: 100, set_back_to: Some(99) });
    }

    #[test]
    fn a_time_that_was_taken_back_is_not_reported_by_the_kernel_either() {
        let ahead = About { applied_at: 9000, ..about("web", 3) };
        let of = |time_taken_back, is_under_lockdown| {
            let record = Record { time_taken_back, ..record(3) };
            RollbackState { record, enforced: Some(ahead.clone()), is_under_lockdown, is_unreadable: false }
                .time(150)
                .now
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
        let current = LastGood {
            policy: "web".to_owned(),
            revision: 3,
            manifest_digest: [1; 32],
            accepted_at: 7,
            trust,
            tags: vec![],
        };
        let record = Record { current: Some(current), ..record(3) };
        let rollback_state = RollbackState { record, ..RollbackState::default() };
        assert_eq!(rollback_state.trust(None).unwrap().keys(), [key]);
        assert!(matches!(rollback_state.trust(Some(Path::new("/"))), Err(TrustError::Adopted(2))));
    }

    #[test]
    fn a_locked_policy_keeps_the_trust_that_it_was_applied_under() {
        use bfp_bundle::secret_key::SecretKey;
        let key = |seed: u8| SecretKey::from_seed(&[seed; 32]).public();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.pem"), key(2).to_pem().unwrap()).unwrap();
        let mut locked = about("web", 3);
        locked.trust.keys = vec![key(1).to_bytes()];
        let rollback_state = RollbackState {
            record: record(3),
            enforced: Some(locked),
            is_under_lockdown: true,
            ..RollbackState::default()
        };
        assert!(matches!(rollback_state.trust(Some(folder.path())), Err(TrustError::Adopted(0))));
        assert_eq!(rollback_state.trust(None).unwrap().keys(), [key(1)]);
    }
}
