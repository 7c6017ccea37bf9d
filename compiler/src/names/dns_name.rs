//! DNS names: a name as written enters, and its one canonical form leaves.
//!
//! A [`DnsName`] is always fully qualified, in lower case, in A-labels, without the final dot, within the length limits
//! of DNS, and never a text that a resolver could take for an address. So equal names are equal strings, and a name
//! from a policy can be compared with one from an answer.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use miette::Diagnostic;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The longest name in bytes, without the final dot.
const LONGEST_NAME: usize = 253;
/// The longest text in bytes that is passed to IDNA; a longer one cannot become a name.
const LONGEST_TEXT: usize = 4096;
/// The longest label in bytes.
const LONGEST_LABEL: usize = 63;

/// All of ASCII but STD3's letters, digits and hyphens, and the underscore, which real names contain.
const NOT_IN_A_NAME: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// A fully qualified DNS name in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
// INVARIANT: only `DnsName::parse` makes one, and `parse` of the text gives the same text.
pub struct DnsName(String);

/// Why a text is not a name that can be resolved.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum NameError {
    #[error("a DNS name is empty")]
    #[diagnostic(code(name::empty), help("write the name, such as `kms.internal`"))]
    Empty,

    #[error("`{written}` is an address, not a DNS name")]
    #[diagnostic(code(name::address), help("write the address without quotes, in full: four decimal numbers, or IPv6"))]
    Address { written: String },

    #[error("`{written}` is a wildcard name")]
    #[diagnostic(
        code(name::wildcard),
        help("DNS cannot list what a wildcard stands for: name each host, or the range of addresses it uses")
    )]
    Wildcard { written: String },

    #[error("`{}` is {length} bytes long, and a DNS name holds at most {LONGEST_NAME}", shortened(.written))]
    #[diagnostic(code(name::too_long), help("write a shorter name"))]
    TooLong { written: String, length: usize },

    #[error("`{}` is {length} bytes long, and a part of a DNS name holds at most {LONGEST_LABEL}", shortened(.label))]
    #[diagnostic(code(name::label_too_long), help("shorten this part of the name"))]
    LabelTooLong { label: String, length: usize },

    #[error("`{written}` has an empty part")]
    #[diagnostic(code(name::empty_label), help("remove the extra dot"))]
    EmptyLabel { written: String },

    #[error("`{written}` has a part that starts or ends with a hyphen")]
    #[diagnostic(code(name::hyphen), help("remove the hyphen at the edge of `{label}`"))]
    EdgeHyphen { written: String, label: String },

    #[error("`{}` cannot stand in a DNS name", .character.escape_debug())]
    #[diagnostic(code(name::bad_character), help("a name is made of letters, digits, hyphens, underscores and dots"))]
    BadCharacter { written: String, character: char },

    #[error("`{written}` is not an internationalised name")]
    #[diagnostic(code(name::not_idna), help("check the spelling: IDNA has no encoding for a part of this name"))]
    NotIdna { written: String },
}

/// The beginning of a long name, so that the message stays readable.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

impl DnsName {
    /// Reads a name as written, with or without its final dot.
    ///
    /// A single label, such as `intranet`, is a fully qualified name like any other: neither this function nor a later
    /// step appends a search domain.
    ///
    /// # Errors
    ///
    /// The text is an address or a wildcard, or its form or length is not that of a name (see [`NameError`]).
    pub fn parse(written: &str) -> Result<Self, NameError> {
        refuse_address(written, written)?;
        let name = canonical(written.strip_suffix('.').unwrap_or(written), written)?;
        // Mapping can produce an address that was not there before: `１２７.0.0.1` is written in wide digits.
        refuse_address(&name, written)?;
        Ok(Self(name))
    }

    /// The canonical text, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Maps `bare` (`written` without its final dot) to lower case and A-labels, and checks every label.
fn canonical(bare: &str, written: &str) -> Result<String, NameError> {
    if bare.is_empty() {
        return Err(match written {
            "" => NameError::Empty,
            _ => NameError::EmptyLabel { written: written.to_owned() },
        });
    }
    // IDNA would take an empty last label for the root.
    if bare.split('.').any(str::is_empty) {
        return Err(NameError::EmptyLabel { written: written.to_owned() });
    }
    if bare.len() > LONGEST_TEXT {
        return Err(NameError::TooLong { written: written.to_owned(), length: bare.len() });
    }
    // Checked before IDNA, whose errors do not name the character.
    for label in bare.split('.') {
        if label.contains('*') {
            return Err(NameError::Wildcard { written: written.to_owned() });
        }
    }
    if let Some(character) = bare.chars().find(|&character| is_forbidden(character)) {
        return Err(NameError::BadCharacter { written: written.to_owned(), character });
    }
    let mapped = Uts46::new()
        .to_ascii(bare.as_bytes(), NOT_IN_A_NAME, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| NameError::NotIdna { written: written.to_owned() })?;
    // IDNA maps the full stops of other scripts to dots, so a final one can appear only now.
    let mapped = mapped.strip_suffix('.').unwrap_or(&mapped);

    for label in mapped.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel { written: written.to_owned() });
        }
        if label.len() > LONGEST_LABEL {
            return Err(NameError::LabelTooLong { label: label.to_owned(), length: label.len() });
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(NameError::EdgeHyphen { written: written.to_owned(), label: label.to_owned() });
        }
    }
    if mapped.len() > LONGEST_NAME {
        return Err(NameError::TooLong { written: written.to_owned(), length: mapped.len() });
    }
    Ok(mapped.to_owned())
}

