//! A diagnostic → the same one, short enough for people: a name or a place of a million letters is shown by its
//! begin. Machines get the whole of it.
//!
//! Always: what is short stays as it is.

use std::fmt;

use bfp_compiler::source::source_map::SourceMap;
use miette::{Diagnostic, LabeledSpan, Severity};

/// The longest title, help or label, in characters.
const LONGEST_TEXT: usize = 1500;

/// The longest place, in bytes, and how much is marked of a longer one.
const LONGEST_PLACE: usize = 4000;
const MARKED: usize = 200;

/// A diagnostic, cut.
#[derive(Debug)]
pub(super) struct Clipped {
    code: Option<String>,
    severity: Option<Severity>,
    message: String,
    help: Option<String>,
    labels: Vec<LabeledSpan>,
    related: Vec<Clipped>,
}

impl Clipped {
    pub(super) fn of(diagnostic: &dyn Diagnostic, sources: &SourceMap) -> Clipped {
        Clipped {
            code: diagnostic.code().map(|code| code.to_string()),
            severity: diagnostic.severity(),
            message: cut(diagnostic.to_string()),
            help: diagnostic.help().map(|help| cut(help.to_string())),
            labels: diagnostic.labels().into_iter().flatten().map(|label| clipped(&label, sources)).collect(),
            related: diagnostic.related().into_iter().flatten().map(|part| Clipped::of(part, sources)).collect(),
        }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn clipped(label: &LabeledSpan, sources: &SourceMap) -> LabeledSpan {
    let text = label.label().map(|text| cut(text.to_owned()));
    let mut length = label.len();
    if length > LONGEST_PLACE {
        let end = sources.text().floor_char_boundary(label.offset() + MARKED);
        length = end.saturating_sub(label.offset());
    }
    LabeledSpan::new(text, label.offset(), length)
}

impl fmt::Display for Clipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Clipped {}

impl Diagnostic for Clipped {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.as_ref().map(|code| Box::new(code) as _)
    }

    fn severity(&self) -> Option<Severity> {
        self.severity
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().cloned()) as _)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (!self.related.is_empty()).then(|| Box::new(self.related.iter().map(|part| part as &dyn Diagnostic)) as _)
    }
}
