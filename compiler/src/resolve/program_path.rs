//! Whether a text is the path of a program: absolute, in the one way to write it, and one that Linux opens.

use bfp_grammar::syntax::Quoted;

use super::ResolveError;
use crate::source::{LONGEST_FILE_NAME, LONGEST_PATH};

/// What is wrong with it; nothing where it is one.
pub(super) fn fault(path: &Quoted) -> Option<ResolveError> {
    let (written, span) = (path.node.as_str(), path.span);
    if let Some(length) = written.split('/').map(str::len).find(|length| *length > LONGEST_FILE_NAME) {
        return Some(ResolveError::LongPath { what: "a file's name", length, limit: LONGEST_FILE_NAME, span });
    }
    if written.len() > LONGEST_PATH {
        return Some(ResolveError::LongPath { what: "a path", length: written.len(), limit: LONGEST_PATH, span });
    }
    let is_path = written.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && !rest.contains('\0')
    });
    (!is_path).then(|| ResolveError::Path { path: written.to_owned(), span })
}
