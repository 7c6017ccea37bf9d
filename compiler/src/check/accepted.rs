//! Which concerns remain: those of a policy, without those that it accepts.

use std::collections::BTreeSet;

use bfp_grammar::syntax::{Policy, Span, Statement};
use miette::Diagnostic;

use super::concern::Concern;
use super::{grants, mistyped_program, reach, rotating, servers, shadow, shared_address, special_address};
use crate::diagnostics::error_page::Page;
use crate::diagnostics::nearest::nearest;
use crate::policy::{Accepted, ResolvedPolicy};

/// Every concern that is not accepted, in the order of the text.
pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found = grants::concerns(policy);
    found.extend(reach::concerns(policy));
    found.extend(rotating::grants(policy).into_iter().map(Concern::Rotating));
    found.extend(servers::concerns(policy));
    found.extend(shadow::concerns(policy));
    found.extend(shared_address::concerns(policy));
    found.extend(special_address::concerns(policy));
    found.extend(mistyped_program::concerns(policy));
    let mut used = vec![false; policy.accepted.len()];
    // Errors that an `accept` for the whole policy does not take back, by their codes.
    let mut errors: BTreeSet<String> = BTreeSet::new();
    found.retain(|concern| {
        let code = concern.code().map(|code| code.to_string()).unwrap_or_default();
        let takes_back = |accepted: &Accepted| match accepted.about {
            _ if accepted.code != code => false,
            Some(about) => (about.start..about.end).contains(&concern.start()),
            // What would widen access must be confirmed where it stands: the next one has not been reviewed.
            None => !concern.is_error(),
        };
        let mut kept = true;
        for (_, used) in policy.accepted.iter().zip(&mut used).filter(|(accepted, _)| takes_back(accepted)) {
            *used = true;
            kept = false;
        }
        if kept && concern.is_error() {
            errors.insert(code);
        }
        kept
    });
    let mut known = BTreeSet::new();
    for (accepted, used) in policy.accepted.iter().zip(used) {
        let (code, span) = (accepted.code.clone(), accepted.code_span);
        let is_first = known.insert((&accepted.code, accepted.about));
        if used && is_first {
            continue;
        }
        found.push(if used {
            Concern::NothingToAccept { code, by: "another `accept` before it suppresses the same", span }
        } else if accepted.about.is_none() && errors.contains(&code) {
            Concern::NotEverywhere { code, span }
        } else {
            unused(&code, accepted.about.is_none(), span)
        });
    }
    found.sort_by_key(Concern::start);
    found
}

/// The `accept`s of what cannot be accepted: they are wrong whatever else a policy says.
pub(crate) fn not_acceptable(policy: &Policy) -> Vec<Concern> {
    let accepts = policy.statements.iter().filter_map(|statement| match &statement.node {
        Statement::Accept(accept) => Some(unused(&accept.code.node, accept.everywhere.is_some(), accept.code.span)),
        _ => None,
    });
    accepts.filter(|concern| matches!(concern, Concern::NotAcceptable { .. })).collect()
}

/// What can be accepted.
const ACCEPTABLE: [&str; 23] = [
    "check::cannot_resolve",
    "check::exclusive_loopback",
    "check::interpreter",
    "check::loader",
    "check::mistyped_program",
    "check::no_effect",
    "check::no_loopback",
    "check::no_resolver",
    "check::path_grant",
    "check::public_suffix",
    "check::raw_open",
    "check::redundant",
    "check::relay",
    "check::rotating_except",
    "check::rotating_grant",
    "check::script",
    "check::shadowed",
    "check::shared_address",
    "check::shared_unit",
    "check::silent_server",
    "check::special_address",
    "check::wide_grant",
    "check::writable_grant",
];

/// What is wrong with an `accept` that takes nothing back.
fn unused(code: &str, everywhere: bool, span: Span) -> Concern {
    let code = code.to_owned();
    if ACCEPTABLE.contains(&code.as_str()) {
        let by = if everywhere { "nothing in the policy causes it" } else { "the next statement does not cause it" };
        return Concern::NothingToAccept { code, by, span };
    }
    if Page::of(&code).is_some() {
        return Concern::NotAcceptable { code, span };
    }
    let without_stage = ACCEPTABLE.iter().find(|known| known.rsplit("::").next() == Some(&code)).copied();
    let near = without_stage.or_else(|| nearest(&code, ACCEPTABLE.into_iter()));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the code as the report shows it, such as `check::path_grant`; `bfpc explain-code` lists all"
            .to_owned(),
    };
    Concern::UnknownCode { code, span, help }
}

#[cfg(test)]
mod tests {
    use super::ACCEPTABLE;

    #[test]
    fn every_concern_can_be_accepted_but_those_about_accepting() {
        let about_accepting = ["check::unknown_code", "check::not_acceptable", "check::nothing_to_accept"];
        let source = concat!(include_str!("concern.rs"), include_str!("rotating.rs"));
        let written = source.split("code(check::").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        let mut codes: Vec<String> = written.map(|reason| format!("check::{reason}")).collect();
        codes.retain(|code| code != "check::rotating_exclusive" && !about_accepting.contains(&code.as_str()));
        codes.retain(|code| {
            code.trim_end_matches(|c: char| c.is_ascii_lowercase() || matches!(c, '_' | ':')).is_empty()
        });
        codes.sort();
        codes.dedup();
        assert_eq!(codes, ACCEPTABLE);
    }
}
