//! Provenance of rules and addresses: (checked policy, image) → the debug section of a bundle.
//!
//! Nothing here affects a verdict: `explain` and the host's reports look up the text of a rule in it.

use std::collections::{BTreeSet, HashSet};

use bfp_bundle::debug::{
    Debug, DebugAddress, DebugEffect, DebugHost, DebugLocked, DebugName, DebugNotes, DebugProgram, DebugRule, Place,
};
use bfp_bundle::image::Image;
use bfp_grammar::syntax::{Notes, Quoted, Span, Statement};

use crate::check::CheckedPolicy;
use crate::names::dns_name::DnsName;
use crate::names::lock::Stability;
use crate::policy::{Default, Effect, Enforcement, ResolvedPolicy, Share, Subjects};
use crate::query::regions::{self, Plane};
use crate::resolve::{Bounds, PortSets, Source};
use crate::source::parameters::substituted;

/// The debug section: the source of each rule, and the names of addresses.
pub fn debug(source: &Source<'_>, policy: &CheckedPolicy, image: &Image) -> Debug {
    let policy = policy.policy();
    let sources = &source.loaded.sources;
    let values = &source.loaded.values;
    let text = |span: Span| substituted(&one_line(span.text_in(sources.text())), values);
    let place = |span: Span| Place {
        file: sources.file_at(span.start).map_or_else(String::new, |file| file.name.clone()),
        line: sources.line_at(span.start),
        text: text(span),
    };
    let rules = policy.rules.iter().map(|rule| DebugRule {
        // Its notes are told apart from it.
        place: place(Span { end: rule.destinations_span.end, ..rule.span }),
        effect: match rule.effect {
            Effect::Exclusive => DebugEffect::Exclusive,
            Effect::Confined => DebugEffect::Confined,
            Effect::Deny => DebugEffect::Deny,
            Effect::Allow => DebugEffect::Allow,
            Effect::DenyOthers => DebugEffect::DenyOthers,
            Effect::AllowOthers => DebugEffect::AllowOthers,
        },
        is_audited: rule.enforcement == Enforcement::Audited,
        subjects: match &rule.subjects {
            Subjects::Everyone => None,
            Subjects::Programs(programs) => Some(programs.iter().map(|program| program.0 as u32).collect()),
        },
        destinations: text(match rule.share {
            Share::Part(span) => span,
            _ => rule.destinations_span,
        }),
    });
    let names = policy.names.iter().flat_map(|(name, addresses)| {
        addresses.iter().map(move |address| DebugName { address: *address, name: name.as_str().to_owned() })
    });
    let programs =
        policy.programs.iter().map(|program| DebugProgram { path: program.path.clone(), name: program.name.clone() });
    let port_sets = PortSets::of(&source.loaded.syntax);
    let hosts = source.loaded.syntax.statements.iter().filter_map(|statement| match &statement.node {
        Statement::Host(host) => {
            // What it covers is the list, which a bundle does not have.
            let covered = host.within.as_ref().unwrap_or(&host.destinations);
            // Nor does it have the declared ports.
            let destinations = substituted(&one_line(&port_sets.text(sources.text(), covered)), values);
            Some(DebugHost { name: host.name.node.clone(), destinations })
        }
        _ => None,
    });
    let notes = policy.rules.iter().enumerate().filter(|(_, rule)| rule.notes != Notes::default());
    let notes = notes.map(|(number, rule)| {
        let Notes { until, owner, ticket, reason } = &rule.notes;
        let text = |text: &Option<Quoted>| text.as_ref().map(|text| text.node.clone());
        DebugNotes {
            rule: number as u32,
            until: until.as_ref().map(|until| until.node.to_string()),
            owner: text(owner),
            ticket: text(ticket),
            reason: text(reason),
        }
    });
    Debug {
        rules: rules.collect(),
        default: match policy.default {
            Default::Allow => None,
            Default::Deny(span) => Some(place(span)),
        },
        cells: covering(policy, image),
        names: names.collect(),
        programs: programs.collect(),
        hosts: hosts.collect(),
        locked: locked(source, policy),
        notes: notes.collect(),
    }
}

/// What the lock says of the names of the policy beside their addresses, where that is anything.
fn locked(source: &Source<'_>, policy: &ResolvedPolicy) -> Vec<DebugLocked> {
    let bounds = Bounds::of(source.loaded);
    let note = |name: &DnsName| {
        let locked = source.lock.names.get(name)?;
        let kept: Vec<_> = locked.addresses.difference(&locked.current()).copied().map(DebugAddress).collect();
        let is_rotating = locked.stability == Stability::Rotating;
        let (is_ipv4_only, is_within) = (locked.ipv4_only.is_some(), bounds.is_within(name));
        let says_more = is_rotating || is_ipv4_only || is_within || !kept.is_empty();
        let name = name.as_str().to_owned();
        says_more.then_some(DebugLocked { name, is_rotating, is_ipv4_only, is_within, kept })
    };
    policy.names.keys().filter_map(note).collect()
}

/// The rules that cover each cell. Those of `*` cover all of them.
fn covering(policy: &ResolvedPolicy, image: &Image) -> Vec<Vec<u32>> {
    let plane = Plane::of(&[image]);
    let mut cells: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); image.cells.len()];
    for (number, rule) in policy.rules.iter().enumerate() {
        let mut seen = HashSet::new();
        for region in plane.covered(&rule.destinations) {
            // An address under 64:ff9b::/96 is judged twice; this is the cell of the address itself.
            let cell =
                if seen.insert(region.kind) { regions::cells(image, region.sample()).first().copied() } else { None };
            if let Some(covered) = cell.and_then(|cell| cells.get_mut(cell as usize)) {
                covered.insert(number as u32);
            }
        }
    }
    cells.into_iter().map(|rules| rules.into_iter().collect()).collect()
}

/// The text of a rule on one line, without comments.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(rule, _)| rule).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
