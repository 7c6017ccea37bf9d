//! What is enforced, in words and as JSON.

use std::fmt::Write;
use std::io;
use std::path::Path;

use aya::maps::{Map, MapData, MapError, PerCpuArray};

use bfp_bundle::counter::COUNTERS;
use bfp_bundle::manifest::{Need, Parameter};
use bfp_bundle::verify::TrustSet;
use bfp_bundle::verify::refusal::Utc;

use crate::admit::state;
use crate::failure::{Actionable, Failure};
use crate::host::followed;
use crate::host::followed::FollowedLink;
use crate::kernel::about::About;
use crate::kernel::health::{self, Attached, Kept, NamedPath, Presence};
use crate::kernel::lockdown;
use crate::kernel::pins::Pins;
use crate::report::json::quote;
use crate::report::notes;
use crate::report::shown::shown;

/// The name and the meaning of each counter, by its index ([`bfp_bundle::counter`]).
pub(crate) const REASONS: [(&str, &str); COUNTERS as usize] = [
    ("default", "allowed: no rule refuses"),
    ("granted", "allowed by a rule"),
    ("denied", "refused by `deny`"),
    ("exclusive", "refused: only other programs may"),
    ("confined", "refused: outside of what a program is confined to"),
    ("not_granted", "refused: no rule grants it"),
    ("overflow", "refused: started by too many restricted programs"),
    ("fault", "refused: a table could not be read"),
    ("audited", "allowed, and an `audit` rule would refuse it (counted above too)"),
    ("dropped", "packets whose destination differs from the judged one"),
    ("lost", "events that were not read in time"),
    ("held", "events suppressed: many alike, or many of one process"),
];

/// Why the status cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum StatusError {
    #[error("the verdict counters cannot be read: {0}")]
    Counters(#[from] MapError),
    #[error("the kernel does not list its BPF links: {0}")]
    Links(io::Error),
}

impl Actionable for StatusError {
    fn help(&self) -> &'static str {
        "check that this process runs as root"
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is enforced; `None` for nothing.
    pub enforced: Option<Enforced>,
    /// The condition of the record on disk, as a word of [`state::Condition::word`].
    pub record: &'static str,
    /// Why less is enforced than was applied, or not what this host has on record.
    pub degraded: Vec<String>,
    /// The time of the question, in seconds since 1970-01-01 UTC.
    pub now: u64,
}

/// What is enforced now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// The policy.
    pub about: About,
    /// Whether it is under lockdown.
    pub is_under_lockdown: bool,
    /// Verdicts by reason; as many as the release that applied it counts.
    pub verdicts: Vec<u64>,
    /// The links in the kernel.
    pub attached: Attached,
    /// What the bundle on disk says of it; `None` if it cannot be used.
    pub kept: Option<Kept>,
}

impl Status {
    /// Whether a policy is enforced, and all of it.
    pub fn is_well(&self) -> bool {
        self.enforced.is_some() && self.degraded.is_empty()
    }
}

/// Queries the kernel and reads the disk. `capabilities` is what these programs can enforce.
pub fn read(folder: &Path, capabilities: &[Need], now: u64) -> Result<Status, Failure> {
    let mut degraded = Vec::new();
    let record = match state::read(folder) {
        Ok(found) => {
            degraded.extend(found.condition.words());
            found.condition.word()
        }
        Err(error) => {
            degraded.push(error.to_string());
            "unusable"
        }
    };
    let pins = Pins::find()?;
    let generation = pins.as_ref().map(Pins::newest).transpose()?.flatten();
    let enforced =
        generation.map(|generation| enforced(&generation, folder, capabilities, &mut degraded)).transpose()?;
    degraded.extend(health::strays(pins.as_ref()).map_err(StatusError::Links)?);
    Ok(Status { enforced, record, degraded, now })
}

