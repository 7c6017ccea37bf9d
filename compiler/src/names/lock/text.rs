//! The text of a lock file, read and written. Both directions are in one file, so that they stay equal.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::Range;

use miette::SourceSpan;
use serde::Deserialize;
use toml::Spanned;

use crate::names::dns_name::{DnsName, NameError};
use crate::names::lock::{
    Dnssec, Fetched, LOCK_VERSION, Lock, LockError, LockFault, LockedName, ResolvedAt, Seen, Stability,
};

const STABLE: &str = "stable";
const ROTATING: &str = "rotating";
const SECURE: &str = "secure";

const FIRST_LINE: &str = "# What this policy is compiled with. \
Review changes; `bfpc lock` makes them.";

/// The version without `stability`, whose addresses may be incomplete.
const OLD_VERSION: i64 = 1;

/// Only the version, so that a file of another version is reported as such, whatever else it contains.
#[derive(Deserialize)]
struct WrittenVersion {
    version: Option<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLock {
    #[expect(dead_code, reason = "read before, as `WrittenVersion`; named so that it is known")]
    version: u32,
    #[serde(default)]
    name: Vec<WrittenName>,
    #[serde(default)]
    file: Vec<WrittenFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    path: Spanned<String>,
    sha256: Spanned<String>,
    url: Option<Spanned<String>>,
    bytes: Option<u64>,
    fetched_at: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenName {
    name: Spanned<String>,
    addresses: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    cname: Vec<Spanned<String>>,
    ttl_seconds: u32,
    stability: Spanned<String>,
    dnssec: Option<Spanned<String>>,
    ipv4_only: Option<Spanned<String>>,
    resolvers: Vec<String>,
    resolved_at: Spanned<String>,
    #[serde(default)]
    seen: Vec<WrittenSeen>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSeen {
    address: Spanned<String>,
    first_seen: Option<Spanned<String>>,
    last_seen: Option<Spanned<String>>,
}

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    let written = read_written(text).map_err(|fault| LockError { faults: vec![fault] })?;

    let mut faults = Vec::new();
    let mut names = BTreeMap::new();
    let mut first_seen: BTreeMap<DnsName, SourceSpan> = BTreeMap::new();
    for entry in &written.name {
        let name = take_name(&entry.name, &mut faults);
        if let Some(name) = &name {
            let again = span(entry.name.span());
            match first_seen.entry(name.clone()) {
                Entry::Occupied(first) => {
                    faults.push(LockFault::DuplicateName { name: name.to_string(), first: *first.get(), again });
                }
                Entry::Vacant(place) => {
                    place.insert(again);
                }
            }
        }
        let locked = take_locked(entry, &mut faults);
        if let (Some(name), Some(locked)) = (name, locked) {
            names.insert(name, locked);
        }
    }
    let (mut files, mut fetched) = (BTreeMap::new(), BTreeMap::new());
    for file in &written.file {
        if let Some(record) = take_fetched(file, &mut faults) {
            fetched.insert(file.path.get_ref().clone(), record);
        }
        let (path, digest) = (file.path.get_ref().clone(), digest(file.sha256.get_ref()));
        match digest {
            None => faults.push(LockFault::InvalidDigest { path, at: span(file.sha256.span()) }),
            Some(digest) => {
                if files.insert(path.clone(), digest).is_some() {
                    faults.push(LockFault::DuplicateFile { path, at: span(file.path.span()) });
                }
            }
        }
    }
    if faults.is_empty() { Ok(Lock { names, files, fetched }) } else { Err(LockError { faults }) }
}

/// Reads where a list came from, of which all is written or nothing.
fn take_fetched(file: &WrittenFile, faults: &mut Vec<LockFault>) -> Option<Fetched> {
    let path = file.path.get_ref();
    match (&file.url, file.bytes, &file.fetched_at) {
        (None, None, None) => None,
        (Some(url), Some(bytes), Some(at)) => {
            let at = take_time("fetched_at", path, at, faults)?;
            Some(Fetched { url: url.get_ref().clone(), bytes, at })
        }
        _ => {
            faults.push(LockFault::InvalidFetched { path: path.clone(), at: span(file.path.span()) });
            None
        }
    }
}

pub(super) fn places(text: &str) -> BTreeMap<DnsName, SourceSpan> {
    let entries = read_written(text).map(|written| written.name).unwrap_or_default();
    let place = |entry: &WrittenName| Some((DnsName::parse(entry.name.get_ref()).ok()?, span(entry.name.span())));
    entries.iter().filter_map(place).collect()
}

/// The markers that git writes between the sides of a conflict.
const CONFLICT_MARKS: [&str; 4] = ["<<<<<<<", "|||||||", "=======", ">>>>>>>"];

pub(super) fn may_be_a_lock(text: &str) -> bool {
    let is_mark = |line: &&str| line.is_empty() || CONFLICT_MARKS.iter().any(|mark| line.starts_with(mark));
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !is_mark(line)).collect();
    if lines.first() == Some(&FIRST_LINE) {
        return true;
    }
    let table = |line: &str| line.starts_with('[').then(|| line.trim_matches(['[', ']', ' ']).to_owned());
    let is_own = |table: &String| table == "name" || table == "file";
    // Cargo.toml and similar files have a version too, but tables of their own.
    let is_foreign = |line: &&str| line.ends_with(']') && table(line).is_some_and(|table| !is_own(&table));
    let is_written = |line: &&str| line.starts_with("version =") || table(line).is_some_and(|table| is_own(&table));
    lines.iter().any(is_written) && !lines.iter().any(is_foreign)
}

fn read_written(text: &str) -> Result<WrittenLock, LockFault> {
    let says_something = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'));
    if says_something && !may_be_a_lock(text) {
        return Err(LockFault::NotALock);
    }
    let WrittenVersion { version } = toml::from_str(text)
        .map_err(|error| LockFault::Syntax { reason: error.message().to_owned(), at: error.span().map(span) })?;
    let version = version.ok_or(LockFault::NoVersion)?;
    if !version.get_ref().is_integer() {
        let reason =
            format!("`version` is {}, and a number belongs here: `version = {LOCK_VERSION}`", version.get_ref());
        return Err(LockFault::Shape { reason, at: Some(span(version.span())) });
    }
    if version.get_ref().as_integer() == Some(OLD_VERSION) {
        return Err(LockFault::OldVersion { at: span(version.span()) });
    }
    if version.get_ref().as_integer() != Some(i64::from(LOCK_VERSION)) {
        return Err(LockFault::UnknownVersion { found: version.get_ref().to_string(), at: span(version.span()) });
    }
    toml::from_str(text)
        .map_err(|error| LockFault::Shape { reason: error.message().to_owned(), at: error.span().map(span) })
}

fn take_name(written: &Spanned<String>, faults: &mut Vec<LockFault>) -> Option<DnsName> {
    let at = span(written.span());
    match DnsName::parse(written.get_ref()) {
        Ok(name) if name.as_str() == written.get_ref() => return Some(name),
        Ok(name) => faults.push(LockFault::NameNotCanonical {
            written: written.get_ref().clone(),
            canonical: name.to_string(),
            at,
        }),
        Err(reason) => faults.push(LockFault::InvalidName { reason, at }),
    }
    None
}

/// Reads everything but the name. `None` if a fault was reported.
fn take_locked(entry: &WrittenName, faults: &mut Vec<LockFault>) -> Option<LockedName> {
    let faults_before = faults.len();
    let name = entry.name.get_ref();

    let mut addresses = BTreeSet::new();
    for written in entry.addresses.get_ref() {
        let at = span(written.span());
        // An IPv4 address within an IPv6 one is judged as the IPv4 address.
        match written.get_ref().parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.to_string() != *written.get_ref() => {
                // Beside its other form, it is a duplicate.
                addresses.insert(address);
                faults.push(LockFault::AddressNotCanonical {
                    name: name.clone(),
                    written: written.get_ref().clone(),
                    canonical: address.to_string(),
                    at,
                });
            }
            Ok(address) if addresses.insert(address) => {}
            Ok(_) => {
                faults.push(LockFault::DuplicateAddress { name: name.clone(), written: written.get_ref().clone(), at })
            }
            Err(_) => {
                faults.push(LockFault::InvalidAddress { name: name.clone(), written: written.get_ref().clone(), at })
            }
        }
    }
    if entry.addresses.get_ref().is_empty() {
        faults.push(LockFault::NoAddresses { name: name.clone(), at: span(entry.addresses.span()) });
    }

