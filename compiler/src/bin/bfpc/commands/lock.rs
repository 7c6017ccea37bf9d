//! `lock`: asks for the names that a lock file lacks, and drops those that no rule uses.
//!
//! Always: an entry that is not asked for stays as it is; nothing is written unless every name that was
//! asked for has an answer, and every name that must be proven is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bfp_compiler::diagnostics::findings::{Findings, boxed};
use bfp_compiler::names::dns::{self, DnsError, Resolvers, TrustAnchors};
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{Dnssec, Fetched, Lock, LockedName, Stability};
use bfp_compiler::resolve::{self, Bounds};
use bfp_compiler::source::load::ListFile;
use bfp_compiler::source::{self, Disk, Read as _};
use bfp_grammar::syntax::Span;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, value_parser};
use miette::{Diagnostic, LabeledSpan};
use time::OffsetDateTime;

use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::Format;
use crate::report::counted;
use crate::{Answer, Failure, in_file};

#[derive(Args)]
pub(crate) struct ResolverArguments {
    /// A DNS server; may be given several times, and each must answer. Without it: the system's resolvers
    #[arg(long, value_name = "IP[:PORT]")]
    pub(crate) resolver: Vec<String>,
    /// How many servers must return the same addresses; servers that return others, or fail, are outvoted
    #[arg(long, value_name = "N")]
    pub(crate) quorum: Option<usize>,
    /// The time limit for one server and one name, with every alias and attempt
    #[arg(long, value_name = "SECONDS", default_value_t = bfp_compiler::names::dns::TIMEOUT_SECONDS, value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) timeout: u64,
    /// A file of DS or DNSKEY records, one per line: answers below their zones must be proven by DNSSEC
    #[arg(long, value_name = "FILE")]
    pub(crate) trust_anchor: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct LockArguments {
    /// The policy
    pub(crate) policy: PathBuf,
    /// Resolve every name again, or the given ones
    #[arg(long, value_name = "NAME", num_args = 0..)]
    pub(crate) update: Option<Vec<String>>,
    /// Resolve this name again, and fail unless DNSSEC proves the answers; may be given several times
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) require_dnssec: Vec<String>,
    /// Resolve only the IPv4 addresses of this name, if a resolver has no answer for IPv6; may be given several times
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "because")]
    ipv4_only: Vec<String>,
    /// With --ipv4-only: the reason, which is recorded in the lock file
    #[arg(long, value_name = "REASON", requires = "ipv4_only", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) because: Option<String>,
    /// Resolve every name again and keep what is not answered any more for a time; exit 3 if a change needs a review
    #[arg(long, conflicts_with_all = ["update", "require_dnssec", "ipv4_only"])]
    pub(crate) refresh: bool,
    /// With --refresh: how long an address of a name that `may change` stays after it was last seen, such as 12h
    #[arg(long, value_name = "AGE", default_value = "1d", requires = "refresh", value_parser = humantime::parse_duration)]
    pub(crate) keep: Duration,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) resolvers: ResolverArguments,
    /// The format of diagnostics: text for people, or one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum LockCommandError {
    #[error("a policy from the standard input has no lock file")]
    #[diagnostic(code(lock::nowhere), help("write the policy to a file, and name that: its lock file is beside it"))]
    Nowhere,
    #[error("the policy does not use the name `{name}`")]
    #[diagnostic(code(lock::name_not_used))]
    NotUsed {
        name: String,
        #[help]
        help: String,
    },
    #[error("DNSSEC does not prove the addresses of `{name}`")]
    #[diagnostic(
        code(lock::not_secure),
        help(
            "query a resolver that passes signatures on; for a zone of your own, name its keys with `--trust-anchor`"
        )
    )]
    NotSecure {
        name: DnsName,
        #[label("must be proven")]
        place: Span,
    },
}

/// A name without an answer, at its place in the policy where there is one.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` has no answer: {reason}")]
pub(crate) struct Unresolved {
    pub(crate) name: DnsName,
    pub(crate) reason: DnsError,
    pub(crate) place: Option<Span>,
}

impl Diagnostic for Unresolved {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        self.reason.code()
    }
    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.reason.help()
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("cannot be resolved".to_owned()), self.place?);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Which names are asked for, of those that the policy uses.
enum Wanted {
    /// Those that the lock lacks.
    Missing,
    /// All.
    All,
    /// Those that the lock lacks, and these.
    These(BTreeSet<DnsName>),
}

