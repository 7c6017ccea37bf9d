//! Contradictions: [`ResolvedPolicy`] → [`CheckedPolicy`], or every pair of rules that would leave nobody
//! or nothing.
//!
//! Restrictions only add up, so two rules that disagree do not override each other: their overlap is
//! closed to everyone. That is never what an author means, unless one rule narrows the other.

use bfp_grammar::syntax::Span;

use crate::policy::{Addresses, CheckedPolicy, Destination, Effect, ResolvedPolicy, Rule, Subjects};

/// A contradiction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum CheckError {
    /// Two exclusive rules with different programs.
    #[error("two `only` rules reserve the same destination for different programs, so nobody reaches it")]
    #[diagnostic(
        code(check::exclusive_conflict),
        help("merge them: `only {{ … }} -> …` with the programs of both on the left")
    )]
    Exclusive {
        /// The first rule.
        #[label("reserved here")]
        first: Span,
        /// The second rule.
        #[label("and for others here")]
        second: Span,
    },
    /// Two confinements of one program.
    #[error("`{program}` is confined twice, to destinations of which neither contains the other")]
    #[diagnostic(
        code(check::confinement_conflict),
        help("merge them: `… -> only {{ … }}` with the destinations of both on the right")
    )]
    Confined {
        /// Which program.
        program: String,
        /// The first rule.
        #[label("confined here")]
        first: Span,
        /// The second rule.
        #[label("and here")]
        second: Span,
    },
    /// `only * -> D`
    #[error("`only *` excludes nobody")]
    #[diagnostic(code(check::only_everyone), help("name the programs that may reach it, or remove the rule"))]
    OnlyEveryone {
        /// The left side.
        #[label("everyone")]
        span: Span,
    },
}

/// Checks a policy.
pub fn check(policy: ResolvedPolicy) -> Result<CheckedPolicy, Vec<CheckError>> {
    let mut errors = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        if rule.effect == Effect::Exclusive && rule.subjects == Subjects::Everyone {
            errors.push(CheckError::OnlyEveryone { span: rule.subjects_span });
        }
        for later in policy.rules.iter().skip(index + 1).filter(|later| later.effect == rule.effect) {
            let conflict = match rule.effect {
                Effect::Exclusive => exclusive_conflict(rule, later),
                Effect::Confined => confinement_conflict(&policy, rule, later),
                Effect::Deny | Effect::Allow => None,
            };
            errors.extend(conflict);
        }
    }
    if errors.is_empty() { Ok(CheckedPolicy { policy }) } else { Err(errors) }
}

fn exclusive_conflict(first: &Rule, second: &Rule) -> Option<CheckError> {
    let (Subjects::Programs(a), Subjects::Programs(b)) = (&first.subjects, &second.subjects) else { return None };
    let nested = a.iter().all(|program| b.contains(program)) || b.iter().all(|program| a.contains(program));
    let conflict = !nested
        && overlaps(&first.destinations, &second.destinations)
        && !contains(&first.destinations, &second.destinations)
        && !contains(&second.destinations, &first.destinations);
    // Even where one destination contains the other, programs with nothing in common leave nobody.
    let nobody =
        !nested && !a.iter().any(|program| b.contains(program)) && overlaps(&first.destinations, &second.destinations);
    (conflict || nobody).then_some(CheckError::Exclusive { first: first.span, second: second.span })
}

fn confinement_conflict(policy: &ResolvedPolicy, first: &Rule, second: &Rule) -> Option<CheckError> {
    let shared = match (&first.subjects, &second.subjects) {
        (Subjects::Everyone, Subjects::Everyone) => "*".to_owned(),
        // Everyone's confinement bounds that of one program, as an outer fence does.
        (Subjects::Everyone, _) | (_, Subjects::Everyone) => return None,
        (Subjects::Programs(a), Subjects::Programs(b)) => {
            let program = a.iter().find(|program| b.contains(program))?;
            policy.programs.get(program.0)?.name.clone()
        }
    };
    if contains(&first.destinations, &second.destinations) || contains(&second.destinations, &first.destinations) {
        return None;
    }
    Some(CheckError::Confined { program: shared, first: first.span, second: second.span })
}

fn overlaps(a: &[Destination], b: &[Destination]) -> bool {
    a.iter().any(|one| {
        b.iter().any(|other| {
            address_overlap(one.addresses, other.addresses)
                && one.ports.iter().any(|x| {
                    other.ports.iter().any(|y| x.protocol == y.protocol && x.first <= y.last && y.first <= x.last)
                })
        })
    })
}

fn address_overlap(a: Addresses, b: Addresses) -> bool {
    match (a, b) {
        (Addresses::V4(a, b), Addresses::V4(c, d)) => a <= d && c <= b,
        (Addresses::V6(a, b), Addresses::V6(c, d)) => a <= d && c <= b,
        _ => false,
    }
}

/// Whether everything in `inner` is in `outer`.
fn contains(outer: &[Destination], inner: &[Destination]) -> bool {
    crate::resolve::subtract(inner.to_vec(), outer).is_empty()
}
