//! The rollback state on disk, seen from outside: its files are complete, the old ones or the new ones, whatever was
//! killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The start of a record; its digest follows (enforcer/src/admit/state.rs).
const MAGIC: &[u8] = b"BFPS\r\n\x1a\n\x02\0\0\0";
/// The record, and its copy.
const RECORDS: [&str; 2] = ["state", "state.copy"];
/// An adopted trust set: a signed document, which is not tested here.
const TRUST_SET: &str = "trust-set-";

/// The files of a folder, by name. A missing folder has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State(BTreeMap<String, Vec<u8>>);

impl State {
    pub(crate) fn read(folder: &Path) -> Result<State, String> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let content = fs::read(entry.path()).map_err(|error| format!("{}: {error}", entry.path().display()))?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), content);
        }
        Ok(State(files))
    }

    /// Checks that each file is complete: the record by its digest, a bundle by comparison with the known ones. A file
    /// that was being written has another name.
    pub(crate) fn is_whole(&self, bundles: &[Vec<u8>]) -> Result<(), String> {
        for (name, content) in &self.0 {
            match name.as_str() {
                name if RECORDS.contains(&name) && is_record(content) => {}
                name if name.starts_with(TRUST_SET) && !name.ends_with(".new") && !content.is_empty() => {}
                name if name.ends_with(".new") => {}
                name if name.ends_with(".bfpb") && bundles.contains(content) => {}
                name => return Err(format!("the state's file `{name}` is cut or unknown ({} bytes)", content.len())),
            }
        }
        Ok(())
    }

    /// Checks that there are as many files as in a folder that was never disturbed, under the same names except for the
    /// bundle's, and no temporary file.
    pub(crate) fn is_tidy(&self, undisturbed: &State) -> Result<(), String> {
        let (seen, wanted) = (self.kinds(), undisturbed.kinds());
        if seen == wanted { Ok(()) } else { Err(format!("the state's files: {wanted:?} expected, {seen:?} seen")) }
    }

    fn kinds(&self) -> Vec<&str> {
        self.0.keys().map(|name| if name.ends_with(".bfpb") { "*.bfpb" } else { name.as_str() }).collect()
    }
}

fn is_record(content: &[u8]) -> bool {
    let body = content.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk::<32>);
    body.is_some_and(|(digest, body)| <[u8; 32]>::from(Sha256::digest(body)) == *digest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> State {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        State::read(folder.path()).unwrap()
    }

    #[test]
    fn a_record_that_is_cut_is_found() {
        let body = b"everything";
        let record = [MAGIC, &Sha256::digest(body), body].concat();
        let bundles = [b"bundle".to_vec()];
        assert_eq!(folder(&[("state", &record), ("good-1.bfpb", b"bundle")]).is_whole(&bundles), Ok(()));
        assert!(folder(&[("state", record.get(..record.len() - 1).unwrap())]).is_whole(&bundles).is_err());
        assert!(folder(&[("state", b"")]).is_whole(&bundles).is_err());
        assert!(folder(&[("good-1.bfpb", b"bundl")]).is_whole(&bundles).is_err());
    }

    #[test]
    fn what_was_being_written_may_be_left_and_must_go() {
        let undisturbed = folder(&[("good-1.bfpb", b"1")]);
        let left = folder(&[("good-2.bfpb", b"2"), ("state.new", b"")]);
        assert!(left.is_tidy(&undisturbed).is_err());
        assert_eq!(folder(&[("good-2.bfpb", b"2")]).is_tidy(&undisturbed), Ok(()));
    }
}