    let mut cname = Vec::new();
    for written in &entry.cname {
        match DnsName::parse(written.get_ref()) {
            Ok(alias) => cname.push(alias),
            Err(reason) => faults.push(invalid_cname(name, reason, written)),
        }
    }

    let stability = match entry.stability.get_ref().as_str() {
        STABLE => Stability::Stable,
        ROTATING => Stability::Rotating,
        _ => {
            let expected = format!("`{STABLE}` or `{ROTATING}`");
            faults.push(unknown_word("stability", name, expected, &entry.stability));
            Stability::default()
        }
    };
    let dnssec = match &entry.dnssec {
        None => Dnssec::Unproven,
        Some(written) if written.get_ref() == SECURE => Dnssec::Secure,
        Some(written) => {
            faults.push(unknown_word("dnssec", name, format!("`{SECURE}`, or leave the line out"), written));
            Dnssec::default()
        }
    };

    let ipv4_only = entry.ipv4_only.as_ref();
    if let Some(written) = ipv4_only.filter(|reason| reason.get_ref().trim().is_empty()) {
        faults.push(unknown_word("ipv4_only", name, "a reason".to_owned(), written));
    }
    if let Some(written) = ipv4_only.filter(|_| addresses.iter().any(IpAddr::is_ipv6)) {
        faults.push(LockFault::NotIpv4Only { name: name.clone(), at: span(written.span()) });
    }

