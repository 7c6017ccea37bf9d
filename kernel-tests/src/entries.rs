//! Catalogues: folders with a file for each entry. What enters: a folder. What leaves: its entries in the order of
//! their names, at least one.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The user that tries something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    /// Root, with every capability.
    #[default]
    Root,
    /// A user without capabilities.
    Somebody,
}

impl User {
    pub(crate) fn parse(word: &str) -> Option<User> {
        [User::Root, User::Somebody].into_iter().find(|user| user.to_string() == word)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == User::Root { "root" } else { "somebody" })
    }
}

/// Reads every TOML file of a folder by `parse`, which gets the file's name without `.toml`, and its text.
pub(crate) fn read<E>(folder: &Path, parse: impl Fn(String, &str) -> Result<E, String>) -> Result<Vec<E>, String> {
    let files = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|it| it == "toml"));
    let mut named: Vec<_> =
        paths.map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path)).collect();
    named.sort();
    let entry = |(name, path): (String, std::path::PathBuf)| {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        parse(name, &text).map_err(|complaint| format!("{}: {complaint}", path.display()))
    };
    let entries = named.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() { Err(format!("{} has no entries", folder.display())) } else { Ok(entries) }
}
