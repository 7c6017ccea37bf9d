//! Concerns about who is granted what: executables that are held to their path alone, services that are reserved for
//! their own server, and destinations so wide that a grant of them is none. Programs that stand in for others have a
//! file of their own.

use bfp_public_suffix::is_public_suffix;

use super::concern::Concern;
use super::{pattern, shared_unit, stand_ins};
use crate::policy::{Addresses, Effect, Enforcement, Program, ResolvedPolicy, Rule, Share, Subjects};
use crate::resolve::coverage;

/// A network of fewer bits is most of an address family.
const WIDE_V4: u32 = 8;
const WIDE_V6: u32 = 16;

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found = Vec::new();
    let mut before = None;
    for rule in &policy.rules {
        if let (Subjects::Programs(subjects), true) = (&rule.subjects, before != Some(rule.span)) {
            found.extend(stand_ins::scripts(&policy.written(subjects).collect::<Vec<_>>(), rule));
        }
        // `only P -> only D` is two rules.
        before = Some(rule.span);
    }
    for rule in policy.rules.iter().filter(|rule| rule.enforcement == Enforcement::Enforced) {
        // The programs of a part are those of the owner's rule and of others, which are looked at themselves.
        if matches!(rule.effect, Effect::Confined | Effect::Deny) || matches!(rule.share, Share::Part(_)) {
            continue;
        }
        if let (Subjects::Programs(subjects), true) = (&rule.subjects, rule.effect != Effect::AllowOthers) {
            let programs = policy.written(subjects);
            // That a pattern is everybody is an error of its own.
            // Who is started in a unit is for its manager to decide.
            let narrower = programs
                .clone()
                .filter(|program| program.unit().is_none() && !pattern::spells_nothing_out(&program.path));
            found.extend(stand_ins::concerns(&narrower.collect::<Vec<_>>(), rule));
            found.extend(shared_unit::concern(programs.clone(), rule));
            if rule.gives_exclusively() {
                let by_path = |program: &&Program| program.pins.is_empty() && program.path_is_written();
                let unpinned: Vec<&Program> = programs.clone().filter(by_path).collect();
                found.extend(path_grant(&unpinned, rule));
            }
        }
        if rule.effect == Effect::DenyOthers {
            continue; // It grants nothing.
        }
        found.extend(exclusive_loopback(rule));
        found.extend(wide(rule));
        found.extend(public_suffix(policy, rule));
    }
    found
}

/// A service of this machine that is reserved for a program, who may be the one that listens.
fn exclusive_loopback(rule: &Rule) -> Option<Concern> {
    let is_local = |addresses: &Addresses| match addresses {
        Addresses::V4(first, last) => first >> 24 == 127 && last >> 24 == 127,
        Addresses::V6(first, last) => (*first, *last) == (1, 1),
        Addresses::Raw => false,
    };
    let is_exclusive = rule.effect == Effect::Exclusive && !rule.destinations.is_empty();
    // One element is enough: a resolver beside the rest is every other program's resolver too.
    let mut locals = rule.destinations.iter().map(|destination| is_local(&destination.addresses));
    let extent = if is_exclusive && locals.clone().all(|is_local| is_local) { "all of it" } else { "a part of it" };
    (is_exclusive && locals.any(|is_local| is_local))
        .then_some(Concern::ExclusiveLoopback { extent, span: rule.destinations_span })
}

fn path_grant(unpinned: &[&Program], rule: &Rule) -> Option<Concern> {
    let first = unpinned.first()?;
    let (programs, pronoun) = match unpinned {
        [only] => (format!("`{}` holds", only.name), "its"),
        // Two files of one declaration are told by their paths.
        [one, other] if one.name == other.name => (format!("`{}` and `{}` hold", one.written, other.written), "their"),
        [one, other] => (format!("`{}` and `{}` hold", one.name, other.name), "their"),
        [one, rest @ ..] => (format!("`{}` and {} others hold", one.name, rest.len()), "their"),
        [] => return None,
    };
    Some(Concern::PathGrant {
        programs,
        pronoun,
        path: first.source(),
        rule: rule.subjects_span,
        program_span: stand_ins::elsewhere(first, rule),
    })
}

fn wide(rule: &Rule) -> Option<Concern> {
    let span = rule.destinations_span;
    if rule.covers_everything {
        return Some(Concern::WideGrant { what: "every destination".to_owned(), span });
    }
    let mut wide: Vec<String> = Vec::new();
    for destination in rule.destinations.iter().filter(|destination| !destination.is_of_clients()) {
        let what = match destination.addresses {
            Addresses::V4(first, last) if last - first > u32::MAX >> WIDE_V4 => many_v4(u64::from(last - first) + 1),
            // What follows the mapped addresses, which are judged as IPv4, is all but a few of all.
            Addresses::V6(first, u128::MAX) if first <= 1 << 48 => "every IPv6 address".to_owned(),
            // Unique local addresses are a site's own, however many there are (RFC 4193).
            Addresses::V6(first, last) if last - first >= u128::MAX >> WIDE_V6 && first >> 121 != 0xfc >> 1 => {
                "a large part of all IPv6 addresses".to_owned()
            }
            _ => continue,
        };
        if !wide.contains(&what) {
            wide.push(what);
        }
    }
    let what = match wide.as_slice() {
        [] => return None,
        [v4, v6] if v4 == EVERY_V4 && v6 == "every IPv6 address" => "every IPv4 and IPv6 address".to_owned(),
        [first, ..] => first.clone(),
    };
    Some(Concern::WideGrant { what, span })
}

const EVERY_V4: &str = "every IPv4 address";

/// So many IPv4 addresses, as people say it.
fn many_v4(count: u64) -> String {
    const ALL: u64 = 1 << 32;
    match count {
        ALL => EVERY_V4.to_owned(),
        _ if count == ALL / 2 => "half of all IPv4 addresses".to_owned(),
        _ if count == ALL / 4 => "a quarter of all IPv4 addresses".to_owned(),
        _ if count > ALL / 2 => "most IPv4 addresses".to_owned(),
        1_000_000_000.. => "more than a billion IPv4 addresses".to_owned(),
        _ => format!("{} million IPv4 addresses", count / 1_000_000),
    }
}

/// The names of a rule are those of the policy whose every address it covers.
fn public_suffix(policy: &ResolvedPolicy, rule: &Rule) -> Option<Concern> {
    if rule.covers_everything {
        return None;
    }
    let name = policy.names.iter().find(|(name, addresses)| {
        is_public_suffix(name.as_str())
            && addresses.iter().all(|address| coverage::covers_address(&rule.destinations, *address))
    });
    name.map(|(name, _)| Concern::PublicSuffix { name: name.to_string(), span: rule.destinations_span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_are_counted_as_people_count() {
        for (prefix, words) in [
            (0, "every IPv4 address"),
            (1, "half of all IPv4 addresses"),
            (2, "a quarter of all IPv4 addresses"),
            (4, "268 million IPv4 addresses"),
            (7, "33 million IPv4 addresses"),
        ] {
            assert_eq!(many_v4(1 << (32 - prefix)), words);
        }
        assert_eq!(many_v4((1 << 32) - 256), "most IPv4 addresses");
        assert_eq!(many_v4(3 << 29), "more than a billion IPv4 addresses");
    }

    #[test]
    fn public_suffixes_are_told_from_hosts() {
        assert!(is_public_suffix("co.uk") && is_public_suffix("github.io"));
        assert!(!is_public_suffix("kms.internal") && !is_public_suffix("example.com") && !is_public_suffix("intranet"));
    }
}
