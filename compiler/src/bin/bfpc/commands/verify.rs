//! `verify`: a bundle, a trust set or a token as a host would judge it.

use std::path::Path;

use bfp_bundle::verify::MAX_BUNDLE_BYTES;
use bfp_compiler::source;

use crate::Answer;
use crate::signing::refusal::refused;
use crate::signing::signed_document::{SignedDocument, listed};
use crate::signing::trust::TrustArguments;
use crate::signing::verified::verify_any;

pub(crate) fn verify(path: &Path, arguments: &TrustArguments) -> Answer {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    verify_any(&bytes, arguments)?;
    // All signatures hold, or it would not be verified.
    let document = SignedDocument::peek(&bytes).map_err(refused)?;
    let (summary, signers) = (document.summary(), listed(document.claimed_signers()));
    Ok(format!("{}: verified, {summary}\nsigned by {signers}\n", path.display()))
}