fn enforced(
    generation: &Path,
    folder: &Path,
    capabilities: &[Need],
    degraded: &mut Vec<String>,
) -> Result<Enforced, Failure> {
    let about = About::read(&generation.join("about"))?;
    let verdicts = verdicts(&generation.join("verdicts"))?;
    let attached = health::attached(generation, &about)?;
    degraded.extend(attached.faults.iter().cloned());
    for (link, now) in followed::changed(&about.links) {
        let now = now.map_or("nowhere".to_owned(), |now| format!("to `{}`", now.display()));
        degraded.push(format!("`{}` leads {now} now, and not to `{}`: apply the policy again", link.link, link.target));
    }
    let kept = match health::kept(folder, &about, capabilities) {
        Ok(kept) => Some(kept),
        Err(error) => {
            degraded.push(format!(
                "the paths that the policy names are unknown, because the good bundle on disk cannot be used: {error}"
            ));
            None
        }
    };
    // The release before links were written down followed them all.
    let follows = !about.enforcer_version.is_empty();
    for NamedPath { path, presence, .. } in kept.iter().flat_map(|kept| &kept.paths) {
        let is_less = match presence {
            Presence::OtherContent | Presence::NotHere => true,
            Presence::Elsewhere(_) => follows,
            _ => false,
        };
        if is_less {
            degraded.push(format!("`{path}`: {}", presence.words()));
        }
    }
    Ok(Enforced { is_under_lockdown: lockdown::is_active(generation)?, about, verdicts, attached, kept })
}

/// The verdicts by reason.
fn verdicts(pin: &Path) -> Result<Vec<u64>, StatusError> {
    let counters = PerCpuArray::<MapData, u64>::try_from(Map::from_map_data(MapData::from_pin(pin)?)?)?;
    let count = counters.len().min(REASONS.len() as u32);
    (0..count).map(|index| Ok(counters.get(&index, 0)?.iter().sum())).collect()
}

/// Of more paths than this, only those that are not bound are listed.
const MANY: usize = 40;

/// As text.
pub fn to_text(status: &Status) -> String {
    let mut text = String::new();
    match &status.enforced {
        Some(enforced) => enforced_to_text(&mut text, enforced, status),
        None => {
            text.push_str("nothing is enforced\n");
            degraded_to_text(&mut text, status);
        }
    }
    text
}

fn degraded_to_text(text: &mut String, status: &Status) {
    for (index, reason) in status.degraded.iter().enumerate() {
        let name = if index == 0 { "degraded" } else { "" };
        let _ = writeln!(text, "{name:<10}{}", shown(reason));
    }
}

