//! A provider's published list of networks: (text, filters) → networks, or what is wrong with it.
//!
//! Two forms are read. A plain list has a network a line, and comments behind `#` or `;`; of a line with commas, such
//! as of a geofeed (RFC 8805), the first field is a network, and each other one that is. A JSON document, or several in
//! a row (JSON lines), may have any shape, since each provider has its own: every text in it that is a network, or
//! several with commas between them, counts, a member's name too, and a filter `key = "value"` keeps those with an
//! enclosing object that has this member with this value (or a list that holds it). `list = "name"` keeps what stands
//! in the list that is the member `name`; `member = "name"` what stands anywhere in a member of this name, whatever
//! that is.
//!
//! Always: a text that holds an address and does not count is refused, never passed over, since a `deny` that lacks a
//! network widens access (`written` says what passes); a filter that nothing has, and an object that has a member
//! twice, are refused for the same reason.

#[cfg(test)]
mod tests;
mod written;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Formatter};
use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use self::written::{Text, address_in, looks_like_a_network, read};
use crate::diagnostics::nearest::{self, did_you_mean};

/// A network: its first address, and the length of its prefix.
pub(crate) type Network = (IpAddr, u8);

/// Why a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// What a server shows to people.
    #[error("is an HTML page, not a list")]
    Page,
    /// It begins like JSON and is none.
    #[error("is not JSON: {reason}")]
    Json {
        /// Why not.
        reason: String,
    },
    /// A line, or a text, that should be a network.
    #[error("contains {what}{}", .line.map_or_else(String::new, |line| format!(" (line {line})")))]
    Network {
        /// What is there, as far as it is an address: see [`described`].
        what: String,
        /// The line of a plain list, from 1.
        line: Option<usize>,
    },
    /// A network where a plain list has comments.
    #[error("has `{written}` after a `;`, which begins a comment in a plain list (line {line})")]
    Comment {
        /// What stands there.
        written: String,
        /// The line, from 1.
        line: usize,
    },
    /// Two columns of addresses: a range's ends, an address and its mask, or two addresses.
    #[error("has two addresses side by side, `{first}` and `{second}` (line {line}), whose meaning is unclear")]
    SideBySide {
        /// The first.
        first: String,
        /// The second.
        second: String,
        /// The line, from 1.
        line: usize,
    },
    /// No network at all.
    #[error("contains no network")]
    Empty,
    /// Filters on a list that has nothing to filter by.
    #[error("is a plain list, which filters cannot narrow")]
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
        /// The value that was probably meant: see [`mistyped`].
        meant: Option<String>,
        /// How many different values entries have.
        different: usize,
    },
    /// Filters that each keep something, and nothing together.
    #[error("has no entry that matches every filter")]
    NothingLeft,
}

