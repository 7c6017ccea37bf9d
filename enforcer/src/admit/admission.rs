//! Admission: whether a verified bundle may follow what this host has enforced. A [`VerifiedBundle`] → an
//! [`AdmittedBundle`].
//!
//! A signature proves who made a bundle, but not that it is the newest: old bundles are signed too. A host therefore
//! records the highest revision of each policy, on disk and, while a policy is enforced, in the kernel.

use bfp_bundle::verify::VerifiedBundle;
use serde::{Deserialize, Serialize};

use crate::failure::{Actionable, Exit};

/// The highest revision of a policy that this host has enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighestRevision {
    /// The name of the policy.
    pub policy: String,
    /// The highest revision.
    pub revision: u64,
    /// SHA-256 of the manifest of that revision. `None` if the signers set the revision by a token.
    pub manifest_digest: Option<[u8; 32]>,
}

/// The highest revisions that a host has enforced: its rollback state, as admission needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// The highest revision of each policy.
    pub seen: Vec<HighestRevision>,
    /// The name of the policy that is enforced, or that was enforced when the host went down.
    pub current: Option<String>,
}

impl Revisions {
    /// The highest revision of a policy, if the host has enforced any.
    pub fn of(&self, policy: &str) -> Option<&HighestRevision> {
        self.seen.iter().find(|seen| seen.policy == policy)
    }

    /// Records a revision, unless a higher one is recorded.
    pub fn see(&mut self, new: HighestRevision) {
        match self.seen.iter_mut().find(|seen| seen.policy == new.policy) {
            Some(seen) if seen.revision > new.revision => {}
            Some(seen) => *seen = new,
            None => self.seen.push(new),
        }
    }
}

/// What the operator requires of the bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expectation {
    /// The lowest acceptable revision.
    pub revision: Option<u64>,
    /// How to treat an enforced policy of another name.
    pub on_other_policy: OnOtherPolicy,
}

/// How to treat an enforced policy of another name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOtherPolicy {
    /// Keep it, and reject the bundle.
    #[default]
    Keep,
    /// Replace it.
    Replace,
}

/// Why admission rejects a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum AdmissionError {
    #[error("revision {offered} of `{policy}` is lower than revision {highest}, which this host has enforced")]
    Lower { policy: String, offered: u64, highest: u64 },
    #[error("this host has enforced revision {revision} of `{policy}` with other content")]
    Different { policy: String, revision: u64 },
    #[error("this is revision {offered} of `{policy}`, but at least revision {expected} is expected")]
    Unexpected { policy: String, offered: u64, expected: u64 },
    #[error("this is the policy `{offered}`, but this host enforces `{current}`")]
    OtherPolicy { offered: String, current: String },
}

impl Actionable for AdmissionError {
    fn help(&self) -> &'static str {
        match self {
            AdmissionError::Unexpected { .. } => "fetch the newer bundle, and find out why this one was shipped",
            AdmissionError::OtherPolicy { .. } => {
                "use the bundle that was built for this host, or apply this one with `--replace`"
            }
            _ => {
                "build and sign it under a higher revision, even to return to earlier content; if a revision was too \
                 high, `bfp-enforcer recover` lowers it with a token of the signers"
            }
        }
    }

    fn exit(&self) -> Exit {
        Exit::Rejected
    }
}

/// A verified bundle that may follow what the host has enforced. Only this type can be applied.
#[derive(Debug)]
pub struct AdmittedBundle<'a, 'b> {
    // INVARIANT: only `admit` makes this value.
    bundle: &'b VerifiedBundle<'a>,
    is_first_contact: bool,
}

impl<'a, 'b> AdmittedBundle<'a, 'b> {
    /// The verified bundle.
    pub fn bundle(&self) -> &'b VerifiedBundle<'a> {
        self.bundle
    }
    /// Whether the host has never enforced the policy. Then nothing distinguishes an old bundle from the newest.
    pub fn is_first_contact(&self) -> bool {
        self.is_first_contact
    }
    /// What the host records once the bundle is enforced.
    pub fn seen(&self) -> HighestRevision {
        HighestRevision {
            policy: self.bundle.manifest().policy.clone(),
            revision: self.bundle.manifest().revision,
            manifest_digest: Some(self.bundle.manifest_digest()),
        }
    }
}

