//! The bundle of the policy that is enforced now: the kernel's record of that policy and the bytes that this host keeps
//! enter; a bundle leaves only if its manifest is the one in the record.
//!
//! The kernel's record cannot be changed while the policy is enforced, so neither the disk nor a clock chooses the
//! bundle.

use bfp_bundle::manifest::Need;
use bfp_bundle::verify::{Host, Refusal, Trust, VerifiedBundle, verify};

use crate::failure::{Actionable, Exit};
use crate::kernel::about::About;

/// A verified bundle that is enforced now.
// INVARIANT: only `EnforcedBundle::verify` makes one, and its manifest is the one that the kernel's record names.
pub struct EnforcedBundle<'a>(VerifiedBundle<'a>);

/// Why kept bytes are not the enforced bundle.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum EnforcedBundleError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("it is another bundle than the enforced one")]
    OtherManifest,
}

impl Actionable for EnforcedBundleError {
    fn help(&self) -> &'static str {
        match self {
            EnforcedBundleError::Refused(refusal) => refusal.help(),
            EnforcedBundleError::OtherManifest => "apply the policy again, which writes its bundle to the disk",
        }
    }

    fn exit(&self) -> Exit {
        Exit::Rejected
    }
}

impl<'a> EnforcedBundle<'a> {
    /// Verifies the bytes as of the time when the policy was applied, under the trust set and the tags of that time.
    /// `about` is the kernel's record of the enforced policy; `capabilities` is what these programs can enforce.
    ///
    /// # Errors
    /// The bytes do not verify, or verify as another bundle than the enforced one.
    pub fn verify(
        bytes: &'a [u8],
        about: &About,
        capabilities: &[Need],
    ) -> Result<EnforcedBundle<'a>, EnforcedBundleError> {
        let host = Host { now: about.applied_at, tags: about.tags.clone(), capabilities: capabilities.to_vec() };
        let trust = Trust::of_set(&about.trust)?;
        let bundle = match verify(bytes, &trust, &host) {
            // It had already expired, and was applied as the last good one.
            Err(Refusal::Expired { expires, .. }) => {
                verify(bytes, &trust, &Host { now: expires.saturating_sub(1), ..host })?
            }
            verified => verified?,
        };
        if bundle.manifest_digest() != about.manifest_digest {
            return Err(EnforcedBundleError::OtherManifest);
        }
        Ok(EnforcedBundle(bundle))
    }

    /// The bundle.
    pub fn bundle(&self) -> &VerifiedBundle<'a> {
        &self.0
    }
}
