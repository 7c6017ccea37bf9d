//! Contradictions: [`ResolvedPolicy`] → [`CheckedPolicy`], or every pair of rules that would leave nobody
//! or nothing.
//!
//! Restrictions only add up, so two rules that disagree do not override each other: their overlap is
//! closed to everyone. That is never what an author means, unless one rule narrows the other. And a
//! restriction must know its addresses: a name whose addresses rotate leaves some of them free.

mod accepted;
mod concern;
mod expiry;
mod grants;
mod merged;
mod mistyped_program;
mod overlap;
pub(crate) mod pattern;
mod reach;
mod rotating;
mod servers;
mod shadow;
mod shared_address;
mod shared_unit;
mod special_address;
mod stand_ins;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bfp_grammar::syntax::Span;

use crate::diagnostics::findings::Findings;
use crate::policy::{Effect, ProgramIndex, ResolvedPolicy, Rule, Subjects, Unspecified};
use crate::resolve::coverage::{contains, overlaps};

pub(crate) use self::accepted::not_acceptable;
pub use self::concern::Concern;
pub use self::expiry::{Expired, ExpiresSoon, Expiring, expiring};
pub use self::rotating::RotatingGrant;

/// A policy that passed every check: the only kind that can be lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedPolicy {
    // INVARIANT: made by `check::check` alone.
    pub(crate) policy: ResolvedPolicy,
    pub(crate) warnings: Vec<Concern>,
}

impl CheckedPolicy {
    /// The policy.
    pub fn policy(&self) -> &ResolvedPolicy {
        &self.policy
    }

    /// What its author should look at once more, in the order of the text.
    pub fn warnings(&self) -> &[Concern] {
        &self.warnings
    }
}

/// A contradiction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum CheckError {
    /// Two exclusive rules with different programs.
    #[error("two `only` rules reserve the same destination for different programs")]
    #[diagnostic(code(check::exclusive_conflict))]
    Exclusive {
        /// The line to write in place of both.
        #[help]
        help: String,
        /// The first rule.
        #[label("reserved here")]
        first: Span,
        /// The second rule.
        #[label("and for others here")]
        second: Span,
    },
    /// Two confinements of one program.
    #[error("{program} is confined twice, to destinations of which neither contains the other")]
    #[diagnostic(code(check::confinement_conflict))]
    Confined {
        /// The line to write in place of both.
        #[help]
        help: String,
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
    /// `allow "/**" -> D`
    #[error("`{pattern}` is every file, and a grant to it is one to everybody")]
    #[diagnostic(
        code(check::pattern_of_everyone),
        help("name the programs that need it; if every program is meant, write `allow * -> …`")
    )]
    PatternOfEveryone {
        /// As it is written.
        pattern: String,
        /// The left side of the rule.
        #[label("granted to every program")]
        rule: Span,
    },
    /// `deny * -> 0.0.0.0:443`
    #[error("{holder}`{address}` is not a destination: a request to it is judged as one to loopback")]
    #[diagnostic(code(check::unspecified))]
    Unspecified {
        /// Which of the two.
        address: &'static str,
        /// What holds it, as the begin of the sentence.
        holder: String,
        /// What to write, or to ask.
        #[help]
        help: &'static str,
        /// Where it is written.
        #[label("covers no request")]
        span: Span,
    },
    /// A name whose addresses rotate, where those that were not seen would be free.
    #[error("`{name}` has rotating addresses, and {what} would miss addresses not seen when it was locked")]
    #[diagnostic(
        code(check::rotating_exclusive),
        help(
            "put its addresses in a `host` set (the lock holds those that were observed), take the provider's list \
             with `ranges(…)`, or use a private endpoint, whose addresses stay"
        )
    )]
    RotatingExclusive {
        /// Which.
        name: String,
        /// What would fail.
        what: &'static str,
        /// Where it is written.
        #[label("not all of its addresses are known")]
        span: Span,
        /// The rule, where that is elsewhere.
        #[label("would not hold for all of them")]
        rule: Option<Span>,
    },
    /// A name that was asked for its IPv4 addresses alone, where those of IPv6 would be free.
    #[error("`{name}` was asked for its IPv4 addresses alone, and {what} would miss those of IPv6")]
    #[diagnostic(
        code(check::ipv4_only_exclusive),
        help(
            "put its addresses in a `host` set; or remove `ipv4_only` from its entry in the lock, and use a resolver that \
             answers for both families: `bfpc lock FILE --update {name} --resolver IP`"
        )
    )]
    Ipv4OnlyExclusive {
        /// Which.
        name: String,
        /// What would fail.
        what: &'static str,
        /// Where it is written.
        #[label("not all of its addresses are known")]
        span: Span,
        /// The rule, where that is elsewhere.
        #[label("would not hold for all of them")]
        rule: Option<Span>,
    },
}

