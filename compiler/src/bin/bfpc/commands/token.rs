//! `token`: the signers' consent, for a time, to what a host refuses otherwise, as a document for `sign`.

use std::path::PathBuf;

use bfp_bundle::envelope::Document;
use bfp_bundle::seal;
use bfp_bundle::verify::{Act, Token};
use clap::{Args, Subcommand};
use miette::Diagnostic;

use crate::Failure;
use crate::files::output::{self, Kind};
use crate::report::Output;
use crate::signing::refusal::refused;
use crate::signing::signed_document::{SignedDocument, Unencodable};
use crate::signing::validity;

#[derive(Debug, thiserror::Error, Diagnostic)]
enum TokenError {
    #[error("a recovery cannot lead from revision {from} up to {to}")]
    #[diagnostic(code(token::forward), help("apply the later revision itself: hosts accept it without a recovery"))]
    Forward { from: u64, to: u64 },
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Permit lifting the lockdown of a policy, or removing the policy
    Release {
        /// Up to this revision of the policy; not a later one
        #[arg(long, value_name = "N")]
        revision: u64,
        #[command(flatten)]
        consent: ConsentArguments,
    },
    /// Permit lowering the highest revision that a host has accepted, or setting it if the rollback state is damaged
    Recover {
        /// The highest revision that the host has accepted; 0 if its rollback state is damaged
        #[arg(long, value_name = "N")]
        from: u64,
        /// The highest accepted revision to record instead: the host accepts this one and higher ones
        #[arg(long, value_name = "M")]
        to: u64,
        #[command(flatten)]
        consent: ConsentArguments,
    },
}

#[derive(Args)]
pub(crate) struct ConsentArguments {
    /// The name of the policy
    #[arg(long, value_name = "NAME")]
    policy: String,
    /// Hosts reject the token before this time, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Hosts reject the token from this time on
    #[arg(long, value_name = "TIME")]
    expires: String,
    /// A tag of the hosts that the token is for; may be given several times. Without it: every host
    #[arg(long, value_name = "LABEL")]
    audience: Vec<String>,
    /// Where the token is written
    #[arg(short, long, value_name = "TOKEN")]
    output: PathBuf,
}

pub(crate) fn token(command: &TokenCommand) -> Result<Output, Failure> {
    let (act, consent) = match command {
        TokenCommand::Release { revision, consent } => (Act::Release { revision: *revision }, consent),
        // From 0: a host whose memory is damaged has seen nothing, and is to begin at a revision.
        TokenCommand::Recover { from, to, .. } if to > from && *from != 0 => {
            return Err(TokenError::Forward { from: *from, to: *to }.into());
        }
        TokenCommand::Recover { from, to, consent } => (Act::Recover { from: *from, to: *to }, consent),
    };
    let not_before = consent.not_before.as_deref().map(validity::seconds).transpose()?;
    let expires = validity::seconds(&consent.expires)?;
    validity::check(not_before, Some(expires), &consent.audience)?;
    let token = Token { act, policy: consent.policy.clone(), audience: consent.audience.clone(), not_before, expires };
    let bytes = seal::seal_token(&token, &[]).map_err(|error| Unencodable { reason: error.to_string() })?;
    // A name or labels without end fit into no document.
    let summary = SignedDocument::peek(&bytes).map_err(refused)?.summary();
    let bytes = output::write(&consent.output, bytes, Kind::Document(Document::Token))?;
    let words = format!("{}: {}\nunsigned: no host accepts it before `bfpc sign`\n", consent.output.display(), summary);
    Ok(Output { words, bytes, ..Output::default() })
}
