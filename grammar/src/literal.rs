//! Reads the literals: addresses, ports, protocols, digests, names and quoted text.
//!
//! Enters: the text of one literal with its place. Leaves: its value, or the one error that names its fault. Nothing is
//! rounded or truncated: the value is the one that was written.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::SyntaxError;
use crate::expected;
use crate::keyword;
use crate::look_alike;
use crate::parse::Text;
use crate::syntax::{Host, Protocol, Span};

/// A word on the right of an arrow: a name, or a destination.
pub(crate) enum HostWord {
    Name(String),
    Host(Host),
}

/// Reads a word without quotes on the right of an arrow.
pub(crate) fn host_word(word: &str, span: Span) -> Result<HostWord, SyntaxError> {
    if word.starts_with('/') {
        return Err(match word {
            "/tcp" | "/udp" => SyntaxError::ProtocolWithoutPort { protocol: word.replace('/', ""), span },
            _ => SyntaxError::PathAsDestination { path: word.to_owned(), span },
        });
    }
    if let Some((first, last)) = ends_of_range(word) {
        return Ok(HostWord::Host(v4_range(first, last, span)?));
    }
    let (base, length) = match word.split_once('/') {
        Some((base, length)) => (base, Some(length)),
        None => (word, None),
    };
    if base.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(HostWord::Host(v4(base, length, span)?));
    }
    if length.is_some() {
        return Err(SyntaxError::PrefixOnName {
            name: base.to_owned(),
            span: Span { start: span.start + base.len(), end: span.end },
        });
    }
    if base.contains('.') {
        return Ok(HostWord::Host(dns_name(base, span)?));
    }
    Ok(HostWord::Name(name(base, span)?))
}

/// Reads a declared name.
pub(crate) fn name(word: &str, span: Span) -> Result<String, SyntaxError> {
    if keyword::is_reserved(word) {
        let help = match word {
            "ranges" => format!("as a destination, {}", expected::RANGES_FORM),
            _ => format!("choose another name, such as `my-{word}`; as a path or a DNS name, put it in quotes"),
        };
        return Err(SyntaxError::ReservedWord { word: word.to_owned(), span, help });
    }
    let begins_well = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if begins_well && word.bytes().all(goes_on) {
        Ok(word.to_owned())
    } else {
        let meant = look_alike::meant(word).filter(|meant| meant.is_ascii());
        let error = meant.and_then(|meant| look_alike::error(word, span.start, format!("write `{meant}`")));
        Err(error.unwrap_or_else(|| SyntaxError::BadName { word: word.to_owned(), span }))
    }
}

/// Reads a word without quotes on the left of an arrow.
pub(crate) fn program_word(word: &str, span: Span) -> Result<String, SyntaxError> {
    if word.contains(['.', ':']) && !word.starts_with('/') {
        return Err(SyntaxError::DestinationAsProgram { word: word.to_owned(), span });
    }
    if word.contains('/') {
        return Err(SyntaxError::UnquotedPath { path: word.to_owned(), span });
    }
    name(word, span)
}

/// Reads text in quotes on the right of an arrow.
pub(crate) fn quoted_host(text: String, span: Span) -> Result<Host, SyntaxError> {
    if text.contains('*') {
        return Err(SyntaxError::WildcardName { name: text, span });
    }
    if text.starts_with('/') {
        return Err(SyntaxError::PathAsDestination { path: text, span });
    }
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit() || b"./:".contains(&byte));
    let address = text.trim_matches(['[', ']']);
    if !text.is_empty() && (only_digits || address.parse::<Ipv6Addr>().is_ok()) {
        let help = "quotes mean a DNS name; write an address without them".to_owned();
        return Err(SyntaxError::BadDnsName { name: text, span, help });
    }
    if text.contains("${") {
        // What stands there is one word; whether it is declared is found out when all files are read.
        return dns_name(&with_a_word(&text), span).map(|_| Host::Dns(text));
    }
    dns_name(&text, span)
}

/// The text with a word in place of each `${…}`.
fn with_a_word(text: &str) -> String {
    let mut pieces = text.split("${");
    let mut worded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        worded.push('x');
        worded.push_str(piece.split_once('}').map_or("", |(_, rest)| rest));
    }
    worded
}

fn dns_name(name: &str, span: Span) -> Result<Host, SyntaxError> {
    let refuse = |help: &str| {
        // Empty backticks would look like a defect of the compiler.
        let shown = if name.is_empty() { "\"\"" } else { name };
        Err(SyntaxError::BadDnsName { name: shown.to_owned(), span, help: help.to_owned() })
    };
    // IDNA decides about characters beyond ASCII, when the name is resolved.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || !c.is_ascii();
    if !name.chars().all(|c| fits(c) && !c.is_whitespace()) {
        return refuse("a DNS name has letters, digits, `-`, `_` and dots; a port follows the quotes: `\"kms\":443`");
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    if labels.split('.').any(str::is_empty) {
        return refuse("write at least one character before, between and after the dots");
    }
    // A name in quotes begins after the quotation mark.
    let start = span.end.saturating_sub(span.start).saturating_sub(name.len()) / 2 + span.start;
    match look_alike::in_dns_name(name, start) {
        Some(error) => Err(error),
        None => Ok(Host::Dns(name.to_owned())),
    }
}

/// The two ends of `10.0.0.1-10.0.0.20`, if the word has that form.
fn ends_of_range(word: &str) -> Option<(&str, &str)> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b"./".contains(&byte));
    word.split_once('-').filter(|(first, last)| is_number(first) && is_number(last) && first.contains('.'))
}

