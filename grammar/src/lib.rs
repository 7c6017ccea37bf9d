//! The bfp policy language: text → syntax tree → text.
//!
//! Enters: the text of one file. Leaves: either its whole [`syntax::Policy`] or every [`SyntaxError`] in it. A tree is
//! never partial: skipping an unreadable statement could drop a `deny`, and so widen access.
//!
//! In the order of the flow: `scan` cuts the text into statements, `tree` turns pest's matches into the syntax tree
//! (`literal` reads its literals, `expected` words the failures), and `format` prints a tree back with its comments.
#![forbid(unsafe_code)]

pub mod date;
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
pub use expected::usual_port;
pub use format::format;
pub use parse::{parse, parse_destinations, parse_within};
pub use same_tree::same_tree;
