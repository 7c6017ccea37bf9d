//! The compiler, one file for a stage, each a pure function of what the stage before it made:
//!
//! ```text
//! source ─ bfp_grammar::parse ─▶ syntax tree ─ resolve ─▶ names replaced ─ check ─▶ free of contradiction
//!        (+ lock, filled by dns)                                             ─ lower ─▶ image ─ sign ─▶ bundle
//! ```
//!
//! Files, sockets and the clock are touched in `dns` and in the program `bfpc` alone.
#![forbid(unsafe_code)]

pub mod dns_name;

pub mod lock;

pub mod policy;

pub mod lower;

pub mod model;
