//! Names that the lock leads to addresses which no host of a network has.

use super::concern::Concern;
use crate::policy::{ResolvedPolicy, SpecialAnswer};

pub(super) fn concerns(policy: &ResolvedPolicy) -> impl Iterator<Item = Concern> {
    policy.special.iter().map(|SpecialAnswer { name, address, kind, span }| Concern::SpecialAddress {
        name: name.to_string(),
        address: address.to_string(),
        kind,
        span: *span,
    })
}
