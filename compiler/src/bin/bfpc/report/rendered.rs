//! A diagnostic as data: what every format for machines says of it.
//!
//! Always: lines and columns count from 1, columns in characters (Unicode scalar values), offsets and lengths
//! in bytes of the file; an end is the first place behind. Related diagnostics stand for the one that they
//! are related to, which is only their heading.

use bfp_compiler::source::source_map::SourceMap;
use miette::{Diagnostic, Severity};
use serde::Serialize;

use super::About;

/// A diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct RenderedDiagnostic {
    pub(super) code: String,
    pub(super) severity: Level,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The file it is about: that of the first label, else the policy; none where no text could be read.
    pub(super) file: Option<String>,
    pub(super) labels: Vec<Mark>,
    /// The page that explains the code, from the root of the repository.
    pub(super) docs: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Error,
    Warning,
}

/// A place, and what is said there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Mark {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) end_line: u32,
    pub(super) end_column: u32,
    pub(super) offset: usize,
    pub(super) length: usize,
    pub(super) message: Option<String>,
}

impl About {
    pub(super) fn rendered(&self) -> Vec<RenderedDiagnostic> {
        let file = self.file.as_deref();
        self.findings.iter().flat_map(|finding| RenderedDiagnostic::of(finding.as_ref(), file, &self.sources)).collect()
    }
}

impl RenderedDiagnostic {
    pub(super) fn of(diagnostic: &dyn Diagnostic, file: Option<&str>, sources: &SourceMap) -> Vec<RenderedDiagnostic> {
        if let Some(related) = diagnostic.related() {
            return related.flat_map(|part| RenderedDiagnostic::of(part, file, sources)).collect();
        }
        let code = diagnostic.code().map(|code| code.to_string()).unwrap_or_default();
        let labels: Vec<Mark> = diagnostic
            .labels()
            .into_iter()
            .flatten()
            .filter_map(|label| mark(sources, label.offset(), label.len(), label.label()))
            .collect();
        let file = labels.first().map(|label| label.file.clone()).or_else(|| file.map(str::to_owned));
        let level = |severity| if severity == Some(Severity::Warning) { Level::Warning } else { Level::Error };
        vec![RenderedDiagnostic {
            docs: code.split_once("::").map(|(stage, reason)| format!("docs/errors/{stage}/{reason}.md")),
            code,
            severity: level(diagnostic.severity()),
            message: diagnostic.to_string(),
            help: diagnostic.help().map(|help| help.to_string()),
            file,
            labels,
        }]
    }
}

fn mark(sources: &SourceMap, offset: usize, length: usize, message: Option<&str>) -> Option<Mark> {
    let (begin, end) = (sources.place_at(offset)?, sources.place_at(offset + length)?);
    Some(Mark {
        file: begin.file.to_owned(),
        line: begin.line,
        column: begin.column,
        end_line: end.line,
        end_column: end.column,
        offset: begin.offset,
        length,
        message: message.map(str::to_owned),
    })
}
