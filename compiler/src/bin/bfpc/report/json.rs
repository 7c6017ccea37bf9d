//! Diagnostics → one JSON object, described in docs/diagnostics.md.

use serde::Serialize;

use super::rendered::{Level, RenderedDiagnostic};

/// Changes whenever a member changes its meaning or goes; a new member does not change it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    diagnostics: &'a [RenderedDiagnostic],
    errors: usize,
    warnings: usize,
}

pub(super) fn document(diagnostics: &[RenderedDiagnostic]) -> String {
    let count = |level| diagnostics.iter().filter(|rendered| rendered.severity == level).count();
    let document =
        Document { version: VERSION, diagnostics, errors: count(Level::Error), warnings: count(Level::Warning) };
    written(&document)
}

/// A document, with a line end. Whatever a text in it says, no line of it is a command to the runner of a job.
pub(crate) fn written(document: &impl Serialize) -> String {
    // Text and numbers are always JSON; only a map with other keys than text would not be.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.replace("##[", "#\\u0023[") + "\n"
}
