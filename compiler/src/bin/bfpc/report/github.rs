//! Diagnostics → workflow commands of GitHub Actions, one a line; nothing where nothing is wrong.
//!
//! Always: whatever a policy says, a line is one command. What would end a command, or a property of one, is
//! escaped as GitHub's own toolkit does it.

use std::fmt::Write as _;

use super::rendered::{Level, RenderedDiagnostic};

pub(super) fn document(diagnostics: &[RenderedDiagnostic]) -> String {
    let mut text = String::new();
    for rendered in diagnostics {
        let command = match rendered.severity {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        let mut properties = Vec::new();
        if let Some(file) = &rendered.file {
            properties.push(format!("file={}", property(file)));
        }
        if let Some(place) = rendered.labels.first() {
            properties.push(format!("line={}", place.line));
            // Columns are for a place on one line.
            if place.line == place.end_line {
                properties.push(format!("col={}", place.column));
            }
            properties.push(format!("endLine={}", place.end_line));
        }
        properties.push(format!("title={}", property(&rendered.code)));
        let mut message = rendered.message.clone();
        for label in rendered.labels.iter().skip(1) {
            let said = label.message.as_deref().unwrap_or("see also");
            // Writing to a string cannot fail, here and below.
            let _ = write!(message, "\n{}:{}: {said}", label.file, label.line);
        }
        if let Some(help) = &rendered.help {
            let _ = write!(message, "\nhelp: {help}");
        }
        let _ = writeln!(text, "::{command} {}::{}", properties.join(","), data(&message));
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
