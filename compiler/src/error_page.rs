//! The page about a diagnostic's code: what is wrong, why it matters, a wrong and a right example.
//!
//! Always: the pages are the files of docs/errors, one a code, which the build puts into the program, so
//! that a page is there where the diagnostic is.

include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// A page.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The code that it is about.
    pub code: &'static str,
    file: &'static str,
}

impl Page {
    /// Every page, in the order of the codes.
    pub fn all() -> impl Iterator<Item = Page> {
        PAGES.iter().map(|&(code, file)| Page { code, file })
    }

    /// The page of a code.
    pub fn of(code: &str) -> Option<Page> {
        let at = PAGES.binary_search_by(|(known, _)| (*known).cmp(code)).ok()?;
        PAGES.get(at).map(|&(code, file)| Page { code, file })
    }

    /// The page as it is read. A comment above it is for the test of the pages.
    pub fn text(self) -> &'static str {
        match self.file.split_once("-->\n") {
            Some((comment, page)) if comment.starts_with("<!--") => page.trim_start(),
            _ => self.file,
        }
    }

    /// What is wrong, on one line.
    pub fn summary(self) -> &'static str {
        self.text().lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or(self.code)
    }
}