pub(crate) fn lock(arguments: &LockArguments) -> Answer {
    if source::is_standard_input(&arguments.policy) {
        return Err(LockCommandError::Nowhere.into());
    }
    let files = Files::read_policy(&arguments.policy, &Disk)?;
    // One lock serves all values of parameters. With some of them given, the others are not asked for, and stay.
    let chosen = names_of(&files.clone().any(&arguments.settings)?)?;
    let files = files.any(&Settings::default())?;
    let names = names_of(&files)?;
    let wanted = match &arguments.update {
        None => Wanted::Missing,
        Some(some) if some.is_empty() => Wanted::All,
        Some(some) => Wanted::These(used(some, &names)?),
    };
    let proven = used(&arguments.require_dnssec, &names)?;
    let halved = used(&arguments.ipv4_only, &names)?;
    let path = source::lock_path(&arguments.policy);
    let mut said = String::new();
    let readable = earlier(&path, &wanted, &mut said)?;
    let before = readable.clone().unwrap_or_default();

    let asked: BTreeSet<DnsName> = names
        .keys()
        .filter(|name| chosen.contains_key(name))
        .filter(|name| match &wanted {
            // What the file says of itself proves nothing: anybody can write it.
            _ if proven.contains(name) || halved.contains(name) => true,
            Wanted::All => true,
            Wanted::Missing => !before.names.contains_key(name),
            Wanted::These(these) => these.contains(name) || !before.names.contains_key(name),
        })
        .cloned()
        .collect();
    let kept = before.names.iter().filter(|(name, _)| names.contains_key(name) && !asked.contains(name));
    let mut lock = Lock {
        names: kept.map(|(name, locked)| (name.clone(), locked.clone())).collect(),
        // What is read costs nothing to lock again, and what changed shows in the lock's review.
        files: resolve::lists(&files.loaded).map(|list| (list.name.clone(), digest(&files, &before, list))).collect(),
        fetched: fetched(&files, &before),
    };
    let kept = lock.names.len();

    // Why a name is asked for its IPv4 addresses alone: now, or since before.
    let reason = |name: &DnsName| match &arguments.because {
        Some(reason) if halved.contains(name) => Some(reason.clone()),
        _ => before.names.get(name).and_then(|locked| locked.ipv4_only.clone()),
    };
    let ipv4_only = asked.iter().filter(|name| reason(name).is_some()).cloned().collect();
    let mut errors: Findings = Vec::new();
    for (name, answer) in ask(&asked, ipv4_only, &arguments.resolvers)? {
        match answer {
            Ok(answer) => {
                let answer = LockedName { ipv4_only: reason(&name), ..answer };
                let answer = match before.names.get(&name) {
                    Some(before) => answer.after(before),
                    None => answer,
                };
                // Writing to a string cannot fail, here and below.
                let _ = writeln!(said, "{name}  {}", in_words(&answer));
                lock.names.insert(name, answer);
            }
            Err(reason) => {
                let place = names.get(&name).copied();
                errors.push(Box::new(Unresolved { name, reason, place }));
            }
        }
    }
    for name in proven {
        let place = names.get(&name).copied().unwrap_or_default();
        if lock.names.get(&name).is_some_and(|locked| locked.dnssec != Dnssec::Secure) {
            errors.push(Box::new(LockCommandError::NotSecure { name, place }));
        }
    }
    let bounds = Bounds::of(&files.loaded);
    let outside = |(name, locked): (&DnsName, &LockedName)| bounds.outside(name, &locked.addresses);
    errors.extend(boxed(lock.names.iter().filter_map(outside).collect()));
    if !errors.is_empty() {
        return Err(files.show(errors));
    }
    for dropped in before.names.keys().filter(|name| !names.contains_key(name)) {
        let _ = writeln!(said, "{dropped}  no longer used");
    }
    for (path, digest) in &lock.files {
        if before.files.get(path) != Some(digest) {
            let _ = writeln!(said, "{path}  {}", if before.files.contains_key(path) { "changed" } else { "new" });
        }
    }
    // What did not change keeps its very bytes.
    if readable.as_ref() != Some(&lock) {
        output::write(&path, lock.to_text().into_bytes(), Kind::Lock)?;
    }
    let as_before = if kept == 0 { String::new() } else { format!(", {kept} of them as before") };
    let lists = match lock.files.len() {
        0 => String::new(),
        number => format!(" and {}", counted(number, "list")),
    };
    let _ = writeln!(said, "{}: {}{lists} locked{as_before}", path.display(), counted(lock.names.len(), "name"));
    Ok(said)
}

/// The digest to lock of a list. Of one that has a URL, `fetch` alone changes it.
fn digest(files: &Files, before: &Lock, list: &ListFile) -> [u8; 32] {
    let fetched = files.loaded.source_of(&list.name).and(before.files.get(&list.name));
    fetched.copied().unwrap_or_else(|| list.sha256())
}

