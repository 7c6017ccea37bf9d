//! `bfpc explain-code`: a code → its page, or all codes with what is wrong.

use bfp_compiler::error_page::Page;
use miette::Diagnostic;

use crate::Answer;

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
            let width = Page::all().map(|page| page.code.len()).max().unwrap_or(0);
            Ok(Page::all().map(|page| format!("{:<width$}  {}\n", page.code, page.summary())).collect())
        }
    }
}
