//! The destination of a question, as typed → the requests that it covers.
//!
//! A question is written in the language. The stages that read rules read it as the right side of one more rule. With
//! the policy's source, it can name the policy's declarations and lists. A bundle knows its DNS names, and its declared
//! hosts except those that come from a published list. In addition to the language, a question may contain `/other`, as
//! answers do.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use bfp_bundle::debug::Debug;
use bfp_bundle::request::Protocol;
use bfp_grammar::syntax::{Destinations, PortRange, Ports, Spanned, Statement};
use miette::Diagnostic;

use crate::names::dns_name::DnsName;
use crate::names::lock::{Dnssec, Lock, LockedName, ResolvedAt, Stability};
use crate::policy::{Destination, Rule};
use crate::resolve::Source;
use crate::resolve::{self, ResolveError};
use crate::source::load::{self, Loaded};
use crate::source::{Read, SourceError};

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
    let (mut loaded, locked) = match vocabulary {
        Vocabulary::Source(source) => (source.loaded.clone(), Cow::Borrowed(source.lock)),
        Vocabulary::Debug(debug) => {
            let loaded = load::load_text("bundle", "bundle", &declared(debug), Path::new(""), &NoFiles)
                .map_err(|failure| wrong(all(&failure.findings)))?;
            (loaded, Cow::Owned(lock(debug)))
        }
    };
    let asked = format!("deny * -> {written}");
    let span = loaded.sources.add("the question".to_owned(), "the question".to_owned(), &asked);
    let parsed = bfp_grammar::parse_question(loaded.sources.text(), span).map_err(|errors| wrong(all(&errors)))?;
    if let [Spanned { node: Statement::Rule(rule), .. }] = parsed.statements.as_slice() {
        add_lists(&mut loaded, &rule.destinations, vocabulary)?;
    }
    loaded.syntax.statements.extend(parsed.statements);
    let (syntax, rule) = read(&loaded, &locked, written)?;
    match narrowed(&syntax, rule.destinations) {
        nothing if nothing.is_empty() => Err(wrong("it is about no request".to_owned())),
        destinations => Ok(destinations),
    }
}

/// Adds the lists that the policy has read, by the names that the policy uses for them.
fn add_lists(
    loaded: &mut Loaded,
    destinations: &Spanned<Destinations>,
    vocabulary: Vocabulary<'_>,
) -> Result<(), QuestionError> {
    match &destinations.node {
        Destinations::Ranges { file, .. } => {
            let named = file.node.strip_prefix("./").unwrap_or(&file.node);
            let list = loaded.lists.values().find(|list| list.name == named).cloned();
            let Some(list) = list else { return Err(no_list(&file.node, loaded, vocabulary)) };
            loaded.lists.insert(file.span, list);
            Ok(())
        }
        Destinations::Set(elements) => elements.iter().try_for_each(|element| add_lists(loaded, element, vocabulary)),
        Destinations::Except { base, removed } => {
            add_lists(loaded, base, vocabulary)?;
            add_lists(loaded, removed, vocabulary)
        }
        Destinations::Any | Destinations::Named { .. } | Destinations::Endpoint { .. } => Ok(()),
    }
}

fn no_list(written: &str, loaded: &Loaded, vocabulary: Vocabulary<'_>) -> QuestionError {
    let known: BTreeSet<&str> = loaded.lists.values().map(|list| list.name.as_str()).collect();
    let known: Vec<String> = known.into_iter().map(|name| format!("`ranges(\"{name}\")`")).collect();
    let (holder, help) = match vocabulary {
        Vocabulary::Debug(_) => {
            ("a bundle holds", "ask the policy that the bundle was built from, or name the addresses".to_owned())
        }
        Vocabulary::Source(_) if known.is_empty() => ("the policy reads", "name an address or a host".to_owned()),
        Vocabulary::Source(_) => ("the policy reads", format!("name a list that it does: {}", known.join(", "))),
    };
    QuestionError::List { list: written.to_owned(), holder, help }
}

