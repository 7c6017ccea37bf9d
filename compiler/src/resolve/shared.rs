//! Destinations that several teams share: rules as written → the same rules, with the programs of `also` admitted where
//! the owner's `shared only` lets them.
//!
//! `also Q -> D` grants D to Q, and makes Q one of the programs of every `shared only` that covers a part of D, for that
//! part. So a `shared only` becomes one rule for each part with other programs. All of these have its place.
//!
//! Always: what a `shared only` refuses to a program that no `also` names, its parts refuse together.

use std::collections::BTreeSet;

use super::{ResolveError, coverage};
use crate::policy::{Destination, Effect, NameUse, ProgramIndex, Rule, Share, Subjects};

/// Opens each `shared only` for those that other rules add, and returns what cannot be added.
pub(super) fn open(rules: &mut Vec<Rule>, name_uses: &mut [NameUse]) -> Vec<ResolveError> {
    let added: Vec<Rule> = rules.iter().filter(|rule| rule.share == Share::Added).cloned().collect();
    if added.is_empty() {
        return Vec::new();
    }
    let errors = added.iter().filter_map(|rule| fault(rules, rule)).collect();
    let mut opened: Vec<Rule> = Vec::with_capacity(rules.len());
    let mut numbers: Vec<usize> = Vec::with_capacity(rules.len());
    for rule in rules.drain(..) {
        numbers.push(opened.len());
        if rule.share == Share::Owner {
            opened.extend(parts(rule, &added));
        } else {
            opened.push(rule);
        }
    }
    *rules = opened;
    for used in name_uses {
        used.rule = numbers.get(used.rule).copied().unwrap_or(used.rule);
    }
    errors
}

/// Why a rule cannot add its programs.
fn fault(rules: &[Rule], added: &Rule) -> Option<ResolveError> {
    if added.subjects == Subjects::Everyone {
        return Some(ResolveError::AlsoEveryone { span: added.subjects_span });
    }
    let exclusive = || rules.iter().filter(|rule| rule.effect == Effect::Exclusive);
    // What has no destination has an error of its own.
    if added.destinations.is_empty() || exclusive().any(|rule| rule.destinations.is_empty()) {
        return None;
    }
    let shared = || exclusive().filter(|rule| rule.share == Share::Owner);
    if shared().any(|rule| coverage::contains(&rule.destinations, &added.destinations)) {
        return None;
    }
    let overlaps = |rule: &&Rule| coverage::overlaps(&rule.destinations, &added.destinations);
    let (owner, help) = match (shared().find(overlaps), exclusive().find(overlaps)) {
        (Some(owner), _) => {
            (Some(owner), "name a part of what the owner shares, or write another rule for the rest".to_owned())
        }
        (None, Some(owner)) => {
            (Some(owner), "ask its owner to write `shared only`, which lets other rules add programs".to_owned())
        }
        (None, None) => (None, "write `allow` to grant it: no `only` reserves it".to_owned()),
    };
    Some(ResolveError::AlsoNotShared { help, span: added.destinations_span, owner: owner.map(|owner| owner.span) })
}

/// A shared rule, first for what nobody is added to, then for each part with other programs.
fn parts(owner: Rule, added: &[Rule]) -> Vec<Rule> {
    let mut parts: Vec<(Vec<Destination>, Vec<usize>)> = vec![(owner.destinations.clone(), Vec::new())];
    for (number, also) in added.iter().enumerate() {
        if !coverage::overlaps(&owner.destinations, &also.destinations) {
            continue;
        }
        let mut cut = Vec::with_capacity(parts.len() + 1);
        for (destinations, of) in parts {
            let outside = coverage::without(&destinations, &also.destinations);
            let inside = coverage::without(&destinations, &outside);
            // The first part stays, even where nothing is left of it.
            if !outside.is_empty() || of.is_empty() {
                cut.push((outside, of.clone()));
            }
            if !inside.is_empty() {
                cut.push((inside, of.into_iter().chain([number]).collect()));
            }
        }
        parts = cut;
    }
    parts
        .into_iter()
        .map(|(destinations, of)| {
            let by: Vec<&Rule> = of.iter().filter_map(|number| added.get(*number)).collect();
            let share = by.last().map_or(Share::Owner, |last| Share::Part(last.destinations_span));
            let subjects = by.iter().fold(owner.subjects.clone(), |all, also| together(all, &also.subjects));
            let covers_everything = owner.covers_everything && of.is_empty() && destinations == owner.destinations;
            Rule { share, subjects, destinations, covers_everything, ..owner.clone() }
        })
        .collect()
}

fn together(all: Subjects, added: &Subjects) -> Subjects {
    match (all, added) {
        (Subjects::Programs(all), Subjects::Programs(added)) => {
            let programs: BTreeSet<ProgramIndex> = all.into_iter().chain(added.iter().copied()).collect();
            Subjects::Programs(programs.into_iter().collect())
        }
        (all, _) => all,
    }
}