fn v4_range(first: &str, last: &str, span: Span) -> Result<Host, SyntaxError> {
    let refuse = |help: String| Err(SyntaxError::BadAddress { address: format!("{first}-{last}"), span, help });
    if first.contains('/') || last.contains('/') {
        return refuse("write a range by its ends, or by one network, and not by two".to_owned());
    }
    if !last.contains('.') {
        let (beginning, _) = first.rsplit_once('.').unwrap_or((first, ""));
        return refuse(format!("write the last address whole: `{first}-{beginning}.{last}`"));
    }
    let behind = Span { start: span.start + first.len() + 1, end: span.end };
    let before = Span { start: span.start, end: span.start + first.len() };
    match (v4(first, None, before)?, v4(last, None, behind)?) {
        (Host::V4(first, _), Host::V4(last, _)) if first <= last => Ok(Host::V4Range(first, last)),
        _ => refuse(backwards(&format!("{last}-{first}"))),
    }
}

/// The help for a range that ends before it begins.
fn backwards(turned: &str) -> String {
    format!("the range ends before it begins: if both ends are right, write `{turned}`")
}

fn v4(base: &str, length: Option<&str>, span: Span) -> Result<Host, SyntaxError> {
    let base_span = Span { start: span.start, end: span.start + base.len() };
    let refuse = |help: &str| {
        let (address, span, help) = (base.to_owned(), base_span, help.to_owned());
        Err(SyntaxError::BadAddress { address, span, help })
    };
    let mut octets = Vec::with_capacity(4);
    let mut start = span.start;
    for part in base.split('.') {
        let part_span = Span { start, end: start + part.len() };
        start = part_span.end + 1;
        if part.is_empty() || octets.len() == 4 {
            return refuse("an IPv4 address has four numbers: `10.0.0.1`, or `10.0.0.0/8` for a range");
        }
        if part.len() > 1 && part.starts_with('0') {
            return refuse("remove the leading zeros: some programs read such a number as octal");
        }
        let Ok(octet) = part.parse::<u8>() else {
            return Err(SyntaxError::OctetTooLarge { octet: part.to_owned(), span: part_span });
        };
        octets.push(octet);
    }
    let Ok(octets) = <[u8; 4]>::try_from(octets) else {
        return refuse("an IPv4 address has four numbers: `10.0.0.1`, or `10.0.0.0/8` for a range");
    };
    let length = match length {
        None => 32,
        Some(length) => prefix_length(length, "IPv4", 32, Span { start: base_span.end + 1, end: span.end })?,
    };
    Ok(Host::V4(Ipv4Addr::from(octets), length))
}

/// Reads `[2001:db8::1]`, `[2001:db8::/32]` or `[2001:db8::1-2001:db8::20]`.
pub(crate) fn bracketed_v6(text: &str, span: Span) -> Result<Host, SyntaxError> {
    let refuse = |help: String| Err(SyntaxError::BadAddress { address: text.to_owned(), span, help });
    let inside = text.strip_prefix('[').unwrap_or(text);
    let Some(inside) = inside.strip_suffix(']') else {
        let moved = text.replace(']', "") + "]";
        return refuse(format!("write the length inside the brackets: `{moved}`"));
    };
    if let Some((first, last)) = inside.split_once('-') {
        return match (first.parse::<Ipv6Addr>(), last.parse::<Ipv6Addr>()) {
            (Ok(first), Ok(last)) if first.to_ipv4_mapped().is_some() != last.to_ipv4_mapped().is_some() => refuse(
                "write the addresses that carry IPv4, `::ffff:…`, as a range of IPv4 addresses: they are judged as such"
                    .to_owned(),
            ),
            (Ok(first), Ok(last)) if first <= last => Ok(Host::V6Range(first, last)),
            (Ok(_), Ok(_)) => refuse(backwards(&format!("[{last}-{first}]"))),
            _ => refuse("a range has an IPv6 address before and behind its hyphen: `[fd00::1-fd00::20]`".to_owned()),
        };
    }
    let (address, length) = match inside.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (inside, None),
    };
    let Ok(parsed) = address.parse::<Ipv6Addr>() else {
        return refuse(if address.parse::<Ipv4Addr>().is_ok() {
            format!("write an IPv4 address without brackets: `{inside}`")
        } else if address.contains('%') {
            "leave the zone out: a policy speaks of addresses, not of interfaces".to_owned()
        } else {
            "brackets hold an IPv6 address: `[2001:db8::1]`, or `[2001:db8::/32]` for a range".to_owned()
        });
    };
    let length = match length {
        None => 128,
        Some(length) => {
            let end = span.end.saturating_sub(1);
            prefix_length(length, "IPv6", 128, Span { start: end.saturating_sub(length.len()), end })?
        }
    };
    Ok(Host::V6(parsed, length))
}

