//! The text that identifies a program, in the tables as in the policy: a path, a pattern of paths, or, for a class, the
//! texts of the programs that one file matches at once.
//!
//! A class derives its id from its text, as every program does, so it is the same in every policy with the same
//! programs.

use std::borrow::Cow;
use std::collections::HashMap;

use bfp_bundle::names::unit;

/// Separates the members of a class. No path in a policy can contain it.
const BETWEEN: char = '\n';

/// The text of the class of these programs.
pub fn of_class<'a>(members: impl IntoIterator<Item = &'a str>) -> String {
    let mut members: Vec<&str> = members.into_iter().collect();
    members.sort_unstable();
    members.join("\n")
}

/// The texts of the programs that a file of this program matches: of a class, its members; else the text itself.
pub fn members(text: &str) -> impl Iterator<Item = &str> {
    text.split(BETWEEN)
}

/// Whether a text is that of a class.
pub fn is_class(text: &str) -> bool {
    text.contains(BETWEEN)
}

/// The member that describes the only file that it can be, in one unit if a member names any; `None` where there may be
/// several.
pub fn exact(text: &str) -> Option<&str> {
    let names_units = members(text).any(|member| unit::split(member).1.is_some());
    let is_exact = |member: &&str| {
        let (path, unit) = unit::split(member);
        !path.contains('*') && (unit.is_some_and(|unit| !unit::is_template(unit)) || !names_units)
    };
    members(text).find(is_exact).or_else(|| members(text).find(|member| *member == text && !member.contains('*')))
}

/// A member as a report shows it.
fn shown(member: &str) -> Cow<'_, str> {
    match unit::split(member) {
        (unit::EVERY_FILE, Some(unit)) => unit::text("*", unit).into(),
        _ => member.into(),
    }
}

/// The program in words, to be used within a sentence: a path, a pattern, or the patterns that a class matches.
pub fn words(text: &str) -> String {
    match exact(text) {
        Some(path) => path.to_owned(),
        None if is_class(text) => quoted(text),
        None => shown(text).into_owned(),
    }
}

/// The program as the subject of a sentence.
pub fn quoted(text: &str) -> String {
    let members: Vec<String> = members(text).map(|member| format!("`{}`", shown(member))).collect();
    match (exact(text), members.as_slice()) {
        (Some(path), _) => format!("`{path}`"),
        (None, [one]) => one.clone(),
        (None, [one, other]) => format!("what matches both {one} and {other}"),
        (None, [rest @ .., last]) => format!("what matches {} and {last}", rest.join(", ")),
        (None, []) => String::new(),
    }
}

/// Names for each of the sets of programs that a file can match: a member that only this set contains and that
/// describes all of its files, else all members.
pub fn short(sets: &[Vec<&str>]) -> Vec<String> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    sets.iter().flatten().for_each(|member| *found.entry(member).or_default() += 1);
    let name = |set: &Vec<&str>| {
        let mut alone = set.iter().filter(|member| found.get(*member) == Some(&1)).peekable();
        let first = alone.peek().copied();
        match alone.find(|member| exact(member).is_some()).or(first) {
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
        assert_eq!(quoted("/opt/*"), "`/opt/*`");
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
        assert_eq!((words(&class).as_str(), quoted(&class).as_str()), ("/opt/app/vault", "`/opt/app/vault`"));
        assert!(is_class(&class) && !is_class("/opt/app/*"));
        assert_eq!(members(&class).collect::<Vec<_>>(), ["/opt/app/*", "/opt/app/vault"]);
    }
}
