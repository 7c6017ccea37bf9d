//! The compiler: each stage is a pure function of the previous stage's result.
//!
//! ```text
//! source ─ load, parse ─▶ syntax tree ─ resolve (+ lock) ─▶ names replaced ─ check ─▶ no contradiction
//!                      ─ lower ─▶ image ─ prove ─▶ image that means the policy ─ sign ─▶ bundle
//! ```
//!
//! [`pipeline`] shows all stages on one screen. The folders are layers: a module may use only those that the list below
//! puts before it (`tests/arrows.rs`). Only [`source`], [`names::dns`] and the program `bfpc` (`src/bin/bfpc`) touch
//! files, sockets or the clock.
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