/// From where the lists came that the policy still uses, and has the URLs of.
pub(crate) fn fetched(files: &Files, before: &Lock) -> BTreeMap<String, Fetched> {
    let mut fetched = before.fetched.clone();
    fetched.retain(|name, _| {
        files.loaded.source_of(name).is_some() && resolve::lists(&files.loaded).any(|list| list.name == *name)
    });
    fetched
}

/// The names that the policy uses, each with a place.
pub(crate) fn names_of(files: &Files) -> Result<BTreeMap<DnsName, Span>, Failure> {
    resolve::dns_names(&files.loaded).map_err(|errors| files.show(boxed(errors)))
}

/// Names that were given as options; each must be one of the policy's.
fn used(written: &[String], names: &BTreeMap<DnsName, Span>) -> Result<BTreeSet<DnsName>, Failure> {
    let mut found = BTreeSet::new();
    for written in written {
        let name = DnsName::parse(written)?;
        if !names.contains_key(&name) {
            let known: Vec<String> = names.keys().map(|name| format!("`{name}`")).collect();
            let help = if known.is_empty() {
                "remove the option: the policy uses no DNS name".to_owned()
            } else {
                format!("name one that it uses: {}", known.join(", "))
            };
            return Err(LockCommandError::NotUsed { name: name.to_string(), help }.into());
        }
        found.insert(name);
    }
    Ok(found)
}

/// The lock as it is. One that cannot be read is replaced, unless part of it was to stay; what is no lock is never
/// replaced, which is told before anybody is asked.
fn earlier(path: &Path, wanted: &Wanted, said: &mut String) -> Result<Option<Lock>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    Disk.check_link(path)?;
    output::refuse_other_kind(path, Kind::Lock)?;
    let text = source::read_text(path)?;
    let shown = Disk.shown(path);
    match (Lock::parse(&text), wanted) {
        (Ok(lock), _) => Ok(Some(lock)),
        (Err(error), Wanted::These(_)) => Err(Failure::Input(in_file(vec![Box::new(error)], &shown, &text))),
        (Err(_), Wanted::All | Wanted::Missing) => {
            if !text.is_empty() {
                let _ = writeln!(said, "{shown}: it could not be used, and every name is resolved again");
            }
            Ok(None)
        }
    }
}

type LiveNames = BTreeMap<DnsName, Result<LockedName, DnsError>>;

/// Asks whom the options name, of some names for their IPv4 addresses alone. What is wrong with the options is told even
/// where there is nothing to ask.
pub(crate) fn ask(
    names: &BTreeSet<DnsName>,
    ipv4_only: BTreeSet<DnsName>,
    options: &ResolverArguments,
) -> Result<LiveNames, Failure> {
    let anchors = options.trust_anchor.as_deref().map(trust_anchors).transpose()?;
    if names.is_empty() && options.resolver.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut resolvers =
        if options.resolver.is_empty() { Resolvers::system()? } else { Resolvers::parse(&options.resolver)? };
    resolvers = resolvers.with_timeout(Duration::from_secs(options.timeout)).with_ipv4_only(ipv4_only);
    if let Some(quorum) = options.quorum {
        resolvers = resolvers.with_quorum(quorum)?;
    }
    if let Some(anchors) = anchors {
        resolvers = resolvers.with_trust_anchors(anchors);
    }
    Ok(dns::resolve(names, &resolvers, OffsetDateTime::now_utc()))
}

fn trust_anchors(path: &Path) -> Result<TrustAnchors, Failure> {
    let text = source::read_text(path)?;
    let file = path.display().to_string();
    TrustAnchors::parse(&text).map_err(|errors| Failure::Input(in_file(boxed(errors), &file, &text)))
}

/// More addresses of a name than these are counted: the lock file lists them all.
const MOST_TOLD: usize = 8;

/// Some addresses, and how many more there are.
pub(crate) fn listed(addresses: &BTreeSet<IpAddr>) -> String {
    let mut words = addresses.iter().take(MOST_TOLD).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = addresses.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
        words.push_str(&format!(", and {more} more"));
    }
    words
}

fn in_words(locked: &LockedName) -> String {
    let mut words = listed(&locked.addresses);
    if locked.stability == Stability::Rotating {
        words.push_str("  rotating");
    }
    if locked.dnssec == Dnssec::Secure {
        words.push_str("  secure");
    }
    if locked.ipv4_only.is_some() {
        words.push_str("  IPv4 only");
    }
    words
}
