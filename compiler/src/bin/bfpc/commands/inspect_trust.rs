//! `inspect` of what changes a host's trust: trust sets and tokens.

use bfp_bundle::key::PublicKey;
use bfp_bundle::verify::{Act, Token, TrustSet};
use serde::Serialize;

use crate::commands::inspected::{STILL_UNVERIFIED, UNVERIFIED, VERSION, hex};
use crate::files::input::{Format, json};
use crate::report::human::visible;
use crate::signing::signed_document::SignedDocument;
use crate::signing::validity::time;

/// A trust set or a token, as a machine reads it.
#[derive(Serialize)]
struct Shown {
    version: u32,
    document: &'static str,
    /// Nothing below is vouched for where this is false.
    verified: bool,
    /// The keys that signed; where it is not verified, the keys that are named.
    signers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_set: Option<ShownSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<ShownToken>,
}

#[derive(Serialize)]
struct ShownSet {
    version: u64,
    threshold: u16,
    keys: Vec<ShownKey>,
    revoked: Vec<String>,
}

#[derive(Serialize)]
struct ShownKey {
    /// Absent where the bytes are no key.
    id: Option<String>,
    bytes: String,
}

#[derive(Serialize)]
struct ShownToken {
    act: ShownAct,
    policy: String,
    not_before: Option<String>,
    expires: String,
    audience: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownAct {
    Release { revision: u64 },
    Recover { from: u64, to: u64 },
}

/// A trust set or a token; a bundle is shown by itself.
pub(crate) fn shown(document: &SignedDocument, verified: bool, format: Format) -> String {
    let (name, trust_set, token) = match document {
        SignedDocument::Bundle(_) => ("bundle", None, None),
        SignedDocument::TrustSet(set) => ("trust set", Some(shown_set(&set.content)), None),
        SignedDocument::Token(token) => ("token", None, Some(shown_token(&token.content))),
    };
    let signers = document.claimed_signers().iter().map(ToString::to_string).collect();
    let shown = Shown { version: VERSION, document: name, verified, signers, trust_set, token };
    match format {
        Format::Json => json(&shown),
        Format::Human => visible(&human(&shown)),
    }
}

fn shown_set(set: &TrustSet) -> ShownSet {
    let key = |bytes: &[u8; 32]| ShownKey {
        id: PublicKey::from_bytes(bytes).map(|key| key.id().to_string()),
        bytes: hex(bytes),
    };
    ShownSet {
        version: set.version,
        threshold: set.threshold,
        keys: set.keys.iter().map(key).collect(),
        revoked: set.revoked.iter().map(ToString::to_string).collect(),
    }
}

fn shown_token(token: &Token) -> ShownToken {
    ShownToken {
        act: match token.act {
            Act::Release { revision } => ShownAct::Release { revision },
            Act::Recover { from, to } => ShownAct::Recover { from, to },
        },
        policy: token.policy.clone(),
        not_before: token.not_before.map(time),
        expires: time(token.expires),
        audience: token.audience.clone(),
    }
}

fn human(shown: &Shown) -> String {
    let mut lines = Vec::new();
    if !shown.verified {
        lines.push(UNVERIFIED.to_owned());
    }
    if let Some(set) = &shown.trust_set {
        lines.push(format!("trust set   version {}", set.version));
        lines.push(format!("threshold   {} of {} keys", set.threshold, set.keys.len()));
        for key in &set.keys {
            lines.push(format!("key         {}", key.id.as_deref().unwrap_or("no Ed25519 key, or a weak one")));
        }
        set.revoked.iter().for_each(|id| lines.push(format!("revoked     {id}")));
    }
    if let Some(token) = &shown.token {
        match token.act {
            ShownAct::Release { revision } => lines.push(format!("token       release, up to revision {revision}")),
            ShownAct::Recover { from, to } => lines.push(format!("token       recover, from revision {from} to {to}")),
        }
        let audience = if token.audience.is_empty() { "every host".to_owned() } else { token.audience.join(", ") };
        lines.push(format!("policy      {}", token.policy));
        lines.push(format!("not before  {}", token.not_before.as_deref().unwrap_or("-")));
        lines.push(format!("expires     {}", token.expires));
        lines.push(format!("audience    {audience}"));
    }
    let signed = if shown.verified { "signed by   " } else { "names key   " };
    shown.signers.iter().for_each(|id| lines.push(format!("{signed}{id}")));
    if !shown.verified {
        lines.push(STILL_UNVERIFIED.to_owned());
    }
    // What the document says stays on the line that says it.
    lines.iter().map(|line| line.replace(['\n', '\r'], "?") + "\n").collect()
}
