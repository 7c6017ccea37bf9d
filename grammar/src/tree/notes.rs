//! What follows a rule: `until DATE owner "…" ticket "…" because "…"`.

use super::{Pair, Reader};
use crate::error::SyntaxError;
use crate::matcher::Rule;
use crate::syntax::{Notes, Quoted, Spanned};

impl Reader<'_> {
    /// Adds one note to those before it; `None` where one of them has an error.
    pub(super) fn note(&mut self, pair: Pair<'_>, before: Option<Notes>) -> Option<Notes> {
        let rule = pair.as_rule();
        let part = pair.into_inner().find(|part| matches!(part.as_rule(), Rule::date | Rule::quoted))?;
        if rule == Rule::until {
            let (span, written) = (self.span(&part), part.as_str().to_owned());
            let date = written.parse().map_err(|_| SyntaxError::BadDate { written, span });
            let until = Some(Spanned { node: self.keep(date)?, span });
            return before.map(|notes| Notes { until, ..notes });
        }
        let text = self.quoted(part)?;
        Some(match rule {
            Rule::owner => Notes { owner: Some(self.not_empty("owner", text)?), ..before? },
            Rule::ticket => Notes { ticket: Some(self.not_empty("ticket", text)?), ..before? },
            _ => Notes { reason: Some(self.not_empty("reason", text)?), ..before? },
        })
    }

    pub(super) fn not_empty(&mut self, what: &'static str, text: Quoted) -> Option<Quoted> {
        if !text.node.trim().is_empty() {
            return Some(text);
        }
        let help = match what {
            "reason" => "state why it is intended, for the reviewers of the policy",
            "owner" => "name those who answer for the rule, or remove `owner`",
            _ => "name the ticket, or remove `ticket`",
        };
        self.refuse(SyntaxError::NoReason { what, help, span: text.span })
    }
}
