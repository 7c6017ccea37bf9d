//! What pest makes of `bfp.pest`: a matcher, and a name for each rule of the grammar.

/// The matcher that pest derives.
#[derive(pest_derive::Parser)]
#[grammar = "bfp.pest"]
pub(crate) struct Matcher;
