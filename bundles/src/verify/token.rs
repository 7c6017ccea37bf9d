//! Tokens: the signers' permission, for a limited time, for an act that a host refuses otherwise.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounded;
use crate::envelope::Document;
use crate::manifest::MAX_AUDIENCE;

use super::Host;
use super::frame::Frame;
use super::refusal::{Refusal, WhoseThreshold};
use super::trust::Trust;

/// The content of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The act that is permitted.
    pub act: Act,
    /// The name of the policy.
    pub policy: String,
    /// The tags of the hosts that it is for. Empty means every host.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_AUDIENCE>")]
    pub audience: Vec<String>,
    /// The start of its validity, in seconds since 1970-01-01 UTC.
    pub not_before: Option<u64>,
    /// The end of its validity, in seconds since 1970-01-01 UTC. A token always has one.
    pub expires: u64,
}

/// What a token permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Unlocking or removing a policy under lockdown.
    Release {
        /// The highest revision that this applies to. Later revisions need another token.
        revision: u64,
    },
    /// Lowering the host's highest revision, and rolling back its latest known time.
    Recover {
        /// The host's highest revision. The token is valid for no other, and so only once.
        from: u64,
        /// The revision to set instead. The host accepts this revision and higher ones.
        to: u64,
    },
}

/// A token that trusted keys signed, for this host and this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    // INVARIANT: only `verify_token` makes this value.
    token: Token,
    digest: [u8; 32],
}

impl VerifiedToken {
    /// The content.
    pub fn token(&self) -> &Token {
        &self.token
    }
    /// SHA-256 of the content, without the signatures.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Verifies the bytes of a token for a host.
///
/// # Preconditions
/// `trust` is the host's trust set in force. The caller compares the policy, the act and the revision with what it
/// does, and checks that the token has not been used.
///
/// # Errors
/// The first check that fails, in this order: the frame (magic bytes, version, sizes); the signatures and their
/// threshold; the encoding; the validity; the audience.
pub fn verify_token(bytes: &[u8], trust: &Trust, host: &Host) -> Result<VerifiedToken, Refusal> {
    let frame = Frame::read(Document::Token, bytes)?;
    frame.check_signatures(Document::Token, &[(WhoseThreshold::InForce, trust)])?;
    let token = match postcard::take_from_bytes::<Token>(frame.body) {
        Ok((token, [])) => token,
        _ => return Err(Refusal::BadBody),
    };
    host.check_time(token.not_before, Some(token.expires))?;
    host.check_audience(&token.audience)?;
    Ok(VerifiedToken { token, digest: Sha256::digest(frame.body).into() })
}