    let resolved_at = take_time("resolved_at", name, &entry.resolved_at, faults);
    // Every other fault of the entry comes before those that follow from it.
    if faults.len() > faults_before {
        return None;
    }
    let seen = take_seen(entry, &addresses, resolved_at?, faults);
    if faults.len() > faults_before {
        return None;
    }
    Some(LockedName {
        addresses,
        cname,
        ttl_seconds: entry.ttl_seconds,
        stability,
        dnssec,
        ipv4_only: ipv4_only.map(|reason| reason.get_ref().clone()),
        resolvers: entry.resolvers.clone(),
        resolved_at: resolved_at?,
        seen,
    })
}

fn take_time(
    key: &'static str,
    name: &str,
    written: &Spanned<String>,
    faults: &mut Vec<LockFault>,
) -> Option<ResolvedAt> {
    let time = ResolvedAt::parse(written.get_ref());
    if time.is_none() {
        let (name, at) = (name.to_owned(), span(written.span()));
        faults.push(LockFault::InvalidTime { key, name, written: written.get_ref().clone(), at });
    }
    time
}

/// Reads when addresses were seen. A time that is not written is `resolved_at`.
fn take_seen(
    entry: &WrittenName,
    addresses: &BTreeSet<IpAddr>,
    resolved_at: ResolvedAt,
    faults: &mut Vec<LockFault>,
) -> BTreeMap<IpAddr, Seen> {
    let name = entry.name.get_ref();
    let (mut seen, mut listed) = (BTreeMap::new(), BTreeSet::new());
    for record in &entry.seen {
        let written = record.address.get_ref();
        let mut invalid = |reason| {
            let (name, written) = (name.clone(), written.clone());
            faults.push(LockFault::InvalidSeen { name, written, reason, at: span(record.address.span()) });
        };
        // `addresses` has the only form of each.
        let Some(address) = addresses.iter().find(|address| address.to_string() == *written) else {
            invalid("which is not in `addresses`");
            continue;
        };
        if !listed.insert(*address) {
            invalid("which is listed twice");
            continue;
        }
        let mut time = |key, written: &Option<Spanned<String>>| match written {
            Some(written) => take_time(key, name, written, faults),
            None => Some(resolved_at),
        };
        let (first, last) = (time("first_seen", &record.first_seen), time("last_seen", &record.last_seen));
        let (Some(first), Some(last)) = (first, last) else { continue };
        let reason = if last > resolved_at {
            "last seen after `resolved_at`"
        } else if first > last {
            "last seen before it was first seen"
        } else {
            if first != resolved_at {
                seen.insert(*address, Seen { first, last });
            }
            continue;
        };
        let (name, written, at) = (name.clone(), written.clone(), span(record.address.span()));
        faults.push(LockFault::InvalidSeen { name, written, reason, at });
    }
    seen
}

