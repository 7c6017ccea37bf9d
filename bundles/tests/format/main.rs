//! The format of what is signed: docs/format.md and fixtures/bundles against the verifier, and the verifier
//! against everything that can happen to a file.
#![cfg(feature = "sign")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod made;

mod vector;

mod vectors;

mod verify;

mod exhaustive;

mod page;
