//! Diagnostics → one JSON object, described in docs/diagnostics.md.

use serde::Serialize;

use super::told::{Level, Told};

/// Changes whenever a member changes its meaning or goes; a new member does not change it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    diagnostics: &'a [Told],
    errors: usize,
    warnings: usize,
}

pub(super) fn document(diagnostics: &[Told]) -> String {
    let count = |level| diagnostics.iter().filter(|told| told.severity == level).count();
    let document =
        Document { version: VERSION, diagnostics, errors: count(Level::Error), warnings: count(Level::Warning) };
    // Text and numbers are always JSON; only a map with other keys than text would not be.
    serde_json::to_string_pretty(&document).map_or_else(|_| String::new(), |text| text + "\n")
}
