//! Whether a verified bundle may follow what this host has seen: a [`VerifiedBundle`] → an [`AdmittedBundle`].
//!
//! A signature says who made a bundle, and not that it is the newest: an old one is signed as well. So a host
//! remembers the highest revision of each policy, on disk and, while one is enforced, in the kernel.

use bfp_bundle::verify::VerifiedBundle;
use serde::{Deserialize, Serialize};

/// The highest revision of a policy that this host has enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The policy.
    pub policy: String,
    /// Its highest revision.
    pub revision: u64,
    /// SHA-256 of the manifest of that revision; `None` where the signers set the revision by a token.
    pub manifest_digest: Option<[u8; 32]>,
}

/// What a host remembers of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The highest revisions, one of each policy.
    pub seen: Vec<Seen>,
    /// The name of the policy that is enforced, or was when the host went down.
    pub current: Option<String>,
}

impl Memory {
    /// What it remembers of a policy.
    pub fn of(&self, policy: &str) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.policy == policy)
    }

    /// Remembers a revision, where it is no lower than what is remembered.
    pub fn see(&mut self, new: Seen) {
        match self.seen.iter_mut().find(|seen| seen.policy == new.policy) {
            Some(seen) if seen.revision > new.revision => {}
            Some(seen) => *seen = new,
            None => self.seen.push(new),
        }
    }
}

/// What the operator says of the bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expectation {
    /// A revision that it has at least.
    pub revision: Option<u64>,
    /// What becomes of a policy of another name.
    pub other: OtherPolicy,
}

/// What becomes of a policy of another name that is enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherPolicy {
    /// It stays.
    #[default]
    Stays,
    /// It is replaced.
    Replaced,
}

/// Why a bundle may not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// A step back.
    #[error("revision {offered} of `{policy}` is lower than revision {highest}, which this host has enforced")]
    Lower {
        /// The policy.
        policy: String,
        /// The bundle's.
        offered: u64,
        /// What the host has seen.
        highest: u64,
    },
    /// The same number for something else.
    #[error("this host has enforced revision {revision} of `{policy}` with other content")]
    Different {
        /// The policy.
        policy: String,
        /// The number of both.
        revision: u64,
    },
    /// Not the revision that it should be.
    #[error("this is revision {offered} of `{policy}`, and at least revision {expected} is expected")]
    Unexpected {
        /// The policy.
        policy: String,
        /// The bundle's.
        offered: u64,
        /// The operator's.
        expected: u64,
    },
    /// Another policy.
    #[error("this is the policy `{offered}`, and this host enforces `{current}`")]
    OtherPolicy {
        /// The bundle's.
        offered: String,
        /// The host's.
        current: String,
    },
}

impl AdmissionError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            AdmissionError::Unexpected { .. } => "fetch the newer bundle, and look into why this one was shipped",
            AdmissionError::OtherPolicy { .. } => {
                "ship the bundle that was built for this host, or apply it with `--replace` where this is meant"
            }
            _ => {
                "build and sign it under a higher revision, also to go back to earlier content; where the revisions \
                 themselves went wrong, `bfp-enforcer recover` takes a token of the signers"
            }
        }
    }
}

/// Whether the host has seen the policy before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Never: nothing tells an old bundle from the newest.
    First,
    /// It has.
    Known,
}

/// A verified bundle that may follow what the host has seen: the only kind that is applied.
#[derive(Debug)]
pub struct AdmittedBundle<'a, 'b> {
    // INVARIANT: made by `admit` alone.
    bundle: &'b VerifiedBundle<'a>,
    contact: Contact,
}

impl<'a, 'b> AdmittedBundle<'a, 'b> {
    /// The bundle.
    pub fn bundle(&self) -> &'b VerifiedBundle<'a> {
        self.bundle
    }
    /// Whether the host has seen the policy before.
    pub fn contact(&self) -> Contact {
        self.contact
    }
    /// What the host remembers of it once it is enforced.
    pub fn seen(&self) -> Seen {
        Seen {
            policy: self.bundle.manifest().policy.clone(),
            revision: self.bundle.manifest().revision,
            manifest_digest: Some(self.bundle.manifest_digest()),
        }
    }
}

/// Admits a bundle, or says why not.
pub fn admit<'a, 'b>(
    bundle: &'b VerifiedBundle<'a>,
    memory: &Memory,
    expectation: Expectation,
) -> Result<AdmittedBundle<'a, 'b>, AdmissionError> {
    let manifest = bundle.manifest();
    let contact = judge(&manifest.policy, manifest.revision, bundle.manifest_digest(), memory, expectation)?;
    Ok(AdmittedBundle { bundle, contact })
}

fn judge(
    policy: &str,
    offered: u64,
    digest: [u8; 32],
    memory: &Memory,
    expectation: Expectation,
) -> Result<Contact, AdmissionError> {
    let policy = policy.to_owned();
    if let Some(expected) = expectation.revision.filter(|expected| offered < *expected) {
        return Err(AdmissionError::Unexpected { policy, offered, expected });
    }
    if let Some(current) = memory.current.as_ref().filter(|current| **current != policy)
        && expectation.other == OtherPolicy::Stays
    {
        return Err(AdmissionError::OtherPolicy { offered: policy, current: current.clone() });
    }
    let Some(seen) = memory.of(&policy) else { return Ok(Contact::First) };
    if offered < seen.revision {
        return Err(AdmissionError::Lower { policy, offered, highest: seen.revision });
    }
    if offered == seen.revision && seen.manifest_digest.is_some_and(|known| known != digest) {
        return Err(AdmissionError::Different { policy, revision: offered });
    }
    Ok(Contact::Known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let web = Seen { policy: "web".to_owned(), revision: 3, manifest_digest: Some([1; 32]) };
        Memory { seen: vec![web], current: Some("web".to_owned()) }
    }

    fn judged(policy: &str, revision: u64, digest: u8, expectation: Expectation) -> Result<Contact, String> {
        judge(policy, revision, [digest; 32], &memory(), expectation).map_err(|error| error.to_string())
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
            assert_eq!(judged("web", revision, digest, Expectation::default()), Ok(Contact::Known));
        }
    }

    #[test]
    fn another_policy_follows_where_the_operator_says_so() {
        assert!(judged("mail", 1, 1, Expectation::default()).is_err());
        let replacing = Expectation { other: OtherPolicy::Replaced, ..Expectation::default() };
        assert_eq!(judged("mail", 1, 1, replacing), Ok(Contact::First));
        assert_eq!(judge("mail", 1, [1; 32], &Memory::default(), Expectation::default()), Ok(Contact::First));
    }

    #[test]
    fn a_lower_revision_than_is_expected_is_refused_on_first_contact_too() {
        let expecting = |revision| Expectation { revision: Some(revision), ..Expectation::default() };
        assert!(judge("web", 7, [1; 32], &Memory::default(), expecting(8)).is_err());
        assert!(judge("web", 8, [1; 32], &Memory::default(), expecting(8)).is_ok());
        assert!(judged("web", 2, 1, expecting(1)).is_err());
    }

    #[test]
    fn memory_never_goes_back() {
        let mut memory = memory();
        memory.see(Seen { policy: "web".to_owned(), revision: 2, manifest_digest: Some([9; 32]) });
        assert_eq!(memory.of("web").map(|seen| seen.revision), Some(3));
        memory.see(Seen { policy: "web".to_owned(), revision: 5, manifest_digest: Some([9; 32]) });
        assert_eq!(memory.of("web").map(|seen| seen.revision), Some(5));
    }
}
