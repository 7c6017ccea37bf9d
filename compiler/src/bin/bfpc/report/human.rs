//! Diagnostics for people: code, title, the place in its text, help; at the end, how many there are in which
//! file.

use std::collections::HashSet;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use miette::{MietteHandlerOpts, Report, Severity};

use super::clipped::Clipped;
use super::inert::inert;
use super::{About, Diagnostics, Exit, Failure, Output, counted, exit_code};

/// Chooses how reports look: coloured only on a terminal and without `NO_COLOR`; as wide as the terminal.
pub(crate) fn set_style() {
    // It fails only where it was done before.
    let _ = miette::set_hook(Box::new(|_| Box::new(style().build())));
}

fn style() -> MietteHandlerOpts {
    let set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let terminal = io::stderr().is_terminal();
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let style = MietteHandlerOpts::new().color(terminal && !dumb && !set("NO_COLOR")).terminal_links(false);
    if terminal { style } else { style.width(100) }
}

pub(super) fn end(answer: Result<Output, Failure>) -> Exit {
    let code = exit_code(&answer);
    let (stdout, stderr) = match answer {
        Ok(Output { words, warnings, bytes: Some(bytes) }) => {
            return Exit { stdout: bytes, stderr: inert(words + &shown(warnings)), code };
        }
        Ok(Output { words, warnings, bytes: None }) => (words, shown(warnings)),
        Err(Failure::Finding(words) | Failure::Findings { words: Some(words), .. }) => (words, String::new()),
        Err(Failure::Findings { words: None, diagnostics } | Failure::Input(diagnostics)) => {
            (String::new(), shown(diagnostics))
        }
        Err(Failure::Some { words, diagnostics, .. }) => (words, shown(diagnostics)),
        Err(Failure::Refused(report)) => (String::new(), format!("{report:?}\n")),
    };
    Exit { stdout: inert(stdout).into_bytes(), stderr: inert(stderr), code }
}

/// More of a file than these are counted and not shown: each quotes its place, and the first ones say enough.
const MOST_SHOWN: usize = 100;

/// All reports, and behind them a line for each policy.
fn shown(diagnostics: Diagnostics) -> String {
    let mut text = String::new();
    let mut closing = String::new();
    // What several policies include is told once.
    let mut known = HashSet::new();
    for about in diagnostics.about {
        closing.push_str(&tally(&about));
        let sources = Arc::new(about.sources.shown_as(visible));
        let more = about.findings.len().saturating_sub(MOST_SHOWN);
        for finding in about.findings.iter().take(MOST_SHOWN) {
            let clipped = Clipped::of(finding.as_ref(), &about.sources);
            let report = Report::new(clipped).with_source_code(Arc::clone(&sources));
            let report = format!("{report:?}\n");
            if known.insert(report.clone()) {
                text.push_str(&report);
            }
        }
        if more > 0 {
            text.push_str(&format!("… and {more} more\n\n"));
        }
    }
    text + &closing
}

/// `2 errors in policy.bfp`, or `2 errors: 1 in policy.bfp, 1 in common/hosts.bfp`.
fn tally(about: &About) -> String {
    let Some(policy) = &about.file else { return String::new() };
    let (mut errors, mut warnings) = (0, 0);
    let mut files: Vec<(&str, usize)> = Vec::new();
    for finding in &about.findings {
        // A lock file's faults stand under one heading.
        let number = finding.related().map_or(1, Iterator::count);
        match finding.severity() {
            Some(Severity::Warning) => warnings += number,
            _ => errors += number,
        }
        let first = finding.labels().and_then(|mut labels| labels.next());
        let file = first.and_then(|label| about.sources.file_at(label.offset())).map_or(policy, |file| &file.shown);
        match files.iter_mut().find(|(known, _)| *known == file) {
            Some((_, count)) => *count += number,
            None => files.push((file, number)),
        }
    }
    let kinds = [(errors, "error"), (warnings, "warning")].into_iter().filter(|(number, _)| *number > 0);
    let both: Vec<String> = kinds.map(|(number, kind)| counted(number, kind)).collect();
    let each: Vec<String> = files.iter().map(|(file, number)| format!("{number} in {file}")).collect();
    match files.as_slice() {
        [(file, _)] => format!("{} in {file}\n", both.join(" and ")),
        _ => format!("{}: {}\n", both.join(" and "), each.join(", ")),
    }
}

/// The text with everything that a terminal would obey, or not show, replaced by what it shows. Every place
/// in it stays the same.
pub(crate) fn visible(text: &str) -> String {
    let invisible = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(
                c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
            )
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.len_utf8() {
            _ if !invisible(c) => shown.push(c),
            1 => shown.push('?'),
            2 => shown.push_str("??"),
            3 => shown.push('\u{fffd}'),
            _ => shown.push_str("\u{fffd}?"),
        }
    }
    shown
}
