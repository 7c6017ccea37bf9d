//! Program paths: whether a text is a path or a pattern of paths that is absolute, canonical, and possible for a file
//! on Linux; and the canonical text by which two spellings are one program.

use bfp_bundle::names::{self, unit};
use bfp_grammar::syntax::Quoted;

use super::ResolveError;
use crate::source::{LONGEST_FILE_NAME, LONGEST_PATH};

/// The most components of a path: the kernel programs walk some more, for mounts that they cross.
pub(crate) const MOST_COMPONENTS: usize = 120;

/// What is wrong with the path of a program; `None` if it is valid.
pub(super) fn fault(path: &Quoted) -> Option<ResolveError> {
    let (written, span) = (path.node.as_str(), path.span);
    if let Some(unseen) = unseen(written) {
        return Some(ResolveError::PathUnseen { unseen, span });
    }
    if unit::is_ambiguous(written) {
        let (path, name) = unit::split(written);
        let help = format!("write `\"{path}\" in unit \"{}\"`", name.unwrap_or_default());
        return Some(ResolveError::PathUnit { help, span });
    }
    if let Some(file) = before_arguments(written) {
        return Some(ResolveError::PathArguments {
            help: format!("write `\"{file}\"`: a program is told by its file, whatever its arguments are"),
            span,
        });
    }
    if let Some(sign) = written.chars().find(|c| matches!(c, '?' | '[' | '{')) {
        return Some(ResolveError::PathWildcard { sign, span });
    }
    if written.split('/').any(|component| component.contains("**") && component != "**") {
        return Some(ResolveError::PathSubtree { span });
    }
    if written.len() > 1 && written.starts_with('/') && written.ends_with('/') {
        let folder = written.trim_end_matches('/');
        return Some(ResolveError::PathTrailingSlash { folder: folder.to_owned(), span });
    }
    too_long(path).or_else(|| is_none(path))
}

/// What is wrong with the path of a library, which names one file; `None` if it is valid.
pub(super) fn library_fault(path: &Quoted) -> Option<ResolveError> {
    let (written, span) = (path.node.as_str(), path.span);
    if let Some(unseen) = unseen(written) {
        return Some(ResolveError::PathUnseen { unseen, span });
    }
    if written.contains('*') {
        return Some(ResolveError::LibraryPattern { span });
    }
    too_long(path).or_else(|| is_none(path))
}

/// The text that identifies a program, for any spelling: a directory of a merged /usr is below /usr, and several `**`
/// in a row are one.
pub(crate) fn canonical(written: &str) -> String {
    let mut text = names::build::canonical(written).into_owned();
    while let Some(at) = text.find("/**/**") {
        text.replace_range(at..at + "/**".len(), "");
    }
    text
}

/// A character that a reader cannot see, in words.
fn unseen(written: &str) -> Option<String> {
    if let Some(unseen) = written.chars().find(|c| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        return Some(format!("the character U+{:04X}", u32::from(unseen)));
    }
    let at_an_end = |component: &str| component.starts_with(' ') || component.ends_with(' ');
    // After a space at its end, an argument may follow; that is reported as such.
    let mut components = written.split('/').peekable();
    while let Some(component) = components.next() {
        let before_argument = component.ends_with(' ') && components.peek().is_some();
        if at_an_end(component) && !before_argument {
            return Some("a space at the end of a name".to_owned());
        }
    }
    None
}

/// Interpreters and other programs that are rarely named without an argument.
const RUNNERS: [&str; 10] = ["bash", "env", "java", "node", "perl", "php", "python", "python3", "ruby", "sh"];

/// The path of the program, if arguments follow it.
fn before_arguments(written: &str) -> Option<&str> {
    let (_, file) = written.split_at(written.rfind('/')?);
    let ends: Vec<usize> = written.match_indices(' ').map(|(at, _)| at).collect();
    ends.into_iter().find_map(|at| {
        let (before, behind) = (written.get(..at)?, written.get(at + 1..)?);
        let word = behind.split(' ').next().unwrap_or_default();
        let begins = behind.starts_with(['-', '/', '$', '%', '@', '&', '|', '>', '<', ';', '"', '\'', '+']);
        let assigns = word.contains("://") || (word.contains('=') && file.contains(word));
        let runner = before.rsplit('/').next().is_some_and(|program| RUNNERS.contains(&program));
        (begins || assigns || runner).then(|| before.trim_end())
    })
}

fn too_long(path: &Quoted) -> Option<ResolveError> {
    let (written, span) = (path.node.as_str(), path.span);
    // A `*` may stand for nothing.
    let longest = written.split('/').map(|component| component.len() - component.matches('*').count()).max();
    if let Some(length) = longest.filter(|length| *length > LONGEST_FILE_NAME) {
        return Some(ResolveError::LongPath {
            what: "a file's name",
            unit: "bytes",
            length,
            limit: LONGEST_FILE_NAME,
            span,
        });
    }
    if written.len() > LONGEST_PATH {
        let length = written.len();
        return Some(ResolveError::LongPath { what: "a path", unit: "bytes", length, limit: LONGEST_PATH, span });
    }
    let length = written.split('/').skip(1).count();
    (length > MOST_COMPONENTS).then_some(ResolveError::LongPath {
        what: "a path",
        unit: "names",
        length,
        limit: MOST_COMPONENTS,
        span,
    })
}

fn is_none(path: &Quoted) -> Option<ResolveError> {
    let is_path = path.node.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && !rest.contains('\0')
    });
    (!is_path).then(|| ResolveError::Path { path: path.node.clone(), span: path.span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_has_one_text() {
        for (written, known) in [
            ("/bin/sh", "/usr/bin/sh"),
            ("/usr/bin/sh", "/usr/bin/sh"),
            ("/lib64/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2"),
            ("/bin/*", "/usr/bin/*"),
            ("/bin", "/bin"),
            ("/opt/**/**/x", "/opt/**/x"),
            ("/**", "/**"),
            ("/binary/x", "/binary/x"),
            ("/opt/bin/x", "/opt/bin/x"),
        ] {
            assert_eq!(canonical(written), known, "{written}");
        }
    }

    #[test]
    fn arguments_are_told_from_names_with_spaces() {
        for (written, file) in [
            ("/usr/bin/curl -s", Some("/usr/bin/curl")),
            ("/bin/sh /opt/run.sh", Some("/bin/sh")),
            ("/usr/bin/python3 script.py", Some("/usr/bin/python3")),
            ("/usr/bin/env A=b x", Some("/usr/bin/env")),
            ("/usr/bin/curl https://a.example", Some("/usr/bin/curl")),
            ("/usr/bin/app $OPTIONS", Some("/usr/bin/app")),
            ("/opt/My App/bin/run", None),
            ("/opt/Sublime Text/sublime text", None),
            ("/usr/bin/curl", None),
        ] {
            assert_eq!(before_arguments(written), file, "{written}");
        }
    }
}
