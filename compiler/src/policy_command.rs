//! The commands over a policy's source: `check` and `fmt`, and how a policy is read with its lock.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bfp_compiler::check::CheckedPolicy;
use bfp_compiler::findings::{Findings, boxed};
use bfp_compiler::load::{self, Loaded};
use bfp_compiler::lock::Lock;
use bfp_compiler::pipeline::{self, Source};
use bfp_compiler::source::{self, Disk};
use bfp_grammar::syntax::Span;
use miette::Diagnostic;

use crate::lock_command::{self, Locked};
use crate::output::write;
use crate::report::Done;
use crate::{Answer, Complaints, Failure, in_file, in_sources};

/// A policy and its lock, as read.
pub(crate) struct Files {
    /// The path as it was given, for messages.
    pub(crate) file: String,
    stem: String,
    pub(crate) loaded: Loaded,
    pub(crate) lock_text: String,
    pub(crate) lock: Lock,
}

impl Files {
    /// Reads a policy, and the lock beside it where there is one.
    pub(crate) fn read(policy: &Path) -> Result<Files, Failure> {
        // A link that leads nowhere is no absent lock: reading it says what is wrong.
        let has_lock = fs::symlink_metadata(source::lock_path(policy)).is_ok();
        Files::read_from(policy, &Disk, has_lock)
    }

    /// As [`Self::read`], from anywhere.
    pub(crate) fn read_from(policy: &Path, read: &dyn load::Read, has_lock: bool) -> Result<Files, Failure> {
        let mut files = Files::read_policy(policy, read)?;
        if has_lock {
            let lock_path = source::lock_path(policy);
            files.lock_text = read.text(&lock_path)?;
            let shown = lock_path.display().to_string();
            files.lock = Lock::parse(&files.lock_text)
                .map_err(|error| Failure::Input(in_file(vec![Box::new(error)], &shown, &files.lock_text)))?;
        }
        Ok(files)
    }

    /// Reads a policy alone, whatever its lock says.
    pub(crate) fn read_policy(policy: &Path, read: &dyn load::Read) -> Result<Files, Failure> {
        let file = policy.display().to_string();
        let loaded = load::load(policy, read)?
            .map_err(|(findings, sources)| Failure::Input(in_sources(findings, &file, &sources)))?;
        let stem = policy.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok(Files { file, stem, loaded, lock_text: String::new(), lock: Lock::default() })
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { loaded: &self.loaded, stem: &self.stem, lock_text: &self.lock_text, lock: &self.lock }
    }

    /// The file and the line of a place.
    pub(crate) fn place(&self, span: Span) -> (String, u32) {
        let sources = &self.loaded.sources;
        (sources.file_at(span.start).map_or_else(String::new, |file| file.name.clone()), sources.line_at(span.start))
    }

    /// What stands at a place.
    pub(crate) fn text(&self, span: Span) -> &str {
        span.text_in(self.loaded.sources.text())
    }

    pub(crate) fn show(&self, findings: Findings) -> Failure {
        Failure::Input(in_sources(findings, &self.file, &self.loaded.sources))
    }

    /// What the author should look at once more.
    pub(crate) fn warnings(&self, checked: &CheckedPolicy) -> Complaints {
        let warnings = checked.warnings().iter().map(|warning| Box::new(warning.clone()) as _).collect();
        in_sources(warnings, &self.file, &self.loaded.sources)
    }
}

pub(crate) fn check(policy: &Path, locked: Locked, deny_warnings: bool) -> Result<Done, Failure> {
    let files = Files::read(policy)?;
    lock_command::refuse_stale(&files, policy, locked)?;
    let checked = pipeline::check(&files.source()).map_err(|findings| files.show(findings))?;
    let warnings = files.warnings(&checked);
    if deny_warnings && !warnings.is_empty() {
        return Err(Failure::Found { words: None, complaints: warnings });
    }
    let policy = checked.policy();
    // `only P -> only D` is one line with two effects.
    let mut rules: Vec<Span> = policy.rules.iter().map(|rule| rule.span).collect();
    rules.dedup();
    let words = format!(
        "{}: ok, {}, {}\n",
        files.file,
        counted(rules.len(), "rule"),
        counted(policy.programs.len(), "program")
    );
    Ok(Done { words, warnings })
}

pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A policy is written in another way than the canonical one.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`{file}` is not in the canonical form")]
#[diagnostic(code(fmt::not_canonical), help("`bfpc fmt {file}` rewrites it"))]
struct NotCanonical {
    file: String,
    #[label("the first line that differs")]
    place: Span,
}

/// Reads all policies before it writes one, so that a broken one changes nothing.
pub(crate) fn format(policies: &[PathBuf], check: bool) -> Answer {
    let mut complaints = Complaints::default();
    let mut changed: Vec<(&PathBuf, String, String)> = Vec::new();
    for policy in policies {
        let text = source::read_text(policy)?;
        match bfp_grammar::format(&text) {
            Ok(formatted) if formatted == text => {}
            Ok(formatted) => changed.push((policy, text, formatted)),
            Err(errors) => complaints.add(in_file(boxed(errors), &policy.display().to_string(), &text)),
        }
    }
    if !complaints.is_empty() {
        return Err(Failure::Input(complaints));
    }
    let mut words = String::new();
    for (policy, text, formatted) in &changed {
        if check {
            let file = policy.display().to_string();
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(words, "{file}: not in the canonical form; `bfpc fmt {file}` rewrites it");
            let place = first_difference(text, formatted);
            complaints.add(in_file(boxed(vec![NotCanonical { file: file.clone(), place }]), &file, text));
        } else {
            write(policy, formatted.as_bytes())?;
        }
    }
    if words.is_empty() { Ok(words) } else { Err(Failure::Found { words: Some(words), complaints }) }
}

/// The first line of a text that another one does not have at its place.
fn first_difference(text: &str, other: &str) -> Span {
    let mut start = 0;
    let mut others = other.split_inclusive('\n');
    for line in text.split_inclusive('\n') {
        if others.next() != Some(line) {
            return Span { start, end: start + line.trim_end().len() };
        }
        start += line.len();
    }
    Span { start, end: start }
}
