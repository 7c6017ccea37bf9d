//! The enforcer: a signed bundle enters, and the kernel enforces it.
//!
//! ```text
//! bytes ─ verify (bfp_bundle) ─▶ VerifiedBundle ─ admit ─▶ AdmittedBundle ─ apply ─▶ programs, maps and pins in the kernel
//! ```
//!
//! Directories are layers: a module uses those above it in this list, and none below (`tests/arrows.rs`).
//!
//! **Invariant:** no function here accepts bytes that [`bfp_bundle::verify`] has not verified. The BPF object comes as
//! an argument, so that this library builds without it.

/// Why a command fails: a message, the next action, and an exit code.
pub mod failure;

/// The host: its kernel, the layout of the kernel's structures, directories and symbolic links.
pub mod host;

/// Whether a verified bundle may follow what this host has accepted before: trusted keys, tags, rollback state.
pub mod admit;

/// What is in the kernel: programs, tables, pins, and the record of the enforced policy.
pub mod kernel;

/// Puts a verified and admitted bundle in force in one order of steps, and updates the rollback state.
pub mod apply;

/// Reports for operators: status, events, doctor; and the wait for symbolic links that change.
pub mod report;
