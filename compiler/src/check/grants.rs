//! Concerns about who is granted what: interpreters, the loader, executables that are held to their path
//! alone, and destinations so wide that a grant of them is none.

use bfp_grammar::syntax::Span;

use super::Concern;
use crate::policy::{Addresses, Effect, Enforcement, Program, ProgramIndex, ResolvedPolicy, Rule, Subjects};
use crate::resolve::coverage;

/// Interpreters and shells by the name of their file, less its version: what they do is decided by a
/// script, which the kernel does not tell apart.
const INTERPRETERS: [&str; 34] = [
    "ash", "awk", "bash", "bun", "busybox", "csh", "dash", "deno", "elixir", "erl", "expect", "fish", "gawk", "guile",
    "java", "jruby", "julia", "ksh", "lua", "luajit", "mawk", "mksh", "node", "nodejs", "perl", "php", "pwsh", "pypy",
    "python", "ruby", "sh", "tclsh", "tcsh", "zsh",
];

/// A network of fewer bits is most of an address family.
const WIDE_V4: u32 = 8;
const WIDE_V6: u32 = 16;

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found = Vec::new();
    for rule in policy.rules.iter().filter(|rule| rule.enforcement == Enforcement::Enforced) {
        if !matches!(rule.effect, Effect::Exclusive | Effect::Allow) {
            continue;
        }
        if let Subjects::Programs(subjects) = &rule.subjects {
            let programs = subjects.iter().filter_map(|ProgramIndex(index)| policy.programs.get(*index));
            for program in programs.clone() {
                found.extend(dangerous(program, rule));
            }
            if rule.effect == Effect::Exclusive {
                let unpinned: Vec<&Program> = programs.filter(|program| program.pins.is_empty()).collect();
                found.extend(path_grant(&unpinned, rule));
            }
        }
        found.extend(wide(rule));
        found.extend(public_suffix(policy, rule));
    }
    found
}

/// Where a program is written, unless that is in the rule.
fn elsewhere(program: &Program, rule: &Rule) -> Option<Span> {
    let within = rule.subjects_span.start <= program.span.start && program.span.end <= rule.subjects_span.end;
    (!within).then_some(program.span)
}

fn dangerous(program: &Program, rule: &Rule) -> Option<Concern> {
    let file = program.path.rsplit('/').next().unwrap_or_default();
    let (path, rule_span, program_span) = (program.path.clone(), rule.subjects_span, elsewhere(program, rule));
    if is_loader(file) {
        return Some(Concern::Loader { program: path, rule: rule_span, program_span });
    }
    let name = file.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    if INTERPRETERS.binary_search(&name).is_err() {
        return None;
    }
    Some(match rule.effect {
        Effect::Exclusive => Concern::ExclusiveInterpreter { program: path, rule: rule_span, program_span },
        _ => Concern::Interpreter { program: path, rule: rule_span, program_span },
    })
}

/// `ld-linux-x86-64.so.2`, `ld-musl-aarch64.so.1`, `ld.so`, `ld-2.31.so`
fn is_loader(file: &str) -> bool {
    (file.starts_with("ld-") || file.starts_with("ld.") || file.starts_with("ld64."))
        && (file.ends_with(".so") || file.contains(".so."))
}

fn path_grant(unpinned: &[&Program], rule: &Rule) -> Option<Concern> {
    let first = unpinned.first()?;
    let (programs, pronoun) = match unpinned {
        [only] => (format!("`{}` holds", only.name), "its"),
        [one, other] => (format!("`{}` and `{}` hold", one.name, other.name), "their"),
        [one, rest @ ..] => (format!("`{}` and {} others hold", one.name, rest.len()), "their"),
        [] => return None,
    };
    Some(Concern::PathGrant {
        programs,
        pronoun,
        path: format!("\"{}\"", first.path),
        rule: rule.subjects_span,
        program_span: elsewhere(first, rule),
    })
}

fn wide(rule: &Rule) -> Option<Concern> {
    let span = rule.destinations_span;
    if rule.covers_everything {
        return Some(Concern::WideGrant { what: "every destination".to_owned(), span });
    }
    let widest = rule.destinations.iter().find_map(|destination| match destination.addresses {
        Addresses::V4(first, last) if last - first >= u32::MAX >> WIDE_V4 => {
            Some((u64::from(last - first) + 1, "IPv4 addresses", 32))
        }
        // Unique local addresses are a site's own, however many there are (RFC 4193).
        Addresses::V6(first, last) if last - first >= u128::MAX >> WIDE_V6 && first >> 121 != 0xfc >> 1 => {
            Some((0, "IPv6 addresses", 128))
        }
        _ => None,
    });
    let what = match widest? {
        (count, kind, 32) if count > 1 << 24 => format!("{} million {kind}", count >> 20),
        (_, _, 32) => return None,
        (_, kind, _) => format!("a large part of all {kind}"),
    };
    Some(Concern::WideGrant { what, span })
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

/// A name of one label is an internal one more often than a top-level domain, and only a listed one counts.
fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_stand_in_order() {
        assert!(INTERPRETERS.is_sorted());
    }

    #[test]
    fn loaders_are_known_by_their_names() {
        for loader in ["ld.so", "ld-linux-x86-64.so.2", "ld-musl-aarch64.so.1", "ld-2.31.so", "ld64.so.2"] {
            assert!(is_loader(loader), "{loader}");
        }
        for program in ["ld", "ld.gold", "ldconfig", "ld-report"] {
            assert!(!is_loader(program), "{program}");
        }
    }

    #[test]
    fn public_suffixes_are_told_from_hosts() {
        assert!(is_public_suffix("co.uk") && is_public_suffix("github.io"));
        assert!(!is_public_suffix("kms.internal") && !is_public_suffix("example.com") && !is_public_suffix("intranet"));
    }
}