impl ListFault {
    /// The next step.
    pub(crate) fn help(&self) -> String {
        let some =
            |known: &[String]| known.iter().take(12).map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ");
        match self {
            ListFault::Page => {
                "open the file, and fetch the list again: the download is probably a login page or an error page"
                    .to_owned()
            }
            ListFault::Json { .. } | ListFault::Empty => {
                "fetch the list again, and check that this is the right file".to_owned()
            }
            ListFault::Network { .. } => {
                "write a network in full, without host bits: `192.0.2.0/24`, `2001:db8::/32`, or a range: \
                 `192.0.2.0-192.0.2.9`; separate several with commas, and write nothing else: no port, brackets, zone, \
                 `*` or words"
                    .to_owned()
            }
            ListFault::Comment { .. } => {
                "write each network on a line of its own, or separate them with commas".to_owned()
            }
            ListFault::SideBySide { first, second, .. } if second.starts_with("255.") => {
                format!("write an address and its netmask as `{first}/{second}`, or each address on a line of its own")
            }
            ListFault::SideBySide { first, second, .. } => {
                format!("write the range as `{first}-{second}`, or each address on a line of its own")
            }
            ListFault::PlainFilter => "remove the filters, or name the provider's JSON document".to_owned(),
            ListFault::UnknownKey { known, key, .. } => match did_you_mean(key, known.iter().map(String::as_str)) {
                Some(question) => question,
                None => format!("filter by one of {}", some(known)),
            },
            ListFault::UnknownValue { meant: Some(meant), .. } => format!("did you mean `{meant}`?"),
            ListFault::UnknownValue { key, different, .. } => {
                let values = if *different == 1 { "value" } else { "different values" };
                format!("look the value up in the file, where entries have {different} {values} of `{key}`")
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
        let line_number = index + 1;
        let fault = |field: &str| ListFault::Network { what: described(field), line: Some(line_number) };
        let bare = line.split('#').next().unwrap_or_default();
        let (written, comment) = bare.split_once(';').unwrap_or((bare, ""));
        if written.trim().is_empty() {
            continue;
        }
        // Some write a comment behind `;`, others the next network.
        if let Some(next) = comment.split([';', ',']).find(|next| looks_like_a_network(next)) {
            return Err(ListFault::Comment { written: shortened(next.trim()), line: line_number });
        }
        let fields: Vec<&str> = written.split(',').map(|field| field.trim_matches(['"', ' ', '\t', '\r'])).collect();
        let is_address = |field: &&str| field.parse::<IpAddr>().is_ok();
        if let [first, second, rest @ ..] = fields.as_slice()
            && is_address(first)
            && is_address(second)
            && !rest.iter().any(is_address)
        {
            let (first, second) = ((*first).to_owned(), (*second).to_owned());
            return Err(ListFault::SideBySide { first, second, line: line_number });
        }
        for (place, field) in fields.into_iter().enumerate() {
            match read(field) {
                Text::Networks(networks) => found.extend(networks),
                Text::Other if place > 0 => {}
                Text::Other | Text::Faulty => return Err(fault(field)),
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

/// What is said of a text that is no network. The file may be none of networks, but of secrets: nothing is shown of it
/// but an address.
fn described(written: &str) -> String {
    match address_in(written) {
        Some(address) if address == written.trim() => format!("`{}`, which is not a network", shortened(address)),
        Some(address) => format!("`{}` in a text that is not a network", shortened(address)),
        None => "a text that is not a network".to_owned(),
    }
}

/// The value of the file that `written` misspells: one edit away, or two for a text of eight letters or more.
///
/// No other value is shown. The file may hold passwords beside networks, and a report of CI is read by whoever proposed
/// the policy. A value that is shown was known but for two letters in eight. Whoever can guess that much can also try
/// the rest: a filter with the right value compiles, so every policy can test a guess anyway. A text below four letters
/// misspells nothing, since a single edit could be most of a short value.
fn mistyped<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    match written.chars().count() {
        0..4 => None,
        4..8 => nearest::within(1, written, known),
        _ => nearest::within(2, written, known),
    }
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
                let known = walk.values.get(filter).into_iter().flatten();
                let meant = mistyped(&value, known.clone().map(String::as_str)).map(str::to_owned);
                return Err(ListFault::UnknownValue { filter, key, value, meant, different: known.count() });
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

    /// A text, which holds networks or has nothing to do with one.
    fn text(
        &mut self,
        written: &str,
        objects: &[&Map<String, Value>],
        names: &[(&str, bool)],
    ) -> Result<(), ListFault> {
        let networks = match read(written) {
            Text::Networks(networks) => networks,
            Text::Faulty => return Err(ListFault::Network { what: described(written), line: None }),
            Text::Other => return Ok(()),
        };
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
            for value in values {
                if !known.contains(value.as_ref()) {
                    known.insert(value.into_owned());
                }
            }
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
                return Err(A::Error::custom(format!("the member `{}` occurs twice in one object", shortened(&name))));
            }
            found.insert(name, member);
        }
        Ok(Value::Object(found))
    }
}
