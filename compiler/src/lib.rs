//! The compiler, one file for a stage, each a pure function of what the stage before it made:
//!
//! ```text
//! source ─ load, parse ─▶ syntax tree ─ resolve (+ lock) ─▶ names replaced ─ check ─▶ no contradiction
//!                      ─ lower ─▶ image ─ prove ─▶ image that means the policy ─ sign ─▶ bundle
//! ```
//!
//! What was compiled can be asked: [`regions`] cuts the requests into finitely many, [`compiled`] answers for
//! one, [`question`], [`expectations`], [`difference`] and [`drawing`] ask for many, [`describe`] finds words.
//!
//! [`pipeline`] shows them on one screen. Files, sockets and the clock are touched in [`source`] for [`load`], in
//! [`dns`] and in the program `bfpc`, and nowhere else.
#![forbid(unsafe_code)]

pub mod pipeline;

pub mod findings;

pub mod source;

pub mod source_map;

pub mod fs_verity;

pub mod load;

pub mod dns_name;

pub mod dns;

pub mod lock;

pub mod policy;

pub mod program_text;

pub mod resolve;

pub mod check;

pub mod lower;

pub mod prove;

pub mod model;

pub mod regions;

pub mod compiled;

pub mod describe;

pub mod question;

pub mod expectations;

pub mod difference;

pub mod drawing;

pub mod error_page;

mod nearest;

pub mod xml;

mod hash;
