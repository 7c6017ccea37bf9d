//! `diff`: who gains what and who loses what between two policies, bundles, or revisions of a policy.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bfp_bundle::debug::DebugNotes;
use bfp_bundle::names::build::BuildError;
use bfp_compiler::pipeline;
use bfp_compiler::policy::program_text;
use bfp_compiler::query::describe::{self, AddressNames, Described, describe};
use bfp_compiler::query::difference::{self, Difference};
use bfp_compiler::query::note_changes::note_changes;
use bfp_compiler::source::{self, Disk, Read as _};
use clap::{Args, ValueEnum};
use miette::Diagnostic;
use serde::Serialize;

use crate::commands::explain::MOST_LISTED;
use crate::files::git_revision::Revision;
use crate::files::input::{Input, InputArguments, ShownNotes, json, shortened};
use crate::files::policy_files::Files;
use crate::report::counted;
use crate::{Answer, Diagnostics, Failure};

#[derive(Debug, thiserror::Error, Diagnostic)]
enum DiffError {
    #[error("`{written}` is neither a file nor a git revision: {reason}")]
    #[diagnostic(code(diff::revision))]
    Revision {
        written: String,
        reason: String,
        #[help]
        help: &'static str,
    },
    #[error("`{revision}` has no `{policy}`, so the access allowed before is unknown")]
    #[diagnostic(
        code(diff::no_policy_before),
        help(
            "if the policy was renamed, compare it with the old file; if it is new, run `bfpc diff --new {policy} \
             --deny-widening`"
        )
    )]
    NoPolicyBefore { revision: String, policy: String },
    #[error("the patterns of both policies together overlap in too many ways: {reason}")]
    #[diagnostic(code(diff::patterns), help("compare them in two steps, with a policy between the two"))]
    Patterns { reason: BuildError },
}

#[derive(Args)]
pub(crate) struct DiffArguments {
    /// Before: a policy, a bundle, or a git revision of NEW; a revision without NEW counts as no policy
    #[arg(required_unless_present = "alone")]
    old: Option<PathBuf>,
    /// After: a policy or a bundle
    #[arg(required_unless_present = "alone")]
    new: Option<PathBuf>,
    /// Compare this policy or bundle with no policy at all, under which everything may be reached
    #[arg(long = "new", value_name = "NEW", conflicts_with_all = ["old", "new"])]
    alone: Option<PathBuf>,
    /// Exit 1 only where access widens
    #[arg(long)]
    deny_widening: bool,
    #[command(flatten)]
    input: InputArguments,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = DiffFormat::Human)]
    format: DiffFormat,
}

/// Who reads a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiffFormat {
    /// Text for people
    Human,
    /// One JSON document, whose `version` rises when a field changes its meaning
    Json,
    /// A comment on a pull request
    Markdown,
}

/// The difference, as a machine reads it.
#[derive(Serialize)]
struct Document {
    version: u32,
    /// Whether there was none before.
    new_policy: bool,
    widens: bool,
    changes: Vec<ShownChange>,
    identities: Vec<ShownIdentity>,
    /// The rules whose notes change, which no verdict depends on.
    notes: Vec<ShownNoteChange>,
}

/// What changes for one who asks.
#[derive(Serialize)]
struct ShownChange {
    program: String,
    gains: Vec<Described>,
    loses: Vec<Described>,
    /// The same, for people.
    #[serde(skip)]
    access: ShownAccess,
}

/// What changes, line by line.
#[derive(Default, PartialEq, Eq, Hash)]
struct ShownAccess {
    gains: Vec<String>,
    loses: Vec<String>,
}

/// What changes about who a program is.
#[derive(Serialize)]
struct ShownIdentity {
    program: String,
    change: String,
    widens: bool,
}

/// A rule with other notes.
#[derive(Serialize)]
struct ShownNoteChange {
    rule: String,
    before: Vec<ShownNotes>,
    after: Vec<ShownNotes>,
}