fn enforced_to_text(text: &mut String, enforced: &Enforced, status: &Status) {
    let Enforced { about, is_under_lockdown, verdicts, attached, kept } = enforced;
    let now = status.now;
    let lockdown = if *is_under_lockdown { "yes: removal requires a signed release token" } else { "no" };
    let expiry = match about.expires {
        None => "never".to_owned(),
        Some(expires) if about.has_expired(now) => format!("{}: it has expired, and stays enforced", Utc(expires)),
        Some(expires) => Utc(expires).to_string(),
    };
    let enforcer = match about.enforcer_version.as_str() {
        "" => "an earlier release".to_owned(),
        version => shown(version),
    };
    for (name, value) in [
        ("policy", shown(&about.policy)),
        ("revision", about.revision.to_string()),
        ("manifest", format!("sha256:{}", hex(&about.manifest_digest))),
        ("applied", format!("{} by {enforcer}", Utc(about.applied_at))),
        ("expires", expiry),
        ("lockdown", lockdown.to_owned()),
        ("trust", trusted(about)),
        ("attached", format!("{} of {} links", attached.found, attached.expected)),
        ("record", status.record.replace('_', " ")),
    ] {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    if let Some(Kept { rules, audited, .. }) = kept
        && *audited > 0
    {
        let _ =
            writeln!(text, "audited   {audited} of {rules} rules: they report what they would deny, and deny nothing");
    }
    for parameter in kept.iter().flat_map(|kept| &kept.parameters) {
        let _ = writeln!(text, "{:<10}{}", "value", shown(&parameter.to_string()));
    }
    let noted = kept.iter().flat_map(|kept| &kept.notes).filter(|notes| !notes::to_text(notes).is_empty());
    for (index, notes) in noted.take(MANY).enumerate() {
        let name = if index == 0 { "notes" } else { "" };
        let _ = writeln!(text, "{name:<10}rule {}: {}", u64::from(notes.rule) + 1, notes::to_text(notes));
    }
    if about.adopted_running {
        let _ = writeln!(text, "{:<10}processes that ran before it hold grants: `--adopt-running`", "adopted");
    }
    degraded_to_text(text, status);
    for FollowedLink { link, target } in &about.links {
        let _ = writeln!(text, "{:<10}{} to {}", "followed", shown(link), shown(target));
    }
    for FollowedLink { link, target } in &about.earlier {
        let _ = writeln!(text, "{:<10}{} by {}, restricted", "before", shown(target), shown(link));
    }
    if let Some(Kept { paths, .. }) = kept {
        let bound = paths.iter().filter(|path| path.presence == Presence::Bound).count();
        let _ = writeln!(text, "programs  {bound} of {} paths bound", paths.len());
        for NamedPath { path, library_of, presence } in paths {
            if paths.len() <= MANY || *presence != Presence::Bound {
                let of = library_of.as_ref().map_or(String::new(), |program| format!(" for {}", shown(program)));
                let _ = writeln!(text, "  {}{of}: {}", shown(path), shown(&presence.words()));
            }
        }
    }
    let _ = writeln!(text, "verdicts");
    for ((name, meaning), count) in REASONS.iter().zip(verdicts) {
        let _ = writeln!(text, "  {name:<13}{count:>12}  {meaning}");
    }
}

/// The host's threshold and keys when the policy was applied.
fn trusted(about: &About) -> String {
    let TrustSet { version, threshold, keys, .. } = &about.trust;
    let origin = if *version == 0 { "the administrator's keys".to_owned() } else { format!("trust set {version}") };
    format!("{threshold} of {} signatures by {origin}", keys.len())
}

/// As one line of JSON. `version` grows when a field changes its meaning or is removed.
pub fn to_json(status: &Status) -> String {
    let mut text = String::from("{\"version\":1,\"enforced\":");
    let Some(Enforced { about, is_under_lockdown, verdicts, attached, kept }) = &status.enforced else {
        text.push_str("false,\"message\":\"nothing is enforced\"");
        push_state(&mut text, status);
        text.push_str("}\n");
        return text;
    };
    text.push_str("true,\"policy\":");
    quote(&mut text, &about.policy);
    let expires = about.expires.map_or("null".to_owned(), |time| time.to_string());
    let _ = write!(
        text,
        ",\"revision\":{},\"manifest_sha256\":\"{}\",\"applied_at\":{},\"expires\":{expires},\"expired\":{},\"lockdown\":{is_under_lockdown},\"trust\":{{\"version\":{},\"threshold\":{},\"keys\":{}}},\"enforcer\":",
        about.revision,
        hex(&about.manifest_digest),
        about.applied_at,
        about.has_expired(status.now),
        about.trust.version,
        about.trust.threshold,
        about.trust.keys.len()
    );
    quote(&mut text, &about.enforcer_version);
    let _ = write!(
        text,
        ",\"adopted_running\":{},\"links\":{{\"expected\":{},\"attached\":{}}}",
        about.adopted_running, attached.expected, attached.found
    );
    push_state(&mut text, status);
    for (name, links) in [("followed", &about.links), ("followed_before", &about.earlier)] {
        push_list(&mut text, name, links.iter(), |text, FollowedLink { link, target }| {
            push_object(text, &[("link", Some(link)), ("target", Some(target))]);
        });
    }
    match kept {
        None => text.push_str(",\"rules\":null,\"programs\":null"),
        Some(Kept { paths, rules, audited, notes, parameters }) => {
            if !parameters.is_empty() {
                push_list(&mut text, "parameters", parameters.iter(), |text, Parameter { name, value }| {
                    push_object(text, &[("name", Some(name)), ("value", Some(value))]);
                });
            }
            let _ = write!(text, ",\"rules\":{{\"count\":{rules},\"audited\":{audited}}}");
            if !notes.is_empty() {
                push_list(&mut text, "notes", notes.iter(), |text, notes| {
                    let _ = write!(text, "{{\"rule\":{}", u64::from(notes.rule) + 1);
                    notes::push_json(text, notes);
                    text.push('}');
                });
            }
            push_list(&mut text, "programs", paths.iter(), |text, NamedPath { path, library_of, presence }| {
                let target = match presence {
                    Presence::Link(target) | Presence::Elsewhere(target) => Some(target.to_string_lossy().into_owned()),
                    _ => None,
                };
                let state = Some(presence.word().to_owned());
                push_object(
                    text,
                    &[
                        ("path", Some(path)),
                        ("library_of", library_of.as_ref()),
                        ("state", state.as_ref()),
                        ("target", target.as_ref()),
                    ],
                );
            })
        }
    }
    text.push_str(",\"verdicts\":{");
    for (index, ((name, _), count)) in REASONS.iter().zip(verdicts).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\"{name}\":{count}");
    }
    text.push_str("}}\n");
    text
}

