//! The names of units of systemd: whether a text is the name of a unit that programs are started in.

use bfp_grammar::syntax::Quoted;

use super::ResolveError;

/// The longest name of a unit (`UNIT_NAME_MAX` of systemd), with room for the `_` before some cgroups.
const LONGEST: usize = 254;

/// Units that no program is in.
const WITHOUT_PROGRAMS: [&str; 8] =
    [".socket", ".timer", ".path", ".target", ".mount", ".automount", ".swap", ".device"];

/// What is wrong with the name of a unit; `None` if it is valid.
pub(super) fn fault(unit: &Quoted) -> Option<ResolveError> {
    let name = unit.node.as_str();
    let fault = |reason: &'static str, help: String| {
        Some(ResolveError::UnitName { unit: name.to_owned(), reason, help, span: unit.span })
    };
    if let Some((_, last)) = name.trim_end_matches('/').rsplit_once('/') {
        let help = if last.ends_with(".service") || last.ends_with(".scope") {
            format!(
                "write `\"{last}\"` if that is a unit of the system; the units of a user's own manager have no name"
            )
        } else {
            "write the name of the unit as `systemctl list-units` prints it".to_owned()
        };
        return fault("it is a path, and a user can make cgroups of any path below one's own", help);
    }
    if name.ends_with(".slice") {
        return fault("only the host knows which units are in a slice", "name each unit".to_owned());
    }
    if let Some(kind) = WITHOUT_PROGRAMS.iter().find(|kind| name.ends_with(**kind)) {
        let service = name.strip_suffix(*kind).unwrap_or_default();
        return fault("no program runs in a unit of this kind", format!("name the service: `\"{service}.service\"`"));
    }
    if name.contains('*') {
        return fault(
            "it has a `*`",
            "write the template, such as `\"batch@.service\"`, which stands for all its instances".to_owned(),
        );
    }
    let (stem, is_service) = match (name.strip_suffix(".service"), name.strip_suffix(".scope")) {
        (Some(stem), _) => (stem, true),
        (None, Some(stem)) => (stem, false),
        (None, None) => {
            return fault("it is neither a service nor a scope", format!("write `\"{name}.service\"`"));
        }
    };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
    let template = stem.split_once('@').is_some_and(|(_, instance)| instance.is_empty());
    if stem.is_empty() || stem.starts_with('@') || !stem.chars().all(is_valid) || template && !is_service {
        return fault(
            "systemd accepts no unit of this name",
            "write the name of the unit as `systemctl list-units` prints it".to_owned(),
        );
    }
    if name.len() > LONGEST {
        return fault("systemd accepts no name of so many bytes", "give the unit a shorter name".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use bfp_grammar::syntax::{Span, Spanned};

    use super::fault;

    #[test]
    fn names_of_units_are_those_of_systemd() {
        let is_valid = |name: &str| fault(&Spanned { node: name.to_owned(), span: Span::default() }).is_none();
        for name in [
            "backup.service",
            "batch@.service",
            "batch@blue.service",
            "dev-disk\\x2dby.service",
            "session-c1.scope",
            "a.b.service",
            "_x.service",
        ] {
            assert!(is_valid(name), "{name}");
        }
        for name in [
            "backup",
            "",
            ".service",
            "@x.service",
            "x@.scope",
            "system.slice",
            "a.socket",
            "system.slice/a.service",
            "user@1000.service/app.slice/backup.service",
            "../a.service",
            "a b.service",
            "a*.service",
            "ü.service",
        ] {
            assert!(!is_valid(name), "{name}");
        }
        assert!(!is_valid(&format!("{}.service", "x".repeat(250))));
    }
}
