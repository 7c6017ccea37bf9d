//! What all stages need to report: lists of diagnostics, the pages that explain codes, and suggestions for misspelt
//! names.

pub mod findings;

pub mod error_page;

pub(crate) mod nearest;
