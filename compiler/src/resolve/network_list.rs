//! A provider's published list of networks: (text, filters) → networks, or what is wrong with it.
//!
//! Two forms are read. A plain list has a network a line, and comments behind `#` or `;`; of a line with commas, such
//! as of a geofeed (RFC 8805), the first field is a network, and each other one that is. A JSON document, or several in
//! a row (JSON lines), may have any shape, since each provider has its own: every text in it that is a
//! network counts, a member's name too, and a filter `key = "value"` keeps those with an enclosing object that has this member
//! with this value (or a list that holds it). `list = "name"` keeps what stands in the list that is the
//! member `name`; `member = "name"` what stands anywhere in a member of this name, whatever that is.
//!
//! A network is written as `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.7` or `192.0.2.0-192.0.2.9`.
//!
//! Always: a text that looks like a network and is none is refused, never passed over, since a `deny`
//! that lacks a network widens access; a filter that nothing has, and an object that has a member twice, are refused
//! for the same reason.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::nearest::did_you_mean;

/// A network: its first address, and the length of its prefix.
pub(crate) type Network = (IpAddr, u8);

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// What a server shows to people.
    #[error("is an HTML page, and no list")]
    Page,
    /// It begins like JSON and is none.
    #[error("is not JSON: {reason}")]
    Json {
        /// Why not.
        reason: String,
    },
    /// A line, or a text, that should be a network.
    #[error("holds `{written}`, which is not a network{}", .line.map_or_else(String::new, |line| format!(" (line {line})")))]
    Network {
        /// What stands there.
        written: String,
        /// The line of a plain list, from 1.
        line: Option<usize>,
    },
    /// No network at all.
    #[error("holds no network")]
    Empty,
    /// Filters on a list that has nothing to filter by.
    #[error("is a plain list, which no filter can narrow")]
    PlainFilter,
    /// A filter by what nothing in the list has.
    #[error("has no entry with a member `{key}`")]
    UnknownKey {
        /// Which filter, from 0.
        filter: usize,
        /// Its key.
        key: String,
        /// The members that entries do have.
        known: Vec<String>,
    },
    /// A filter by a value that nothing in the list has.
    #[error("has no entry with {key} = \"{value}\"")]
    UnknownValue {
        /// Which filter, from 0.
        filter: usize,
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// The values that entries do have.
        known: Vec<String>,
    },
    /// Filters that each keep something, and nothing together.
    #[error("has no entry that all filters keep")]
    NothingLeft,
}

impl ListFault {
    /// The next step.
    pub(crate) fn help(&self) -> String {
        let some =
            |known: &[String]| known.iter().take(12).map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
        match self {
            ListFault::Page => "a download has probably answered with a page for logging in, or about an error: open the file, and fetch the list again".to_owned(),
            ListFault::Json { .. } | ListFault::Empty => {
                "fetch the list again, and check that this is the right file".to_owned()
            }
            ListFault::Network { .. } => {
                "write a network in full, without host bits: `192.0.2.0/24`, `2001:db8::/32`, or a range: \
                 `192.0.2.0-192.0.2.9`"
                    .to_owned()
            }
            ListFault::PlainFilter => "remove the filters, or name the provider's JSON document".to_owned(),
            ListFault::UnknownKey { known, key, .. } => match did_you_mean(key, known.iter().map(String::as_str)) {
                Some(question) => question,
                None => format!("filter by one of {}", some(known)),
            },
            ListFault::UnknownValue { known, key, value, .. } => {
                let values = format!("values of `{key}` here are {}", some(known));
                match did_you_mean(value, known.iter().map(String::as_str)) {
                    Some(question) => format!("{question} The {values}"),
                    None => values,
                }
            }
            ListFault::NothingLeft => "remove one of the filters, or write a `ranges(…)` for each".to_owned(),
        }
    }
}

/// The networks of a list that every filter keeps, sorted, none of them twice.
pub(crate) fn networks(text: &str, filters: &[(&str, &str)]) -> Result<Vec<Network>, ListFault> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut found = if text.trim_start().starts_with(['{', '[']) {
        in_document(&documents(text)?, filters)?
    } else if is_page(text) {
        return Err(ListFault::Page);
    } else if filters.is_empty() {
        in_lines(text)?
    } else {
        return Err(ListFault::PlainFilter);
    };
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { Err(ListFault::Empty) } else { Ok(found) }
}

