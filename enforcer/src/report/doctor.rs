//! Whether this host can enforce a policy, and what to change if not. Tests everything that `apply` needs; attaches and
//! pins nothing.

use std::fmt::Write;

use crate::failure::Actionable;
use crate::host;
use crate::host::btf::Btf;
use crate::host::offsets::Kernel;
use crate::kernel::load;
use crate::report::json::quote;

/// One requirement that was tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The name of the requirement.
    pub name: &'static str,
    /// The fault, if there is one.
    pub problem: Option<Problem>,
    /// Further results: names and numbers.
    pub found: Vec<(&'static str, u32)>,
}

/// A fault, and the next action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The fault.
    pub message: String,
    /// The next action.
    pub help: String,
}

impl Problem {
    fn of(error: impl Actionable) -> Problem {
        let log = error.log().map_or_else(String::new, |log| format!("\n{log}"));
        Problem { message: error.to_string(), help: format!("{}{log}", error.help()) }
    }
}

/// What would become of the bundle that `boot` applies. This does not affect whether the host can enforce, which is
/// asked before a bundle is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It would be applied: a description of it.
    Applied(String),
    /// There are no keys or no bundle yet.
    NotYet(Problem),
    /// The bundle, the keys or the rollback state would be rejected.
    Refused(Problem),
}

impl Prospect {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Prospect::Applied(_) => None,
            Prospect::NotYet(problem) | Prospect::Refused(problem) => Some(problem),
        }
    }
}

/// Tests everything in the order in which `apply` needs it, up to the first fault.
pub fn examine(object: &[u8]) -> Vec<Check> {
    let mut checks = Vec::new();
    // Ends at the first fault: the following tests would only fail because of it.
    let _ = examine_into(object, &mut checks);
    checks
}

fn examine_into(object: &[u8], checks: &mut Vec<Check>) -> Option<()> {
    let host = note(checks, "host: privileges, security modules, type information, BPF filesystem, cgroups", {
        host::check().map_err(Problem::of)
    })?;
    let ftrace = std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled");
    note(
        checks,
        "tracing is switched on",
        match ftrace.as_deref().map(str::trim) {
            Ok("0") => Err(Problem {
                message: "`kernel.ftrace_enabled` is 0, so the kernel calls no BPF programs".to_owned(),
                help: "sysctl kernel.ftrace_enabled=1".to_owned(),
            }),
            // A kernel without the switch cannot have it off.
            _ => Ok(()),
        },
    )?;
    let kernel = note(checks, "the kernel's structures are known", {
        Btf::parse(&host.types).map_err(Problem::of).and_then(|btf| Kernel::of(&btf).map_err(Problem::of))
    })?;
    let verified = note(checks, "the kernel loads every program", {
        load::probe(object, &host.types, &kernel).map_err(Problem::of)
    })?;
    if let Some(check) = checks.last_mut() {
        check.found = verified;
    }
    Some(())
}

fn note<T>(checks: &mut Vec<Check>, name: &'static str, tried: Result<T, Problem>) -> Option<T> {
    let (found, problem) = match tried {
        Ok(found) => (Some(found), None),
        Err(problem) => (None, Some(problem)),
    };
    checks.push(Check { name, problem, found: Vec::new() });
    found
}

/// Whether no fault was found.
pub fn can_enforce(checks: &[Check]) -> bool {
    !checks.is_empty() && checks.iter().all(|check| check.problem.is_none())
}

/// As text.
pub fn to_text(checks: &[Check], prospect: &Prospect) -> String {
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
    let _ = match prospect {
        Prospect::Applied(what) => writeln!(text, "ok  the bundle: {what}"),
        Prospect::NotYet(Problem { message, help }) => {
            writeln!(text, "--  nothing to apply yet: {message}\n    help: {help}")
        }
        Prospect::Refused(Problem { message, help }) => {
            writeln!(text, "no  the bundle would not be applied: {message}\n    help: {help}")
        }
    };
    text.push_str(if can_enforce(checks) { "this host can enforce\n" } else { "this host cannot enforce\n" });
    text
}

/// As one line of JSON. `version` grows when a field changes its meaning or is removed.
pub fn to_json(checks: &[Check], prospect: &Prospect) -> String {
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
            Some(problem) => {
                text.push_str(",\"ok\":false");
                push_problem(&mut text, problem);
            }
        }
    }
    text.push_str("],\"bundle\":{\"state\":");
    text.push_str(match prospect {
        Prospect::Applied(_) => "\"ok\"}",
        Prospect::NotYet(_) => "\"not_yet\"",
        Prospect::Refused(_) => "\"refused\"",
    });
    prospect.problem().into_iter().for_each(|problem| push_problem(&mut text, problem));
    text.push_str("}\n");
    text
}

fn push_problem(text: &mut String, Problem { message, help }: &Problem) {
    text.push_str(",\"message\":");
    quote(text, message);
    text.push_str(",\"help\":");
    quote(text, help);
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_examined_is_not_fit() {
        assert!(!can_enforce(&[]));
    }

    #[test]
    fn a_problem_is_reported_with_its_help_in_both_formats() {
        let problem = Problem { message: "no \"bpf\"".to_owned(), help: "add it".to_owned() };
        let checks = [
            Check { name: "a", problem: None, found: vec![("p", 3), ("q", 5)] },
            Check { name: "b", problem: Some(problem), found: Vec::new() },
        ];
        let applied = Prospect::Applied("policy `web` revision 3".to_owned());
        assert_eq!(
            to_text(&checks, &applied),
            "ok  a\n    p: 3 instructions verified\n    q: 5 instructions verified\nno  b: no \"bpf\"\n    help: add it\n\
             ok  the bundle: policy `web` revision 3\nthis host cannot enforce\n"
        );
        assert_eq!(
            to_json(&checks, &applied),
            "{\"version\":1,\"can_enforce\":false,\"checks\":[{\"name\":\"a\",\"ok\":true,\"verified_instructions\":{\"p\":3,\"q\":5}},\
             {\"name\":\"b\",\"ok\":false,\"message\":\"no \\\"bpf\\\"\",\"help\":\"add it\"}],\
             \"bundle\":{\"state\":\"ok\"}}\n"
        );
    }

    #[test]
    fn a_bundle_that_would_not_be_applied_leaves_the_host_fit() {
        let checks = [Check { name: "a", problem: None, found: Vec::new() }];
        let problem = || Problem { message: "no key".to_owned(), help: "put one there".to_owned() };
        let not_yet = Prospect::NotYet(problem());
        let text = "ok  a\n--  nothing to apply yet: no key\n    help: put one there\nthis host can enforce\n";
        assert_eq!(to_text(&checks, &not_yet), text);
        assert!(
            to_json(&checks, &not_yet)
                .ends_with("],\"bundle\":{\"state\":\"not_yet\",\"message\":\"no key\",\"help\":\"put one there\"}}\n")
        );
        let refused = Prospect::Refused(problem());
        let text = "no  the bundle would not be applied: no key\n    help: put one there\nthis host can enforce\n";
        assert!(to_text(&checks, &refused).ends_with(text));
        assert!(to_json(&checks, &refused).contains("\"bundle\":{\"state\":\"refused\",\"message\""));
    }
}
