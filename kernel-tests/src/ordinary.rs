//! The ordinary things that must keep working: one file of fixtures/ordinary/ for each. What enters: these files. What
//! leaves: what to run, the expected output, and the tables of docs/ordinary.md.

use std::path::Path;

use serde::Deserialize;

use crate::entries::{self, User};

/// An ordinary thing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// A one-line description.
    pub title: String,
    /// How it is tried.
    pub how: String,
    /// The policy it runs under.
    pub under: Under,
    /// The user that runs it.
    #[serde(default)]
    pub user: User,
    /// The set-up, as shell commands.
    #[serde(default)]
    pub prepare: String,
    /// The thing itself, as shell commands.
    pub run: String,
    /// The output of `run`, without surrounding white space.
    pub expect: String,
    /// The clean-up, as shell commands.
    #[serde(default)]
    pub clean: String,
    /// A command that works without the policy and fails under it, which shows that the program is confined.
    pub refused: Option<String>,
}

/// The policy that an entry runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Under {
    /// A policy about other programs and other addresses.
    Unrelated,
    /// A policy that confines the program, which stays within its grants.
    Confined,
}

/// Reads every entry of a folder, in the order of their names.
///
/// # Errors
/// A message with the file's name.
pub fn read_entries(folder: &Path) -> Result<Vec<Entry>, String> {
    entries::read(folder, parse)
}

fn parse(name: String, text: &str) -> Result<Entry, String> {
    let entry: Entry = toml::from_str(text).map_err(|error| error.to_string())?;
    if entry.expect.trim().is_empty() {
        return Err("a thing that says nothing cannot be told from one that did not run: `expect` is empty".to_owned());
    }
    if (entry.under == Under::Confined) != entry.refused.is_some() {
        return Err("`refused` belongs to every entry under the policy `confined`, and to no other".to_owned());
    }
    Ok(Entry { name, ..entry })
}

/// The entries under one policy as a table of docs/ordinary.md.
#[must_use]
pub fn table(entries: &[Entry], under: Under) -> String {
    let mut text = String::from("| what | how | as |\n|---|---|---|\n");
    for entry in entries.iter().filter(|entry| entry.under == under) {
        let Entry { name, title, how, user, .. } = entry;
        text.push_str(&format!("| `{name}`: {title} | {how} | {user} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// Compares the tables of the docs with the entries. `BFP_BLESS=1` writes them.
    #[test]
    fn the_docs_show_the_entries() {
        let entries = read_entries(&root().join("fixtures/ordinary")).unwrap();
        let path = root().join("docs/ordinary.md");
        let mut wanted = std::fs::read_to_string(&path).unwrap();
        for (under, word) in [(Under::Unrelated, "unrelated"), (Under::Confined, "confined")] {
            let begin = format!("<!-- {word}: generated from fixtures/ordinary -->\n");
            let end = format!("<!-- end of {word} -->\n");
            let (before, rest) = wanted.split_once(&begin).unwrap();
            let (_, after) = rest.split_once(&end).unwrap();
            wanted = format!("{before}{begin}\n{}\n{end}{after}", table(&entries, under));
        }
        if std::env::var_os("BFP_BLESS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "run it with BFP_BLESS=1 and read the difference");
    }

    #[test]
    fn the_lists_are_as_long_as_the_docs_promise() {
        let entries = read_entries(&root().join("fixtures/ordinary")).unwrap();
        let count = |under| entries.iter().filter(|entry| entry.under == under).count();
        assert!(count(Under::Unrelated) >= 40, "{}", count(Under::Unrelated));
        assert!(count(Under::Confined) >= 12, "{}", count(Under::Confined));
    }

    #[test]
    fn an_entry_that_could_not_fail_is_none() {
        let text = |under: &str, expect: &str| {
            format!("title = \"t\"\nhow = \"h\"\nunder = \"{under}\"\nrun = \"true\"\nexpect = \"{expect}\"\n")
        };
        assert!(parse("x".to_owned(), &text("unrelated", "")).unwrap_err().contains("says nothing"));
        assert!(parse("x".to_owned(), &text("confined", "ok")).unwrap_err().contains("`refused`"));
        assert!(parse("x".to_owned(), &text("unrelated", "ok")).is_ok());
    }
}
