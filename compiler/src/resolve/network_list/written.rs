//! One text of a list → its networks, a fault, or nothing to do with networks.
//!
//! A network is written as `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.7` or `192.0.2.0-192.0.2.9`. `,`, `;` or
//! a line end separates several in one text. A space does not: `10.1.0.0 255.255.0.0` is one network, and would be read
//! as two addresses.
//!
//! Always: a text with an address that is not used is a fault. The only exceptions are an address within a URL, one
//! that begins a name (`192.0.2.7.host.example`), and one within a sentence. Dates, versions of three numbers, ports,
//! digests, fingerprints and hardware addresses contain none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

/// The meaning of a text in a list.
pub(super) enum Text {
    /// One or several networks, each as the aligned networks that make it up.
    Networks(Vec<Network>),
    /// It contains an address, or nearly one, and is not a network.
    Faulty,
    /// It has nothing to do with networks.
    Other,
}

pub(super) fn read(written: &str) -> Text {
    let mut parts = written.split([',', ';', '\n']).map(str::trim).filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Text::Other;
    }
    let networks: Option<Vec<Vec<Network>>> = parts.clone().map(network).collect();
    match networks {
        Some(networks) => Text::Networks(networks.concat()),
        None if parts.any(looks_like_a_network) || (holds_an_address(written) && !is_sentence(written)) => Text::Faulty,
        None => Text::Other,
    }
}

/// Reads a network; a range becomes several adjacent networks. `None` if it has host bits or is not a network.
pub(super) fn network(written: &str) -> Option<Vec<Network>> {
    let written = written.trim();
    if let Some((first, last)) = written.split_once('-') {
        return match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let networks = in_a_row(first.to_bits().into(), last.to_bits().into(), 32)?.into_iter();
                Some(networks.map(|(bits, length)| (Ipv4Addr::from_bits(bits as u32).into(), length)).collect())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let networks = in_a_row(first.to_bits(), last.to_bits(), 128)?.into_iter();
                Some(networks.map(|(bits, length)| (Ipv6Addr::from_bits(bits).into(), length)).collect())
            }
            _ => None,
        };
    }
    let (address, behind) = match written.split_once('/') {
        Some((address, behind)) => (address, Some(behind)),
        None => (written, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let length = match behind {
        None => width,
        Some(mask) if mask.contains('.') && address.is_ipv4() => mask_length(mask)?,
        Some(length) => length.parse().ok().filter(|_| length.bytes().all(|c| c.is_ascii_digit()))?,
    };
    let free = u32::from(width.checked_sub(length)?);
    let host = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    (bits & host == 0).then(|| vec![(address, length)])
}

/// The prefix length of a netmask.
fn mask_length(mask: &str) -> Option<u8> {
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == u32::MAX).then_some(mask.leading_ones() as u8)
}

/// The largest networks that make up the addresses from `first` to `last`, each as (bits, prefix length).
fn in_a_row(first: u128, last: u128, width: u8) -> Option<Vec<(u128, u8)>> {
    let mut networks = Vec::new();
    let mut first = (first <= last).then_some(first);
    while let Some(begin) = first {
        let mut free = begin.trailing_zeros().min(width.into());
        let end = |free: u32| begin | if free == 128 { u128::MAX } else { (1 << free) - 1 };
        while end(free) > last {
            free -= 1;
        }
        networks.push((begin, width - free as u8));
        first = end(free).checked_add(1).filter(|next| *next <= last);
    }
    Some(networks).filter(|networks| !networks.is_empty())
}

/// Whether a text has the form of a network, an address or a range of addresses, valid or not.
pub(super) fn looks_like_a_network(written: &str) -> bool {
    let written = written.trim();
    let of = |allowed: &str, text: &str| !text.is_empty() && text.chars().all(|c| allowed.contains(c));
    let dotted = |text: &str| of("0123456789.", text) && text.matches('.').count() == 3;
    let colons = |text: &str| of("0123456789abcdefABCDEF:.", text) && text.contains(':');
    let address = |text: &str| {
        let text = text.trim();
        text.parse::<IpAddr>().is_ok() || dotted(text) || (colons(text) && text.contains("::"))
    };
    if let Some((network, length)) = written.split_once('/') {
        let (network, length) = (network.trim(), length.trim());
        // `abc.de/24` is a web page.
        let is_network = (of("0123456789.", network) && network.contains('.')) || colons(network);
        return is_network && (of("0123456789", length) || dotted(length));
    }
    let of_a_range = |(first, last): (&str, &str)| address(first) || address(last);
    address(written) || is_wildcard(written) || written.split_once('-').is_some_and(of_a_range)
}

