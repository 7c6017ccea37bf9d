//! Tokens: the signers' consent, for a time, to what a host refuses otherwise.

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

/// A token, as its document says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What is consented to.
    pub act: Act,
    /// For which policy.
    pub policy: String,
    /// On which hosts, by label; empty: every host.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_AUDIENCE>")]
    pub audience: Vec<String>,
    /// From when on, in seconds since 1970-01-01 UTC.
    pub not_before: Option<u64>,
    /// Until when, likewise. A consent has an end.
    pub expires: u64,
}

/// What a token consents to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A locked policy may be unlocked or removed.
    Release {
        /// Up to this revision; not one that was released later.
        revision: u64,
    },
    /// The highest revision that the host has seen is taken back, and so is the time that it has seen.
    Recover {
        /// What the host has seen: the token is good for this alone, and so for one time.
        from: u64,
        /// What it is to have seen instead. It accepts this revision and higher ones.
        to: u64,
    },
}

/// A token that is signed by whom the host trusts, for this host and this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    // INVARIANT: made by `verify_token` alone.
    token: Token,
    digest: [u8; 32],
}

impl VerifiedToken {
    /// What it says.
    pub fn token(&self) -> &Token {
        &self.token
    }
    /// SHA-256 of what it says, whoever signed it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// Verifies the bytes of a token.
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
