//! The enforcer: a signed bundle enters, and the kernel enforces it.
//!
//! ```text
//! bytes ─ verify (bfp_bundle) ─▶ VerifiedBundle ─ admit ─▶ AdmittedBundle ─ apply ─▶ programs, maps and pins in the kernel
//! ```
//!
//! Folders are floors: a module uses those above it in this list, and none below (`tests/arrows.rs`).
//!
//! **Invariant:** nothing here takes bytes that [`bfp_bundle::verify`] has not passed, and the programs
//! for the kernel come as an argument, so that this library builds without them.

/// What the host is and offers: its kernel, the layout of the kernel's structures, folders and symbolic links.
pub mod host;

/// Whether a verified bundle may follow what this host has accepted before: trusted keys, tags, rollback state.
pub mod admit;

/// What is in the kernel: programs, tables, pins, and what is written down about them.
pub mod kernel;

/// A verified and admitted bundle, put in force in one order of steps, and what the host remembers of it.
pub mod apply;

/// What operators read: status, events, the doctor's examination; and the wait for symbolic links that change.
pub mod report;
