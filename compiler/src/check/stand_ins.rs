//! Concerns about programs that are not who will use a grant: interpreters, which run scripts; tools that send what they
//! are given; the dynamic loader, which runs executables; patterns that cover what every user can make; and scripts,
//! which are no executables at all.
//!
//! Always: one report for each rule and kind, however many programs the rule names.

use bfp_grammar::syntax::Span;

use super::concern::Concern;
use super::pattern;
use crate::policy::{Program, Rule};

/// What does as a script says, by the name of the file less its version. The kernel does not tell scripts apart. With
/// them stand debuggers that run scripts and the machines that code is compiled for: who chooses it chooses what they
/// do. What only starts other programs (`make`, `find`, `xargs`) is none: those do not inherit a grant.
const INTERPRETERS: [&str; 44] = [
    "R", "Rscript", "ash", "awk", "bash", "beam.smp", "bun", "busybox", "csh", "dash", "deno", "dotnet", "elixir",
    "erl", "expect", "fish", "gawk", "gdb", "guile", "java", "jruby", "julia", "ksh", "lldb", "lua", "luajit", "mawk",
    "mksh", "mono", "node", "nodejs", "octave", "perl", "php", "pwsh", "pypy", "python", "ruby", "sh", "tclsh", "tcsh",
    "toybox", "wish", "zsh",
];

/// What sends the bytes that it is given to where it is told.
const RELAYS: [&str; 8] = ["nc", "nc.openbsd", "nc.traditional", "ncat", "netcat", "openssl", "socat", "telnet"];

/// The same by a protocol that many scripts need, so that only an exclusive grant is told of.
const FETCHERS: [&str; 2] = ["curl", "wget"];

/// Where the dynamic loader lies, for patterns that may cover it.
const LOADERS: [&str; 4] = [
    "/usr/lib64/ld-linux-x86-64.so.2",
    "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    "/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
    "/usr/lib/ld-musl-x86_64.so.1",
];

/// Folders below which other users than root make files.
const WRITABLE: [&str; 5] = ["/home/*", "/tmp", "/var/tmp", "/dev/shm", "/run/user/*"];

/// What the files of scripts end in.
const SCRIPTS: [&str; 14] =
    [".awk", ".bash", ".js", ".ksh", ".lua", ".mjs", ".php", ".pl", ".ps1", ".py", ".rb", ".sh", ".tcl", ".zsh"];

/// So many programs are named in one report.
const NAMED: usize = 5;

/// What is to be said of the programs that a rule grants something.
pub(super) fn concerns(programs: &[&Program], rule: &Rule) -> Vec<Concern> {
    let (mut loaders, mut interpreters, mut relays, mut writable) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for program in programs {
        match stands_in(program, rule) {
            Some(StandIn::Loader) => loaders.push(Shown::of(program, None)),
            Some(StandIn::Interpreter(covered)) => interpreters.push(Shown::of(program, covered)),
            Some(StandIn::Relay(covered)) => relays.push(Shown::of(program, covered)),
            None => {}
        }
        // What it covers is the folder.
        writable.extend(writable_folder(program).map(|folder| Shown::of(program, Some(folder))));
    }
    let rule_span = rule.subjects_span;
    let mut found = Vec::new();
    if !loaders.is_empty() {
        let verb = match loaders.as_slice() {
            [Shown { program, .. }] if program.is_pattern() => "covers",
            [_] => "is",
            _ => "are, or cover,",
        };
        let (programs, program_spans) = (format!("{} {verb}", listed(&loaders)), elsewhere_all(&loaders, rule));
        found.push(Concern::Loader { programs, rule: rule_span, program_spans });
    }
    if !interpreters.is_empty() {
        let (programs, pronoun) = doing(&interpreters, "runs", "run");
        let program_spans = elsewhere_all(&interpreters, rule);
        found.push(match rule.gives_exclusively() {
            true => Concern::ExclusiveInterpreter { programs, pronoun, rule: rule_span, program_spans },
            false => Concern::Interpreter { programs, pronoun, rule: rule_span, program_spans },
        });
    }
    if !relays.is_empty() {
        let (programs, pronoun) = doing(&relays, "sends", "send");
        let program_spans = elsewhere_all(&relays, rule);
        found.push(Concern::Relay { programs, pronoun, rule: rule_span, program_spans });
    }
    if !writable.is_empty() {
        let mut folders: Vec<&str> = writable.iter().filter_map(|shown| shown.covered).collect();
        folders.sort_unstable();
        folders.dedup();
        let plain: Vec<Shown<'_>> = writable.iter().map(|shown| Shown::of(shown.program, None)).collect();
        let verb = if plain.len() == 1 { "covers" } else { "cover" };
        found.push(Concern::WritableGrant {
            programs: format!("{} {verb}", listed(&plain)),
            folders: in_words(folders.into_iter().map(|folder| format!("`{folder}`")).collect()),
            rule: rule_span,
            program_spans: elsewhere_all(&writable, rule),
        });
    }
    found
}

/// Programs that are no executables: the kernel executes what their first lines name.
pub(super) fn scripts(programs: &[&Program], rule: &Rule) -> Option<Concern> {
    let is_script = |program: &Program| SCRIPTS.iter().any(|end| program.file().ends_with(end));
    let scripts = programs.iter().filter(|program| is_script(program)).map(|program| Shown::of(program, None));
    let scripts: Vec<Shown<'_>> = scripts.collect();
    let verb = match scripts.len() {
        0 => return None,
        1 => "is named like a script",
        _ => "are named like scripts",
    };
    Some(Concern::Script {
        programs: format!("{} {verb}", listed(&scripts)),
        rule: rule.subjects_span,
        program_spans: elsewhere_all(&scripts, rule),
    })
}

