//! The day on which rules are looked at: `until DATE` is compared with it, at the edge of the program.

use std::time::SystemTime;

use bfp_compiler::check::{self, CheckedPolicy, Expiring};
use bfp_compiler::diagnostics::findings::boxed;
use bfp_grammar::syntax::Date;
use clap::Args;

use crate::files::policy_files::Files;
use crate::{Diagnostics, Failure, in_sources};

/// The day that counts as today.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Today {
    /// The day that counts as today for rules with `until`, in UTC; by default this machine's clock says it
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
}

impl Today {
    /// Refuses a policy with rules that have expired, and warns of those that will soon.
    pub(crate) fn check(self, files: &Files, checked: &CheckedPolicy) -> Result<Diagnostics, Failure> {
        let Expiring { expired, soon } = check::expiring(checked, self.date());
        if !expired.is_empty() {
            return Err(files.show(boxed(expired)));
        }
        Ok(in_sources(boxed(soon), &files.file, &files.loaded.sources))
    }

    fn date(self) -> Date {
        self.today.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            // A clock before 1970 is wrong, and no rule has expired by it.
            Date::of_unix_time(now.map_or(0, |since| since.as_secs()))
        })
    }
}
