//! Whether anybody can register a name below another one, by the public suffix list.
//!
//! A crate of its own, for the list is thousands of generic functions: whichever crate asks it compiles them all, each
//! time that it is built.

/// Whether a name is itself a public suffix, such as `com` or `s3.amazonaws.com`. A name of one label is an internal one
/// more often than a top-level domain, and only a listed one counts.
#[must_use]
pub fn is_public_suffix(name: &str) -> bool {
    psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known() && suffix.as_bytes() == name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::is_public_suffix;

    #[test]
    fn suffixes_are_told_from_what_is_registered_below_them() {
        for suffix in ["com", "co.uk", "github.io", "s3.amazonaws.com"] {
            assert!(is_public_suffix(suffix), "{suffix}");
        }
        for name in ["example.com", "bucket.s3.amazonaws.com", "internal", "kms.internal"] {
            assert!(!is_public_suffix(name), "{name}");
        }
    }
}