/// Where a program is written, unless that is in the rule.
pub(super) fn elsewhere(program: &Program, rule: &Rule) -> Option<Span> {
    let within = rule.subjects_span.start <= program.span.start && program.span.end <= rule.subjects_span.end;
    (!within).then_some(program.span)
}

fn elsewhere_all(shown: &[Shown<'_>], rule: &Rule) -> Vec<Span> {
    shown.iter().filter_map(|shown| elsewhere(shown.program, rule)).collect()
}

/// Whom else than itself a grant to a program is for.
enum StandIn {
    /// Every executable.
    Loader,
    /// Every script; with what a pattern covers, where the program is one.
    Interpreter(Option<&'static str>),
    /// Everybody who can start it, likewise.
    Relay(Option<&'static str>),
}

fn stands_in(program: &Program, rule: &Rule) -> Option<StandIn> {
    let file = program.path.rsplit('/').next().unwrap_or_default();
    // Where the content is pinned, what else the pattern would cover does not count.
    let is_open = program.is_pattern() && program.pins.is_empty();
    if is_loader(file) || (is_open && LOADERS.iter().any(|loader| pattern::matches(&program.path, loader))) {
        return Some(StandIn::Loader);
    }
    let fetchers: &'static [&'static str] = if rule.gives_exclusively() { &FETCHERS } else { &[] };
    let is_relay = |name: &str| RELAYS.contains(&name) || fetchers.contains(&name);
    if INTERPRETERS.binary_search(&without_version(file)).is_ok() {
        return Some(StandIn::Interpreter(None));
    }
    if is_relay(file) {
        return Some(StandIn::Relay(None));
    }
    let covered = |name: &&&str| is_open && pattern::matches(&program.path, &format!("/usr/bin/{name}"));
    let interpreter = INTERPRETERS.iter().find(covered).map(|name| StandIn::Interpreter(Some(*name)));
    interpreter.or_else(|| RELAYS.iter().chain(fetchers).find(covered).map(|name| StandIn::Relay(Some(*name))))
}

/// `python3.11-dbg` is `python`.
fn without_version(file: &str) -> &str {
    let built = file.strip_suffix("-dbg").or_else(|| file.strip_suffix("-debug")).unwrap_or(file);
    built.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

/// `ld-linux-x86-64.so.2`, `ld-musl-aarch64.so.1`, `ld.so`, `ld-2.31.so`
fn is_loader(file: &str) -> bool {
    (file.starts_with("ld-") || file.starts_with("ld.") || file.starts_with("ld64."))
        && (file.ends_with(".so") || file.contains(".so."))
}

/// The folder below which a pattern covers what other users make, unless the content is pinned.
fn writable_folder(program: &Program) -> Option<&'static str> {
    if !program.is_pattern() || !program.pins.is_empty() {
        return None;
    }
    WRITABLE.into_iter().find(|folder| pattern::reaches_below(&program.path, folder))
}

/// A program, and what a pattern covers, as a report names it.
struct Shown<'a> {
    program: &'a Program,
    covered: Option<&'static str>,
}

impl<'a> Shown<'a> {
    fn of(program: &'a Program, covered: Option<&'static str>) -> Shown<'a> {
        Shown { program, covered }
    }
}

/// `bash runs whatever it is given`, or of several what they do; and the pronoun that goes on from there.
fn doing(shown: &[Shown<'_>], does: &str, they_do: &str) -> (String, &'static str) {
    match shown {
        [Shown { program, covered: Some(covered) }] => {
            (format!("`{}` covers `{covered}`, which {does} whatever it is given", program.written), "it")
        }
        [_] => (format!("{} {does} whatever it is given", listed(shown)), "it"),
        _ => (format!("{} {they_do} whatever they are given", listed(shown)), "them"),
    }
}

fn listed(shown: &[Shown<'_>]) -> String {
    let name = |shown: &Shown<'_>| match shown.covered {
        None => format!("`{}`", shown.program.written),
        Some(covered) => format!("`{}` (which covers `{covered}`)", shown.program.written),
    };
    let most = if shown.len() > NAMED + 1 { NAMED } else { shown.len() };
    let mut names: Vec<String> = shown.iter().take(most).map(name).collect();
    if shown.len() > most {
        names.push(format!("{} others", shown.len() - most));
    }
    in_words(names)
}

/// `a`, `a and b`, `a, b and c`
fn in_words(mut words: Vec<String>) -> String {
    match (words.pop(), words.is_empty()) {
        (Some(last), false) => format!("{} and {last}", words.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_stand_in_order() {
        assert!(INTERPRETERS.is_sorted());
    }

    #[test]
    fn interpreters_are_known_whatever_their_version_and_build() {
        for file in
            ["python3.11", "python3-dbg", "python3.11-dbg", "perl5.36.0", "Rscript", "gdb", "dotnet", "beam.smp"]
        {
            assert!(INTERPRETERS.binary_search(&without_version(file)).is_ok(), "{file}");
        }
        for file in ["make", "find", "ssh", "docker", "kubectl", "node_exporter", "sh-agent", "python3-config"] {
            assert!(INTERPRETERS.binary_search(&without_version(file)).is_err(), "{file}");
        }
    }

    #[test]
    fn loaders_are_known_by_their_names() {
        for loader in ["ld.so", "ld-linux-x86-64.so.2", "ld-musl-x86_64.so.1", "ld-2.31.so", "ld64.so.2"] {
            assert!(is_loader(loader), "{loader}");
        }
        for program in ["ld", "ld.gold", "ldconfig", "ld-report"] {
            assert!(!is_loader(program), "{program}");
        }
    }
}