/// Whether this is what a server shows to people.
fn is_page(text: &str) -> bool {
    let begin: String = text.trim_start().chars().take(1000).collect::<String>().to_ascii_lowercase();
    begin.starts_with('<') && (begin.contains("<html") || begin.contains("<!doctype html"))
}

fn in_lines(text: &str) -> Result<Vec<Network>, ListFault> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let written = line.split(['#', ';']).next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        for (place, field) in written.split(',').map(|field| field.trim_matches(['"', ' ', '\t'])).enumerate() {
            if place == 0 || looks_like_a_network(field) {
                let fault = || ListFault::Network { written: shortened(field), line: Some(index + 1) };
                found.extend(network(field).ok_or_else(fault)?);
            }
        }
    }
    Ok(found)
}

/// A document, or several in a row as the elements of a list.
fn documents(text: &str) -> Result<Value, ListFault> {
    let read = serde_json::Deserializer::from_str(text).into_iter::<Strict>().collect::<Result<Vec<_>, _>>();
    let mut found = read.map_err(|error| ListFault::Json { reason: error.to_string() })?;
    match found.pop() {
        Some(Strict(only)) if found.is_empty() => Ok(only),
        last => Ok(found.into_iter().chain(last).map(|Strict(document)| document).collect()),
    }
}

/// What is written as a network: `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `192.0.2.7` or `192.0.2.0-192.0.2.9`, the
/// last as networks in a row. Without host bits.
fn network(written: &str) -> Option<Vec<Network>> {
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

/// The length of a prefix that is written as a netmask.
fn mask_length(mask: &str) -> Option<u8> {
    let mask = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == u32::MAX).then_some(mask.leading_ones() as u8)
}

/// The largest networks that make up the addresses from one to another, each as its bits and the length of its prefix.
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

/// Whether a text claims to be a network, an address, or a range of addresses.
fn looks_like_a_network(written: &str) -> bool {
    let written = written.trim();
    let of = |allowed: &str, text: &str| !text.is_empty() && text.chars().all(|c| allowed.contains(c));
    let dotted = |text: &str| of("0123456789.", text) && text.matches('.').count() == 3;
    let address = |text: &str| {
        let text = text.trim();
        text.parse::<IpAddr>().is_ok() || dotted(text) || (of("0123456789abcdefABCDEF:", text) && text.contains("::"))
    };
    if let Some((network, length)) = written.split_once('/') {
        let (network, length) = (network.trim(), length.trim());
        return of("0123456789abcdefABCDEF:.", network)
            && network.contains([':', '.'])
            && (of("0123456789", length) || dotted(length));
    }
    let of_a_range = |(first, last): (&str, &str)| address(first) || address(last);
    address(written) || written.split_once('-').is_some_and(of_a_range)
}

fn shortened(written: &str) -> String {
    written.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A network of a document, and how the filters stand there.
struct Walk<'a> {
    filters: &'a [(&'a str, &'a str)],
    kept: Vec<Network>,
    /// For each filter: whether anything has its key, and its value.
    seen: Vec<(bool, bool)>,
    keys: BTreeSet<String>,
    values: Vec<BTreeSet<String>>,
    networks: usize,
}

fn in_document(document: &Value, filters: &[(&str, &str)]) -> Result<Vec<Network>, ListFault> {
    let mut walk = Walk {
        filters,
        kept: Vec::new(),
        seen: vec![(false, false); filters.len()],
        keys: BTreeSet::new(),
        values: vec![BTreeSet::new(); filters.len()],
        networks: 0,
    };
    walk.value(document, &mut Vec::new(), &mut Vec::new())?;
    if walk.networks == 0 {
        return Err(ListFault::Empty);
    }
    for (filter, ((key, value), seen)) in filters.iter().zip(&walk.seen).enumerate() {
        let (key, value) = ((*key).to_owned(), (*value).to_owned());
        match seen {
            (false, _) => {
                return Err(ListFault::UnknownKey { filter, key, known: walk.keys.into_iter().collect() });
            }
            (true, false) => {
                let known = walk.values.get(filter).map_or_else(Vec::new, |known| known.iter().cloned().collect());
                return Err(ListFault::UnknownValue { filter, key, value, known });
            }
            (true, true) => {}
        }
    }
    if walk.kept.is_empty() { Err(ListFault::NothingLeft) } else { Ok(walk.kept) }
}

