//! Two debug sections → the rules that both have, with other notes. No verdict depends on them.
//!
//! A rule is the same if it has the same effect, programs and destination, as written.

use std::collections::{BTreeMap, BTreeSet};

use bfp_bundle::debug::{Debug, DebugNotes, DebugRule};

/// A rule whose notes change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteChange {
    /// The rule, as the newer policy writes it.
    pub rule: String,
    /// The notes that it no longer has. Several rules can be written alike.
    pub before: Vec<DebugNotes>,
    /// The notes that it has now.
    pub after: Vec<DebugNotes>,
}

/// The rules that both policies have, and that have other notes now.
pub fn note_changes(old: &Debug, new: &Debug) -> Vec<NoteChange> {
    if old.notes.is_empty() && new.notes.is_empty() {
        return Vec::new();
    }
    let before = by_rule(old);
    let mut changes: Vec<NoteChange> = Vec::new();
    for (rule, Noted { text, notes }) in by_rule(new) {
        let Some(known) = before.get(&rule) else { continue };
        let gone =
            |of: &BTreeSet<DebugNotes>, without: &BTreeSet<DebugNotes>| of.difference(without).cloned().collect();
        let change =
            NoteChange { rule: text.to_owned(), before: gone(&known.notes, &notes), after: gone(&notes, &known.notes) };
        // `only P -> only D` is two rules of one statement.
        if known.notes != notes && !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

/// What makes a rule the same.
type Same<'a> = (u8, bool, Option<BTreeSet<&'a str>>, &'a str);

struct Noted<'a> {
    text: &'a str,
    notes: BTreeSet<DebugNotes>,
}

fn by_rule(debug: &Debug) -> BTreeMap<Same<'_>, Noted<'_>> {
    let mut rules: BTreeMap<Same<'_>, Noted<'_>> = BTreeMap::new();
    for (number, rule) in debug.rules.iter().enumerate() {
        let noted = rules.entry(same(debug, rule)).or_insert(Noted { text: &rule.place.text, notes: BTreeSet::new() });
        // Rules move, and their notes with them.
        noted.notes.extend(debug.notes_of(number).map(|notes| DebugNotes { rule: 0, ..notes.clone() }));
    }
    rules
}

fn same<'a>(debug: &'a Debug, rule: &'a DebugRule) -> Same<'a> {
    let path = |number: &u32| Some(debug.programs.get(usize::try_from(*number).ok()?)?.path.as_str());
    let subjects = rule.subjects.as_ref().map(|subjects| subjects.iter().filter_map(path).collect());
    (rule.effect as u8, rule.is_audited, subjects, &rule.destinations)
}
