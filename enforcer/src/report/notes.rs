//! What the authors of rules wrote about them: the enforced bundle on disk → an owner and a ticket for each rule.
//!
//! Nothing depends on it. Without a usable bundle, no rule has notes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bfp_bundle::debug::DebugNotes;
use bfp_bundle::manifest::Need;

use crate::admit::state;
use crate::kernel::about::About;
use crate::kernel::enforced_bundle::EnforcedBundle;
use crate::report::json::quote;
use crate::report::shown::shown;

/// The longest note that a line of text shows, in characters.
const LONGEST: usize = 200;

/// The notes of the rules of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(BTreeMap<u32, DebugNotes>);

impl Notes {
    /// Those of these rules.
    pub fn new(notes: impl IntoIterator<Item = DebugNotes>) -> Notes {
        Notes(notes.into_iter().map(|notes| (notes.rule, notes)).collect())
    }

    /// Those of the enforced policy, by the bundle that this host keeps.
    pub fn kept(state: &Path, about: &About, capabilities: &[Need]) -> Notes {
        let Ok(bytes) = state::kept_bundle(state, &about.manifest_digest) else { return Notes::default() };
        let Ok(enforced) = EnforcedBundle::verify(&bytes, about, capabilities) else { return Notes::default() };
        Notes::new(enforced.bundle().debug().map(|debug| debug.notes).unwrap_or_default())
    }

    /// Those of a rule, if it has any.
    pub fn of(&self, rule: u32) -> Option<&DebugNotes> {
        self.0.get(&rule)
    }
}

/// `until 2027-01-31, owner "payments", ticket "SEC-12"`, on one line; without the reason, which can be long.
pub fn to_text(notes: &DebugNotes) -> String {
    let quoted = |text: &Option<String>| {
        let text: String = shown(text.as_deref()?).chars().take(LONGEST).collect();
        Some(format!("\"{text}\""))
    };
    let parts = [
        ("until", notes.until.as_deref().map(shown)),
        ("owner", quoted(&notes.owner)),
        ("ticket", quoted(&notes.ticket)),
    ];
    let parts = parts.into_iter().filter_map(|(word, text)| Some(format!("{word} {}", text?)));
    parts.collect::<Vec<_>>().join(", ")
}

/// Members of an object of JSON, each after a comma.
pub fn push_json(text: &mut String, notes: &DebugNotes) {
    let members =
        [("until", &notes.until), ("owner", &notes.owner), ("ticket", &notes.ticket), ("because", &notes.reason)];
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        // Writing to a string cannot fail.
        let _ = write!(text, ",\"{name}\":");
        quote(text, value);
    }
}