impl<'d> Walk<'_> {
    /// `objects` enclose the value; `names` are those of the members that do, and whether each is a list.
    fn value(
        &mut self,
        value: &'d Value,
        objects: &mut Vec<&'d Map<String, Value>>,
        names: &mut Vec<(&'d str, bool)>,
    ) -> Result<(), ListFault> {
        match value {
            Value::Object(members) => {
                objects.push(members);
                for (name, member) in members {
                    self.text(name, objects, names)?;
                    names.push((name, member.is_array()));
                    self.value(member, objects, names)?;
                    names.pop();
                }
                objects.pop();
            }
            Value::Array(elements) => {
                for element in elements {
                    self.value(element, objects, names)?;
                }
            }
            Value::String(written) => self.text(written, objects, names)?,
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    /// A text, which is a network or has nothing to do with one.
    fn text(
        &mut self,
        written: &str,
        objects: &[&Map<String, Value>],
        names: &[(&str, bool)],
    ) -> Result<(), ListFault> {
        if !looks_like_a_network(written) {
            return Ok(());
        }
        let fault = || ListFault::Network { written: shortened(written), line: None };
        let networks = network(written).ok_or_else(fault)?;
        self.networks += 1;
        if self.keeps(objects, names) {
            self.kept.extend(networks);
        }
        Ok(())
    }

    fn keeps(&mut self, objects: &[&Map<String, Value>], names: &[(&str, bool)]) -> bool {
        let scalar = |(name, member): (&String, &Value)| -> Option<String> {
            let value = scalar_text(member)?;
            (!looks_like_a_network(&value)).then(|| name.clone())
        };
        if !self.filters.is_empty() {
            self.keys.extend(objects.iter().flat_map(|members| members.iter()).filter_map(scalar));
            if names.iter().any(|(_, is_list)| *is_list) {
                self.keys.insert("list".to_owned());
            }
            if !names.is_empty() {
                self.keys.insert("member".to_owned());
            }
        }
        let mut all = true;
        for (((key, wanted), seen), known) in self.filters.iter().zip(&mut self.seen).zip(&mut self.values) {
            let mut values: Vec<Cow<'_, str>> = Vec::new();
            for member in objects.iter().filter_map(|members| members.get(*key)) {
                match member {
                    Value::Array(several) => values.extend(several.iter().filter_map(scalar_text)),
                    one => values.extend(scalar_text(one)),
                }
            }
            match *key {
                "list" => values.extend(names.iter().filter(|(_, is_list)| *is_list).map(|(name, _)| Cow::from(*name))),
                "member" => values.extend(names.iter().map(|(name, _)| Cow::from(*name))),
                _ => {}
            }
            let has = values.iter().any(|value| value == wanted);
            *seen = (seen.0 || !values.is_empty(), seen.1 || has);
            known.extend(values.iter().take(64).map(|value| value.clone().into_owned()));
            all &= has;
        }
        all
    }
}

/// A value that a filter can name: a text, a number, or one of `true` and `false`.
fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A JSON value of which no object has a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Strict, D::Error> {
        from.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(Strict(element)) = elements.next_element()? {
            found.push(element);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut found = Map::new();
        while let Some((name, Strict(member))) = members.next_entry::<String, Strict>()? {
            if found.contains_key(&name) {
                return Err(A::Error::custom(format!("the member `{}` stands twice in one object", shortened(&name))));
            }
            found.insert(name, member);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    /// The networks as text, or what is said against the list.
    fn told(text: &str, filters: &[(&str, &str)]) -> String {
        match networks(text, filters) {
            Ok(found) => found.iter().map(|(at, length)| format!("{at}/{length}")).collect::<Vec<_>>().join(" "),
            Err(fault) => format!("it {fault}; {}", fault.help()),
        }
    }

    #[test]
    fn plain_list_is_a_network_a_line() {
        let text = "# ours\r\n192.0.2.0/24 ; first\n\n2001:db8::/32\n198.51.100.7\n192.0.2.0/24\n";
        assert_eq!(told(text, &[]), "192.0.2.0/24 198.51.100.7/32 2001:db8::/32");
        assert!(told(text, &[("region", "x")]).contains("no filter"));
        assert!(told("192.0.2.0/24\nnonsense\n", &[]).contains("`nonsense`, which is not a network (line 2)"));
        assert!(told("192.0.2.1/24", &[]).contains("not a network"), "host bits");
        assert!(told("192.0.2.0/+24", &[]).contains("not a network"));
        assert!(told("# nothing\n", &[]).contains("holds no network"));
    }

    const PREFIXES: &str = r#"{ "syncToken": "1", "prefixes": [
        { "ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "S3" },
        { "ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "S3" },
        { "ip_prefix": "203.0.113.0/24", "region": "us-east-1", "service": "EC2" } ],
      "ipv6_prefixes": [ { "ipv6_prefix": "2001:db8::/32", "region": "us-east-1", "service": "S3" } ] }"#;

    #[test]
    fn filters_of_one_list_hold_together() {
        let of = |filters: &[(&str, &str)]| told(PREFIXES, filters);
        assert_eq!(of(&[("service", "S3"), ("region", "us-east-1")]), "192.0.2.0/24 2001:db8::/32");
        assert_eq!(of(&[("service", "EC2")]), "203.0.113.0/24");
        assert_eq!(of(&[("list", "ipv6_prefixes")]), "2001:db8::/32");
        assert!(of(&[("servcie", "S3")]).contains("no entry with a member `servcie`; did you mean `service`?"));
        assert!(of(&[("service", "S4")]).contains("values of `service` here are `EC2`, `S3`"));
        assert!(of(&[("service", "EC2"), ("region", "eu-west-1")]).contains("all filters keep"));
    }

    #[test]
    fn lists_of_other_shapes_are_read_too() {
        let tags = r#"{ "values": [ { "name": "Sql", "properties": { "region": "", "addressPrefixes":
            [ "192.0.2.0/24" ] } }, { "name": "Web", "properties": { "addressPrefixes": [ "198.51.100.0/24" ] } } ] }"#;
        assert_eq!(told(tags, &[("name", "Sql")]), "192.0.2.0/24");
        let named = r#"{ "hooks": [ "192.0.2.0/24" ], "web": [ "198.51.100.0/24", "2001:db8::/32" ] }"#;
        assert_eq!(told(named, &[("list", "web")]), "198.51.100.0/24 2001:db8::/32");
        let nested =
            r#"{ "regions": [ { "region": "eu", "cidrs": [ { "cidr": "192.0.2.0/24", "tags": ["OSN", "OBJ"] } ] } ] }"#;
        assert_eq!(told(nested, &[("region", "eu"), ("tags", "OBJ")]), "192.0.2.0/24");
    }

    #[test]
    fn member_keeps_what_stands_anywhere_in_it() {
        let products = r#"{ "agents": { "prefixes_ipv4": ["192.0.2.0/24"], "prefixes_ipv6": ["2001:db8::/32"] },
            "api": { "prefixes_ipv4": ["198.51.100.0/24"] }, "own": "203.0.113.7/32" }"#;
        let of = |filters: &[(&str, &str)]| told(products, filters);
        assert_eq!(of(&[("member", "agents")]), "192.0.2.0/24 2001:db8::/32");
        assert_eq!(of(&[("member", "own")]), "203.0.113.7/32");
        assert_eq!(of(&[("member", "agents"), ("member", "prefixes_ipv4")]), "192.0.2.0/24");
        assert_eq!(of(&[("list", "prefixes_ipv4")]), "192.0.2.0/24 198.51.100.0/24");
        assert!(of(&[("member", "agent")]).contains("did you mean `agents`?"));
        assert!(of(&[("list", "own")]).contains("values of `list` here are `prefixes_ipv4`, `prefixes_ipv6`"));
        assert!(of(&[("member", "api"), ("member", "prefixes_ipv6")]).contains("all filters keep"));
    }

