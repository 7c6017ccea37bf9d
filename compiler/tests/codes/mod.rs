//! The codes of all diagnostics, read from where they are written.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every code in the sources, each once. What is wrong with a name is told under the code of whoever
/// names it.
pub(crate) fn every_code() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("grammar/src/error.rs")];
    let mut directories = vec![root.join("compiler/src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                Some(extension) if extension == "rs" => files.push(path),
                _ if path.is_dir() => directories.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    let sources = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let found = sources.flat_map(|source| codes(&source).into_iter().map(str::to_owned).collect::<Vec<_>>());
    // One code may have two severities, and then stands twice.
    let once: BTreeSet<String> = found.filter(|code| !code.starts_with("name::")).collect();
    once.into_iter().collect()
}

/// What stands within `code(…)`.
pub(crate) fn codes(source: &str) -> Vec<&str> {
    let arguments = source.split("code(").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    arguments.filter(|argument| is_code(argument)).collect()
}

pub(crate) fn is_code(text: &str) -> bool {
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
    text.split_once("::").is_some_and(|(stage, reason)| word(stage) && word(reason))
}
