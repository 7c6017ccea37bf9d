//! Can this host enforce, and what is to change? Everything that `apply` needs is tried, nothing is
//! attached or pinned.

use std::fmt::Write;

use crate::btf::{Btf, BtfError};
use crate::host;
use crate::json::quote;
use crate::load;
use crate::offsets::Kernel;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried.
    pub name: &'static str,
    /// What is wrong with it, if anything is.
    pub problem: Option<Problem>,
    /// What there is to say of it otherwise: names and numbers.
    pub found: Vec<(&'static str, u32)>,
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub help: String,
}

/// Tries everything, in the order in which `apply` needs it, up to the first thing that is missing.
pub fn examine(object: &[u8]) -> Vec<Check> {
    let mut checks = Vec::new();
    // Ends at the first problem: what follows would only fail by it.
    let _ = examine_into(object, &mut checks);
    checks
}

fn examine_into(object: &[u8], checks: &mut Vec<Check>) -> Option<()> {
    let host = note(checks, "host: privileges, security modules, type information, BPF filesystem, cgroups", {
        host::check().map_err(|error| (error.to_string(), error.help().to_owned()))
    })?;
    let ftrace = std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled");
    note(
        checks,
        "tracing is switched on",
        match ftrace.as_deref().map(str::trim) {
            Ok("0") => Err((
                "`kernel.ftrace_enabled` is 0, so the kernel asks no programs".to_owned(),
                "sysctl kernel.ftrace_enabled=1".to_owned(),
            )),
            // A kernel without the switch cannot have it off.
            _ => Ok(()),
        },
    )?;
    let kernel = note(checks, "the kernel's structures are known", {
        let found = Btf::parse(&host.types).map_err(|error: BtfError| (error.to_string(), error.help().to_owned()));
        found.and_then(|btf| Kernel::of(&btf).map_err(|error| (error.to_string(), error.help().to_owned())))
    })?;
    let verified = note(checks, "the kernel loads every program", {
        load::probe(object, &host.types, &kernel).map_err(|error| {
            let log = error.log().map_or_else(String::new, |log| format!("\n{log}"));
            (error.to_string(), format!("{}{log}", error.help()))
        })
    })?;
    if let Some(check) = checks.last_mut() {
        check.found = verified;
    }
    Some(())
}

fn note<T>(checks: &mut Vec<Check>, name: &'static str, tried: Result<T, (String, String)>) -> Option<T> {
    let (found, problem) = match tried {
        Ok(found) => (Some(found), None),
        Err((message, help)) => (None, Some(Problem { message, help })),
    };
    checks.push(Check { name, problem, found: Vec::new() });
    found
}

/// Whether nothing is wrong.
pub fn can_enforce(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.problem.is_none())
}

/// As sentences.
pub fn to_text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        match &check.problem {
            None => {
                let _ = writeln!(text, "ok  {}", check.name);
                for (name, number) in &check.found {
                    let _ = writeln!(text, "    {name}: {number} instructions verified");
                }
            }
            Some(Problem { message, help }) => {
                let _ = writeln!(text, "no  {}: {message}\n    help: {help}", check.name);
            }
        }
    }
    text.push_str(if can_enforce(checks) { "this host can enforce\n" } else { "this host cannot enforce\n" });
    text
}

/// As one line of JSON. `version` rises when a field changes its meaning or goes.
pub fn to_json(checks: &[Check]) -> String {
    let mut text = format!("{{\"version\":1,\"can_enforce\":{},\"checks\":[", can_enforce(checks));
    for (index, check) in checks.iter().enumerate() {
        text.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
        quote(&mut text, check.name);
        match &check.problem {
            None => {
                text.push_str(",\"ok\":true");
                for (index, (name, number)) in check.found.iter().enumerate() {
                    text.push_str(if index == 0 { ",\"verified_instructions\":{" } else { "," });
                    quote(&mut text, name);
                    let _ = write!(text, ":{number}");
                }
                text.push_str(if check.found.is_empty() { "}" } else { "}}" });
            }
            Some(Problem { message, help }) => {
                text.push_str(",\"ok\":false,\"message\":");
                quote(&mut text, message);
                text.push_str(",\"help\":");
                quote(&mut text, help);
                text.push('}');
            }
        }
    }
    text.push_str("]}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_examined_is_not_fit() {
        assert!(!can_enforce(&[]));
    }

    #[test]
    fn a_problem_is_told_with_its_help_in_both_formats() {
        let problem = Problem { message: "no \"bpf\"".to_owned(), help: "add it".to_owned() };
        let checks = [
            Check { name: "a", problem: None, found: vec![("p", 3), ("q", 5)] },
            Check { name: "b", problem: Some(problem), found: Vec::new() },
        ];
        assert_eq!(
            to_text(&checks),
            "ok  a\n    p: 3 instructions verified\n    q: 5 instructions verified\nno  b: no \"bpf\"\n    help: add it\nthis host cannot enforce\n"
        );
        assert_eq!(
            to_json(&checks),
            "{\"version\":1,\"can_enforce\":false,\"checks\":[{\"name\":\"a\",\"ok\":true,\"verified_instructions\":{\"p\":3,\"q\":5}},\
             {\"name\":\"b\",\"ok\":false,\"message\":\"no \\\"bpf\\\"\",\"help\":\"add it\"}]}\n"
        );
    }
}