fn is_forbidden(character: char) -> bool {
    character.is_ascii() && !(character.is_ascii_alphanumeric() || "-_.".contains(character))
}

/// Rejects a text that a C library, and so the judged program, would take for an address.
///
/// That is more than the usual forms: `127.1`, `2130706433` and `0x7f.1` all reach 127.0.0.1 through `inet_aton`. No
/// top-level domain is a number, so no real name is lost.
fn refuse_address(candidate: &str, written: &str) -> Result<(), NameError> {
    let bare = candidate.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(candidate);
    let last = bare.strip_suffix('.').unwrap_or(bare).rsplit('.').next().unwrap_or_default();
    if IpAddr::from_str(bare).is_ok() || is_number(last) {
        return Err(NameError::Address { written: written.to_owned() });
    }
    Ok(())
}

fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(written: &str) -> Result<Self, NameError> {
        Self::parse(written)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        Self::parse(&written).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_name_has_one_text() {
        for (written, canonical) in [
            ("kms.internal", "kms.internal"),
            ("KMS.Internal.", "kms.internal"),
            ("intranet", "intranet"),
            ("_ldap._tcp.example.com", "_ldap._tcp.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            // Not transitional: the sharp s keeps an encoding of its own.
            ("faß.de", "xn--fa-hia.de"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
            ("r3---sn-4g5e6nz7.example.com", "r3---sn-4g5e6nz7.example.com"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            ("0xcafe.example", "0xcafe.example"),
        ] {
            assert_eq!(DnsName::parse(written).unwrap().as_str(), canonical, "{written}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_own_reason() {
        let long_label = "a".repeat(64);
        let long_name = vec!["abcdefg"; 32].join(".");
        for (written, code) in [
            ("", "name::empty"),
            (".", "name::empty_label"),
            ("a..b", "name::empty_label"),
            ("a.b..", "name::empty_label"),
            (".a", "name::empty_label"),
            ("*.example.com", "name::wildcard"),
            ("www*.example.com", "name::wildcard"),
            ("a b.example", "name::bad_character"),
            ("a/b.example", "name::bad_character"),
            ("kms.internal:443", "name::bad_character"),
            ("a\0.example", "name::bad_character"),
            ("10.0.0.0/8", "name::bad_character"),
            ("-a.example", "name::hyphen"),
            ("a-.example", "name::hyphen"),
            (long_label.as_str(), "name::label_too_long"),
            (long_name.as_str(), "name::too_long"),
            ("xn--a.example", "name::not_idna"),
            ("＊.example", "name::not_idna"),
            ("a\u{200d}b.example", "name::not_idna"),
        ] {
            let error = DnsName::parse(written).unwrap_err();
            assert_eq!(error.code().unwrap().to_string(), code, "{written}");
        }
    }

    #[test]
    fn what_a_c_library_takes_for_an_address_is_refused() {
        for written in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "１２７.0.0.1",
            "::1",
            "[::1]",
            "::ffff:10.0.0.1",
            "a.0x",
        ] {
            assert!(
                matches!(DnsName::parse(written), Err(NameError::Address { .. })),
                "{written}: {:?}",
                DnsName::parse(written)
            );
        }
    }

    #[test]
    fn longest_name_is_accepted() {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name.len(), 253);
        assert_eq!(DnsName::parse(&name).unwrap().as_str(), name);
        assert!(DnsName::parse(&format!("{name}.")).is_ok());
        assert!(matches!(DnsName::parse(&format!("{name}a")), Err(NameError::TooLong { length: 254, .. })));
    }

    proptest! {
        #[test]
        fn canonical_text_parses_to_itself(written in "\\PC{0,40}|[A-Za-zß-ž0-9._-]{1,40}") {
            if let Ok(name) = DnsName::parse(&written) {
                prop_assert_eq!(DnsName::parse(name.as_str()).unwrap(), name);
            }
        }
    }
}
