//! The compiler: each stage is a pure function of what the stage before it made.
//!
//! ```text
//! source ─ load, parse ─▶ syntax tree ─ resolve (+ lock) ─▶ names replaced ─ check ─▶ no contradiction
//!                      ─ lower ─▶ image ─ prove ─▶ image that means the policy ─ sign ─▶ bundle
//! ```
//!
//! [`pipeline`] shows them on one screen. Folders are floors: a module uses those above it in this list, and none below
//! (`tests/arrows.rs`). Files, sockets and the clock are touched in [`source`], in [`names::dns`] and in the program
//! `bfpc` (`src/bin/bfpc`), and nowhere else.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod diagnostics;

#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "files are read here, with bounds"))]
pub mod source;

pub mod names;

pub mod policy;

pub mod resolve;

pub mod check;

pub mod lower;

pub mod prove;

pub mod query;

pub mod annotate;

pub mod pipeline;
