//! The commands over a policy's source: `check`, `fmt`, `lock`.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use bfp_compiler::dns::{self, Resolvers};
use bfp_compiler::dns_name::DnsName;
use bfp_compiler::lock::{Lock, LockedName};
use bfp_compiler::pipeline::{self, Findings, Source};
use bfp_compiler::resolve;
use bfp_compiler::source;
use bfp_grammar::syntax::Span;
use miette::{Diagnostic, LabeledSpan};
use time::OffsetDateTime;

use crate::{Failure, LockArguments, in_source};

/// A policy and its lock, as read.
pub(crate) struct Files {
    pub(crate) file: String,
    pub(crate) stem: String,
    pub(crate) text: String,
    pub(crate) lock_text: String,
    pub(crate) lock: Lock,
}

impl Files {
    /// Reads a policy, and the lock beside it where there is one.
    pub(crate) fn read(policy: &Path) -> Result<Files, Failure> {
        let text = source::read_text(policy)?;
        let lock_path = source::lock_path(policy);
        let lock_text = if lock_path.exists() { source::read_text(&lock_path)? } else { String::new() };
        let lock = if lock_text.is_empty() {
            Lock::default()
        } else {
            Lock::parse(&lock_text)
                .map_err(|error| in_source(vec![Box::new(error)], &lock_path.display().to_string(), &lock_text))?
        };
        let stem = policy.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok(Files { file: policy.display().to_string(), stem, text, lock_text, lock })
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { file: &self.file, stem: &self.stem, text: &self.text, lock_text: &self.lock_text, lock: &self.lock }
    }

    pub(crate) fn show(&self, findings: Findings) -> Failure {
        in_source(findings, &self.file, &self.text)
    }
}

pub(crate) fn check(policy: &Path) -> Result<(), Failure> {
    let files = Files::read(policy)?;
    let checked = pipeline::check(&files.source()).map_err(|findings| files.show(findings))?;
    let policy = checked.policy();
    println!("{}: ok, {} rules over {} programs", files.file, policy.rules.len(), policy.programs.len());
    Ok(())
}

pub(crate) fn format(policies: &[std::path::PathBuf], check: bool) -> Result<(), Failure> {
    let mut differs = false;
    for policy in policies {
        let text = source::read_text(policy)?;
        let file = policy.display().to_string();
        let formatted = bfp_grammar::format(&text).map_err(|errors| {
            in_source(errors.into_iter().map(|error| Box::new(error) as _).collect(), &file, &text)
        })?;
        if formatted == text {
            continue;
        }
        if check {
            differs = true;
            println!("{file}: not in the canonical form; `bfpc fmt {file}` rewrites it");
        } else {
            write(policy, formatted.as_bytes())?;
        }
    }
    if differs { Err(Failure::Finding) } else { Ok(()) }
}

/// A name without an answer, at its place in the policy.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` has no answer: {reason}")]
struct Unresolved {
    name: DnsName,
    reason: dns::DnsError,
    place: Span,
}

impl Diagnostic for Unresolved {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        self.reason.code()
    }
    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.reason.help()
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("cannot be resolved".to_owned()), self.place);
        Some(Box::new(std::iter::once(label)))
    }
}

pub(crate) fn lock(arguments: &LockArguments) -> Result<(), Failure> {
    let files = Files::read(&arguments.policy)?;
    let show = |errors: Findings| files.show(errors);
    let syntax = bfp_grammar::parse(&files.text)
        .map_err(|errors| show(errors.into_iter().map(|error| Box::new(error) as _).collect()))?;
    let names = resolve::dns_names(&syntax)
        .map_err(|errors| show(errors.into_iter().map(|error| Box::new(error) as _).collect()))?;
    let resolvers =
        if arguments.resolver.is_empty() { Resolvers::system()? } else { Resolvers::parse(&arguments.resolver)? };
    let mut lock = Lock::default();
    let mut errors: Findings = Vec::new();
    let asked = names.keys().cloned().collect();
    for (name, answer) in dns::resolve(&asked, &resolvers, OffsetDateTime::now_utc()) {
        match answer {
            Ok(answer) => {
                report(name.as_str(), &answer);
                lock.names.insert(name, answer);
            }
            Err(reason) => {
                let place = names.get(&name).copied().unwrap_or_default();
                errors.push(Box::new(Unresolved { name, reason, place }));
            }
        }
    }
    if !errors.is_empty() {
        return Err(show(errors));
    }
    let path = source::lock_path(&arguments.policy);
    write(&path, lock.to_text().as_bytes())?;
    println!("{}: {} names locked", path.display(), lock.names.len());
    Ok(())
}

fn report(name: &str, answer: &LockedName) {
    let addresses: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
    println!("{name}  {}", addresses.join(", "));
}

/// Replaces a file as a whole, so that nobody ever reads half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| WriteError { path: path.display().to_string(), reason: error.to_string() };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    Ok(())
}

/// A file cannot be written.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{path}` cannot be written: {reason}")]
#[diagnostic(code(source::unwritable), help("check the directory and its permissions"))]
pub(crate) struct WriteError {
    pub(crate) path: String,
    pub(crate) reason: String,
}
