//! Names of which not every address is known, since they rotate or were asked for by IPv4 alone: where that opens
//! something it is an error, and of rotating names a warning elsewhere.
//!
//! The lock holds the addresses that were seen. A restriction on them leaves the others free, so it fails
//! open and cannot be compiled; a grant of them refuses the others, which its author notices.

use std::collections::BTreeSet;

use bfp_grammar::syntax::Span;

use super::CheckError;
use crate::names::dns_name::DnsName;
use crate::policy::{Effect, NameUse, Part, ResolvedPolicy, Rule};

/// A name whose addresses rotate, where that refuses too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum RotatingGrant {
    /// In what a rule grants, or confines to.
    #[error("`{name}` has rotating addresses, and those that the lock file lacks are denied")]
    #[diagnostic(
        severity(Warning),
        code(check::rotating_grant),
        help("follow it with `bfpc drift` and `bfpc lock FILE --update {name}`, or write its address range")
    )]
    Granted {
        /// Which.
        name: String,
        /// Where it is written.
        #[label("not all of its addresses are known")]
        span: Span,
        /// The rule, where that is elsewhere.
        #[label("granted here")]
        rule: Option<Span>,
    },
    /// In what an `only` or a `deny` leaves out.
    #[error("`{name}` has rotating addresses, and those that the lock file lacks are not excepted")]
    #[diagnostic(
        severity(Warning),
        code(check::rotating_except),
        help("follow it with `bfpc drift` and `bfpc lock FILE --update {name}`, or write its address range")
    )]
    Excepted {
        /// Which.
        name: String,
        /// Where it is written.
        #[label("not all of its addresses are known")]
        span: Span,
        /// The rule, where that is elsewhere.
        #[label("excepted from this")]
        rule: Option<Span>,
    },
}

/// The rotating names that a policy uses without opening anything, each place once.
pub(super) fn grants(policy: &ResolvedPolicy) -> Vec<RotatingGrant> {
    let uses = places(policy, &policy.rotating, |used, rule| !fails_open(used, rule));
    let warning = |(used, rule): (&NameUse, &Rule)| {
        let (name, span, rule) = (used.name.to_string(), used.span, elsewhere(used, rule));
        match used.part {
            Part::Covered => RotatingGrant::Granted { name, span, rule },
            Part::Excepted => RotatingGrant::Excepted { name, span, rule },
        }
    };
    uses.into_iter().map(warning).collect()
}

/// The names whose unseen addresses a policy would leave open.
pub(super) fn left_open(policy: &ResolvedPolicy) -> Vec<CheckError> {
    let told = |(used, rule): (&NameUse, &Rule)| {
        let what = match (rule.effect, used.part) {
            (_, Part::Excepted) => "this `except`",
            (Effect::Exclusive, Part::Covered) => "this `only` rule",
            (_, Part::Covered) => "this `deny` rule",
        };
        (used.name.to_string(), what, used.span, elsewhere(used, rule))
    };
    let rotating = places(policy, &policy.rotating, fails_open).into_iter().map(told);
    let rotating = rotating.map(|(name, what, span, rule)| CheckError::RotatingExclusive { name, what, span, rule });
    let halved = places(policy, &policy.ipv4_only, fails_open).into_iter().map(told);
    let halved = halved.map(|(name, what, span, rule)| CheckError::Ipv4OnlyExclusive { name, what, span, rule });
    rotating.chain(halved).collect()
}

fn fails_open(used: &NameUse, rule: &Rule) -> bool {
    match rule.effect {
        Effect::Exclusive | Effect::Deny | Effect::DenyOthers => used.part == Part::Covered,
        Effect::Confined | Effect::Allow | Effect::AllowOthers => used.part == Part::Excepted,
    }
}

fn places<'p>(
    policy: &'p ResolvedPolicy,
    names: &BTreeSet<DnsName>,
    wanted: impl Fn(&NameUse, &Rule) -> bool,
) -> Vec<(&'p NameUse, &'p Rule)> {
    let mut found: Vec<(&NameUse, &Rule)> = Vec::new();
    for used in policy.name_uses.iter().filter(|used| names.contains(&used.name)) {
        let Some(rule) = policy.rules.get(used.rule).filter(|rule| wanted(used, rule)) else { continue };
        // A declaration that several rules use is told of once.
        if !found.iter().any(|(earlier, _)| earlier.span == used.span) {
            found.push((used, rule));
        }
    }
    found
}

/// The rule's place, unless the name stands in it.
fn elsewhere(used: &NameUse, rule: &Rule) -> Option<Span> {
    let within = rule.span.start <= used.span.start && used.span.end <= rule.span.end;
    (!within).then_some(rule.span)
}
