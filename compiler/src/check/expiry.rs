//! Rules that are no longer wanted: (checked policy, day) → the rules whose last day has passed, and those whose last
//! day is near.
//!
//! The day is an argument: no stage reads the clock, and time never changes a verdict.

use bfp_grammar::syntax::{Date, Notes, Span};

use super::CheckedPolicy;

/// A rule is warned about for so many days before it expires.
const WARNED_DAYS: u64 = 14;

/// A rule that the policy was to have until a day that has come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("this rule was wanted until {until}, and that day has come")]
#[diagnostic(code(check::expired))]
pub struct Expired {
    until: Date,
    #[help]
    help: String,
    #[label("expired")]
    span: Span,
}

/// A rule that expires soon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("this rule expires in {days}: the policy does not compile with it from {until} on")]
#[diagnostic(code(check::expires_soon), severity(Warning))]
pub struct ExpiresSoon {
    until: Date,
    days: String,
    #[help]
    help: String,
    #[label("expires soon")]
    span: Span,
}

/// The rules that expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiring {
    /// Those that have expired.
    pub expired: Vec<Expired>,
    /// Those that will within fourteen days.
    pub soon: Vec<ExpiresSoon>,
}

/// The rules that have expired on a day, or expire soon after it, in the order of the text.
pub fn expiring(policy: &CheckedPolicy, today: Date) -> Expiring {
    let mut found = Expiring::default();
    let mut last: Option<Span> = None;
    for rule in &policy.policy().rules {
        // `only P -> only D` is two rules of one statement.
        let Some(until) = rule.notes.until.as_ref().filter(|_| last != Some(rule.span)) else { continue };
        last = Some(rule.span);
        let (span, until) = (until.span, until.node);
        let help = help(&rule.notes);
        match until.number().checked_sub(today.number()) {
            None | Some(0) => found.expired.push(Expired { until, help, span }),
            Some(days @ 1..=WARNED_DAYS) => {
                let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
                found.soon.push(ExpiresSoon { until, days, help, span });
            }
            Some(_) => {}
        }
    }
    found
}

/// Whom to ask, and what to do.
fn help(notes: &Notes) -> String {
    let ask = match (&notes.owner, &notes.ticket) {
        (Some(owner), Some(ticket)) => format!("ask `{}` (ticket `{}`), then ", owner.node, ticket.node),
        (Some(owner), None) => format!("ask `{}`, then ", owner.node),
        (None, Some(ticket)) => format!("look at the ticket `{}`, then ", ticket.node),
        (None, None) => String::new(),
    };
    format!("{ask}remove the rule, or write a later day if it is still needed")
}
