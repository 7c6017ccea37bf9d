//! Keys, signatures and signed documents: bundles, trust sets, tokens.

pub(crate) mod key_file;
pub(crate) mod passphrase;
pub(crate) mod permissions;
pub(crate) mod refusal;
pub(crate) mod signed_document;
pub(crate) mod trust;
pub(crate) mod validity;
pub(crate) mod verified;
