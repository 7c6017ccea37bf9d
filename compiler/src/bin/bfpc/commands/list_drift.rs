//! `drift` of lists: what their providers publish now against what was locked.
//!
//! Always: a list that cannot be fetched is no drift and no agreement, but an error. Lists are compared as sets of
//! addresses, as each `ranges(…)` of the policy reads them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bfp_compiler::diagnostics::findings::{Findings, boxed};
use bfp_compiler::policy::Addresses;
use bfp_compiler::query::describe;
use bfp_compiler::resolve::{self, ListChange, ResolveError};
use bfp_compiler::source;
use clap::Args;
use miette::Diagnostic;
use serde::Serialize;

use crate::Failure;
use crate::commands::fetch::FetchError;
use crate::files::download::{DownloadArguments, Downloads, TIMEOUT_SECONDS};
use crate::files::policy_files::Files;

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Compare the list FILE of the policy with the file PATH, and do not fetch it; may be given several times
    #[arg(long, value_name = "FILE=PATH", value_parser = pair)]
    pub(crate) list: Vec<(String, PathBuf)>,
    #[command(flatten)]
    pub(crate) download: DownloadArguments,
}

fn pair(written: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = written.split_once('=').ok_or("write the list's path in the policy, `=`, and a file")?;
    Ok((name.to_owned(), PathBuf::from(path)))
}

#[derive(Debug, thiserror::Error, Diagnostic)]
enum ListDriftError {
    #[error("the policy uses no list `{name}`")]
    #[diagnostic(code(fetch::no_such_list))]
    NoSuchList {
        name: String,
        #[help]
        help: String,
    },
}

/// A list, as it is compared.
#[derive(Serialize)]
pub(crate) struct ComparedList {
    path: String,
    pub(crate) status: ListStatus,
    changes: Vec<Change>,
    #[serde(skip)]
    words: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListStatus {
    /// As it was locked, as far as the policy reads it.
    Same,
    /// Other addresses.
    Changed,
    /// A `ranges(…)` of the policy cannot read what is published now.
    Unusable,
}

/// What changes where a policy reads the list.
#[derive(Serialize)]
struct Change {
    ranges: String,
    file: String,
    line: u32,
    host: Option<String>,
    added: Vec<String>,
    removed: Vec<String>,
    fault: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    file: String,
    line: u32,
    text: String,
}

/// Compares the lists of a policy that have a URL, or that were given.
pub(crate) fn compare(files: &Files, arguments: &ListArguments) -> Result<Vec<ComparedList>, Failure> {
    let sources = resolve::list_sources(&files.loaded).map_err(|errors| files.show(boxed(errors)))?;
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (name, path) in &arguments.list {
        let known = resolve::lists(&files.loaded).find(|list| list.name == *name);
        let Some(list) = known else { return Err(no_such_list(files, name).into()) };
        texts.insert(&list.name, source::read_text(path)?);
    }
    let mut errors: Findings = Vec::new();
    let mut downloads = None;
    for (name, source) in sources {
        if texts.contains_key(name) {
            continue;
        }
        let downloads = match &mut downloads {
            Some(downloads) => downloads,
            none => none.insert(Downloads::new(&arguments.download, TIMEOUT_SECONDS)?),
        };
        match downloads.text(&source.url.node, Path::new(name)) {
            Ok(text) => drop(texts.insert(name, text)),
            Err(reason) => {
                let (name, place) = (name.to_owned(), source.url.span);
                errors.push(Box::new(FetchError::Failed { name, reason, place }));
            }
        }
    }
    errors.extend(boxed(not_as_locked(files, &texts)));
    if !errors.is_empty() {
        return Err(files.show(errors));
    }
    Ok(texts.iter().map(|(name, text)| compared(files, name, text)).collect())
}

/// Those of the lists that are not what the lock file says: to compare them would say nothing about what is enforced.
fn not_as_locked(files: &Files, texts: &BTreeMap<&str, String>) -> Vec<ResolveError> {
    let mut errors = Vec::new();
    for (span, list) in files.loaded.lists.iter().filter(|(_, list)| texts.contains_key(list.name.as_str())) {
        let (name, span) = (list.name.clone(), *span);
        match files.lock.files.get(&list.name) {
            Some(locked) if *locked == list.sha256() => {}
            Some(_) => errors.push(ResolveError::list_changed(name, files.loaded.source_of(&list.name), span)),
            None => errors.push(ResolveError::ListNotLocked { name, span }),
        }
    }
    errors
}

fn no_such_list(files: &Files, name: &str) -> ListDriftError {
    let known: Vec<String> = resolve::lists(&files.loaded).map(|list| format!("`{}`", list.name)).collect();
    let help = match known.is_empty() {
        true => "remove the option: the policy uses no list".to_owned(),
        false => format!("name one that it uses: {}", known.join(", ")),
    };
    ListDriftError::NoSuchList { name: name.escape_debug().to_string(), help }
}

fn compared(files: &Files, name: &str, text: &str) -> ComparedList {
    let changes = resolve::list_changes(&files.loaded, name, text);
    let status = if changes.iter().any(|change| change.fault.is_some()) {
        ListStatus::Unusable
    } else if changes.is_empty() {
        ListStatus::Same
    } else {
        ListStatus::Changed
    };
    let words = in_words(files, &changes);
    let all = |addresses: &[Addresses]| addresses.iter().map(|range| describe::range(*range)).collect();
    let change = |change: &ListChange| {
        let (file, line) = files.place(change.place);
        let rule = |span: &_| {
            let (file, line) = files.place(*span);
            Rule { file, line, text: one_line(files.text(*span)) }
        };
        Change {
            ranges: one_line(files.text(change.place)),
            file,
            line,
            host: change.host.clone(),
            added: all(&change.added),
            removed: all(&change.removed),
            fault: change.fault.as_ref().map(ToString::to_string),
            rules: change.rules.iter().map(rule).collect(),
        }
    };
    ComparedList { path: name.to_owned(), status, changes: changes.iter().map(change).collect(), words }
}

/// What drifted, for people; nothing where nothing did.
pub(crate) fn table(lists: &[ComparedList]) -> String {
    let drifted = lists.iter().filter(|list| list.status != ListStatus::Same);
    drifted.map(|list| format!("{}\n{}", list.path, list.words)).collect()
}

/// More ranges than these are counted.
const MOST_TOLD: usize = 8;

/// What changes where a policy reads a list, and which rules that concerns.
pub(crate) fn in_words(files: &Files, changes: &[ListChange]) -> String {
    let mut said = String::new();
    for change in changes {
        let (file, line) = files.place(change.place);
        let host = change.host.as_ref().map_or(String::new(), |host| format!("  host {host}"));
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(said, "  {file}:{line}  {}{host}", one_line(files.text(change.place)));
        if let Some(fault) = &change.fault {
            let _ = writeln!(said, "    ! the list {fault}");
        }
        for (mark, ranges) in [('+', &change.added), ('-', &change.removed)] {
            for range in ranges.iter().take(MOST_TOLD) {
                let _ = writeln!(said, "    {mark} {}", describe::range(*range));
            }
            if let Some(more) = ranges.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
                let _ = writeln!(said, "    {mark} and {more} more");
            }
        }
        for rule in &change.rules {
            let (file, line) = files.place(*rule);
            let _ = writeln!(said, "    in {file}:{line}  {}", one_line(files.text(*rule)));
        }
    }
    said
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(code, _)| code).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