    #[test]
    fn page_is_told_from_a_list() {
        assert!(told("\n<!DOCTYPE html>\n<title>Sign in</title>", &[]).contains("is an HTML page"));
        assert!(told("<html>", &[("region", "x")]).contains("is an HTML page"));
        assert!(told("<none>", &[]).contains("not a network"));
    }

    #[test]
    fn addresses_ranges_and_netmasks_count_in_every_form() {
        for (written, networks) in [
            ("192.0.2.81", "192.0.2.81/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("192.0.2.0/24 ", "192.0.2.0/24"),
            ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
            ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
            ("192.0.2.7/255.255.255.255", "192.0.2.7/32"),
            ("192.0.2.0-192.0.2.9", "192.0.2.0/29 192.0.2.8/31"),
            ("192.0.2.1 - 192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
            ("2001:db8::1-2001:db8::2", "2001:db8::1/128 2001:db8::2/128"),
        ] {
            assert_eq!(told(written, &[]), networks, "{written}");
            assert_eq!(told(&format!("{{ \"W\": [ \"{written}\" ] }}"), &[]), networks, "{written}");
            assert_eq!(told(&format!("{{ \"{written}\": true }}"), &[]), networks, "{written} as a member");
            assert!(told(&format!("[ \"198.51.100.0/24\", \"{written}\" ]"), &[]).contains(networks), "{written}");
        }
    }

    #[test]
    fn nearly_a_network_is_an_error_beside_one_that_counts() {
        for written in [
            "10.0/16",
            "10.0.0.256",
            "300.1.1.1",
            "10.0.0.0/33",
            "10.0.0.0/255.0.255.0",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-9",
            "10.0.0.1-2001:db8::1",
            "2001:db8:::1",
            "2001:db8::/129",
            "10.0.0.1/8",
            "10.0.0.0 /8",
        ] {
            let said = told(&format!("[ \"198.51.100.0/24\", \"{written}\" ]"), &[]);
            assert!(said.contains("which is not a network"), "{written}: {said}");
            assert!(told(&format!("198.51.100.0/24\n{written}\n"), &[]).contains("(line 2)"), "{written}");
        }
        let others = r#"[ "198.51.100.0/24", "2026-07-14", "2026-07-14T09:30:00Z", "08:00-17:00", "00:1a:2b:3c:4d:5e",
            "1.2.3", "us-east-1", "https://192.0.2.1/a", "a/b", "2026/07/14", "", "-", "/", "text/plain" ]"#;
        assert_eq!(told(others, &[]), "198.51.100.0/24");
    }

    #[test]
    fn member_that_stands_twice_is_an_error() {
        let said = told(r#"{ "a": [ "192.0.2.0/24" ], "b": { "a": "10.0.0.0/8" }, "a": [ "198.51.100.0/24" ] }"#, &[]);
        assert!(said.contains("the member `a` stands twice in one object"), "{said}");
    }

    #[test]
    fn booleans_and_numbers_can_be_filtered_by() {
        let text = r#"[ { "net": "192.0.2.0/24", "required": true, "id": 7 },
            { "net": "198.51.100.0/24", "required": false, "id": 8, "ports": [443, 80] } ]"#;
        assert_eq!(told(text, &[("required", "true")]), "192.0.2.0/24");
        assert_eq!(told(text, &[("id", "8")]), "198.51.100.0/24");
        assert_eq!(told(text, &[("ports", "80")]), "198.51.100.0/24");
        assert!(told(text, &[("required", "yes")]).contains("values of `required` here are `false`, `true`"));
    }

    #[test]
    fn geofeeds_and_json_lines_are_read() {
        let feed = "# geofeed\n192.0.2.0/24,US,US-CA,San Jose,95110\n2001:db8::/32,DE,DE-BE,Berlin,\n";
        assert_eq!(told(feed, &[]), "192.0.2.0/24 2001:db8::/32");
        assert_eq!(told("192.0.2.0/24, 198.51.100.7\n", &[]), "192.0.2.0/24 198.51.100.7/32", "no field is lost");
        assert_eq!(told("\"192.0.2.0/24\",\"x\"\n", &[]), "192.0.2.0/24");
        assert!(told("prefix,country\n192.0.2.0/24,US\n", &[]).contains("(line 1)"));
        let lines = "{\"cidr\":\"192.0.2.0/24\",\"rir\":\"arin\"}\n{\"cidr\":\"198.51.100.0/24\",\"rir\":\"ripe\"}\n\
                     {\"type\":\"metadata\"}\n";
        assert_eq!(told(lines, &[]), "192.0.2.0/24 198.51.100.0/24");
        assert_eq!(told(lines, &[("rir", "ripe")]), "198.51.100.0/24");
        assert!(told("{\"cidr\":\"192.0.2.0/24\"}\n{\"cidr\":", &[]).contains("is not JSON"));
    }

    #[test]
    fn what_looks_like_a_network_must_be_one() {
        assert!(told(r#"{ "a": [ "192.0.2.0/24", "192.0.2.0/33" ] }"#, &[]).contains("192.0.2.0/33"));
        assert!(told(r#"{ "a": [ "10.0.0.1/8" ] }"#, &[]).contains("10.0.0.1/8"));
        assert!(told("{ \"a\": ", &[]).contains("is not JSON"));
        assert!(networks(&"[".repeat(100_000), &[]).is_err(), "deep nesting is refused");
        assert_eq!(networks(r#"{ "a": "10.0.0.0/8" }"#, &[]).unwrap().len(), 1);
    }
}
