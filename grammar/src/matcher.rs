//! pest's code for `bfp.pest`: a matcher, and a name for each rule of the grammar.

/// The matcher that pest derives from the grammar.
#[derive(pest_derive::Parser)]
#[grammar = "bfp.pest"]
pub(crate) struct Matcher;
