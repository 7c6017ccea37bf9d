//! The page about a diagnostic's code: what is wrong, why it matters, a wrong and a right example.
//!
//! Always: the pages are the files of docs/errors, one for each code. The build embeds them in the program, so a page
//! is available wherever its diagnostic is.

use crate::diagnostics::nearest::nearest;

include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// The page about one code.
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

    /// Suggestions for a text that is not a code: the codes with its reason in any stage, else the nearest code.
    pub fn meant_by(written: &str) -> Vec<&'static str> {
        let reason_of = |code: &'static str| code.split_once("::").map_or(code, |(_, reason)| reason);
        let of_reason = |wanted: &str| -> Vec<&'static str> {
            Page::all().map(|page| page.code).filter(|code| reason_of(code) == wanted).collect()
        };
        let reason = written.rsplit_once("::").map_or(written, |(_, reason)| reason);
        let found = of_reason(reason);
        if !found.is_empty() {
            return found;
        }
        if written.contains("::") {
            return nearest(written, Page::all().map(|page| page.code)).into_iter().collect();
        }
        nearest(reason, Page::all().map(|page| reason_of(page.code))).map_or_else(Vec::new, of_reason)
    }

    /// The page as it is printed. A comment above it is for the test of the pages.
    pub fn text(self) -> &'static str {
        match self.file.split_once("-->\n") {
            Some((comment, page)) if comment.starts_with("<!--") => page.trim_start(),
            _ => self.file,
        }
    }

    /// What is wrong, on one line; the code itself where the page has no text.
    pub fn summary(self) -> &'static str {
        self.text().lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or(self.code)
    }
}
