//! A signed document and the keys that are trusted → whether a host would accept it, and what questions are asked of.

use bfp_bundle::envelope::Document;
use bfp_bundle::manifest::Need;
use bfp_bundle::verify::{self as verification, Host, Trust, VerifiedBundle};
use bfp_compiler::query::queryable::Queryable;

use crate::Failure;
use crate::signing::refusal::refused;
use crate::signing::trust::{self, TrustArguments};
use crate::signing::validity;

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
    Host { now: validity::now(), tags: labels.to_vec(), capabilities: Need::ALL.to_vec() }
}

/// What questions are asked of.
pub(crate) fn compiled(bundle: &VerifiedBundle<'_>) -> Result<Queryable, Failure> {
    let name = bundle.manifest().policy.clone();
    Ok(Queryable { name, image: bundle.image().map_err(refused)?, debug: bundle.debug().map_err(refused)? })
}
