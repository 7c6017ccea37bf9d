//! Why a lock file is refused: one [`LockFault`] for each place, gathered in one [`LockError`].
//!
//! Spans are byte offsets into the text that was given to `Lock::parse`; whoever reports the error
//! attaches the text and its path with `miette::Report::with_source_code`.

use miette::{Diagnostic, SourceSpan};
use thiserror::Error;

use crate::names::dns_name::NameError;
use crate::names::lock::LOCK_VERSION;

/// A lock file that cannot be used, and every reason that was found.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[error("the lock file cannot be used")]
#[diagnostic(code(lock::unusable), help("restore the committed lock file, or resolve again with `bfpc lock FILE`"))]
pub struct LockError {
    /// In the order of the text; never empty.
    #[related]
    pub faults: Vec<LockFault>,
}

/// One thing that is wrong with a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[expect(missing_docs, reason = "the message of each variant is its documentation")]
pub enum LockFault {
    #[error("the lock file is not TOML: {reason}")]
    #[diagnostic(
        code(lock::syntax),
        help("a merge may have left its markers here: resolve again with `bfpc lock FILE`")
    )]
    Syntax {
        reason: String,
        #[label("here")]
        at: Option<SourceSpan>,
    },

    #[error("the file is not a lock file: it has no `version`, and no table of a name or a list")]
    #[diagnostic(
        code(lock::not_a_lock),
        help("check the file, or the target if it is a link; move it away, and run `bfpc lock FILE`")
    )]
    NotALock,

    #[error("the digest of `{path}` is not a SHA-256")]
    #[diagnostic(code(lock::invalid_digest), help("resolve again with `bfpc lock FILE`"))]
    InvalidDigest {
        path: String,
        #[label("not 64 hexadecimal digits in lower case")]
        at: SourceSpan,
    },

    #[error("the file `{path}` is listed twice in the lock file")]
    #[diagnostic(code(lock::duplicate_file), help("resolve again with `bfpc lock FILE`"))]
    DuplicateFile {
        path: String,
        #[label("the second time")]
        at: SourceSpan,
    },

    #[error("the lock file does not say completely from where `{path}` was fetched")]
    #[diagnostic(
        code(lock::invalid_fetched),
        help("fetch it again with `bfpc fetch FILE`, which writes `url`, `bytes` and `fetched_at`")
    )]
    InvalidFetched {
        path: String,
        #[label("lacks `url`, `bytes` or `fetched_at`")]
        at: SourceSpan,
    },

    #[error("the lock file has no `version`")]
    #[diagnostic(
        code(lock::no_version),
        help("restore the line `version = {LOCK_VERSION}`, or resolve again with `bfpc lock FILE`")
    )]
    NoVersion,

    #[error("the lock file has version {found}, and this compiler reads version {LOCK_VERSION}")]
    #[diagnostic(
        code(lock::unknown_version),
        help("use the version of bfpc that wrote it, or resolve again with `bfpc lock FILE`")
    )]
    UnknownVersion {
        found: String,
        #[label("unknown version")]
        at: SourceSpan,
    },

    #[error("the lock file has version 1, which does not record which addresses rotate")]
    #[diagnostic(
        code(lock::old_version),
        help("run `bfpc lock FILE`: it resolves every name again, and writes version {LOCK_VERSION}")
    )]
    OldVersion {
        #[label("an old version")]
        at: SourceSpan,
    },

    #[error("{reason}")]
    #[diagnostic(code(lock::shape), help("resolve again with `bfpc lock FILE` instead of editing the lock file"))]
    Shape {
        reason: String,
        #[label("here")]
        at: Option<SourceSpan>,
    },

    #[error("`name` is not a DNS name: {reason}")]
    #[diagnostic(code(lock::invalid_name), help("write the name as the policy does"))]
    InvalidName {
        reason: NameError,
        #[label("not a name")]
        at: SourceSpan,
    },

    #[error("`name` is written `{written}` and must be `{canonical}`")]
    #[diagnostic(
        code(lock::name_not_canonical),
        help("write lower case, A-labels and no final dot, so that each name has one form")
    )]
    NameNotCanonical {
        written: String,
        canonical: String,
        #[label("not the canonical form")]
        at: SourceSpan,
    },

    #[error("`{name}` is locked twice")]
    #[diagnostic(
        code(lock::duplicate_name),
        help("keep one of the two tables, or resolve again with `bfpc lock FILE`")
    )]
    DuplicateName {
        name: String,
        #[label("first locked here")]
        first: SourceSpan,
        #[label("and again here")]
        again: SourceSpan,
    },

    #[error("`addresses` of `{name}` is empty")]
    #[diagnostic(code(lock::no_addresses), help("resolve again with `bfpc lock FILE`, or remove the table"))]
    NoAddresses {
        name: String,
        #[label("no address")]
        at: SourceSpan,
    },

    #[error("`{written}` in `addresses` of `{name}` is not an address")]
    #[diagnostic(code(lock::invalid_address), help("write an IPv4 or IPv6 address without port, prefix or zone"))]
    InvalidAddress {
        name: String,
        written: String,
        #[label("not an address")]
        at: SourceSpan,
    },

    #[error("`{written}` in `addresses` of `{name}` must be written `{canonical}`")]
    #[diagnostic(
        code(lock::address_not_canonical),
        help("write the canonical form, so that equal answers have equal bytes")
    )]
    AddressNotCanonical {
        name: String,
        written: String,
        canonical: String,
        #[label("not the canonical form")]
        at: SourceSpan,
    },

    #[error("`{written}` is listed twice in `addresses` of `{name}`")]
    #[diagnostic(code(lock::duplicate_address), help("remove one of the two"))]
    DuplicateAddress {
        name: String,
        written: String,
        #[label("already listed")]
        at: SourceSpan,
    },

    #[error("`{name}` has IPv6 addresses, but `ipv4_only` is set")]
    #[diagnostic(
        code(lock::not_ipv4_only),
        help("remove the line `ipv4_only`, and resolve again with `bfpc lock FILE --update {name}`")
    )]
    NotIpv4Only {
        name: String,
        #[label("set here")]
        at: SourceSpan,
    },

    #[error("`cname` of `{name}` has an invalid entry: {reason}")]
    #[diagnostic(code(lock::invalid_cname), help("resolve again with `bfpc lock FILE`"))]
    InvalidCname {
        name: String,
        reason: NameError,
        #[label("not a name")]
        at: SourceSpan,
    },

    #[error("`{key}` of `{name}` has the unknown value `{written}`")]
    #[diagnostic(code(lock::unknown_word), help("write {expected}, or resolve again with `bfpc lock FILE`"))]
    UnknownWord {
        key: &'static str,
        name: String,
        written: String,
        expected: String,
        #[label("unknown value")]
        at: SourceSpan,
    },

    #[error("`{key}` of `{name}` is not a time: `{written}`")]
    #[diagnostic(code(lock::invalid_time), help("write it in UTC to the second, such as `2026-07-14T09:30:00Z`"))]
    InvalidTime {
        key: &'static str,
        name: String,
        written: String,
        #[label("not a time in UTC")]
        at: SourceSpan,
    },

    #[error("`seen` of `{name}` has `{written}`, {reason}")]
    #[diagnostic(
        code(lock::invalid_seen),
        help("remove the record of the address, or resolve again with `bfpc lock FILE`")
    )]
    InvalidSeen {
        name: String,
        written: String,
        reason: &'static str,
        #[label("not a record of an address")]
        at: SourceSpan,
    },
}
