//! The text by which a program is known, in the tables as in the policy: a path, a pattern of paths, or the texts
//! of several that one file matches at once, which is a class.
//!
//! A class has its id from its text, as every program has, so it is the same in every policy that has the same
//! programs.

use std::collections::HashMap;

/// Stands between the members of a class. No path that a policy can name has it.
const BETWEEN: char = '\n';

/// The text of the class of these programs.
pub fn of_class<'a>(members: impl IntoIterator<Item = &'a str>) -> String {
    let mut members: Vec<&str> = members.into_iter().collect();
    members.sort_unstable();
    members.join("\n")
}

/// The texts of the programs that a file matches; of a program that is no class, its own.
pub fn members(text: &str) -> impl Iterator<Item = &str> {
    text.split(BETWEEN)
}

/// Whether a text is that of a class.
pub fn is_class(text: &str) -> bool {
    text.contains(BETWEEN)
}

/// The path of the one file that it can be; none where it stands for many.
pub fn exact(text: &str) -> Option<&str> {
    members(text).find(|member| !member.contains('*'))
}

/// In words, without a sentence around them: a path, a pattern, or what matches several.
pub fn words(text: &str) -> String {
    match exact(text) {
        Some(path) => path.to_owned(),
        None if is_class(text) => told(text),
        None => text.to_owned(),
    }
}

/// As the subject of a sentence.
pub fn told(text: &str) -> String {
    let members: Vec<String> = members(text).map(|member| format!("`{member}`")).collect();
    match (exact(text), members.as_slice()) {
        (Some(path), _) => format!("`{path}`"),
        (None, [one]) => one.clone(),
        (None, [one, other]) => format!("what matches both {one} and {other}"),
        (None, [rest @ .., last]) => format!("what matches {} and {last}", rest.join(", ")),
        (None, []) => String::new(),
    }
}

/// What to call each of the sets of programs that a file can match: by a member that is in this set alone, which all
/// of its files bear, or by all members.
pub fn short(sets: &[Vec<&str>]) -> Vec<String> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    sets.iter().flatten().for_each(|member| *found.entry(member).or_default() += 1);
    let name = |set: &Vec<&str>| {
        let mut alone = set.iter().filter(|member| found.get(*member) == Some(&1)).peekable();
        let first = alone.peek().copied();
        match alone.find(|member| !member.contains('*')).or(first) {
            Some(member) => (*member).to_owned(),
            None => of_class(set.iter().copied()),
        }
    };
    sets.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_told_by_its_members() {
        let class = of_class(["/opt/*/bin/app", "/opt/app/**"]);
        assert_eq!(words(&class), "what matches both `/opt/*/bin/app` and `/opt/app/**`");
        assert_eq!(words(&of_class(["/b*", "/a*", "/*c"])), "what matches `/*c`, `/a*` and `/b*`");
        assert_eq!(told("/opt/*"), "`/opt/*`");
    }

    #[test]
    fn a_set_is_called_by_a_member_that_is_in_no_other() {
        let sets = [vec!["/opt/**"], vec!["/opt/**", "/opt/app/*"], vec!["/a*", "/*b"], vec!["/a*"], vec!["/*b"]];
        assert_eq!(short(&sets), ["/opt/**", "/opt/app/*", "/*b\n/a*", "/a*", "/*b"]);
        assert_eq!(short(&[vec!["/*", "/a"], vec!["/*"]]), ["/a", "/*"]);
    }

    #[test]
    fn a_class_with_an_exact_path_is_one_file() {
        let class = of_class(["/opt/app/*", "/opt/app/vault"]);
        assert_eq!((words(&class).as_str(), told(&class).as_str()), ("/opt/app/vault", "`/opt/app/vault`"));
        assert!(is_class(&class) && !is_class("/opt/app/*"));
        assert_eq!(members(&class).collect::<Vec<_>>(), ["/opt/app/*", "/opt/app/vault"]);
    }
}
