//! The bfp policy language: text → syntax tree → text.
//!
//! What enters is the text of one file; what leaves is either its whole [`syntax::Policy`] or every
//! [`SyntaxError`] found in it. A tree is never partial: a statement that could not be read never
//! just disappears, because a missing `deny` would widen access.
//!
//! In the order of the flow: `scan` cuts the text into statements, `tree` turns what pest matched
//! into the syntax tree (its literals are read by `literal`, failures are worded by `expected`), and
//! `format` prints a tree back with its comments.
#![forbid(unsafe_code)]

pub mod error;
mod expected;
pub mod format;
mod keyword;
mod layout;
mod literal;
mod look_alike;
mod matcher;
pub mod parse;
mod same_tree;
mod scan;
mod slip;
pub mod syntax;
mod tree;

pub use error::SyntaxError;
pub use format::format;
pub use parse::{parse, parse_question, parse_within};
pub use same_tree::same_tree;