/// `10.1.0.*`, `10.1.*`, `10.1.x.x`
fn is_wildcard(written: &str) -> bool {
    let parts: Vec<&str> = written.split('.').collect();
    let is_number = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
    let is_free = |part: &&str| *part == "*" || (parts.len() == 4 && matches!(*part, "x" | "X"));
    (2..=4).contains(&parts.len())
        && parts.first().is_some_and(is_number)
        && parts.iter().any(is_free)
        && parts.iter().all(|part| is_number(part) || is_free(part))
}

/// The part of a text that is an address, or nearly one; addresses within URLs do not count.
pub(super) fn address_in(written: &str) -> Option<&str> {
    let written = written.trim();
    let is_of_an_address = |c: char| c.is_ascii_hexdigit() || ".:/*-".contains(c);
    let parts = words(written).filter(|word| is_addressed(word) || looks_like_a_network(word));
    let parts = parts.flat_map(|word| word.split(|c| !is_of_an_address(c)));
    let is_address = |part: &&str| looks_like_a_network(part) || begins_with_v4(part) || begins_with_v6(part);
    if looks_like_a_network(written) { Some(written) } else { parts.into_iter().find(is_address) }
}

fn holds_an_address(text: &str) -> bool {
    words(text).any(is_addressed)
}

/// The words of a text, without URLs and without signs such as brackets and long dashes.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let chunks = text.split(|c: char| c.is_whitespace() || !c.is_ascii() || ",;|<>\"'`".contains(c));
    let plain = chunks.filter(|chunk| !chunk.contains("://"));
    plain.flat_map(|chunk| chunk.split(|c: char| c.is_control() || "()[]{}=&?!+#\\$@^~".contains(c)))
}

/// Whether a word is an address with a suffix, or with a prefix and a colon: `192.0.2.1:443`, `fe80::1%eth0`,
/// `ip4:192.0.2.0/24`.
fn is_addressed(word: &str) -> bool {
    // The last eight groups of a fingerprint would be an address, so only a prefix that cannot be a group is removed.
    let behind_label = word.split_once(':').filter(|(label, _)| label.chars().any(|c| !c.is_ascii_hexdigit()));
    begins_with_v4(word)
        || begins_with_v6(word)
        || word.match_indices(':').any(|(at, _)| begins_with_v4(word.get(at + 1..).unwrap_or_default()))
        || behind_label.is_some_and(|(_, rest)| begins_with_v6(rest))
        || is_wildcard(word)
}

fn begins_with_v4(word: &str) -> bool {
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (run, rest) = word.split_at(end);
    // A full stop ends a sentence; before another word, it is part of a host's name.
    let run = if rest.is_empty() { run.trim_end_matches('.') } else { run };
    run.parse::<Ipv4Addr>().is_ok() && ends_a_word(rest)
}

fn begins_with_v6(word: &str) -> bool {
    let end = word.find(|c: char| !c.is_ascii_hexdigit() && c != ':' && c != '.').unwrap_or(word.len());
    let (run, rest) = word.split_at(end);
    let run = if rest.is_empty() { run.trim_end_matches('.') } else { run };
    // Two colons alone are not an address in any list; they occur between the names of programs.
    run.len() > 2 && run.parse::<Ipv6Addr>().is_ok() && ends_a_word(rest)
}

fn ends_a_word(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric())
}

/// Whether a text only mentions addresses: it does not begin with one, and has four words for each.
fn is_sentence(text: &str) -> bool {
    let (addresses, others): (Vec<&str>, Vec<&str>) = words(text).partition(|word| is_addressed(word));
    let is_word = |word: &&&str| {
        let word = word.trim_end_matches(['.', ':']);
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
    };
    let first = text.split_whitespace().next().unwrap_or_default();
    !words(first).any(is_addressed) && others.iter().filter(is_word).count() >= 4 * addresses.len()
}
