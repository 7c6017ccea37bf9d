//! The language, seen from outside: what parses, what is refused and how, what the canonical text is.
//!
//! Snapshots show the source first. After a change, run with `INSTA_UPDATE=always` and read what
//! changed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod canonical;
mod forms;
mod mistakes;
mod properties;
mod rendered;
