//! Refusals: why a document is rejected, and what the operator can do.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::envelope::Document;
use crate::image::ImageError;
use crate::key::KeyId;
use crate::manifest::{Need, SectionKind};

/// Why a document is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The magic bytes are wrong.
    BadMagic {
        /// The expected kind of document.
        wanted: Document,
        /// The kind of document that was found, if it is a known one.
        found: Option<Document>,
    },
    /// The version of the format is unknown.
    UnknownVersion(u32),
    /// The document ends too early, within this part.
    Truncated(&'static str),
    /// This many bytes follow the end.
    TrailingBytes(u64),
    /// A part exceeds its size limit.
    Oversize {
        /// The part that is too large.
        what: &'static str,
        /// Its size, as announced.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A reserved field is not zero.
    Reserved,
    /// A signature by a key that the host does not trust.
    UnknownKey(KeyId),
    /// A signature by a revoked key.
    RevokedKey(KeyId),
    /// Two signatures by one key.
    DuplicateKey(KeyId),
    /// An invalid signature.
    BadSignature(KeyId),
    /// Too few signatures.
    Threshold {
        /// How many are valid.
        found: usize,
        /// How many are required.
        threshold: usize,
        /// The trust set that requires them.
        whose: WhoseThreshold,
    },
    /// The body cannot be decoded.
    BadBody,
    /// The document is not valid yet.
    NotYetValid {
        /// The start of its validity, in seconds since 1970-01-01 UTC.
        not_before: u64,
        /// The host's time, likewise.
        now: u64,
    },
    /// The document has expired.
    Expired {
        /// The end of its validity, in seconds since 1970-01-01 UTC.
        expires: u64,
        /// The host's time, likewise.
        now: u64,
    },
    /// The document is for other hosts, with these tags.
    WrongAudience(Vec<String>),
    /// The policy needs something that this release does not know.
    UnknownNeed(u16),
    /// The policy needs something that this host does not provide.
    UnmetNeed(Need),
    /// A section of a kind that this release does not know.
    UnknownSection(u16),
    /// A section that occurs twice.
    DuplicateSection(SectionKind),
    /// A section that is missing.
    MissingSection(SectionKind),
    /// A section whose sizes contradict each other.
    SectionSize(SectionKind),
    /// A section whose content does not match its digest.
    SectionDigest(SectionKind),
    /// A section with a structure that no compiler writes.
    Image(ImageError),
    /// The debug section cannot be decoded.
    BadDebug,
    /// A trust set that is invalid in itself, for this reason.
    BadTrustSet(&'static str),
    /// A trust set that does not follow the one in force.
    TrustVersion {
        /// The version of the offered set.
        offered: u64,
        /// The version of the set in force.
        in_force: u64,
    },
    /// A trust set that no longer lists this revoked key.
    ForgottenRevocation(KeyId),
}

/// The trust set whose threshold is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhoseThreshold {
    /// The trust set in force.
    InForce,
    /// The trust set that is to replace it.
    New,
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Refusal {
        Refusal::Image(error)
    }
}

impl core::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadMagic { wanted, found: Some(found) } => write!(f, "expected a {wanted}, found a {found}"),
            Refusal::BadMagic { wanted, found: None } => {
                write!(f, "this is not a bfp {wanted}: it does not begin with the magic bytes of one")
            }
            Refusal::UnknownVersion(version) => {
                write!(f, "the file has format version {version}, which this release cannot read")
            }
            Refusal::Truncated(part) => write!(f, "the file is cut short: it ends within {part}"),
            Refusal::TrailingBytes(count) => {
                let plural = if *count == 1 { "" } else { "s" };
                write!(f, "the file has {count} byte{plural} after its end")
            }
            Refusal::Oversize { what, found, limit } => {
                write!(f, "the {what} is too large: {found}, and the limit is {limit}")
            }
            Refusal::Reserved => f.write_str("the header has a reserved field that is not zero"),
            Refusal::UnknownKey(id) => write!(f, "it is signed by the unknown key {id}"),
            Refusal::RevokedKey(id) => write!(f, "it is signed by the key {id}, which is revoked"),
            Refusal::DuplicateKey(id) => write!(f, "it has two signatures by the key {id}"),
            Refusal::BadSignature(id) => write!(f, "the signature by the key {id} does not match the content"),
            Refusal::Threshold { found, threshold, whose } => {
                let whose = match whose {
                    WhoseThreshold::InForce => "this host requires",
                    WhoseThreshold::New => "the new trust set requires",
                };
                let plural = if *found == 1 { "" } else { "s" };
                write!(f, "it has {found} valid signature{plural}, but {whose} {threshold}")
            }
            Refusal::BadBody => f.write_str("the signed content cannot be decoded"),
            Refusal::NotYetValid { not_before, now } => {
                write!(f, "it is not valid before {}, and the time is {}", Utc(*not_before), Utc(*now))
            }
            Refusal::Expired { expires, now } => {
                write!(f, "it expired at {}, and the time is {}", Utc(*expires), Utc(*now))
            }
            Refusal::WrongAudience(tags) => {
                f.write_str("it is for hosts tagged ")?;
                for (index, tag) in tags.iter().enumerate() {
                    write!(f, "{}`{}`", if index == 0 { "" } else { " or " }, tag.escape_debug())?;
                }
                f.write_str(", and this host is not")
            }
            Refusal::UnknownNeed(number) => {
                write!(f, "it needs a kernel feature that this program does not know (number {number})")
            }
            Refusal::UnmetNeed(need) => {
                write!(f, "the policy needs a feature that this host's enforcer does not support: {need}")
            }
            Refusal::UnknownSection(number) => write!(f, "it has a section of the unknown kind {number}"),
            Refusal::DuplicateSection(kind) => write!(f, "it has two sections `{kind}`"),
            Refusal::MissingSection(kind) => write!(f, "it has no section `{kind}`"),
            Refusal::SectionSize(kind) => {
                write!(f, "the sizes of the section `{kind}` contradict each other")
            }
            Refusal::SectionDigest(kind) => {
                write!(f, "the section `{kind}` does not match its digest in the manifest")
            }
            Refusal::Image(error) => error.fmt(f),
            Refusal::BadDebug => f.write_str("the section `debug` cannot be decoded"),
            Refusal::BadTrustSet(reason) => write!(f, "no host can follow this trust set: {reason}"),
            Refusal::TrustVersion { offered, in_force } => write!(
                f,
                "the trust set has version {offered}, but version {in_force} is in force, and the next one is {}",
                in_force.saturating_add(1)
            ),
            Refusal::ForgottenRevocation(id) => {
                write!(f, "the trust set no longer revokes the key {id}, but revocations are permanent")
            }
        }
    }
}

