//! What a pattern of paths covers, said of a few known places. It shares nothing with the tables.

/// Whether no component of a pattern says anything of a name.
pub(super) fn spells_nothing_out(pattern: &str) -> bool {
    components(pattern).iter().all(|component| matches!(*component, "*" | "**"))
}

/// Whether a pattern covers a path.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    covers(&components(pattern), &components(path))
}

/// Whether a pattern covers some file below a folder, in whose path `*` is a component that may be any.
pub(super) fn reaches_below(pattern: &str, folder: &str) -> bool {
    reaches(&components(pattern), &components(folder))
}

fn components(path: &str) -> Vec<&str> {
    path.split('/').skip(1).collect()
}

fn covers(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], []) | ([], _) => false,
        (["**", rest @ ..], _) => {
            let skipped = (0..=path.len()).filter_map(|skipped| path.get(skipped..));
            match rest {
                [] => true,
                _ => skipped.into_iter().any(|path| covers(rest, path)),
            }
        }
        (_, []) => false,
        ([first, rest @ ..], [component, others @ ..]) => {
            is_name(first.as_bytes(), component.as_bytes()) && covers(rest, others)
        }
    }
}

fn reaches(pattern: &[&str], folder: &[&str]) -> bool {
    match (pattern, folder) {
        ([], _) => false,
        // Some of the pattern is left, and anything may be made below the folder.
        (_, []) => true,
        (["**", rest @ ..], [_, below @ ..]) => reaches(pattern, below) || reaches(rest, folder),
        ([first, rest @ ..], [name, below @ ..]) => {
            (*name == "*" || is_name(first.as_bytes(), name.as_bytes())) && reaches(rest, below)
        }
    }
}

/// Whether a component is one that another with `*` covers: the last `*` takes up what was not found so far.
fn is_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(byte) if Some(byte) == name.get(of) => {
                at += 1;
                of += 1;
            }
            _ => match &mut star {
                Some((begin, taken)) => {
                    *taken += 1;
                    (at, of) = (*begin + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says() {
        for (pattern, path, covered) in [
            ("/usr/bin/*", "/usr/bin/sh", true),
            ("/usr/bin/*", "/usr/bin/a/b", false),
            ("/usr/**", "/usr/bin/sh", true),
            ("/usr/**", "/usr", false),
            ("/**/sh", "/sh", true),
            ("/opt/*-b*c/x", "/opt/a-bc-bxc/x", true),
            ("/opt/*-b*c/x", "/opt/a-bc-bxd/x", false),
            ("/opt/a*a", "/opt/a", false),
        ] {
            assert_eq!(matches(pattern, path), covered, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_reaches_below_a_folder() {
        for (pattern, folder, reached) in [
            ("/home/*/bin/app", "/home/*", true),
            ("/**/vault", "/tmp", true),
            ("/*/vault", "/tmp", true),
            ("/*/vault", "/home/*", false),
            ("/opt/**", "/tmp", false),
            ("/t*p/x", "/tmp", true),
            ("/tmp", "/tmp", false),
            ("/home/*", "/home/*", false),
        ] {
            assert_eq!(reaches_below(pattern, folder), reached, "{pattern} {folder}");
        }
    }

    #[test]
    fn everything_is_what_spells_nothing_out() {
        assert!(spells_nothing_out("/**") && spells_nothing_out("/*/**") && spells_nothing_out("/*"));
        assert!(!spells_nothing_out("/opt/**") && !spells_nothing_out("/**/a*"));
    }
}
