//! Rotation: received bytes → the [`Trust`] that replaces the one in force.
//!
//! Version N + 1 follows version N if a threshold of both sets signed it. Versions cannot be skipped: a thief who holds
//! a threshold of old keys cannot jump to a version that nothing can follow.

use crate::envelope::Document;

use super::frame::Frame;
use super::refusal::{Refusal, WhoseThreshold};
use super::trust::{Trust, TrustSet};

/// Verifies the bytes of a trust set that is to replace the one in force.
///
/// # Preconditions
/// `in_force` is the host's trust set now. A chain of sets is verified one set at a time, in the order of versions.
///
/// # Errors
/// The first check that fails, in this order: the frame (magic bytes, version, sizes); the threshold of the set in
/// force; the encoding and validity of the new set; the signatures and the thresholds of both sets;
/// [`Refusal::TrustVersion`], unless the new version is the next one; [`Refusal::ForgottenRevocation`], if a revoked
/// key is no longer listed.
pub fn verify_trust_set(bytes: &[u8], in_force: &Trust) -> Result<Trust, Refusal> {
    let frame = Frame::read(Document::TrustSet, bytes)?;
    // The threshold of the new set is known only after reading it, which waits until the set in force vouches for it.
    frame.check_threshold(Document::TrustSet, WhoseThreshold::InForce, in_force)?;
    let set = match postcard::take_from_bytes::<TrustSet>(frame.body) {
        Ok((set, [])) => set,
        _ => return Err(Refusal::BadBody),
    };
    let new = Trust::of_owned_set(set)?;
    let voters = [(WhoseThreshold::InForce, in_force), (WhoseThreshold::New, &new)];
    frame.check_signatures(Document::TrustSet, &voters)?;
    if in_force.version().checked_add(1) != Some(new.version()) {
        return Err(Refusal::TrustVersion { offered: new.version(), in_force: in_force.version() });
    }
    if let Some(forgotten) = in_force.revoked().iter().find(|id| !new.revoked().contains(id)) {
        return Err(Refusal::ForgottenRevocation(*forgotten));
    }
    Ok(new)
}
