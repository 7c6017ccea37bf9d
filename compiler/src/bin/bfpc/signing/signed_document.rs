//! A file that is signed, as it says itself what it is: a bundle, a trust set or a token.
//!
//! Nothing here verifies a signature. It is for whoever is about to sign, and has to know what.

use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_bundle::unverified::{self, Unverified, UnverifiedBundle};
use bfp_bundle::verify::{Act, Refusal, Token, TrustSet};
use miette::Diagnostic;

use crate::report::human::visible;
use crate::signing::validity;

/// A document cannot be written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("the document cannot be encoded: {reason}")]
#[diagnostic(code(sign::unencodable), help("report this bug in the compiler, with the command that you ran"))]
pub(crate) struct Unencodable {
    pub(crate) reason: String,
}

/// What a file says of itself.
pub(crate) enum SignedDocument {
    Bundle(Box<UnverifiedBundle>),
    TrustSet(Unverified<TrustSet>),
    Token(Unverified<Token>),
}

impl SignedDocument {
    /// Reads whatever it is. What is malformed is refused.
    pub(crate) fn peek(bytes: &[u8]) -> Result<SignedDocument, Refusal> {
        Ok(match Document::of(bytes) {
            Some(Document::TrustSet) => SignedDocument::TrustSet(unverified::peek_trust_set(bytes)?),
            Some(Document::Token) => SignedDocument::Token(unverified::peek_token(bytes)?),
            Some(Document::Bundle) | None => SignedDocument::Bundle(Box::new(unverified::peek(bytes)?)),
        })
    }

    /// The keys that its signatures name.
    pub(crate) fn claimed_signers(&self) -> &[KeyId] {
        match self {
            SignedDocument::Bundle(bundle) => &bundle.claimed_signers,
            SignedDocument::TrustSet(set) => &set.claimed_signers,
            SignedDocument::Token(token) => &token.claimed_signers,
        }
    }

    /// What it is, on one line, whatever stands in it.
    pub(crate) fn summary(&self) -> String {
        let summary = match self {
            SignedDocument::Bundle(bundle) => {
                let manifest = &bundle.manifest;
                format!("policy {}, revision {}", manifest.policy, manifest.revision)
            }
            SignedDocument::TrustSet(set) => set_summary(&set.content),
            SignedDocument::Token(token) => token_summary(&token.content),
        };
        visible(&summary.replace(['\n', '\r'], "?"))
    }
}

/// What a trust set is, on one line.
pub(crate) fn set_summary(set: &TrustSet) -> String {
    format!("trust set, version {}, {} of {} keys", set.version, set.threshold, set.keys.len())
}

/// What a token is.
fn token_summary(token: &Token) -> String {
    let (policy, expires) = (&token.policy, validity::time(token.expires));
    match token.act {
        Act::Release { revision } => {
            format!("token, policy {policy} may be released up to revision {revision}, until {expires}")
        }
        Act::Recover { from, to } => {
            format!(
                "token, policy {policy}, revision {to} takes the place of {from} as the highest seen, until {expires}"
            )
        }
    }
}

/// Key ids on one line.
pub(crate) fn listed(ids: &[KeyId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