/// Checks a policy. Where it is refused, what it is refused for leaves alone: warnings can wait.
pub fn check(policy: ResolvedPolicy) -> Result<CheckedPolicy, Findings> {
    let mut errors = rotating::left_open(&policy);
    errors.extend(unspecified(&policy));
    errors.extend(contradictions(&policy));
    let concerns = accepted::concerns(&policy);
    let refused = !errors.is_empty() || concerns.iter().any(Concern::is_error);
    if !refused {
        return Ok(CheckedPolicy { policy, warnings: concerns });
    }
    let mut findings: Findings = errors.drain(..).map(|error| Box::new(error) as _).collect();
    findings.extend(concerns.into_iter().filter(Concern::is_error).map(|concern| Box::new(concern) as _));
    Err(findings)
}

fn unspecified(policy: &ResolvedPolicy) -> Vec<CheckError> {
    let mut errors: Vec<CheckError> = Vec::new();
    for Unspecified { address, holder, span } in &policy.unspecified {
        let help = match holder {
            None => "write `loopback` for this machine, or `{ 0.0.0.0/0, [::/0] }` for every address",
            Some(_) => {
                "filtering resolvers and block lists return it for names that they block: query another \
                 resolver with `bfpc lock FILE --update NAME --resolver IP`, or take the entry out of the list"
            }
        };
        let holder = holder.as_ref().map_or_else(String::new, |holder| format!("{holder} holds the address, and "));
        let error = CheckError::Unspecified { address, holder, help, span: *span };
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

fn contradictions(policy: &ResolvedPolicy) -> Vec<CheckError> {
    let mut errors = Vec::new();
    let pairs = overlap::Pairs::of(policy);
    for (index, rule) in policy.rules.iter().enumerate() {
        if rule.effect == Effect::Exclusive && rule.subjects == Subjects::Everyone {
            errors.push(CheckError::OnlyEveryone { span: rule.subjects_span });
        }
        errors.extend(pattern_of_everyone(policy, rule));
        for later in pairs.later(index).filter_map(|later| policy.rules.get(later)) {
            let conflict = match rule.effect {
                Effect::Exclusive => exclusive_conflict(policy, rule, later),
                Effect::Confined => confinement_conflict(policy, rule, later),
                Effect::Deny | Effect::Allow | Effect::DenyOthers | Effect::AllowOthers => None,
            };
            errors.extend(conflict);
        }
    }
    errors
}

fn pattern_of_everyone(policy: &ResolvedPolicy, rule: &Rule) -> Option<CheckError> {
    let Subjects::Programs(programs) = &rule.subjects else { return None };
    if !matches!(rule.effect, Effect::Allow | Effect::Exclusive | Effect::DenyOthers) {
        return None;
    }
    let wide = policy.written(programs).find(|program| {
        // Where the content is pinned, the place need not be.
        program.pins.is_empty() && pattern::spells_nothing_out(&program.path)
    })?;
    Some(CheckError::PatternOfEveryone { pattern: wide.written.clone(), rule: rule.subjects_span })
}

fn exclusive_conflict(policy: &ResolvedPolicy, first: &Rule, second: &Rule) -> Option<CheckError> {
    let (Subjects::Programs(a), Subjects::Programs(b)) = (&first.subjects, &second.subjects) else { return None };
    // What no file can be has no part in it: a program that is another one's file too.
    let (a, b): (BTreeSet<ProgramIndex>, BTreeSet<_>) = (policy.kinds_of(a).collect(), policy.kinds_of(b).collect());
    if a.is_subset(&b) || b.is_subset(&a) || !overlaps(&first.destinations, &second.destinations) {
        return None;
    }
    // Programs with nothing in common leave nobody, even where one destination contains the other.
    if !a.is_disjoint(&b) && nested(first, second) {
        return None;
    }
    let help = merged::exclusive(policy, &(&a | &b), first, second);
    Some(CheckError::Exclusive { help, first: first.span, second: second.span })
}

fn confinement_conflict(policy: &ResolvedPolicy, first: &Rule, second: &Rule) -> Option<CheckError> {
    // `*` confines every program, so it meets each confinement of one.
    let shared: Option<BTreeSet<ProgramIndex>> = match (&first.subjects, &second.subjects) {
        (Subjects::Everyone, Subjects::Everyone) => None,
        (Subjects::Everyone, Subjects::Programs(some)) | (Subjects::Programs(some), Subjects::Everyone) => {
            Some(some.iter().copied().collect())
        }
        (Subjects::Programs(a), Subjects::Programs(b)) => {
            Some(a.iter().filter(|program| b.contains(program)).copied().collect())
        }
    };
    if nested(first, second) {
        return None;
    }
    let program = match &shared {
        None => "`*`".to_owned(),
        Some(programs) => policy.programs.get(programs.first()?.0)?.quoted(),
    };
    let help = match &shared {
        Some(programs) if policy.written(&programs.iter().copied().collect::<Vec<_>>()).next().is_none() => {
            "let one of the two rules name all that the other does, or write the patterns so that no file matches both"
                .to_owned()
        }
        shared => merged::confinement(policy, shared.as_ref(), first, second),
    };
    Some(CheckError::Confined { help, program, first: first.span, second: second.span })
}

fn nested(first: &Rule, second: &Rule) -> bool {
    contains(&first.destinations, &second.destinations) || contains(&second.destinations, &first.destinations)
}
