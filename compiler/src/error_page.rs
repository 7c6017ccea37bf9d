//! The page about a diagnostic's code: what is wrong, why it matters, a wrong and a right example.
//!
//! Always: the pages are the files of docs/errors, one a code, which the build puts into the program, so
//! that a page is there where the diagnostic is.

use miette::Diagnostic;

use crate::Answer;

include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// A page.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    code: &'static str,
    file: &'static str,
}

impl Page {
    pub(crate) fn of(code: &str) -> Option<Page> {
        let at = PAGES.binary_search_by(|(known, _)| (*known).cmp(code)).ok()?;
        PAGES.get(at).map(|&(code, file)| Page { code, file })
    }

    /// The page as it is read. A comment above it is for the test of the pages.
    pub(crate) fn text(self) -> &'static str {
        match self.file.split_once("-->\n") {
            Some((comment, page)) if comment.starts_with("<!--") => page.trim_start(),
            _ => self.file,
        }
    }

    /// What is wrong, on one line.
    pub(crate) fn summary(self) -> &'static str {
        self.text().lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or(self.code)
    }
}

/// No page has this name.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("no diagnostic has the code `{written}`")]
#[diagnostic(code(explain::code), help("`bfpc explain-code` lists all codes"))]
struct UnknownCode {
    written: String,
}

/// The page of a code, or the list of all codes.
pub(crate) fn explain(code: Option<&str>) -> Answer {
    match code {
        Some(code) => match Page::of(code) {
            Some(page) => Ok(page.text().to_owned()),
            None => Err(UnknownCode { written: code.to_owned() }.into()),
        },
        None => {
            let width = PAGES.iter().map(|(code, _)| code.len()).max().unwrap_or(0);
            let line = |&(code, file): &(&'static str, &'static str)| {
                format!("{code:<width$}  {}\n", Page { code, file }.summary())
            };
            Ok(PAGES.iter().map(line).collect())
        }
    }
}
