//! The commands over a policy's source: `check` and `fmt`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bfp_compiler::diagnostics::findings::boxed;
use bfp_compiler::pipeline;
use bfp_compiler::resolve;
use bfp_compiler::source::load;
use bfp_compiler::source::{Disk, Read as _};
use bfp_grammar::syntax::Span;
use miette::Diagnostic;

use crate::commands::lock_demands::LockDemands;
use crate::commands::today::Today;
use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::{Output, counted};
use crate::{Diagnostics, Failure, in_file};

/// Checks each policy by itself, whatever is wrong with the others.
pub(crate) fn check(
    policies: &[PathBuf],
    demands: LockDemands,
    settings: &Settings,
    today: Today,
    deny_warnings: bool,
) -> Result<Output, Failure> {
    if let [only] = policies {
        return check_one(only, demands, settings, today, deny_warnings);
    }
    let (mut words, mut diagnostics) = (String::new(), Diagnostics::default());
    let (mut well, mut code) = (0, 0);
    for policy in policies {
        match check_one(policy, demands, settings, today, deny_warnings) {
            Ok(done) => {
                well += 1;
                words.push_str(&done.words);
                diagnostics.add(done.warnings);
            }
            Err(Failure::Findings { diagnostics: found, .. }) => {
                code = code.max(1);
                diagnostics.add(found);
            }
            Err(Failure::Input(found)) => {
                code = 2;
                diagnostics.add(found);
            }
            Err(other) => return Err(other),
        }
    }
    // Writing to a string cannot fail.
    let _ = writeln!(words, "{well} of {} policies are ok", policies.len());
    match code {
        0 => Ok(Output { words, warnings: diagnostics, bytes: None }),
        code => Err(Failure::Some { words, diagnostics, code }),
    }
}

fn check_one(
    policy: &Path,
    demands: LockDemands,
    settings: &Settings,
    today: Today,
    deny_warnings: bool,
) -> Result<Output, Failure> {
    let files = Files::read(policy)?;
    if files.loaded.is_library() {
        // What is wrong with one value is wrong with the others.
        let each = files.each(settings)?;
        let Some(files) = each.first() else { return Ok(Output::default()) };
        let errors = resolve::faults_of_library(&files.loaded);
        if !errors.is_empty() {
            return Err(files.show(boxed(errors)));
        }
        let declared = counted(files.loaded.syntax.statements.len(), "declaration");
        let words = format!("{}: ok, a file to include: {declared}, and no rule to enforce\n", files.file);
        return Ok(words.into());
    }
    demands.check(&files, policy)?;
    let file = files.file.clone();
    let each = files.each(settings)?;
    let (mut warnings, mut errors, mut counts) = (Diagnostics::default(), Diagnostics::default(), None);
    for files in &each {
        match check_values(files, today) {
            Ok((counted, found)) => {
                counts = counts.max(Some(counted));
                warnings.add_values(found);
            }
            Err(Failure::Input(found)) => errors.add_values(found),
            Err(other) => return Err(other),
        }
    }
    if !errors.is_empty() {
        return Err(Failure::Input(errors));
    }
    if deny_warnings && !warnings.is_empty() {
        return Err(Failure::Findings { words: None, diagnostics: warnings });
    }
    let (rules, programs) = counts.unwrap_or_default();
    let choices = match each.len() {
        0 | 1 => String::new(),
        number => format!(", each with {number} choices of parameters"),
    };
    let words = format!("{file}: ok, {}, {}{choices}\n", counted(rules, "rule"), counted(programs, "program"));
    Ok(Output { words, warnings, bytes: None })
}

/// Checks a policy whose parameters have values: how many rules and programs it has, and the warnings.
fn check_values(files: &Files, today: Today) -> Result<((usize, usize), Diagnostics), Failure> {
    let checked = pipeline::check(&files.source()).map_err(|findings| files.show(findings))?;
    let mut warnings = files.warnings(&checked);
    warnings.add(today.check(files, &checked)?);
    let policy = checked.policy();
    // `only P -> only D` is one line with two effects.
    let mut rules: Vec<Span> = policy.rules.iter().map(|rule| rule.span).collect();
    rules.dedup();
    let programs = policy.programs.iter().filter(|program| !program.is_class()).count();
    Ok(((rules.len(), programs), warnings))
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
pub(crate) fn format(policies: &[PathBuf], check: bool) -> Result<Output, Failure> {
    let mut diagnostics = Diagnostics::default();
    let mut changed: Vec<(&PathBuf, String, String)> = Vec::new();
    for policy in policies {
        let text = load::policy_text(policy, &Disk)?;
        match bfp_grammar::format(&text) {
            // Whoever formats the standard input wants the text, changed or not.
            Ok(formatted) if formatted == text && (check || !output::is_standard(policy)) => {}
            Ok(formatted) => changed.push((policy, text, formatted)),
            Err(errors) => diagnostics.add(in_file(boxed(errors), &Disk.shown(policy), &text)),
        }
    }
    if !diagnostics.is_empty() {
        return Err(Failure::Input(diagnostics));
    }
    let mut words = String::new();
    let mut bytes = None;
    for (policy, text, formatted) in &changed {
        if check {
            let file = Disk.shown(policy);
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(words, "{file}: not in the canonical form; `bfpc fmt {file}` rewrites it");
            let place = first_difference(text, formatted);
            diagnostics.add(in_file(boxed(vec![NotCanonical { file: file.clone(), place }]), &file, text));
        } else {
            let standard = output::write(policy, formatted.clone().into_bytes(), Kind::InPlace)?;
            bytes = bytes.or(standard);
        }
    }
    if words.is_empty() {
        Ok(Output { bytes, ..Output::default() })
    } else {
        Err(Failure::Findings { words: Some(words), diagnostics })
    }
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
