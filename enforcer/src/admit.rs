//! From a verified bundle to one that this host may enforce.
//!
//! Enters: a bundle that [`bfp_bundle::verify`] passed, the host's trust set and tags, and its rollback state. Leaves:
//! an [`AdmittedBundle`](crate::admit::admission::AdmittedBundle), the only type that can be applied.

pub mod input;

pub mod trust;

pub mod host_tags;

pub mod admission;

pub(crate) mod fields;

pub mod state;