/// Admits a verified bundle if it may follow what this host has enforced.
///
/// # Preconditions
/// `revisions` has those of the disk and of the kernel ([`crate::apply::rollback_state::RollbackState::revisions`]). A
/// revision that is missing there is not protected against rollback.
///
/// # Errors
/// - [`AdmissionError::OtherPolicy`]: the host enforces a policy of another name, and `expectation` does not replace
///   it.
/// - [`AdmissionError::Unexpected`]: the revision is lower than `expectation` requires.
/// - [`AdmissionError::Lower`]: the host has enforced a higher revision of the policy.
/// - [`AdmissionError::Different`]: the host has enforced this revision with another manifest.
pub fn admit<'a, 'b>(
    bundle: &'b VerifiedBundle<'a>,
    revisions: &Revisions,
    expectation: Expectation,
) -> Result<AdmittedBundle<'a, 'b>, AdmissionError> {
    let manifest = bundle.manifest();
    let is_first_contact =
        judge(&manifest.policy, manifest.revision, bundle.manifest_digest(), revisions, expectation)?;
    Ok(AdmittedBundle { bundle, is_first_contact })
}

/// Whether this is the first contact with the policy, if the bundle may follow.
fn judge(
    policy: &str,
    offered: u64,
    digest: [u8; 32],
    revisions: &Revisions,
    expectation: Expectation,
) -> Result<bool, AdmissionError> {
    let policy = policy.to_owned();
    if let Some(expected) = expectation.revision.filter(|expected| offered < *expected) {
        return Err(AdmissionError::Unexpected { policy, offered, expected });
    }
    if let Some(current) = revisions.current.as_ref().filter(|current| **current != policy)
        && expectation.on_other_policy == OnOtherPolicy::Keep
    {
        return Err(AdmissionError::OtherPolicy { offered: policy, current: current.clone() });
    }
    let Some(seen) = revisions.of(&policy) else { return Ok(true) };
    if offered < seen.revision {
        return Err(AdmissionError::Lower { policy, offered, highest: seen.revision });
    }
    if offered == seen.revision && seen.manifest_digest.is_some_and(|known| known != digest) {
        return Err(AdmissionError::Different { policy, revision: offered });
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions() -> Revisions {
        let web = HighestRevision { policy: "web".to_owned(), revision: 3, manifest_digest: Some([1; 32]) };
        Revisions { seen: vec![web], current: Some("web".to_owned()) }
    }

    fn judged(policy: &str, revision: u64, digest: u8, expectation: Expectation) -> Result<bool, String> {
        judge(policy, revision, [digest; 32], &revisions(), expectation).map_err(|error| error.to_string())
    }

    #[test]
    fn a_lower_revision_is_refused() {
        assert_eq!(
            judged("web", 2, 1, Expectation::default()),
            Err("revision 2 of `web` is lower than revision 3, which this host has enforced".to_owned())
        );
    }

    #[test]
    fn one_revision_with_two_contents_is_refused() {
        assert_eq!(
            judged("web", 3, 2, Expectation::default()),
            Err("this host has enforced revision 3 of `web` with other content".to_owned())
        );
    }

    #[test]
    fn the_same_release_and_a_higher_one_may_follow() {
        for (revision, digest) in [(3, 1), (4, 2), (u64::MAX, 2)] {
            assert_eq!(judged("web", revision, digest, Expectation::default()), Ok(false));
        }
    }

    #[test]
    fn another_policy_follows_where_the_operator_says_so() {
        assert!(judged("mail", 1, 1, Expectation::default()).is_err());
        let replacing = Expectation { on_other_policy: OnOtherPolicy::Replace, ..Expectation::default() };
        assert_eq!(judged("mail", 1, 1, replacing), Ok(true));
        assert_eq!(judge("mail", 1, [1; 32], &Revisions::default(), Expectation::default()), Ok(true));
    }

    #[test]
    fn a_lower_revision_than_is_expected_is_refused_on_first_contact_too() {
        let expecting = |revision| Expectation { revision: Some(revision), ..Expectation::default() };
        assert!(judge("web", 7, [1; 32], &Revisions::default(), expecting(8)).is_err());
        assert!(judge("web", 8, [1; 32], &Revisions::default(), expecting(8)).is_ok());
        assert!(judged("web", 2, 1, expecting(1)).is_err());
    }

    #[test]
    fn revisions_never_go_back() {
        let mut revisions = revisions();
        revisions.see(HighestRevision { policy: "web".to_owned(), revision: 2, manifest_digest: Some([9; 32]) });
        assert_eq!(revisions.of("web").map(|seen| seen.revision), Some(3));
        revisions.see(HighestRevision { policy: "web".to_owned(), revision: 5, manifest_digest: Some([9; 32]) });
        assert_eq!(revisions.of("web").map(|seen| seen.revision), Some(5));
    }
}
