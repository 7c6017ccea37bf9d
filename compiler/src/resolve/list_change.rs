//! What another content of a list means for a policy: (policy, list, text) → for each `ranges(…)` that reads it, which
//! networks come and go, and which rules that concerns; or what is wrong with the text.
//!
//! Always: networks are compared as sets of addresses, not as texts. A place that no rule leads to concerns no rule.

use std::collections::{BTreeMap, BTreeSet};

use bfp_grammar::syntax::{self, Destinations, HostDeclaration, Quoted, Span, Spanned, Statement};

use super::destinations::everywhere;
use super::network_list::ListFault;
use super::{ResolveError, coverage, ranges};
use crate::policy::{Addresses, PortRange};
use crate::source::load::{ListFile, Loaded};

/// What changes where a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListChange {
    /// The `ranges(…)` in the text.
    pub place: Span,
    /// The declared host that it is part of.
    pub host: Option<String>,
    /// The addresses that only the other content has.
    pub added: Vec<Addresses>,
    /// The addresses that only the list has that the policy was read with.
    pub removed: Vec<Addresses>,
    /// Why the other content cannot be used here.
    pub fault: Option<ListFault>,
    /// The statements of the rules that it is part of, in the order of the text.
    pub rules: Vec<Span>,
}

/// What changes in a policy if the list `name` has another text. Places without a change are left out.
pub fn list_changes(loaded: &Loaded, name: &str, text: &str) -> Vec<ListChange> {
    let uses = Uses::of(loaded);
    let mut changes = Vec::new();
    for found in uses.lists.iter().filter(|found| found.is_of(loaded, name)) {
        let Some(before) = loaded.lists.get(&found.file.span) else { continue };
        let after = ListFile { name: name.to_owned(), text: text.to_owned() };
        // What is wrong with the list that the policy was read with is reported where it is resolved.
        let before = ranges::of_list(before, found.filters).unwrap_or_default();
        let (after, fault) = match ranges::of_list(&after, found.filters) {
            Ok(after) => (after, None),
            Err(fault) => (before.clone(), Some(fault)),
        };
        let (added, removed) = (without(&after, &before), without(&before, &after));
        if fault.is_some() || !added.is_empty() || !removed.is_empty() {
            let rules = uses.rules(found);
            changes.push(ListChange {
                place: found.place,
                host: found.host.map(str::to_owned),
                added,
                removed,
                fault,
                rules,
            });
        }
    }
    changes
}

/// Why a text cannot stand for the list `name` in a policy: an error at each `ranges(…)` that it does not serve.
pub fn list_faults(loaded: &Loaded, name: &str, text: &str) -> Vec<ResolveError> {
    let list = ListFile { name: name.to_owned(), text: text.to_owned() };
    let uses = Uses::of(loaded);
    let found = uses.lists.iter().filter(|found| found.is_of(loaded, name));
    let fault = |found: &ListUse<'_>| {
        let fault = ranges::of_list(&list, found.filters).err()?;
        let help = fault.help();
        Some(ResolveError::List { name: name.to_owned(), fault, help, span: found.file.span })
    };
    found.filter_map(fault).collect()
}

fn without(of: &[Addresses], removed: &[Addresses]) -> Vec<Addresses> {
    let all = |ranges: &[Addresses]| everywhere(ranges.to_vec(), &PortRange::all());
    coverage::without(&all(of), &all(removed)).into_iter().map(|destination| destination.addresses).collect()
}

/// A `ranges(…)`.
struct ListUse<'a> {
    place: Span,
    file: &'a Quoted,
    filters: &'a [(syntax::Name, Quoted)],
    /// The declaration that has it.
    host: Option<&'a str>,
    /// The rule that has it.
    rule: Option<Span>,
}

impl ListUse<'_> {
    fn is_of(&self, loaded: &Loaded, name: &str) -> bool {
        loaded.lists.get(&self.file.span).is_some_and(|list| list.name == name)
    }
}

/// Where lists are read, and which declarations rules lead to.
#[derive(Default)]
struct Uses<'a> {
    lists: Vec<ListUse<'a>>,
    /// The declarations that a declaration names.
    named: BTreeMap<&'a str, Vec<&'a str>>,
    /// The declarations that each rule names.
    rules: Vec<(Span, Vec<&'a str>)>,
}

impl<'a> Uses<'a> {
    fn of(loaded: &'a Loaded) -> Uses<'a> {
        let mut uses = Uses::default();
        for Spanned { node, span } in &loaded.syntax.statements {
            match node {
                Statement::Host(HostDeclaration { name, destinations, within, .. }) => {
                    let host = name.node.as_str();
                    let mut named = Vec::new();
                    for part in std::iter::once(destinations).chain(within) {
                        uses.look(part, Some(host), None, &mut named);
                    }
                    uses.named.entry(host).or_default().extend(named);
                }
                Statement::Rule(rule) => {
                    let mut named = Vec::new();
                    uses.look(&rule.destinations, None, Some(*span), &mut named);
                    uses.rules.push((*span, named));
                }
                // A test grants nothing, but must find what it names.
                Statement::Test(test) => {
                    for line in &test.expectations {
                        uses.look(&line.node.destinations, None, None, &mut Vec::new());
                    }
                }
                _ => {}
            }
        }
        uses
    }

    fn look(
        &mut self,
        destinations: &'a Spanned<Destinations>,
        host: Option<&'a str>,
        rule: Option<Span>,
        named: &mut Vec<&'a str>,
    ) {
        match &destinations.node {
            Destinations::Ranges { file, filters, .. } => {
                self.lists.push(ListUse { place: destinations.span, file, filters, host, rule });
            }
            Destinations::Named { name, .. } => named.push(&name.node),
            Destinations::Set { elements, .. } => {
                elements.iter().for_each(|element| self.look(element, host, rule, named));
            }
            Destinations::Clients { from, .. } => self.look(from, host, rule, named),
            Destinations::Except { base, removed } => {
                self.look(base, host, rule, named);
                self.look(removed, host, rule, named);
            }
            Destinations::Any | Destinations::Endpoint { .. } => {}
        }
    }

    /// The rules that a list is part of.
    fn rules(&self, list: &ListUse<'_>) -> Vec<Span> {
        let Some(host) = list.host else { return list.rule.into_iter().collect() };
        let leads_there = |(span, named): &(Span, Vec<&'a str>)| {
            let (mut waiting, mut seen) = (named.clone(), BTreeSet::new());
            // Not by recursion: a chain of declarations can be long, or a cycle.
            while let Some(name) = waiting.pop() {
                if name == host {
                    return Some(*span);
                }
                if seen.insert(name) {
                    waiting.extend(self.named.get(name).into_iter().flatten());
                }
            }
            None
        };
        self.rules.iter().filter_map(leads_there).collect()
    }
}
