//! Units: the part of a program's text that names the unit of systemd in which the program was started, and the name of
//! that unit's cgroup.
//!
//! A text is `PATH` or `PATH in unit NAME`. The compiler rejects a path that contains ` in unit `. The name of a
//! template, `NAME@.service`, stands for each of its instances.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;

const BETWEEN: &str = " in unit ";

/// The path of `* in unit NAME`: every file, also one that has no path on the host.
pub const EVERY_FILE: &str = "/**";

/// The cgroup controllers of systemd, for a name that begins with one and a dot.
const CONTROLLERS: [&str; 14] = [
    "bpf-bind-network-interface",
    "bpf-devices",
    "bpf-firewall",
    "bpf-foreign",
    "bpf-restrict-network-interfaces",
    "bpf-socket-bind",
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "io",
    "memory",
    "pids",
];

/// The path of a text, and its unit.
pub fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(BETWEEN) {
        Some((path, unit)) => (path, Some(unit)),
        None => (text, None),
    }
}

/// Whether a path would be taken for a text with a unit.
pub fn is_ambiguous(path: &str) -> bool {
    path.contains(BETWEEN)
}

/// The text of a program that is started in a unit.
pub fn text(path: &str, unit: &str) -> String {
    format!("{path}{BETWEEN}{unit}")
}

/// The name of the cgroup of a unit: with a `_` before it where it could be mistaken for a file of the kernel
/// (src/basic/cgroup-util.c, `cg_needs_escape`, of systemd).
pub fn cgroup(unit: &str) -> Cow<'_, str> {
    let is_controller = |controller: &&str| unit.strip_prefix(*controller).is_some_and(|rest| rest.starts_with('.'));
    let needs_escape =
        unit.starts_with(['_', '.']) || unit.starts_with("cgroup.") || CONTROLLERS.iter().any(is_controller);
    if needs_escape { format!("_{unit}").into() } else { unit.into() }
}

/// The component that the names of a unit's cgroups match: of a template, with a `*` for the name of the instance.
pub(super) fn component(unit: &str) -> String {
    let name = cgroup(unit);
    match name.split_once("@.") {
        Some((template, kind)) => format!("{template}@*.{kind}"),
        None => name.into_owned(),
    }
}

/// Whether a text names a template, which stands for several units.
pub fn is_template(unit: &str) -> bool {
    unit.contains("@.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_into_the_path_and_the_unit() {
        assert_eq!(split("/usr/bin/x"), ("/usr/bin/x", None));
        assert_eq!(split(&text("/usr/bin/x", "a.service")), ("/usr/bin/x", Some("a.service")));
    }

    #[test]
    fn a_unit_has_the_cgroup_that_systemd_makes() {
        for (unit, name) in [
            ("backup.service", "backup.service"),
            ("memory.service", "_memory.service"),
            ("memory-hog.service", "memory-hog.service"),
            ("_x.service", "__x.service"),
            ("cgroup.scope", "_cgroup.scope"),
            ("io.scope", "_io.scope"),
        ] {
            assert_eq!(cgroup(unit), name);
        }
        assert_eq!(component("batch@.service"), "batch@*.service");
        assert_eq!(component("batch@blue.service"), "batch@blue.service");
    }
}
