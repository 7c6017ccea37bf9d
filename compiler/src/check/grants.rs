//! Concerns about who is granted what: interpreters, the loader, executables that are held to their path
//! alone, and destinations so wide that a grant of them is none.

use bfp_grammar::syntax::Span;
use bfp_public_suffix::is_public_suffix;

use super::concern::Concern;
use super::pattern;
use crate::policy::{Addresses, Effect, Enforcement, Program, ResolvedPolicy, Rule, Subjects};
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
    let mut before = None;
    for rule in &policy.rules {
        if let (Subjects::Programs(subjects), true) = (&rule.subjects, before != Some(rule.span)) {
            found.extend(policy.written(subjects).filter_map(|program| script(program, rule)));
        }
        // `only P -> only D` is two rules.
        before = Some(rule.span);
    }
    for rule in policy.rules.iter().filter(|rule| rule.enforcement == Enforcement::Enforced) {
        if !matches!(rule.effect, Effect::Exclusive | Effect::Allow) {
            continue;
        }
        if let Subjects::Programs(subjects) = &rule.subjects {
            let programs = policy.written(subjects);
            // That a pattern is everybody is an error of its own.
            for program in programs.clone().filter(|program| !pattern::spells_nothing_out(&program.path)) {
                found.extend(dangerous(program, rule));
                found.extend(writable(program, rule));
            }
            if rule.effect == Effect::Exclusive {
                let unpinned: Vec<&Program> = programs.filter(|program| program.pins.is_empty()).collect();
                found.extend(path_grant(&unpinned, rule));
            }
        }
        found.extend(exclusive_loopback(rule));
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
    let (path, rule_span, program_span) = (&program.written, rule.subjects_span, elsewhere(program, rule));
    // Where the content is pinned, what else the pattern would cover does not count.
    let is_open = program.is_pattern() && program.pins.is_empty();
    let loads = match is_loader(file) {
        true => Some("is"),
        false => (is_open && LOADERS.iter().any(|loader| pattern::matches(&program.path, loader))).then_some("covers"),
    };
    if let Some(verb) = loads {
        return Some(Concern::Loader { program: format!("`{path}` {verb}"), rule: rule_span, program_span });
    }
    let name = file.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let covered = |name: &&&str| is_open && pattern::matches(&program.path, &format!("/usr/bin/{name}"));
    let program = match INTERPRETERS.binary_search(&name) {
        Ok(_) => format!("`{path}`"),
        Err(_) => format!("`{path}` covers `{}`, which", INTERPRETERS.iter().find(covered)?),
    };
    Some(match rule.effect {
        Effect::Exclusive => Concern::ExclusiveInterpreter { program, rule: rule_span, program_span },
        _ => Concern::Interpreter { program, rule: rule_span, program_span },
    })
}

/// What the files of scripts end in.
const SCRIPTS: [&str; 14] =
    [".awk", ".bash", ".js", ".ksh", ".lua", ".mjs", ".php", ".pl", ".ps1", ".py", ".rb", ".sh", ".tcl", ".zsh"];

/// A program that is no executable: the kernel executes what its first line names.
fn script(program: &Program, rule: &Rule) -> Option<Concern> {
    SCRIPTS.iter().any(|end| program.path.ends_with(end)).then(|| Concern::Script {
        program: program.written.clone(),
        rule: rule.subjects_span,
        program_span: elsewhere(program, rule),
    })
}

/// A service of this machine that is reserved for a program, who may be the one that listens.
fn exclusive_loopback(rule: &Rule) -> Option<Concern> {
    let is_local = |addresses: &Addresses| match addresses {
        Addresses::V4(first, last) => first >> 24 == 127 && last >> 24 == 127,
        Addresses::V6(first, last) => (*first, *last) == (1, 1),
        Addresses::Raw => false,
    };
    let is_exclusive = rule.effect == Effect::Exclusive && !rule.destinations.is_empty();
    let all = is_exclusive && rule.destinations.iter().all(|destination| is_local(&destination.addresses));
    all.then_some(Concern::ExclusiveLoopback { span: rule.destinations_span })
}