pub(crate) fn diff(arguments: &DiffArguments) -> Answer {
    let (path, before) = match (&arguments.alone, &arguments.old, &arguments.new) {
        (Some(new), ..) => (new, None),
        (None, Some(old), Some(new)) => (new, Some(old)),
        // The arguments demand one or the other.
        _ => return Ok(String::new()),
    };
    let new = Input::read(path, &arguments.input)?;
    let old = match before {
        None => None,
        Some(old) if source::is_standard_input(old) || old.exists() => {
            Some(Input::read(old, &arguments.input)?.compiled)
        }
        Some(old) => match at_revision(old, path)? {
            // What the policy has for a parameter now, it may have had no parameter for.
            Some(files) => {
                let settings = arguments.input.settings.known_to(&files);
                Some(Input::of_policy(files.set(&settings)?)?.compiled)
            }
            None => None,
        },
    };
    let is_new = old.is_none();
    // A policy that only got another name must not pass for one that takes access from nobody's.
    if let Some(revision) = before.filter(|_| is_new && arguments.deny_widening) {
        let (revision, policy) = (revision.display().to_string(), Disk.shown(path));
        return Err(DiffError::NoPolicyBefore { revision, policy }.into());
    }
    let old = match old {
        Some(old) => old,
        None => pipeline::nothing().map_err(|findings| Failure::Input(Diagnostics::about_nothing(findings)))?,
    };
    let mut difference = difference::compare(&old, &new.compiled).map_err(|reason| DiffError::Patterns { reason })?;
    if is_new {
        // Where nobody was restricted, nobody had an identity that could widen.
        difference.identities.clear();
    }
    let names = AddressNames::of_all([&old.debug, &new.compiled.debug]);
    let shown = |notes: &[DebugNotes]| notes.iter().map(ShownNotes::of).collect();
    let notes = note_changes(&old.debug, &new.compiled.debug).into_iter().map(|change| ShownNoteChange {
        before: shown(&change.before),
        after: shown(&change.after),
        rule: change.rule,
    });
    let document = Document { new_policy: is_new, notes: notes.collect(), ..document(&difference, &names) };
    let after = Disk.shown(path);
    let before = before.filter(|_| !is_new).map_or_else(|| "no policy".to_owned(), |old| old.display().to_string());
    let said = match arguments.format {
        DiffFormat::Human => human(&document, &before, &after),
        DiffFormat::Json => json(&document),
        DiffFormat::Markdown => markdown(&document, &new.compiled.name),
    };
    let is_finding = if arguments.deny_widening { difference.widens() } else { !difference.is_empty() };
    if is_finding { Err(Failure::Finding(said)) } else { Ok(said) }
}

/// Reads a policy with all that it names as it was; of a revision that does not have it, nothing.
fn at_revision(written: &Path, policy: &Path) -> Result<Option<Files>, Failure> {
    let written = written.display().to_string();
    let revision = Revision::find(&written, policy).map_err(|reason| {
        let help = match Revision::is_shallow(policy) {
            true => {
                "fetch the older commits, which this shallow clone lacks: `git fetch --unshallow`, or `fetch-depth: 0` \
                 in the checkout step of a workflow"
            }
            false => "name a policy, a bundle, or a revision that git knows, such as `HEAD~1`",
        };
        DiffError::Revision { written, reason, help }
    })?;
    if !revision.has(policy) {
        return Ok(None);
    }
    let has_lock = revision.has(&source::lock_path(policy));
    Files::read_from(policy, &revision, has_lock).map(Some)
}

fn document(difference: &Difference, names: &AddressNames) -> Document {
    let changes = difference.changes.iter().map(|change| ShownChange {
        program: change.who.text(),
        gains: describe(&change.gains, names),
        loses: describe(&change.loses, names),
        access: ShownAccess {
            gains: describe::lines(&change.gains, names),
            loses: describe::lines(&change.loses, names),
        },
    });
    let identities = difference.identities.iter().map(|change| ShownIdentity {
        program: program_text::words(&change.path),
        change: change.aspect.text(),
        widens: change.aspect.widens(),
    });
    Document {
        version: 1,
        new_policy: false,
        widens: difference.widens(),
        changes: changes.collect(),
        identities: identities.collect(),
        notes: Vec::new(),
    }
}

/// In one line, how much changes.
fn summary(document: &Document) -> String {
    let gaining = document.changes.iter().filter(|change| !change.gains.is_empty()).count();
    let losing = document.changes.iter().filter(|change| !change.loses.is_empty()).count();
    let mut parts = Vec::new();
    if gaining > 0 {
        parts.push(format!("{} gain{} access", counted(gaining, "program"), if gaining == 1 { "s" } else { "" }));
    }
    if losing > 0 {
        parts.push(format!("{} lose{} access", counted(losing, "program"), if losing == 1 { "s" } else { "" }));
    }
    match document.identities.len() {
        0 => {}
        number => parts.push(counted(number, "identity change")),
    }
    parts.join(", ")
}

/// Those for whom the same changes, together.
fn together(changes: &[ShownChange]) -> Vec<(Vec<&str>, &ShownAccess)> {
    let mut groups: Vec<(Vec<&str>, &ShownAccess)> = Vec::new();
    let mut known: HashMap<&ShownAccess, usize> = HashMap::new();
    for change in changes {
        let at = *known.entry(&change.access).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((programs, _)) => programs.push(&change.program),
            None => groups.push((vec![&change.program], &change.access)),
        }
    }
    groups
}

