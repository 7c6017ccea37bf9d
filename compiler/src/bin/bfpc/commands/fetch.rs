//! `fetch`: the lists that a policy says the URLs of → the files beside it, with their digests in the lock file.
//!
//! Always: nothing is written unless every list was fetched and serves every `ranges(…)` that reads it. The lock file is
//! written last: a list that it does not know is an error of the next build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bfp_compiler::diagnostics::findings::{Findings, boxed};
use bfp_compiler::names::lock::{Fetched, Lock, ResolvedAt};
use bfp_compiler::resolve;
use bfp_compiler::source::load::ListFile;
use bfp_compiler::source::{self, SourceError};
use bfp_grammar::syntax::Span;
use clap::{Args, value_parser};
use miette::Diagnostic;
use time::OffsetDateTime;

use crate::commands::list_drift;
use crate::commands::lock::LockCommandError;
use crate::files::download::{DownloadArguments, Downloads, TIMEOUT_SECONDS};
use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::report::{Format, counted};
use crate::{Answer, Failure};

#[derive(Args)]
pub(crate) struct FetchArguments {
    /// The policy
    pub(crate) policy: PathBuf,
    /// The time limit for one list, with every redirect
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) download: DownloadArguments,
    /// The format of diagnostics: text for people, or one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum FetchError {
    #[error("the policy uses no list with a URL")]
    #[diagnostic(
        code(fetch::nothing),
        help("say where a list is published: `ranges \"ip-ranges.json\" from \"https://…\"`")
    )]
    Nothing,
    #[error("the list `{name}` cannot be fetched: {reason}")]
    #[diagnostic(code(fetch::failed), help("check the URL with its provider, and try again; nothing was written"))]
    Failed {
        name: String,
        reason: String,
        #[label("not fetched")]
        place: Span,
    },
}

pub(crate) fn fetch(arguments: &FetchArguments) -> Answer {
    if source::is_standard_input(&arguments.policy) {
        return Err(LockCommandError::Nowhere.into());
    }
    let mut files = Files::read_without_lists(&arguments.policy)?;
    let sources = resolve::list_sources(&files.loaded).map_err(|errors| files.show(boxed(errors)))?;
    if sources.is_empty() {
        return Err(FetchError::Nothing.into());
    }
    let downloads = Downloads::new(&arguments.download, arguments.timeout)?;
    let mut texts: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut errors: Findings = Vec::new();
    for (name, source) in sources {
        match downloads.text(&source.url.node, Path::new(name)) {
            Ok(text) => {
                // An error page, say, must not take the place of a list.
                errors.extend(boxed(resolve::list_faults(&files.loaded, name, &text)));
                texts.insert(name.to_owned(), (source.url.node.clone(), text));
            }
            Err(reason) => {
                let (name, place) = (name.to_owned(), source.url.span);
                errors.push(Box::new(FetchError::Failed { name, reason, place }));
            }
        }
    }
    if !errors.is_empty() {
        return Err(files.show(errors));
    }
    let (lock, said) = compare(&mut files, &arguments.policy, &texts)?;
    let lock_path = source::lock_path(&arguments.policy);
    let paths: BTreeMap<&String, PathBuf> = texts.keys().map(|name| (name, beside(&arguments.policy, name))).collect();
    for path in paths.values() {
        output::refuse_other_kind(path, Kind::List)?;
    }
    output::refuse_other_kind(&lock_path, Kind::Lock)?;
    for (name, path) in &paths {
        if let Some((_, text)) = texts.get(*name).filter(|(_, text)| before(path).ok().flatten().as_ref() != Some(text))
        {
            output::write(path, text.clone().into_bytes(), Kind::List)?;
        }
    }
    if lock != files.lock {
        output::write(&lock_path, lock.to_text().into_bytes(), Kind::Lock)?;
    }
    Ok(said)
}

/// The lock with what was fetched, and what is different, in words.
fn compare(
    files: &mut Files,
    policy: &Path,
    texts: &BTreeMap<String, (String, String)>,
) -> Result<(Lock, String), Failure> {
    let mut lock = files.lock.clone();
    let mut said = String::new();
    let at = ResolvedAt::new(OffsetDateTime::now_utc());
    for (name, (url, text)) in texts {
        let before = before(&beside(policy, name))?;
        let list = ListFile { name: name.clone(), text: text.clone() };
        let (digest, bytes) = (list.sha256(), text.len() as u64);
        let known = lock.fetched.get(name).is_some_and(|fetched| fetched.url == *url);
        // The date is that of the content: one that has not changed gives the same lock.
        if !known || lock.files.get(name) != Some(&digest) {
            lock.files.insert(name.clone(), digest);
            lock.fetched.insert(name.clone(), Fetched { url: url.clone(), bytes, at });
        }
        let news = match &before {
            None => "new",
            Some(before) if before == text => "as before",
            Some(_) => "changed",
        };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(said, "{name}  {news}, {}, from {url}", counted(text.len(), "byte"));
        if let Some(before) = before.filter(|before| before != text) {
            for known in files.loaded.lists.values_mut().filter(|known| known.name == *name) {
                known.text.clone_from(&before);
            }
            said.push_str(&list_drift::in_words(files, &resolve::list_changes(&files.loaded, name, text)));
        }
    }
    let _ = writeln!(said, "{}: {} fetched", source::lock_path(policy).display(), counted(texts.len(), "list"));
    Ok((lock, said))
}

/// Where a list of a policy lies. One that is called `-` is not the standard output.
pub(crate) fn beside(policy: &Path, name: &str) -> PathBuf {
    let path = policy.parent().unwrap_or(Path::new("")).join(name);
    if source::is_standard_input(&path) { Path::new(".").join(path) } else { path }
}

/// The list as it was; `None` where there was none.
fn before(path: &Path) -> Result<Option<String>, SourceError> {
    match source::read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(SourceError::Missing { .. }) => Ok(None),
        Err(SourceError::NotUtf8 { .. }) => Ok(Some(String::new())),
        Err(other) => Err(other),
    }
}
