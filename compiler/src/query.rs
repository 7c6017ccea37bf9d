//! Questions to a compiled policy: what it allows, why, and what changed.
//!
//! [`regions`] divides the requests into finitely many, [`compiled`] answers for one of them; the others ask for many
//! and find words for the answers. Nothing here changes what is compiled.

pub mod regions;

pub mod compiled;

pub mod describe;

pub mod question;

pub mod expectations;

pub mod difference;

pub mod drawing;

pub mod xml;
