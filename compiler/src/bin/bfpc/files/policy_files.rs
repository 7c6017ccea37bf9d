//! A policy and the lock beside it, as the commands read them, and as they tell what is wrong with them.

use std::fs;
use std::path::Path;

use bfp_compiler::check::CheckedPolicy;
use bfp_compiler::diagnostics::findings::Findings;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::resolve::Source;
use bfp_compiler::source::load::{self, LoadFailure, Loaded};
use bfp_compiler::source::{self, Disk, Read};
use bfp_grammar::syntax::Span;

use crate::{Diagnostics, Failure, in_file, in_sources};

/// A policy and its lock, as read.
#[derive(Clone)]
pub(crate) struct Files {
    /// The path from the working directory, for messages.
    pub(crate) file: String,
    stem: String,
    pub(crate) loaded: Loaded,
    pub(crate) lock_text: String,
    pub(crate) lock: Lock,
}

/// How a policy is read.
type Load = fn(&Path, &dyn Read) -> Result<Loaded, LoadFailure>;

impl Files {
    /// Reads a policy, and the lock beside it where there is one.
    pub(crate) fn read(policy: &Path) -> Result<Files, Failure> {
        // A link that leads nowhere is no absent lock: reading it says what is wrong.
        // What comes by the standard input stands beside no lock.
        let has_lock = !source::is_standard_input(policy) && fs::symlink_metadata(source::lock_path(policy)).is_ok();
        Files::read_from(policy, &Disk, has_lock)
    }

    /// As [`Self::read`], from anywhere.
    pub(crate) fn read_from(policy: &Path, read: &dyn Read, has_lock: bool) -> Result<Files, Failure> {
        Files::read_policy(policy, read)?.with_lock(policy, read, has_lock)
    }

    fn with_lock(mut self, policy: &Path, read: &dyn Read, has_lock: bool) -> Result<Files, Failure> {
        if has_lock {
            let lock_path = source::lock_path(policy);
            read.check_link(&lock_path)?;
            self.lock_text = read.text(&lock_path)?;
            let shown = read.shown(&lock_path);
            self.lock = Lock::parse(&self.lock_text)
                .map_err(|error| Failure::Input(in_file(vec![Box::new(error)], &shown, &self.lock_text)))?;
        }
        Ok(self)
    }

    /// As [`Self::read`], but every list is empty, whether its file is there or not.
    pub(crate) fn read_without_lists(policy: &Path) -> Result<Files, Failure> {
        let has_lock = fs::symlink_metadata(source::lock_path(policy)).is_ok();
        Files::of(policy, &Disk, load::load_without_lists)?.with_lock(policy, &Disk, has_lock)
    }

    /// Reads a policy alone, whatever its lock says.
    pub(crate) fn read_policy(policy: &Path, read: &dyn Read) -> Result<Files, Failure> {
        Files::of(policy, read, load::load)
    }

    fn of(policy: &Path, read: &dyn Read, load: Load) -> Result<Files, Failure> {
        let file = read.shown(policy);
        let loaded = load(policy, read)
            .map_err(|failure| Failure::Input(in_sources(failure.findings, &file, &failure.sources)))?;
        let stem = policy.file_stem().map_or_else(|| "policy".to_owned(), |stem| stem.to_string_lossy().into_owned());
        Ok(Files { file, stem, loaded, lock_text: String::new(), lock: Lock::default() })
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { loaded: &self.loaded, stem: &self.stem, lock_text: &self.lock_text, lock: &self.lock }
    }

    /// The file and the line of a place.
    pub(crate) fn place(&self, span: Span) -> (String, u32) {
        let sources = &self.loaded.sources;
        (sources.file_at(span.start).map_or_else(String::new, |file| file.shown.clone()), sources.line_at(span.start))
    }

    /// What stands at a place.
    pub(crate) fn text(&self, span: Span) -> &str {
        span.text_in(self.loaded.sources.text())
    }

    pub(crate) fn show(&self, findings: Findings) -> Failure {
        Failure::Input(in_sources(findings, &self.file, &self.loaded.sources))
    }

    /// What the author should look at once more.
    pub(crate) fn warnings(&self, checked: &CheckedPolicy) -> Diagnostics {
        let warnings = checked.warnings().iter().map(|warning| Box::new(warning.clone()) as _).collect();
        in_sources(warnings, &self.file, &self.loaded.sources)
    }
}
