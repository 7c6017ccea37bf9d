//! What is compared record by record, because no verdict would show it: which file is which program, what a program
//! passes on to the processes that it starts, and that each audited record names a rule.

use std::collections::HashMap;

use bfp_bundle::image::Image;
use bfp_bundle::label::ProgramId;
use bfp_bundle::names::Match;
use bfp_bundle::record::{Cell, NO_RULE, Pair, Policy, ProgramBucket};
use smallvec::SmallVec;

use super::ProveError;
use super::meaning::Governance;
use crate::check::CheckedPolicy;
use crate::lower::program_id;
use crate::policy::{Default, Effect, Enforcement, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// Checks that the tables distinguish answers if the policy does.
pub(super) fn answers_are_distinguished(policy: &ResolvedPolicy, image: &Image) -> Result<(), ProveError> {
    if (image.policy.flags & Policy::CLIENTS != 0) == policy.clients { Ok(()) } else { Err(ProveError::Clients) }
}

/// Checks that the executables are the policy's programs, and that the table of programs contains each once.
pub(super) fn identities_are_right(
    policy: &CheckedPolicy,
    image: &Image,
    governance: &Governance,
) -> Result<(), ProveError> {
    let policy = policy.policy();
    let wrong = |path: &str, what| Err(ProveError::Identity { path: path.to_owned(), what });
    let about = |wanted: &dyn Fn(&Rule) -> bool| {
        let mut about = vec![false; policy.programs.len()];
        for rule in policy.rules.iter().filter(|rule| wanted(rule)) {
            let Subjects::Programs(programs) = &rule.subjects else { continue };
            for ProgramIndex(program) in programs {
                about.get_mut(*program).into_iter().for_each(|is| *is = true);
            }
        }
        about
    };
    let restricted = about(&|rule| matches!(rule.effect, Effect::Confined | Effect::Deny | Effect::AllowOthers));
    let guarded = about(&|rule| {
        rule.enforcement == Enforcement::Enforced
            && (matches!(rule.effect, Effect::Exclusive | Effect::DenyOthers)
                || matches!(policy.default, Default::Deny(_))
                    && matches!(rule.effect, Effect::Confined | Effect::Allow))
    });
    let is_one_of = |programs: &[bool], index: usize| programs.get(index) == Some(&true);
    let mut known: HashMap<ProgramId, SmallVec<[u32; 1]>> = HashMap::new();
    for (id, flags) in image.programs.iter().flat_map(|bucket| bucket.ids.iter().zip(bucket.flags)) {
        if *id != 0 {
            known.entry(*id).or_default().push(flags & !ProgramBucket::PAIR);
        }
    }
    for (index, program) in policy.programs.iter().enumerate() {
        let Some(executable) = image.executables.get(index) else {
            return wrong(&program.path, "it is missing among the executables");
        };
        let Some(record) = image.matches.get(index) else {
            return wrong(&program.path, "what becomes of its processes is missing");
        };
        let flag = |is, flag| if is { flag } else { 0 };
        let flags = flag(is_one_of(&restricted, index), Match::RESTRICTED)
            | flag(program.with_children, Match::WITH_CHILDREN)
            | flag(is_one_of(&guarded, index), Match::GUARDED)
            | flag(governance.itself.is(index, Enforcement::Enforced), Match::GOVERNED)
            | flag(governance.itself.is(index, Enforcement::Audited), Match::AUDIT_GOVERNED)
            | flag(governance.what_it_starts.is(index, Enforcement::Enforced), Match::GOVERNING)
            | flag(governance.what_it_starts.is(index, Enforcement::Audited), Match::AUDIT_GOVERNING);
        let noted =
            flags | flag(!program.pins.is_empty(), Match::PINNED) | flag(program.libraries.is_some(), Match::LIBRARIES);
        let told = |noted, told| flag(flags & noted != 0, told);
        let table = flag(is_one_of(&guarded, index), ProgramBucket::GUARDED)
            | flag(program.libraries.is_some(), ProgramBucket::LIBRARIES)
            | told(Match::GOVERNED, ProgramBucket::GOVERNED)
            | told(Match::AUDIT_GOVERNED, ProgramBucket::AUDIT_GOVERNED)
            | told(Match::GOVERNING, ProgramBucket::GOVERNING)
            | told(Match::AUDIT_GOVERNING, ProgramBucket::AUDIT_GOVERNING);
        // For a class, the restrictions of each member.
        let members = if program.is_class() { program.members.as_slice() } else { &[ProgramIndex(index)] };
        let restricting = members.iter().filter(|member| is_one_of(&restricted, member.0));
        let mut restricted_by: SmallVec<[ProgramId; 4]> =
            restricting.filter_map(|member| Some(program_id(&policy.programs.get(member.0)?.path))).collect();
        let mut held: SmallVec<[ProgramId; 4]> = record.restricted().collect();
        let none_beyond = record.restricted.iter().skip(record.count as usize).all(|id| *id == 0);
        restricted_by.sort_unstable();
        held.sort_unstable();
        let places: Vec<u32> = program.members.iter().map(|member| member.0 as u32).collect();
        let id = program_id(&program.path);
        let checks = [
            (executable.path == program.path, "another path stands in its place"),
            (executable.program == id, "its id is not the one of its path"),
            (executable.flags == flags, "what it passes on to what it starts"),
            (executable.pins == program.pins, "its fs-verity digests"),
            (executable.libraries == program.libraries, "the libraries that it may map"),
            (executable.members == places, "the programs that its files match"),
            (record.program == id, "its processes become another program"),
            (record.flags == noted, "what is noted of its processes"),
            (held == restricted_by && none_beyond, "whose restrictions hold for its processes"),
            (
                known.get(&id).map(SmallVec::as_slice) == Some(&[table]),
                "it does not stand once in the table of programs, or it is guarded otherwise there",
            ),
        ];
        if let Some((_, what)) = checks.into_iter().find(|(right, _)| !right) {
            return wrong(&program.path, what);
        }
    }
    if image.matches.len() != image.executables.len() {
        return wrong("/", "there are not as many executables as records of what becomes of them");
    }
    if let Some(more) = image.executables.get(policy.programs.len()) {
        return wrong(&more.path, "the policy does not name it");
    }
    Ok(())
}

/// Checks that each audited record names its rule. `decide` keeps the last rule that it meets, so a record without one
/// would hide another record's rule.
pub(super) fn audit_names_its_rules(image: &Image) -> Result<(), ProveError> {
    let silent = |flags: u32, rule: u32| {
        flags & (Pair::AUDIT_DENIED | Pair::AUDIT_INSIDE) != Pair::AUDIT_INSIDE && rule == NO_RULE
    };
    let cells = image
        .cells
        .iter()
        .any(|cell| cell.flags & (Cell::AUDIT_DENIED | Cell::AUDIT_EXCLUSIVE) != 0 && cell.audit_rule == NO_RULE);
    let programs = image.programs.iter().any(|bucket| {
        let entries = bucket.ids.iter().zip(bucket.flags).zip(bucket.audit_rules);
        entries.filter(|((id, _), _)| **id != 0).any(|((_, flags), rule)| silent(flags, rule))
    });
    let pairs = image.pairs.iter().any(|bucket| {
        let entries = bucket.programs.iter().zip(bucket.flags).zip(bucket.audit_rules);
        entries.filter(|((number, _), _)| **number != 0).any(|((_, flags), rule)| silent(flags, rule))
    });
    let tables = [(cells, "the cells"), (programs, "the programs"), (pairs, "the pairs")];
    match tables.into_iter().find(|(is_silent, _)| *is_silent) {
        Some((_, table)) => Err(ProveError::Record { table }),
        None => Ok(()),
    }
}
