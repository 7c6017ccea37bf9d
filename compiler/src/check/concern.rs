//! What may well be a mistake, and can be meant: policy → concerns, each with a code under which
//! `accept CODE because "…"` takes it back.
//!
//! A concern is an error where access could be wider than it reads, or where a rule cannot work; else it
//! is a warning. An `accept` that takes nothing back is a concern of its own: it would hide the next one.

use bfp_grammar::syntax::Span;
use miette::{Diagnostic, Severity};

use crate::policy::{Accepted, ResolvedPolicy};

/// Something that the author of a policy should look at once more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum Concern {
    /// An `accept` for nothing.
    #[error("`{code}` is accepted, and nothing of the kind is found in the next statement")]
    #[diagnostic(
        code(check::nothing_to_accept),
        severity(Warning),
        help("remove it: it would hide a finding that comes later")
    )]
    NothingToAccept {
        /// The code.
        code: String,
        /// Where.
        #[label("takes nothing back")]
        span: Span,
    },
}

impl Concern {
    /// Whether the policy is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity() != Some(Severity::Warning)
    }

    /// Where it begins: the first of its labels.
    fn start(&self) -> usize {
        self.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
    }
}

/// Every concern that is not accepted, in the order of the text.
pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found: Vec<Concern> = Vec::new();
    let mut used = vec![false; policy.accepted.len()];
    // Each file beside this one adds what it finds.
    found.retain(|concern| {
        let code = concern.code().map(|code| code.to_string()).unwrap_or_default();
        let takes_back = |accepted: &Accepted| {
            accepted.code == code && (accepted.about.start..accepted.about.end).contains(&concern.start())
        };
        let mut kept = true;
        for (_, used) in policy.accepted.iter().zip(&mut used).filter(|(accepted, _)| takes_back(accepted)) {
            *used = true;
            kept = false;
        }
        kept
    });
    for (accepted, _) in policy.accepted.iter().zip(used).filter(|(_, used)| !used) {
        found.push(Concern::NothingToAccept { code: accepted.code.clone(), span: accepted.code_span });
    }
    found.sort_by_key(Concern::start);
    found
}
