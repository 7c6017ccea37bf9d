//! The DNS names whose addresses may change without a review: the declarations of a policy → names, or why a
//! `may change` is wrong.
//!
//! Always: a name may change only if every place outside tests that writes it is a declaration with `may change`, or
//! with `within`, which covers a list whatever the name answers.

use std::collections::{BTreeMap, BTreeSet};

use bfp_grammar::syntax::{self, Destinations, Span, Spanned, Statement};

use super::ResolveError;
use super::name_use::each_name;
use crate::names::dns_name::DnsName;

/// The names whose new addresses need no review.
pub fn changing_names(policy: &syntax::Policy) -> BTreeSet<DnsName> {
    let Uses { changing, within, frozen, .. } = Uses::of(policy);
    changing.into_keys().chain(within.into_keys()).filter(|name| !frozen.contains_key(name)).collect()
}

/// What is wrong with the `may change` of a policy.
pub(super) fn faults(policy: &syntax::Policy) -> Vec<ResolveError> {
    let Uses { changing, frozen, mut faults, .. } = Uses::of(policy);
    for (name, declared) in changing {
        if let Some(span) = frozen.get(&name) {
            faults.push(ResolveError::FrozenElsewhere { name, declared, span: *span });
        }
    }
    faults
}

/// The first place of each name: with `may change`, with `within` alone, and with neither.
#[derive(Default)]
struct Uses {
    changing: BTreeMap<DnsName, Span>,
    within: BTreeMap<DnsName, Span>,
    frozen: BTreeMap<DnsName, Span>,
    faults: Vec<ResolveError>,
}

impl Uses {
    fn of(policy: &syntax::Policy) -> Uses {
        let mut uses = Uses::default();
        for statement in &policy.statements {
            match &statement.node {
                Statement::Host(declaration) => uses.declaration(declaration),
                Statement::Rule(rule) => {
                    note(&rule.destinations, &mut uses.frozen);
                }
                // A test grants nothing.
                _ => {}
            }
        }
        uses
    }

    fn declaration(&mut self, declaration: &syntax::HostDeclaration) {
        let syntax::HostDeclaration { name, destinations, within, may_change } = declaration;
        let names = match (may_change, within) {
            (Some(_), _) => &mut self.changing,
            (None, Some(_)) => &mut self.within,
            (None, None) => &mut self.frozen,
        };
        if note(destinations, names) > 0 {
            return;
        }
        if let Some(span) = *may_change {
            self.faults.push(ResolveError::NothingChanges { name: name.node.clone(), span });
        }
        if let Some(list) = within {
            self.faults.push(ResolveError::NothingWithin { name: name.node.clone(), span: list.span });
        }
    }
}

/// Notes the first place of each name that is written in a destination, and returns how many are written.
fn note(destinations: &Spanned<Destinations>, names: &mut BTreeMap<DnsName, Span>) -> usize {
    each_name(destinations, &mut |name, span| {
        names.entry(name).or_insert(span);
    })
}
