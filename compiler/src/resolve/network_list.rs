//! A provider's published list of networks: (text, filters) → networks, or what is wrong with it.
//!
//! Two forms are read. A plain list has a network or an address a line, and comments behind `#` or `;`.
//! A JSON document may have any shape, since each provider has its own: every text in it that is a
//! network counts, and a filter `key = "value"` keeps those with an enclosing object that has this member
//! with this value (or a list that holds it). `list = "name"` keeps what stands in the list that is the
//! member `name`; `member = "name"` what stands anywhere in a member of this name, whatever that is.
//!
//! Always: a text that looks like a network and is none is refused, never passed over, since a `deny`
//! that lacks a network widens access; a filter that nothing has is refused for the same reason.

use std::collections::BTreeSet;
use std::net::IpAddr;

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
                "write a network in full, without host bits: `192.0.2.0/24`, `2001:db8::/32`".to_owned()
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
        let document = serde_json::from_str(text).map_err(|error| ListFault::Json { reason: error.to_string() })?;
        in_document(&document, filters)?
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
        if !written.is_empty() {
            let fault = || ListFault::Network { written: shortened(written), line: Some(index + 1) };
            found.push(network(written).ok_or_else(fault)?);
        }
    }
    Ok(found)
}

/// A network, or an address, without host bits.
fn network(written: &str) -> Option<Network> {
    let (address, length) = match written.split_once('/') {
        Some((address, length)) => {
            (address, Some(length.parse::<u8>().ok().filter(|_| length.bytes().all(|c| c.is_ascii_digit()))?))
        }
        None => (written, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let length = length.unwrap_or(width);
    let free = u32::from(width.checked_sub(length)?);
    let host = if free == 128 { u128::MAX } else { (1 << free) - 1 };
    (bits & host == 0).then_some((address, length))
}

/// Whether a text in a JSON document claims to be a network.
fn looks_like_a_network(written: &str) -> bool {
    written.split_once('/').is_some_and(|(address, length)| {
        let of = |allowed: &str, text: &str| !text.is_empty() && text.chars().all(|c| allowed.contains(c));
        of("0123456789", length)
            && of("0123456789abcdefABCDEF:.", address)
            && (address.contains(':') || address.matches('.').count() == 3)
    })
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
            Value::String(written) if looks_like_a_network(written) => {
                let fault = || ListFault::Network { written: shortened(written), line: None };
                let network = network(written).ok_or_else(fault)?;
                self.networks += 1;
                if self.keeps(objects, names) {
                    self.kept.push(network);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn keeps(&mut self, objects: &[&Map<String, Value>], names: &[(&str, bool)]) -> bool {
        let scalar = |(name, member): (&String, &Value)| {
            (member.is_string() && !member.as_str().is_some_and(looks_like_a_network)).then(|| name.clone())
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
            let mut values: Vec<&str> = Vec::new();
            for member in objects.iter().filter_map(|members| members.get(*key)) {
                match member {
                    Value::String(value) => values.push(value),
                    Value::Array(several) => values.extend(several.iter().filter_map(Value::as_str)),
                    _ => {}
                }
            }
            match *key {
                "list" => values.extend(names.iter().filter(|(_, is_list)| *is_list).map(|(name, _)| name)),
                "member" => values.extend(names.iter().map(|(name, _)| name)),
                _ => {}
            }
            let has = values.contains(wanted);
            *seen = (seen.0 || !values.is_empty(), seen.1 || has);
            known.extend(values.iter().take(64).map(|value| (*value).to_owned()));
            all &= has;
        }
        all
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
    fn what_looks_like_a_network_must_be_one() {
        assert!(told(r#"{ "a": [ "192.0.2.0/24", "192.0.2.0/33" ] }"#, &[]).contains("192.0.2.0/33"));
        assert!(told(r#"{ "a": [ "10.0.0.1/8" ] }"#, &[]).contains("10.0.0.1/8"));
        assert!(told("{ \"a\": ", &[]).contains("is not JSON"));
        assert!(networks(&"[".repeat(100_000), &[]).is_err(), "deep nesting is refused");
        assert_eq!(networks(r#"{ "a": "10.0.0.0/8" }"#, &[]).unwrap().len(), 1);
    }
}
