//! Trust anchors: DNSKEY and DS lines as `dnssec-keygen`, `keymgr` and `dig` write them → the keys that a chain of
//! signatures may start at.
//!
//! Always: a line that cannot be read is an error at its place, because skipping an anchor would leave its zone
//! unproven.

use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_resolver::proto::rr::{DNSClass, LowerName, Name, RData, RecordType};
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

/// The anchors beside, or in place of, those of the public root.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    pub(super) anchors: Vec<(Name, Anchor)>,
}

#[derive(Clone, Debug)]
pub(super) enum Anchor {
    /// The key itself.
    Key(DNSKEY),
    /// The digest of the key.
    Digest(DS),
}

/// A line of a file of trust anchors that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("this is no trust anchor: {reason}")]
#[diagnostic(
    code(resolve::trust_anchor),
    help("write one DS or DNSKEY record a line, such as `corp.example. IN DS 2371 13 2 1F98…`")
)]
pub struct TrustAnchorError {
    /// What is wrong with the line.
    pub reason: String,
    /// The place of the line in the file.
    #[label("not understood")]
    pub at: SourceSpan,
}

impl TrustAnchors {
    /// Reads a file of anchors: one record on each line, with or without class and TTL; `;` begins a comment.
    ///
    /// # Errors
    ///
    /// One for each line that is not a usable DNSKEY or DS record.
    pub fn parse(text: &str) -> Result<TrustAnchors, Vec<TrustAnchorError>> {
        let (mut anchors, mut errors) = (Vec::new(), Vec::new());
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let record = line.split(';').next().unwrap_or_default().trim();
            if !record.is_empty() {
                let start = offset + (line.len() - line.trim_start().len());
                match anchor(record) {
                    Ok(anchor) => anchors.push(anchor),
                    Err(reason) => errors.push(TrustAnchorError { reason, at: (start, record.len()).into() }),
                }
            }
            offset += line.len();
        }
        if errors.is_empty() && anchors.is_empty() {
            errors.push(TrustAnchorError { reason: "the file holds none".to_owned(), at: (0, text.len()).into() });
        }
        if errors.is_empty() { Ok(TrustAnchors { anchors }) } else { Err(errors) }
    }

    /// The zones that have an anchor here, each once.
    pub(super) fn zones(&self) -> Vec<LowerName> {
        let mut zones: Vec<LowerName> = self.anchors.iter().map(|(zone, _)| LowerName::new(zone)).collect();
        zones.sort();
        zones.dedup();
        zones
    }
}

fn anchor(record: &str) -> Result<(Name, Anchor), String> {
    let mut words = record.split_whitespace();
    let mut owner =
        words.next().and_then(|name| Name::from_ascii(name).ok()).ok_or("it begins with no name of a zone")?;
    owner.set_fqdn(true);
    let mut kind = words.next().unwrap_or_default();
    if kind.bytes().all(|byte| byte.is_ascii_digit()) {
        kind = words.next().unwrap_or_default();
    }
    if kind.eq_ignore_ascii_case(DNSClass::IN.into()) {
        kind = words.next().unwrap_or_default();
    }
    let rest = words.collect::<Vec<_>>().join(" ");
    let anchor = match kind.to_ascii_uppercase().as_str() {
        "DNSKEY" => Anchor::Key(dnskey(&rest)?),
        "DS" => match RData::try_from_str(RecordType::DS, &rest) {
            Ok(RData::DNSSEC(DNSSECRData::DS(digest))) => Anchor::Digest(digest),
            Ok(_) => return Err("its record is no DS".to_owned()),
            Err(error) => return Err(error.to_string()),
        },
        _ => return Err("its record is neither DS nor DNSKEY".to_owned()),
    };
    Ok((owner, anchor))
}

/// hickory reads a DNSKEY only from a file of anchors; the owner was read before.
fn dnskey(written: &str) -> Result<DNSKEY, String> {
    let entries = Parser::new(format!(". IN DNSKEY {written}")).parse().map_err(|error| error.to_string())?;
    match entries.into_iter().next() {
        Some(Entry::DNSKEY(record)) if record.data().zone_key() && !record.data().revoke() => Ok(record.data().clone()),
        _ => Err("the key signs no zone, or is revoked".to_owned()),
    }
}