/// Where the dynamic loader lies, for patterns that may cover it.
const LOADERS: [&str; 4] = [
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
    "/usr/lib/ld-musl-x86_64.so.1",
];

/// Folders below which other users than root make files.
const WRITABLE: [&str; 5] = ["/home/*", "/tmp", "/var/tmp", "/dev/shm", "/run/user/*"];

/// A pattern that covers what such a user makes, unless the content is pinned.
fn writable(program: &Program, rule: &Rule) -> Option<Concern> {
    if !program.is_pattern() || !program.pins.is_empty() {
        return None;
    }
    let below = |folder: &&&str| pattern::reaches_below(&program.path, folder);
    let folder = WRITABLE.iter().find(below)?;
    Some(Concern::WritableGrant {
        program: program.written.clone(),
        folder: (*folder).to_owned(),
        rule: rule.subjects_span,
        program_span: elsewhere(program, rule),
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
        // Two files of one declaration are told by their paths.
        [one, other] if one.name == other.name => (format!("`{}` and `{}` hold", one.written, other.written), "their"),
        [one, other] => (format!("`{}` and `{}` hold", one.name, other.name), "their"),
        [one, rest @ ..] => (format!("`{}` and {} others hold", one.name, rest.len()), "their"),
        [] => return None,
    };
    Some(Concern::PathGrant {
        programs,
        pronoun,
        path: format!("\"{}\"", first.written),
        rule: rule.subjects_span,
        program_span: elsewhere(first, rule),
    })
}

fn wide(rule: &Rule) -> Option<Concern> {
    let span = rule.destinations_span;
    if rule.covers_everything {
        return Some(Concern::WideGrant { what: "every destination".to_owned(), span });
    }
    let mut wide: Vec<String> = Vec::new();
    for destination in &rule.destinations {
        let what = match destination.addresses {
            Addresses::V4(first, last) if last - first > u32::MAX >> WIDE_V4 => many_v4(u64::from(last - first) + 1),
            // What follows the mapped addresses, which are judged as IPv4, is all but a few of all.
            Addresses::V6(first, u128::MAX) if first <= 1 << 48 => "every IPv6 address".to_owned(),
            // Unique local addresses are a site's own, however many there are (RFC 4193).
            Addresses::V6(first, last) if last - first >= u128::MAX >> WIDE_V6 && first >> 121 != 0xfc >> 1 => {
                "a large part of all IPv6 addresses".to_owned()
            }
            _ => continue,
        };
        if !wide.contains(&what) {
            wide.push(what);
        }
    }
    let what = match wide.as_slice() {
        [] => return None,
        [v4, v6] if v4 == EVERY_V4 && v6 == "every IPv6 address" => "every IPv4 and IPv6 address".to_owned(),
        [first, ..] => first.clone(),
    };
    Some(Concern::WideGrant { what, span })
}

const EVERY_V4: &str = "every IPv4 address";

/// So many IPv4 addresses, as people say it.
fn many_v4(count: u64) -> String {
    const ALL: u64 = 1 << 32;
    match count {
        ALL => EVERY_V4.to_owned(),
        _ if count == ALL / 2 => "half of all IPv4 addresses".to_owned(),
        _ if count == ALL / 4 => "a quarter of all IPv4 addresses".to_owned(),
        _ if count > ALL / 2 => "most IPv4 addresses".to_owned(),
        1_000_000_000.. => "more than a billion IPv4 addresses".to_owned(),
        _ => format!("{} million IPv4 addresses", count / 1_000_000),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_stand_in_order() {
        assert!(INTERPRETERS.is_sorted());
    }

    #[test]
    fn many_addresses_are_counted_as_people_count() {
        for (prefix, words) in [
            (0, "every IPv4 address"),
            (1, "half of all IPv4 addresses"),
            (2, "a quarter of all IPv4 addresses"),
            (4, "268 million IPv4 addresses"),
            (7, "33 million IPv4 addresses"),
        ] {
            assert_eq!(many_v4(1 << (32 - prefix)), words);
        }
        assert_eq!(many_v4((1 << 32) - 256), "most IPv4 addresses");
        assert_eq!(many_v4(3 << 29), "more than a billion IPv4 addresses");
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
