//! The destination of a question, as typed → the requests that it covers.
//!
//! A question is written as the right side of a rule, and resolved as one. With the policy's source, it can name the
//! policy's declarations and lists. A bundle knows its DNS names, and its declared hosts except those that come from a
//! published list. In addition to the language, a question may contain `/other`, as answers do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bfp_bundle::debug::{Debug, DebugHost};
use bfp_bundle::image::Image;
use bfp_bundle::request::Protocol;
use bfp_grammar::syntax::{Destinations, HostDeclaration, PortRange, Ports, Span, Spanned};
use miette::Diagnostic;

use crate::policy::Destination;
use crate::query::regions::names_clients;
use crate::resolve::{self, Names, PortSets, ResolveError, Source};

/// Why a question about a destination has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum QuestionError {
    /// The text is not a destination.
    #[error("`{written}` is not a destination: {reason}")]
    #[diagnostic(
        code(explain::destination),
        help(
            "write `203.0.113.10:443`, `[2001:db8::1]:443/udp`, `203.0.113.10/icmp`, `raw`, or a name that the policy uses, `kms.internal:443`"
        )
    )]
    Destination {
        /// The text of the question.
        written: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer would be too large to read, or to hold in memory.
    #[error("{programs} programs and {regions} kinds of requests are too many for one answer")]
    #[diagnostic(
        code(explain::size),
        help(
            "name a program, or with `--all --destination` one destination; `bfpc diff` tells what two policies decide differently"
        )
    )]
    Size {
        /// How many programs the question covers.
        programs: usize,
        /// How many kinds of requests the policy distinguishes there.
        regions: usize,
    },
    /// A list that is not available.
    #[error("{holder} no list `{list}`")]
    #[diagnostic(code(explain::list))]
    List {
        /// The list, as written.
        list: String,
        /// What lacks the list, in words.
        holder: &'static str,
        /// The next action.
        #[help]
        help: String,
    },
    /// A name without a known address.
    #[error("the policy has no address for the name `{name}`")]
    #[diagnostic(code(explain::name), help("name an address, or a DNS name that the policy uses"))]
    Name {
        /// The name, as written.
        name: String,
    },
}

/// The most pairs of a program and a kind of request in one answer: each takes a verdict, and may print a text.
const MOST_ANSWERS: usize = 10_000_000;

/// Checks that a question is small enough to answer.
///
/// # Errors
///
/// There are more than 10 000 000 pairs of a program and a region.
pub fn check_size(programs: usize, regions: usize) -> Result<(), QuestionError> {
    match programs.checked_mul(regions) {
        Some(answers) if answers <= MOST_ANSWERS => Ok(()),
        _ => Err(QuestionError::Size { programs, regions }),
    }
}

