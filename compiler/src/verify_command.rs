//! `verify`: a bundle, a trust set or a token as a host would judge it, and how questions open a bundle.

use std::path::Path;

use bfp_bundle::envelope::Document;
use bfp_bundle::manifest::Need;
use bfp_bundle::verify::{self as verification, Host, MAX_BUNDLE_BYTES, Trust, VerifiedBundle};
use bfp_compiler::compiled::Compiled;
use bfp_compiler::source;

use crate::refusal::refused;
use crate::signed_document::{SignedDocument, listed};
use crate::{Answer, Failure, TrustArguments, trust, validity};

pub(crate) fn verify(path: &Path, arguments: &TrustArguments) -> Answer {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    verify_any(&bytes, arguments)?;
    // All signatures hold, or it would not be verified.
    let document = SignedDocument::peek(&bytes).map_err(refused)?;
    let (summary, signers) = (document.summary(), listed(document.claimed_signers()));
    Ok(format!("{}: verified, {summary}\nsigned by {signers}\n", path.display()))
}

/// Verifies whatever document it is.
pub(crate) fn verify_any(bytes: &[u8], arguments: &TrustArguments) -> Result<(), Failure> {
    let trust = trust::read(&arguments.trust, arguments.threshold)?;
    match Document::of(bytes) {
        Some(Document::TrustSet) => verification::verify_trust_set(bytes, &trust).map(drop),
        Some(Document::Token) => verification::verify_token(bytes, &trust, &host(&arguments.audience)).map(drop),
        Some(Document::Bundle) | None => verification::verify(bytes, &trust, &host(&arguments.audience)).map(drop),
    }
    .map_err(refused)
}

/// Verifies a bundle as a host with the given labels would.
pub(crate) fn verified<'a>(bytes: &'a [u8], arguments: &TrustArguments) -> Result<VerifiedBundle<'a>, Failure> {
    let trust: Trust = trust::read(&arguments.trust, arguments.threshold)?;
    verification::verify(bytes, &trust, &host(&arguments.audience)).map_err(refused)
}

fn host(labels: &[String]) -> Host {
    Host { now: validity::now(), labels: labels.to_vec(), offers: Need::ALL.to_vec() }
}

/// What questions are asked of.
pub(crate) fn compiled(bundle: &VerifiedBundle<'_>) -> Result<Compiled, Failure> {
    let name = bundle.manifest().policy.clone();
    Ok(Compiled { name, image: bundle.image().map_err(refused)?, debug: bundle.debug().map_err(refused)? })
}
