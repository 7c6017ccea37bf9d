//! How one trust set takes the place of another: received bytes → the [`Trust`] that follows.
//!
//! Version N + 1 follows version N where a threshold of both sets has signed it. One at a time: whoever holds a
//! threshold of old keys cannot skip to a version that nothing can follow.

use crate::envelope::Document;

use super::frame::Frame;
use super::refusal::{Refusal, WhoseThreshold};
use super::trust::{Trust, TrustSet};

/// Verifies the bytes of a trust set that is to take the place of the one in force.
pub fn verify_trust_set(bytes: &[u8], in_force: &Trust) -> Result<Trust, Refusal> {
    let frame = Frame::read(Document::TrustSet, bytes)?;
    // Whose signatures the new set wants can be known only by reading it, which waits until the set in force
    // vouches for it.
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