/// The last statement of a policy: its syntax, and its meaning.
fn read(loaded: &Loaded, lock: &Lock, written: &str) -> Result<(Destinations, Rule), QuestionError> {
    let wrong = |reason: String| QuestionError::Destination { written: written.to_owned(), reason };
    let resolved = resolve::resolve(loaded, "question", lock).map_err(|errors| match errors.first() {
        Some(ResolveError::NotLocked { name, .. }) => QuestionError::Name { name: name.as_str().to_owned() },
        _ => wrong(all(&errors)),
    })?;
    match (loaded.syntax.statements.last().map(|statement| &statement.node), resolved.rules.into_iter().next_back()) {
        (Some(Statement::Rule(syntax)), Some(rule)) => Ok((syntax.destinations.node.clone(), rule)),
        _ => Err(wrong("it is more than one destination".to_owned())),
    }
}

fn all<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A port without a protocol means TCP in a question, except beside protocols, as in answers.
fn narrowed(syntax: &Destinations, mut destinations: Vec<Destination>) -> Vec<Destination> {
    let ports = match syntax {
        Destinations::Endpoint { ports, .. }
        | Destinations::Named { ports, .. }
        | Destinations::Ranges { ports, .. } => ports.as_ref(),
        _ => None,
    };
    let names_none = |ports: &Ports| {
        let is_bare = |range: &Spanned<PortRange>| range.node.protocol.is_none();
        ports.protocol.is_none() && !ports.ranges.is_empty() && ports.ranges.iter().all(is_bare)
    };
    if ports.is_some_and(|ports| names_none(&ports.node)) {
        for to in &mut destinations {
            to.ports.retain(|range| range.protocol == Protocol::Tcp);
        }
    }
    destinations.retain(|to| !to.ports.is_empty());
    destinations
}

/// The declarations that can be read without another file, and a rule that uses them.
fn declared(debug: &Debug) -> String {
    let is_listed = |text: &str| text.contains("ranges(");
    let mut unknown: Vec<&str> =
        debug.hosts.iter().filter(|(_, text)| is_listed(text)).map(|(name, _)| name.as_str()).collect();
    let mentions = |text: &str, name: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(|word| word == name)
    };
    // A host that is made of an unknown one is unknown too.
    loop {
        let next = debug.hosts.iter().find(|(name, text)| {
            !unknown.contains(&name.as_str()) && unknown.iter().any(|unknown| mentions(text, unknown))
        });
        match next {
            Some((name, _)) => unknown.push(name),
            None => break,
        }
    }
    let known: Vec<&(String, String)> =
        debug.hosts.iter().filter(|(name, _)| !unknown.contains(&name.as_str())).collect();
    if known.is_empty() {
        return String::new();
    }
    let hosts: String = known.iter().map(|(name, text)| format!("host {name} = {text}\n")).collect();
    let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    format!("{hosts}deny * -> {{ {} }}\n", names.join(", "))
}

/// The names of a bundle in the form of a lock, as far as a question needs it.
fn lock(debug: &Debug) -> Lock {
    let mut names: BTreeMap<DnsName, LockedName> = BTreeMap::new();
    for (address, name) in &debug.names {
        let (Ok(name), Ok(address)) = (DnsName::parse(name), address.parse::<IpAddr>()) else { continue };
        let locked = names.entry(name).or_insert_with(|| LockedName {
            addresses: [].into(),
            cname: Vec::new(),
            ttl_seconds: 0,
            stability: Stability::Stable,
            dnssec: Dnssec::Unproven,
            ipv4_only: None,
            resolvers: Vec::new(),
            resolved_at: ResolvedAt::new(time::OffsetDateTime::UNIX_EPOCH),
        });
        locked.addresses.insert(address);
    }
    Lock { names, ..Lock::default() }
}

/// A question reads no files.
struct NoFiles;

impl Read for NoFiles {
    fn text(&self, path: &Path) -> Result<String, SourceError> {
        Err(SourceError::Unreadable { path: path.display().to_string(), reason: "a bundle holds no lists".to_owned() })
    }

    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        self.text(path).map(|_| [0; 32])
    }
}
