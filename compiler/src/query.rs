//! Questions to a compiled policy: what it allows, why, and what changed.
//!
//! [`regions`] divides the requests into finitely many, and [`queryable`] judges one of them. The other modules judge
//! many and put the answers into words. Nothing here changes the compiled policy.

pub mod regions;

pub mod queryable;

pub mod describe;

pub mod question;

pub mod expectations;

pub mod difference;

pub mod note_changes;

pub mod drawing;

pub mod xml;