/// Where the names in a question come from.
#[derive(Clone, Copy, Debug)]
pub enum Vocabulary<'a> {
    /// The source of the policy.
    Source(Source<'a>),
    /// The debug section of a bundle.
    Debug(&'a Debug),
}

/// The destinations of a question.
///
/// # Errors
///
/// The text is not a destination, or names a list or a DNS name that `vocabulary` does not have.
pub fn destinations(written: &str, vocabulary: Vocabulary<'_>) -> Result<Vec<Destination>, QuestionError> {
    let wrong = |reason: String| QuestionError::Destination { written: written.to_owned(), reason };
    if written.contains(['\n', '\r', '#']) {
        return Err(wrong("it is more than one destination".to_owned()));
    }
    let asked = bfp_grammar::parse_destinations(written).map_err(|errors| wrong(all(&errors)))?;
    check_lists(&asked, vocabulary)?;
    let found = match vocabulary {
        Vocabulary::Source(source) => resolve::destinations(&Names::of_policy(source.loaded, source.lock), &asked),
        Vocabulary::Debug(debug) => {
            let hosts = hosts(debug).map_err(wrong)?;
            resolve::destinations(&Names::of_hosts(&hosts, addresses(debug)), &asked)
        }
    };
    let found = found.map_err(|errors| match errors.first() {
        Some(ResolveError::NotLocked { name, .. }) => QuestionError::Name { name: name.as_str().to_owned() },
        _ => wrong(all(&errors)),
    })?;
    let port_sets = match vocabulary {
        Vocabulary::Source(source) => PortSets::of(&source.loaded.syntax),
        Vocabulary::Debug(_) => PortSets::default(),
    };
    match narrowed(&asked.node, found, &port_sets) {
        nothing if nothing.is_empty() => Err(wrong("it is about no request".to_owned())),
        destinations => Ok(destinations),
    }
}

/// Checks that the tables distinguish what a question is about.
///
/// # Errors
///
/// It is about answers to clients, and the policy does not name `clients`.
pub fn check_distinguished(written: &str, asked: &[Destination], image: &Image) -> Result<(), QuestionError> {
    if names_clients(image) || !asked.iter().any(Destination::is_of_clients) {
        return Ok(());
    }
    let reason =
        "the policy does not name `clients`, so an answer is judged as a request to the client's address and port";
    Err(QuestionError::Destination { written: written.to_owned(), reason: reason.to_owned() })
}

/// Checks that the policy has read every list that a question names.
fn check_lists(asked: &Spanned<Destinations>, vocabulary: Vocabulary<'_>) -> Result<(), QuestionError> {
    match &asked.node {
        Destinations::Ranges { file, .. } => match vocabulary {
            Vocabulary::Source(source) if source.loaded.list_named(&file.node).is_some() => Ok(()),
            _ => Err(no_list(&file.node, vocabulary)),
        },
        Destinations::Set { elements, .. } => elements.iter().try_for_each(|element| check_lists(element, vocabulary)),
        Destinations::Clients { from, .. } => check_lists(from, vocabulary),
        Destinations::Except { base, removed } => {
            check_lists(base, vocabulary)?;
            check_lists(removed, vocabulary)
        }
        Destinations::Any | Destinations::Named { .. } | Destinations::Endpoint { .. } => Ok(()),
    }
}

fn no_list(written: &str, vocabulary: Vocabulary<'_>) -> QuestionError {
    let (holder, help) = match vocabulary {
        Vocabulary::Debug(_) => {
            ("a bundle holds", "ask the policy that the bundle was built from, or name the addresses".to_owned())
        }
        Vocabulary::Source(source) => {
            let known: BTreeSet<&str> = source.loaded.lists.values().map(|list| list.name.as_str()).collect();
            let known: Vec<String> = known.into_iter().map(|name| format!("`ranges(\"{name}\")`")).collect();
            let help = match known.as_slice() {
                [] => "name an address or a host".to_owned(),
                known => format!("name a list that it does: {}", known.join(", ")),
            };
            ("the policy reads", help)
        }
    };
    QuestionError::List { list: written.to_owned(), holder, help }
}

fn all<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A port without a protocol means TCP in a question, except beside protocols, as in answers.
fn narrowed(syntax: &Destinations, mut destinations: Vec<Destination>, port_sets: &PortSets<'_>) -> Vec<Destination> {
    let ports = match syntax {
        Destinations::Endpoint { ports, .. }
        | Destinations::Named { ports, .. }
        | Destinations::Ranges { ports, .. }
        | Destinations::Set { ports, .. } => ports.as_ref(),
        Destinations::Any | Destinations::Clients { .. } | Destinations::Except { .. } => None,
    };
    let names_none = |ports: &Ports| {
        let is_bare = |range: &Spanned<PortRange>| range.node.protocol.is_none();
        ports.protocol.is_none() && !ports.ranges.is_empty() && ports.ranges.iter().all(is_bare)
    };
    if ports.is_some_and(|ports| names_none(&port_sets.spelled_out(&ports.node))) {
        for to in &mut destinations {
            to.ports.retain(|range| matches!(range.protocol, Protocol::Tcp | Protocol::Answer));
        }
    }
    destinations.retain(|to| !to.ports.is_empty());
    destinations
}

/// The declared hosts of a bundle, without those that a list is part of, directly or through others.
///
/// # Errors
///
/// One of them cannot be read, in words.
fn hosts(debug: &Debug) -> Result<Vec<HostDeclaration>, String> {
    let mut hosts = Vec::new();
    for DebugHost { name, destinations } in &debug.hosts {
        let destinations = bfp_grammar::parse_destinations(destinations)
            .map_err(|errors| format!("the bundle's host `{name}` cannot be read: {}", all(&errors)))?;
        let name = Spanned { node: name.clone(), span: Span::default() };
        hosts.push(HostDeclaration { name, destinations, within: None, may_change: None });
    }
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    loop {
        let before = unknown.len();
        hosts.retain(|host| {
            let needs_list = needs_list(&host.destinations.node, &unknown);
            if needs_list {
                unknown.insert(host.name.node.clone());
            }
            !needs_list
        });
        if unknown.len() == before {
            return Ok(hosts);
        }
    }
}

/// Whether a list is needed to know these destinations: for themselves, or for one of the `unknown` hosts.
fn needs_list(destinations: &Destinations, unknown: &BTreeSet<String>) -> bool {
    match destinations {
        Destinations::Ranges { .. } => true,
        Destinations::Named { name, .. } => unknown.contains(&name.node),
        Destinations::Set { elements, .. } => elements.iter().any(|element| needs_list(&element.node, unknown)),
        Destinations::Clients { from, .. } => needs_list(&from.node, unknown),
        Destinations::Except { base, removed } => needs_list(&base.node, unknown) || needs_list(&removed.node, unknown),
        Destinations::Any | Destinations::Endpoint { .. } => false,
    }
}

/// The DNS names of a bundle with their addresses.
fn addresses(debug: &Debug) -> BTreeMap<&str, Vec<IpAddr>> {
    let mut addresses: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for known in &debug.names {
        addresses.entry(&known.name).or_default().push(known.address);
    }
    addresses
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use bfp_bundle::debug::DebugName;

    use super::*;
    use crate::query::describe::{AddressNames, Described, describe};

    fn debug(hosts: &[(&str, &str)]) -> Debug {
        let host = |(name, destinations): &(&str, &str)| DebugHost {
            name: (*name).to_owned(),
            destinations: (*destinations).to_owned(),
        };
        let address = |address: &str| DebugName { address: address.parse().unwrap(), name: "kms.internal".to_owned() };
        Debug {
            hosts: hosts.iter().map(host).collect(),
            names: ["203.0.113.10", "2001:db8::10"].map(address).into(),
            ..Debug::default()
        }
    }

    /// What a question to a bundle covers, or why it has no answer.
    fn asked(written: &str, debug: &Debug) -> Result<String, String> {
        let found = destinations(written, Vocabulary::Debug(debug)).map_err(|error| error.to_string())?;
        let described = describe(&found, &AddressNames::default());
        Ok(described.iter().map(Described::text).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn bundle_knows_its_names_and_hosts() {
        let debug =
            debug(&[("kms", "kms.internal:443"), ("all", "{ kms, corp } except 10.9.0.0/16"), ("corp", "10.0.0.0/8")]);
        assert_eq!(asked("kms.internal:80", &debug).unwrap(), "203.0.113.10:80/tcp [2001:db8::10]:80/tcp");
        assert_eq!(asked("kms", &debug).unwrap(), "203.0.113.10:443 [2001:db8::10]:443");
        assert_eq!(
            asked("all except { kms, 10.128.0.0/9 }", &debug).unwrap(),
            "10.0.0.0-10.8.255.255 10.10.0.0-10.127.255.255"
        );
        assert!(asked("kms.example", &debug).unwrap_err().contains("no address for the name `kms.example`"));
        assert!(asked("10.0.0.1 -> 10.0.0.2", &debug).unwrap_err().contains("is not a destination"));
    }

    #[test]
    fn host_that_a_list_is_part_of_is_unknown() {
        let debug = debug(&[
            ("direct", "ranges(\"a.txt\"):443"),
            ("other", "{ 10.0.0.1, middle }"),
            ("middle", "10.0.0.0/8 except direct"),
            ("ranges-like", "\"ranges.example\""),
            ("plain", "10.0.0.2"),
        ]);
        // A name is no list, whatever it contains; its address is unknown here.
        assert!(asked("ranges-like", &debug).unwrap_err().contains("no address for the name `ranges.example`"));
        assert_eq!(asked("plain", &debug).unwrap(), "10.0.0.2");
        for unknown in ["direct", "other", "middle"] {
            let said = asked(unknown, &debug).unwrap_err();
            assert!(said.contains(&format!("no host is called `{unknown}`")), "{said}");
        }
        assert!(asked("ranges(\"a.txt\")", &debug).unwrap_err().contains("a bundle holds no list `a.txt`"));
    }

    #[test]
    fn host_that_cannot_be_read_is_not_skipped() {
        let said = asked("10.0.0.1", &debug(&[("odd", "10.0.0.0/8 or 10.0.0.1")])).unwrap_err();
        assert!(said.contains("the bundle's host `odd` cannot be read"), "{said}");
    }
}