fn push_state(text: &mut String, status: &Status) {
    let _ = write!(text, ",\"record\":\"{}\"", status.record);
    push_list(text, "degraded", status.degraded.iter(), |text, reason| quote(text, reason));
}

fn push_list<T>(text: &mut String, name: &str, items: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) {
    let _ = write!(text, ",\"{name}\":[");
    for (index, item) in items.enumerate() {
        if index > 0 {
            text.push(',');
        }
        push(text, item);
    }
    text.push(']');
}

/// An object of the members that have a value.
fn push_object(text: &mut String, members: &[(&str, Option<&String>)]) {
    let mut separator = '{';
    for (name, value) in members.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        let _ = write!(text, "{separator}\"{name}\":");
        quote(text, value);
        separator = ',';
    }
    text.push('}');
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::kernel::about::tests::about;
    use bfp_bundle::counter;
    use bfp_bundle::debug::DebugNotes;
    use bfp_bundle::decide::Reason;
    use std::path::PathBuf;

    #[test]
    fn counters_have_the_names_of_what_is_counted() {
        let named = |index: u32| REASONS.get(index as usize).unwrap().0;
        for (reason, name) in [(Reason::Default, "default"), (Reason::Exclusive, "exclusive"), (Reason::Fault, "fault")]
        {
            assert_eq!(named(reason as u32), name);
        }
        let others = [counter::AUDITED, counter::DROPPED, counter::LOST, counter::HELD];
        assert_eq!(others.map(named), ["audited", "dropped", "lost", "held"]);
    }

    fn status(expires: Option<u64>) -> Status {
        let about = About { manifest_digest: [0xab; 32], applied_at: 0, expires, ..about("we\"b", 3) };
        let of = |path: &str, presence| NamedPath { path: path.to_owned(), library_of: None, presence };
        let paths = vec![
            of("/usr/bin/signer", Presence::Bound),
            of("/usr/bin/none", Presence::NotHere),
            of("/opt/current/app", Presence::Link(PathBuf::from("/opt/r1/app"))),
            of("/usr/bin/pinned", Presence::OtherContent),
        ];
        let enforced = Enforced {
            about,
            is_under_lockdown: expires.is_some(),
            verdicts: vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
            attached: Attached { expected: 16, found: 16, faults: vec![] },
            kept: Some(Kept { paths, rules: 3, audited: 0, notes: vec![], parameters: vec![] }),
        };
        Status { enforced: Some(enforced), record: "whole", degraded: vec![], now: 1000 }
    }

    fn nothing() -> Status {
        Status { enforced: None, record: "none", degraded: vec![], now: 1000 }
    }

    #[test]
    fn an_expired_policy_says_so() {
        assert!(to_text(&status(Some(1000))).contains("it has expired, and stays enforced"));
        assert!(!to_text(&status(Some(1001))).contains("expired,"));
        assert!(to_json(&status(Some(1000))).contains("\"expired\":true"));
        assert!(to_json(&status(None)).contains("\"expires\":null,\"expired\":false"));
    }

    #[test]
    fn a_locked_policy_says_so() {
        assert!(to_text(&status(Some(1))).contains("lockdown  yes: "));
        assert!(to_text(&status(None)).contains("lockdown  no\n"));
        assert!(to_json(&status(Some(1))).contains("\"lockdown\":true,"));
        assert!(to_json(&status(None)).contains("\"lockdown\":false,"));
    }

    #[test]
    fn nothing_enforced_is_said_in_both_formats_and_is_not_well() {
        assert!(to_text(&nothing()).contains("nothing is enforced"));
        assert_eq!(
            to_json(&nothing()),
            "{\"version\":1,\"enforced\":false,\"message\":\"nothing is enforced\",\"record\":\"none\",\"degraded\":[]}\n"
        );
        assert!(!nothing().is_well());
    }

    #[test]
    fn what_is_degraded_says_why_in_both_formats_and_is_not_well() {
        assert!(status(None).is_well());
        let degraded = vec!["the link `link_\u{1b}` is gone".to_owned(), "another".to_owned()];
        let status = Status { degraded, ..status(None) };
        assert!(!status.is_well());
        assert!(to_text(&status).contains("degraded  the link `link_\u{fffd}` is gone\n          another\n"));
        assert!(to_json(&status).contains(",\"degraded\":[\"the link `link_\\u001b` is gone\",\"another\"],"));
    }

    #[test]
    fn audited_rules_are_reported_by_their_number() {
        let mut status = status(None);
        assert!(!to_text(&status).contains("\naudited "));
        assert!(to_json(&status).contains(",\"rules\":{\"count\":3,\"audited\":0},\"programs\":["));
        status.enforced.as_mut().unwrap().kept.as_mut().unwrap().audited = 3;
        assert!(
            to_text(&status).contains("\naudited   3 of 3 rules: they report what they would deny, and deny nothing\n")
        );
        assert!(to_json(&status).contains(",\"rules\":{\"count\":3,\"audited\":3},"));
        status.enforced.as_mut().unwrap().kept = None;
        assert!(to_json(&status).contains(",\"rules\":null,\"programs\":null,"));
    }

    #[test]
    fn values_of_parameters_are_shown_as_text_that_stays_in_its_line() {
        let mut status = status(None);
        assert!(!to_json(&status).contains("parameters"));
        let parameters = vec![Parameter::new("env", "prod"), Parameter::new("a", "b\nc")];
        status.enforced.as_mut().unwrap().kept.as_mut().unwrap().parameters = parameters;
        assert!(to_text(&status).contains("\nvalue     env=prod\nvalue     a=b\u{fffd}c\n"));
        let json = to_json(&status);
        let shown = ",\"parameters\":[{\"name\":\"env\",\"value\":\"prod\"},{\"name\":\"a\",\"value\":\"b\\u000ac\"}],\"rules\":";
        assert!(json.contains(shown), "{json}");
    }

    #[test]
    fn notes_of_rules_are_listed_by_the_number_of_the_rule() {
        let mut status = status(None);
        assert!(!to_text(&status).contains("notes") && !to_json(&status).contains("notes"));
        let note = |rule, owner: Option<&str>, ticket: Option<&str>| DebugNotes {
            rule,
            owner: owner.map(str::to_owned),
            ticket: ticket.map(str::to_owned),
            ..DebugNotes::default()
        };
        let only_a_reason = DebugNotes { reason: Some("x".to_owned()), ..note(1, None, None) };
        status.enforced.as_mut().unwrap().kept.as_mut().unwrap().notes =
            vec![note(0, Some("payments"), Some("SEC-12")), only_a_reason, note(2, None, Some("T\n1"))];
        let text = to_text(&status);
        let shown =
            "\nnotes     rule 1: owner \"payments\", ticket \"SEC-12\"\n          rule 3: ticket \"T\u{fffd}1\"\n";
        assert!(text.contains(shown), "{text}");
        let json = to_json(&status);
        let shown = ",\"notes\":[{\"rule\":1,\"owner\":\"payments\",\"ticket\":\"SEC-12\"},{\"rule\":2,\"because\":\"x\"},\
                     {\"rule\":3,\"ticket\":\"T\\u000a1\"}],\"programs\":[";
        assert!(json.contains(shown), "{json}");
    }

    #[test]
    fn every_path_says_what_is_there() {
        let text = to_text(&status(None));
        for line in [
            "programs  1 of 4 paths bound",
            "  /usr/bin/signer: bound",
            "  /usr/bin/none: not here",
            "  /opt/current/app: link to `/opt/r1/app`",
            "  /usr/bin/pinned: content differs",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let json = to_json(&status(None));
        assert!(
            json.contains("{\"path\":\"/opt/current/app\",\"state\":\"link\",\"target\":\"/opt/r1/app\"}"),
            "{json}"
        );
        assert!(json.contains("{\"path\":\"/usr/bin/none\",\"state\":\"not_here\"}"), "{json}");
    }

    #[test]
    fn a_long_list_of_paths_is_reported_by_what_is_not_bound() {
        let mut status = status(None);
        let paths = &mut status.enforced.as_mut().unwrap().kept.as_mut().unwrap().paths;
        let bound = paths.first().unwrap().clone();
        paths.extend(std::iter::repeat_n(bound, MANY));
        let text = to_text(&status);
        assert!(text.contains("programs  41 of 44 paths bound\n  /usr/bin/none: not here\n"), "{text}");
    }

    #[test]
    fn json_quotes_names_and_counts_every_reason() {
        let json = to_json(&status(None));
        assert!(json.starts_with("{\"version\":1,\"enforced\":true,\"policy\":\"we\\\"b\",\"revision\":3,"));
        assert!(json.ends_with("\"fault\":8,\"audited\":9,\"dropped\":10,\"lost\":11,\"held\":12}}\n"));
    }
}
