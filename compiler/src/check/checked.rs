//! What checking proves of a policy, as a type.

use super::concern::Concern;
use crate::policy::ResolvedPolicy;

/// A policy that passed every check: the only kind that can be lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPolicy {
    // INVARIANT: made by `check::check` alone.
    pub(crate) policy: ResolvedPolicy,
    pub(crate) warnings: Vec<Concern>,
}

impl CheckedPolicy {
    /// The policy.
    pub fn policy(&self) -> &ResolvedPolicy {
        &self.policy
    }

    /// What its author should look at once more, in the order of the text.
    pub fn warnings(&self) -> &[Concern] {
        &self.warnings
    }
}