impl Refusal {
    /// The next action for the operator.
    pub fn help(&self) -> &'static str {
        match self {
            Refusal::BadMagic { wanted: Document::Bundle, .. } => "name the .bfpb file that `bfpc build` wrote",
            Refusal::BadMagic { wanted: Document::TrustSet, .. } => "name the file that `bfpc trust-set` wrote",
            Refusal::BadMagic { wanted: Document::Token, .. } => "name the file that `bfpc token` wrote",
            Refusal::UnknownVersion(_) => {
                "upgrade the program that reads it, or build the file with the matching release of `bfpc`"
            }
            Refusal::UnknownKey(_) | Refusal::DuplicateKey(_) => {
                "sign it with keys that this host trusts, once with each"
            }
            Refusal::Threshold { .. } => {
                "have more of the trusted keys sign it: `bfpc sign` adds a signature to a file"
            }
            Refusal::RevokedKey(_) => {
                "sign it again with keys in force, and find out who signed this with a revoked one"
            }
            Refusal::NotYetValid { .. } => "check this host's clock, or wait",
            Refusal::Expired { .. } => "make and sign it again; a bundle needs a higher revision",
            Refusal::WrongAudience(_) => {
                "use the file that was made for this host; its tags are its name and the lines of /etc/bfp/labels"
            }
            Refusal::UnknownNeed(_) | Refusal::UnmetNeed(_) | Refusal::UnknownSection(_) => {
                "update the enforcer on this host, or leave the feature out of the policy"
            }
            Refusal::BadTrustSet(_) => {
                "make the trust set again with `bfpc trust-set`, which rejects one that no host can follow"
            }
            Refusal::TrustVersion { offered, in_force } if offered > in_force => {
                "adopt the versions between them first, in order"
            }
            Refusal::TrustVersion { .. } => "nothing to do: this host has already adopted this version or a later one",
            Refusal::ForgottenRevocation(_) => "make the trust set again, with `--revoke` for this key too",
            _ => "the file was damaged or tampered with in transit: fetch it again from its source",
        }
    }
}

/// A time in seconds since 1970-01-01, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut days, rest) = (self.0 / 86_400, self.0 % 86_400);
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        // The Gregorian calendar repeats after 146 097 days.
        let mut year = 1970 + 400 * (days / 146_097);
        days %= 146_097;
        while days >= 365 + u64::from(leap(year)) {
            days -= 365 + u64::from(leap(year));
            year += 1;
        }
        let mut month = 1;
        for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        write!(f, "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (13_569_465_600, "2400-01-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), expected);
        }
    }
}
