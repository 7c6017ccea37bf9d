//! What every kind of inspected document says in the same words.

/// The version of the JSON; it rises when a field changes its meaning.
pub(crate) const VERSION: u32 = 1;

/// Before what nobody vouches for,
pub(crate) const UNVERIFIED: &str =
    "NOT VERIFIED: no signature was checked, and anyone could have written what follows.";
/// and behind it.
pub(crate) const STILL_UNVERIFIED: &str = "NOT VERIFIED: add `--trust KEY` to check who signed it.";

/// Digests and the like.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
