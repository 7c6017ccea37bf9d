//! Why a guest has no outcome.
//!
//! Always: the text is complete in itself, and if a kernel had started, the end of its console follows.

use std::{error::Error, fmt, io, path::Path, time::Duration};

/// Why a guest has no outcome.
#[derive(Debug)]
pub enum Failure {
    /// The guest did not start: something on the host is missing or failed.
    Host(String),
    /// The guest was stopped at its time limit.
    TooSlow {
        /// The limit.
        limit: Duration,
        /// What the kernel had printed.
        console: String,
    },
    /// The guest ended before its command did.
    Broken {
        /// What the kernel had printed.
        console: String,
    },
}

impl Failure {
    pub(crate) fn host(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::Host(format!("{what}: {cause}"))
    }

    /// For `map_err`: what was being done to which path when the host failed.
    pub(crate) fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {doing} `{}`", path.display());
        move |cause| Self::host(what, cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let console = match self {
            Self::Host(what) => return f.write_str(what),
            Self::TooSlow { limit, console } => {
                write!(f, "the guest was stopped after {:.1} s", limit.as_secs_f64())?;
                console
            }
            Self::Broken { console } => {
                f.write_str("the guest ended before its command did")?;
                console
            }
        };
        let lines: Vec<&str> = console.lines().collect();
        if lines.is_empty() {
            return f.write_str("; the kernel printed nothing");
        }
        f.write_str("; the kernel's last lines:")?;
        for line in lines.iter().skip(lines.len().saturating_sub(40)) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl Error for Failure {}