fn invalid_cname(name: &str, reason: NameError, written: &Spanned<String>) -> LockFault {
    LockFault::InvalidCname { name: name.to_owned(), reason, at: span(written.span()) }
}

fn unknown_word(key: &'static str, name: &str, expected: String, written: &Spanned<String>) -> LockFault {
    let (name, at) = (name.to_owned(), span(written.span()));
    LockFault::UnknownWord { key, name, written: written.get_ref().clone(), expected, at }
}

fn span(range: Range<usize>) -> SourceSpan {
    SourceSpan::from(range)
}

/// Sixty-four hexadecimal digits in lower case, the only form that is written.
fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}

pub(super) fn write(lock: &Lock) -> String {
    let mut text = format!("{FIRST_LINE}\nversion = {LOCK_VERSION}\n");
    for (name, locked) in &lock.names {
        text.push_str("\n[[name]]\n");
        push_line(&mut text, "name", &quoted(name.as_str()));
        push_line(&mut text, "addresses", &list(locked.addresses.iter().map(ToString::to_string)));
        if !locked.cname.is_empty() {
            push_line(&mut text, "cname", &list(locked.cname.iter().map(ToString::to_string)));
        }
        push_line(&mut text, "ttl_seconds", &locked.ttl_seconds.to_string());
        let stability = match locked.stability {
            Stability::Stable => STABLE,
            Stability::Rotating => ROTATING,
        };
        push_line(&mut text, "stability", &quoted(stability));
        if locked.dnssec == Dnssec::Secure {
            push_line(&mut text, "dnssec", &quoted(SECURE));
        }
        if let Some(reason) = &locked.ipv4_only {
            push_line(&mut text, "ipv4_only", &quoted(reason));
        }
        push_line(&mut text, "resolvers", &list(locked.resolvers.iter().cloned()));
        push_line(&mut text, "resolved_at", &quoted(&locked.resolved_at.to_string()));
        push_seen(&mut text, locked);
    }
    for (path, digest) in &lock.files {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str("\n[[file]]\n");
        push_line(&mut text, "path", &quoted(path));
        push_line(&mut text, "sha256", &quoted(&digest));
        if let Some(Fetched { url, bytes, at }) = lock.fetched.get(path) {
            push_line(&mut text, "bytes", &bytes.to_string());
            push_line(&mut text, "url", &quoted(url));
            push_line(&mut text, "fetched_at", &quoted(&at.to_string()));
        }
    }
    text
}

/// A line for each address that has a record, and in it only times that are not `resolved_at`: of a name that stays as
/// it is, `resolved_at` alone changes.
fn push_seen(text: &mut String, locked: &LockedName) {
    if locked.seen.is_empty() {
        return;
    }
    text.push_str("seen = [\n");
    for (address, Seen { first, last }) in &locked.seen {
        text.push_str(&format!("    {{ address = {}", quoted(&address.to_string())));
        for (key, time) in [("first_seen", first), ("last_seen", last)] {
            if *time != locked.resolved_at {
                text.push_str(&format!(", {key} = {}", quoted(&time.to_string())));
            }
        }
        text.push_str(" },\n");
    }
    text.push_str("]\n");
}

fn push_line(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push_str(" = ");
    text.push_str(value);
    text.push('\n');
}

/// One item stays on its line; several have a line each, so that a diff shows exactly what changed.
fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    let several = items.len() > 1;
    let mut text = String::from("[");
    for item in items {
        if several {
            text.push_str("\n    ");
        }
        text.push_str(&quoted(&item));
        if several {
            text.push(',');
        }
    }
    if several {
        text.push('\n');
    }
    text.push(']');
    text
}

/// A basic TOML string. Names, addresses and times need no escapes; a resolver or a reason could.
fn quoted(item: &str) -> String {
    let mut text = String::from("\"");
    for character in item.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04X}", u32::from(control));
            }
            plain => text.push(plain),
        }
    }
    text.push('"');
    text
}
