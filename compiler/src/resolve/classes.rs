//! Programs that overlap → classes: the program of a file that matches several of the policy's programs at once.
//!
//! Enters: a policy whose rules name programs as written, and the sets of programs that one file can match. Leaves: the
//! same policy with one more program for each such set, added to every rule that names a member. In later stages, a
//! file is exactly one program.
//!
//! Always: a class has no more rights than each of its members would have alone. A digest pin of a member is a pin of
//! the class. A class passes grants on only if every member with grants does.

use std::collections::{BTreeMap, BTreeSet};

use bfp_bundle::image::Library;
use bfp_bundle::label::RESTRICTED_BY_MAX;

use super::ResolveError;
use crate::policy::program_text;
use crate::policy::{Effect, Program, ProgramIndex, ResolvedPolicy, Subjects};

/// Adds the classes. `sets` are the sets of programs, by number, that one file can match at once.
pub(super) fn add(policy: &mut ResolvedPolicy, sets: &[Vec<usize>]) -> Vec<ResolveError> {
    let mut errors = Vec::new();
    let written = policy.programs.len();
    let granted = subjects_of(policy, |effect| effect.grants() || effect.excludes());
    let restricted = subjects_of(policy, Effect::restricts);
    let texts: Vec<Vec<&str>> = sets
        .iter()
        .map(|set| set.iter().filter_map(|member| Some(policy.programs.get(*member)?.path.as_str())).collect())
        .collect();
    let names = program_text::short(&texts);
    let mut classes_of: BTreeMap<ProgramIndex, Vec<ProgramIndex>> = BTreeMap::new();
    for (set, name) in sets.iter().zip(&names) {
        let members: Vec<ProgramIndex> = set.iter().copied().map(ProgramIndex).collect();
        if let [only] = members.as_slice() {
            policy.kinds.push(*only);
            continue;
        }
        let index = ProgramIndex(policy.programs.len());
        let programs: Vec<&Program> = members.iter().filter_map(|member| policy.programs.get(member.0)).collect();
        errors.extend(too_many(&members, &programs, &restricted));
        let (class, error) = class(members.clone(), &programs, name, &granted);
        errors.extend(error);
        policy.programs.push(class);
        policy.kinds.push(index);
        for member in members {
            classes_of.entry(member).or_default().push(index);
        }
    }
    policy.kinds.sort_unstable();

    // Unlisted programs are numbered after the programs, which are more now.
    let more = policy.programs.len() - written;
    let moved = |subjects: &mut Subjects| {
        if let Subjects::Programs(programs) = subjects {
            for program in programs.iter_mut().filter(|program| program.0 >= written) {
                program.0 += more;
            }
            *programs = widened(programs, &classes_of);
        }
    };
    policy.rules.iter_mut().for_each(|rule| moved(&mut rule.subjects));
    for line in policy.tests.iter_mut().flat_map(|test| &mut test.expectations) {
        line.started_by.iter_mut().for_each(moved);
        moved(&mut line.subjects);
    }
    errors
}

/// Programs with the classes that contain them, sorted.
fn widened(programs: &[ProgramIndex], classes_of: &BTreeMap<ProgramIndex, Vec<ProgramIndex>>) -> Vec<ProgramIndex> {
    let classes = programs.iter().filter_map(|program| classes_of.get(program)).flatten();
    let mut all: Vec<ProgramIndex> = programs.iter().chain(classes).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The programs that rules with the wanted effects name.
fn subjects_of(policy: &ResolvedPolicy, wanted: impl Fn(Effect) -> bool) -> BTreeSet<ProgramIndex> {
    let rules = policy.rules.iter().filter(|rule| wanted(rule.effect));
    let programs = rules.filter_map(|rule| match &rule.subjects {
        Subjects::Programs(programs) => Some(programs),
        Subjects::Everyone => None,
    });
    programs.flatten().copied().collect()
}

/// The error for a class with more restrictions than a label holds.
fn too_many(
    members: &[ProgramIndex],
    programs: &[&Program],
    restricted: &BTreeSet<ProgramIndex>,
) -> Option<ResolveError> {
    let mut found = members.iter().zip(programs).filter(|(member, _)| restricted.contains(member));
    let count = found.clone().count();
    let (first, last) = (found.next()?.1, found.next_back()?.1);
    (count > RESTRICTED_BY_MAX).then_some(ResolveError::RestrictionsOfOneFile {
        count,
        limit: RESTRICTED_BY_MAX,
        first: first.span,
        last: last.span,
    })
}

fn class(
    members: Vec<ProgramIndex>,
    programs: &[&Program],
    name: &str,
    granted: &BTreeSet<ProgramIndex>,
) -> (Program, Option<ResolveError>) {
    let path = program_text::of_class(programs.iter().map(|program| program.path.as_str()));
    let words = program_text::words(name);
    // The name of one member describes the whole class.
    let named = programs.iter().find(|program| program.path == name);
    let pinned: Vec<&&Program> = programs.iter().filter(|program| !program.pins.is_empty()).collect();
    let (pins, error) = match pinned.as_slice() {
        [] => (Vec::new(), None),
        [first, rest @ ..] => {
            let mut pins = first.pins.clone();
            pins.retain(|pin| rest.iter().all(|other| other.pins.contains(pin)));
            // Without a pin, any content would hold the class's grants.
            let disagreeing = rest.iter().find(|_| pins.is_empty());
            let error = disagreeing.map(|other| ResolveError::PinsDisagree {
                file: program_text::quoted(name),
                first: first.span,
                second: other.span,
            });
            (pins, error)
        }
    };
    let mut granting = members.iter().zip(programs).filter(|(member, _)| granted.contains(member)).peekable();
    let class = Program {
        name: named.map_or_else(|| words.clone(), |program| program.name.clone()),
        written: words,
        span: named.or(programs.first()).map_or_else(Default::default, |program| program.span),
        pins,
        libraries: libraries(programs),
        with_children: granting.peek().is_some() && granting.all(|(_, program)| program.with_children),
        path,
        members,
    };
    (class, error)
}

/// The libraries that all members with a list may map. A library is identified by its content.
fn libraries(programs: &[&Program]) -> Option<Vec<Library>> {
    let mut listed = programs.iter().filter_map(|program| program.libraries.as_ref());
    let mut libraries = listed.next()?.clone();
    for other in listed {
        let known: BTreeSet<&[u8; 32]> = other.iter().flat_map(|library| &library.pins).collect();
        for library in &mut libraries {
            library.pins.retain(|pin| known.contains(pin));
        }
        libraries.retain(|library| !library.pins.is_empty());
    }
    Some(libraries)
}
