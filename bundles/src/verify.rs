//! Verification: received bytes → a [`VerifiedBundle`], a [`Trust`] or a [`VerifiedToken`], or a [`Refusal`].
//!
//! Everything that a host trusts passes through here. This module depends only on the cryptography, postcard and serde.
//! Each step reads bytes that the steps before have bounded, and no part of a body is read before its signatures are
//! verified. Memory follows the bytes that are there, never an announced length: for a bundle, at most twice its bytes.

pub mod bundle;

pub mod trust;

mod trust_set;

pub mod token;

pub mod refusal;

pub(crate) mod frame;

pub(crate) mod structure;

pub use bundle::{VerifiedBundle, verify};
pub use frame::{MAX_BODY_BYTES, MAX_BUNDLE_BYTES, MAX_DOCUMENT_BYTES, MAX_SIGNATURES};
pub use refusal::Refusal;
pub use token::{Act, Token, VerifiedToken, verify_token};
pub use trust::{Trust, TrustSet};
pub use trust_set::verify_trust_set;

use alloc::string::String;
use alloc::vec::Vec;

use crate::manifest::Need;

/// The host that a document is checked against.
#[derive(Clone, Debug)]
pub struct Host {
    /// The time, in seconds since 1970-01-01 UTC.
    pub now: u64,
    /// The tags of this host.
    pub tags: Vec<String>,
    /// What its enforcer supports. A policy that needs more is rejected, never weakened.
    pub capabilities: Vec<Need>,
}

impl Host {
    /// Checks that a document is for this host. An empty audience means every host.
    fn check_audience(&self, audience: &[String]) -> Result<(), Refusal> {
        if audience.is_empty() || audience.iter().any(|tag| self.tags.contains(tag)) {
            Ok(())
        } else {
            Err(Refusal::WrongAudience(audience.to_vec()))
        }
    }

    fn check_time(&self, not_before: Option<u64>, expires: Option<u64>) -> Result<(), Refusal> {
        let now = self.now;
        match (not_before, expires) {
            (Some(not_before), _) if now < not_before => Err(Refusal::NotYetValid { not_before, now }),
            (_, Some(expires)) if now >= expires => Err(Refusal::Expired { expires, now }),
            _ => Ok(()),
        }
    }
}
