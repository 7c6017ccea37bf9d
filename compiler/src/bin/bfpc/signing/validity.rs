//! When and where a document is valid: times as a person writes them, and the labels of hosts.

use bfp_bundle::manifest::MAX_AUDIENCE;
use miette::Diagnostic;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum ValidityError {
    #[error("`{written}` is not a time")]
    #[diagnostic(code(build::time), help("write it as in `2027-01-31T00:00:00Z`"))]
    Time { written: String },
    #[error("a document that expires at {expires} is never valid: hosts reject it before {not_before}")]
    #[diagnostic(code(build::never_valid), help("set `--expires` later than `--not-before`"))]
    NeverValid { not_before: String, expires: String },
    #[error("the expiry time {expires} has passed: it is {now}")]
    #[diagnostic(
        code(build::expired),
        help("set `--expires` in the future, or check this machine's clock: every host would reject it")
    )]
    Expired { expires: String, now: String },
    #[error("{found} host tags are more than the {MAX_AUDIENCE} that fit")]
    #[diagnostic(code(build::audience), help("give the hosts a tag in common, and name that with `--audience`"))]
    Audience { found: usize },
}

/// Refuses what no time is right for, and a list of labels that no host reads.
pub(crate) fn check(not_before: Option<u64>, expires: Option<u64>, audience: &[String]) -> Result<(), ValidityError> {
    match (not_before, expires) {
        (Some(opens), Some(closes)) if closes <= opens => {
            Err(ValidityError::NeverValid { not_before: time(opens), expires: time(closes) })
        }
        (_, Some(closes)) if closes <= now() => Err(ValidityError::Expired { expires: time(closes), now: time(now()) }),
        _ if audience.len() > MAX_AUDIENCE => Err(ValidityError::Audience { found: audience.len() }),
        _ => Ok(()),
    }
}

/// Seconds since 1970-01-01 UTC.
pub(crate) fn seconds(written: &str) -> Result<u64, ValidityError> {
    let time = OffsetDateTime::parse(written, &Rfc3339).ok();
    time.and_then(|time| u64::try_from(time.unix_timestamp()).ok())
        .ok_or_else(|| ValidityError::Time { written: written.to_owned() })
}

/// The same as a person writes them.
pub(crate) fn time(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    moment.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Now.
pub(crate) fn now() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0)
}
