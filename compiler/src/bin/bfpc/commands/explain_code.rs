//! `bfpc explain-code`: a code → its page, or all codes with what is wrong.

use bfp_compiler::diagnostics::error_page::Page;
use miette::Diagnostic;

use crate::Answer;

/// No page has this name.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("no diagnostic has the code `{written}`")]
#[diagnostic(code(explain::code))]
struct UnknownCode {
    written: String,
    #[help]
    help: String,
}

impl UnknownCode {
    fn of(written: &str) -> UnknownCode {
        let meant: Vec<String> = Page::meant_by(written).iter().map(|code| format!("`{code}`")).collect();
        let question = if meant.is_empty() { String::new() } else { format!("did you mean {}? ", meant.join(" or ")) };
        UnknownCode { written: written.to_owned(), help: question + "`bfpc explain-code` lists all codes" }
    }
}

/// The page of a code, or the list of all codes.
pub(crate) fn explain(code: Option<&str>) -> Answer {
    match code {
        Some(code) => match Page::of(code) {
            Some(page) => Ok(page.text().to_owned()),
            None => Err(UnknownCode::of(code).into()),
        },
        None => {
            let width = Page::all().map(|page| page.code.len()).max().unwrap_or(0);
            Ok(Page::all().map(|page| format!("{:<width$}  {}\n", page.code, page.summary())).collect())
        }
    }
}
