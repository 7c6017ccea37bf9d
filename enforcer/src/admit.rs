//! From a verified bundle to one that may follow what this host has accepted.
//!
//! Enters: a bundle that [`bfp_bundle::verify`] passed, the host's trusted keys and tags, and its rollback state. Leaves: an
//! [`admission::AdmittedBundle`], which alone can be applied.

pub mod input;

pub mod trust;

pub mod labels;

pub mod admission;

pub(crate) mod fields;

pub mod state;