fn human(document: &Document, old: &str, new: &str) -> String {
    if document.changes.is_empty() && document.identities.is_empty() {
        return format!("{old} and {new} decide alike\n{}", notes(&document.notes));
    }
    let mut said = match document.new_policy {
        true => format!("{new} is new: it is compared with no policy, under which everything may be reached\n"),
        false => String::new(),
    };
    // Writing to a string cannot fail, here and below.
    for (programs, access) in together(&document.changes) {
        let _ = writeln!(said, "{}", programs.join(", "));
        for (sign, moved) in [('+', &access.gains), ('-', &access.loses)] {
            for to in moved.iter().take(MOST_LISTED) {
                let _ = writeln!(said, "  {sign} {to}");
            }
            if let Some(more) = moved.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
                let _ = writeln!(said, "  {sign} {more} more ranges");
            }
        }
    }
    let mut before: Option<&str> = None;
    for change in &document.identities {
        if before != Some(&change.program) {
            let _ = writeln!(said, "the identity of {}", change.program);
        }
        before = Some(&change.program);
        let sign = if change.widens { '+' } else { '-' };
        let _ = writeln!(said, "  {sign} {}", change.change);
    }
    said.push_str(&notes(&document.notes));
    let widens = if document.widens { "access widens" } else { "nothing widens" };
    let _ = writeln!(said, "{}: {widens}", summary(document));
    said
}

fn notes(changes: &[ShownNoteChange]) -> String {
    let mut said = String::new();
    for change in changes {
        // Writing to a string cannot fail.
        let _ = writeln!(said, "the notes of `{}`", shortened(&change.rule));
        for (sign, notes) in [('-', &change.before), ('+', &change.after)] {
            for notes in notes {
                let _ = writeln!(said, "  {sign} {}", shortened(&notes.text));
            }
        }
    }
    said
}

/// A comment longer than this is folded.
const LONG_TABLE: usize = 12;

fn markdown(document: &Document, policy: &str) -> String {
    let policy = match document.new_policy {
        true => format!("{} (new, compared with no policy)", inert(policy)),
        false => inert(policy),
    };
    if document.changes.is_empty() && document.identities.is_empty() {
        let head = format!("**Egress policy {policy}:** no change in what any program may reach");
        return match note_rows(&document.notes) {
            rows if rows.is_empty() => format!("{head}.\n"),
            rows => {
                format!("{head}; the notes of rules change.\n\n| | rule | notes |\n|---|---|---|\n{}", rows.concat())
            }
        };
    }
    let mut rows: Vec<String> = Vec::new();
    for (programs, access) in together(&document.changes) {
        let programs: Vec<String> = programs.iter().map(|program| inert(program)).collect();
        let programs = programs.join(", ");
        for (word, moved) in [("⚠️ gains", &access.gains), ("loses", &access.loses)] {
            rows.extend(moved.iter().map(|to| format!("| {word} | {programs} | {} |\n", inert(to))));
        }
    }
    for change in &document.identities {
        let word = if change.widens { "⚠️ identity" } else { "identity" };
        rows.push(format!("| {word} | {} | {} |\n", inert(&change.program), plain(&change.change)));
    }
    rows.extend(note_rows(&document.notes));
    let verdict = if document.widens { "⚠️ **access widens**" } else { "nothing widens" };
    let table = format!("| | program | what |\n|---|---|---|\n{}", rows.concat());
    let head = format!("**Egress policy {policy}:** {}; {verdict}.\n\n", summary(document));
    if rows.len() <= LONG_TABLE {
        return head + &table;
    }
    format!("{head}<details><summary>{}</summary>\n\n{table}\n</details>\n", counted(rows.len(), "change"))
}

fn note_rows(changes: &[ShownNoteChange]) -> Vec<String> {
    let row = |change: &ShownNoteChange| {
        let rows = [("notes before", &change.before), ("notes now", &change.after)];
        rows.into_iter()
            .flat_map(|(word, notes)| {
                notes
                    .iter()
                    .map(move |notes| format!("| {word} | {} | {} |\n", inert(&change.rule), inert(&notes.text)))
            })
            .collect::<Vec<_>>()
    };
    changes.iter().flat_map(row).collect()
}

/// Words of our own in a cell of a table.
fn plain(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Text of the policy that stands for itself in a cell of a table.
fn inert(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c == '`' || c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("`{}`", plain.replace('|', "\\|"))
}