/// The error for `2001:db8::1:443`, which is an address, and may have been meant as one with a port.
pub(crate) fn unbracketed_v6(address: String, span: Span) -> SyntaxError {
    let with_port = address.rsplit_once(':').filter(|(address, port)| {
        let is_port = port.len() >= 2 && port.parse::<u16>().is_ok() && !port.starts_with('0');
        is_port && address.parse::<Ipv6Addr>().is_ok()
    });
    let help = match with_port {
        Some((bare, port)) => {
            format!("write `[{bare}]:{port}` for this port, or `[{address}]` where all of it is the address")
        }
        None => format!("write `[{address}]`, and a port behind the bracket: `[{address}]:443`"),
    };
    SyntaxError::UnbracketedV6 { address, help, span }
}

fn prefix_length(length: &str, family: &'static str, limit: u8, span: Span) -> Result<u8, SyntaxError> {
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SyntaxError::BadAddress {
            address: format!("/{length}"),
            // Includes the slash: an empty length would leave nothing to mark.
            span: Span { start: span.start.saturating_sub(1), end: span.end },
            help: match keyword::nearest(&length.to_ascii_lowercase(), &["icmp"]) {
                _ if length != "icmp" && length.eq_ignore_ascii_case("icmp") => {
                    "write `/icmp` in lower case".to_owned()
                }
                Some(meant) => format!("did you mean `/{meant}`?"),
                None => format!("write a prefix length after the slash, from 0 to {limit}"),
            },
        });
    }
    length.parse::<u8>().ok().filter(|length| *length <= limit).ok_or_else(|| SyntaxError::PrefixTooLong {
        length: length.to_owned(),
        family,
        limit,
        span,
    })
}

/// Reads one port.
pub(crate) fn port(digits: &str, span: Span) -> Result<u16, SyntaxError> {
    digits.parse().map_err(|_| SyntaxError::PortTooLarge { port: digits.to_owned(), span })
}

/// Reads `tcp`, `udp` or `icmp`, and in a question `other`.
pub(crate) fn protocol(word: &str, span: Span, text: Text) -> Result<Protocol, SyntaxError> {
    match word {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "icmp" => Ok(Protocol::Icmp),
        "other" if text == Text::Question => Ok(Protocol::Other),
        _ => Err(SyntaxError::UnknownProtocol { protocol: word.to_owned(), span }),
    }
}

/// Reads `sha256:` and 64 hexadecimal digits.
pub(crate) fn sha256(text: &str, span: Span) -> Result<[u8; 32], SyntaxError> {
    let refuse = |help: String| {
        let shown = text.chars().count() > 24;
        let mut digest: String = text.chars().take(24).collect();
        if shown {
            digest.push('…');
        }
        Err(SyntaxError::BadDigest { digest, span, help })
    };
    let Some(hex) = text.strip_prefix("sha256:") else {
        return refuse("write `sha256:` and the digest that `fsverity measure` prints".to_owned());
    };
    let nibbles: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let Some(nibbles) = nibbles else {
        return refuse("only the digits 0 to 9 and a to f may follow `sha256:`".to_owned());
    };
    let pairs = nibbles.chunks_exact(2).filter_map(|pair| match pair {
        [high, low] => u8::try_from(high << 4 | low).ok(),
        _ => None,
    });
    match <[u8; 32]>::try_from(pairs.collect::<Vec<u8>>()) {
        Ok(digest) if nibbles.len() == 64 => Ok(digest),
        _ => refuse(format!("after `sha256:` stand 64 hexadecimal digits, and these are {}", nibbles.len())),
    }
}

/// Undoes the escapes of a text in quotes; `body` is the text between them.
pub(crate) fn unescape(body: &str, span: Span) -> Result<String, SyntaxError> {
    let mut text = String::with_capacity(body.len());
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        let escaped = characters.next().map(|(_, escaped)| escaped);
        text.push(match escaped {
            Some(plain @ ('"' | '\\')) => plain,
            Some('n') => '\n',
            Some('t') => '\t',
            _ => {
                let escape: String = std::iter::once('\\').chain(escaped).collect();
                // The opening quotation mark takes one byte.
                let start = span.start + 1 + at;
                let span = Span { start, end: start + escape.len() };
                return Err(SyntaxError::UnknownEscape { escape, span });
            }
        });
    }
    Ok(text)
}

/// Quotes a text so that [`unescape`] restores it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    #[test]
    fn quoting_inverts_unescaping() {
        let text = "a\"b\\c\nd\te";
        let quoted = quote(text);
        let body = quoted.get(1..quoted.len() - 1).unwrap();
        assert_eq!(unescape(body, Span::default()).unwrap(), text);
    }

    #[test]
    fn a_mapped_address_stays_an_ipv6_address() {
        let host = bracketed_v6("[::ffff:10.0.0.1]", Span::default()).unwrap();
        assert_eq!(host, Host::V6("::ffff:10.0.0.1".parse().unwrap(), 128));
    }
}
