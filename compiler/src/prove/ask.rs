//! One query to the tables and to the policy: are both answers the same, and does the rule that the verdict names
//! apply?

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, Ipv6Addr};

use bfp_bundle::decide::{Reason, Tables, Unless, Verdict, decide, decide_raw, judge};
use bfp_bundle::image::Image;
use bfp_bundle::label::{Label, Proof, RESTRICTED_BY_MAX};
use bfp_bundle::names::Match;
use bfp_bundle::record::{Cell, NO_RULE, Node32, Node128, PairBucket, Policy, ProgramBucket};
use bfp_bundle::request::{Address, Request};

use super::meaning::{Index, Meaning};
use crate::check::CheckedPolicy;
use crate::policy::model::{Answer, Asked, Process, Weighed, governs, identities, is_silent_on_raw};
use crate::policy::{Effect, Enforcement, ProgramIndex};

/// A process in both representations: the model's, and the kernel's label.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) process: Process,
    label: Label,
}

/// A request that the tables and the policy judge differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The requesting process, in words.
    pub process: String,
    /// The request, in words.
    pub asked: String,
    /// The policy's answer.
    pub model: Answer,
    /// The tables' answer.
    pub image: Verdict,
}

impl Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Witness { process, asked, model, image } = self;
        let say = |allowed| if allowed { "allows" } else { "refuses" };
        let audited = |audited| if audited { ", and `audit` reports it" } else { "" };
        write!(f, "{process} asks for {asked}: the policy {} it{}; ", say(model.allowed), audited(model.audited))?;
        let is_audited = image.is_allowed() && image.audited != NO_RULE;
        write!(f, "the tables {} it{}", &say(image.is_allowed()).trim_end_matches('s'), audited(is_audited))?;
        match image.rule {
            NO_RULE => write!(f, " ({:?})", image.reason),
            rule => write!(f, " ({:?} by rule {rule})", image.reason),
        }
    }
}

pub(super) struct Asking<'a> {
    pub(super) policy: &'a CheckedPolicy,
    pub(super) image: &'a Image,
    pub(super) meaning: &'a Meaning<'a>,
}

/// The place of a request, and its place behind a NAT64 gateway.
#[derive(Clone, Copy)]
pub(super) struct Places<'i> {
    pub(super) place: &'i Index,
    pub(super) behind: Option<&'i Index>,
}

impl Places<'_> {
    fn any(self, wanted: impl Fn(&Index) -> bool) -> bool {
        wanted(self.place) || self.behind.is_some_and(wanted)
    }
}

/// The last search for an address in each tree, and the cell that it found.
#[derive(Default)]
pub(super) struct Searched {
    v4: Last<(u32, u32)>,
    v6: Last<(u64, u64, u32)>,
}

/// The last searched key, and the cell that was found.
type Last<K> = std::cell::Cell<Option<(K, Option<u32>)>>;

/// The tables, with the last search for an address cached, and the first cell that a verdict reads recorded. A search
/// depends only on the image, and one place is queried for program after program.
struct Cached<'a> {
    image: &'a Image,
    searched: &'a Searched,
    first: std::cell::Cell<Option<u32>>,
}

impl Tables for Cached<'_> {
    fn policy(&self) -> Option<&Policy> {
        self.image.policy()
    }
    fn node32(&self, index: u32) -> Option<&Node32> {
        self.image.node32(index)
    }
    fn node128(&self, index: u32) -> Option<&Node128> {
        self.image.node128(index)
    }
    fn cell(&self, index: u32) -> Option<&Cell> {
        let found = self.image.cell(index);
        if self.first.get().is_none() && found.is_some() {
            self.first.set(Some(index));
        }
        found
    }
    fn program_bucket(&self, index: u32) -> Option<&ProgramBucket> {
        self.image.program_bucket(index)
    }
    fn pair_bucket(&self, index: u32) -> Option<&PairBucket> {
        self.image.pair_bucket(index)
    }
    fn cell_v4(&self, address: u32, port_key: u32) -> Option<u32> {
        remembered(&self.searched.v4, (address, port_key), || self.image.cell_v4(address, port_key))
    }
    fn cell_v6(&self, high: u64, low: u64, port_key: u32) -> Option<u32> {
        remembered(&self.searched.v6, (high, low, port_key), || self.image.cell_v6(high, low, port_key))
    }
}

fn remembered<K: Copy + PartialEq>(last: &Last<K>, key: K, search: impl FnOnce() -> Option<u32>) -> Option<u32> {
    if let Some((_, found)) = last.get().filter(|(known, _)| *known == key) {
        return found;
    }
    let found = search();
    last.set(Some((key, found)));
    found
}

impl<'a> Asking<'a> {
    pub(super) fn unlisted(&self) -> Asker {
        Asker { process: Process::default(), label: Label::UNLISTED }
    }

    /// The process that `before` becomes by executing a program, or an executable that is not a program.
    pub(super) fn execute(&self, before: &Asker, program: Option<usize>, proof: Proof) -> Asker {
        let mut asker = before.clone();
        let record = program.and_then(|program| self.image.matches.get(program));
        asker.label.execute(record, proof);
        let proven = proof == Proof::Proven;
        asker.process.program = program.filter(|_| proven).map(ProgramIndex);
        let declared = program.and_then(|program| self.policy.policy().programs.get(program));
        match declared {
            // A file of a class is each of its members.
            Some(class) if class.is_class() => asker.process.restricted_by.extend(class.members.iter().copied()),
            _ => asker.process.restricted_by.extend(program.map(ProgramIndex)),
        }
        if proven && declared.is_some_and(|program| program.with_children) {
            asker.process.inherited_from.extend(program.map(ProgramIndex));
        }
        asker
    }

    /// A process after as many restricted programs as a label can hold.
    pub(super) fn descendant(&self) -> Asker {
        // A class may add several restrictions at once.
        let restricted = |record: &&Match| record.flags & Match::RESTRICTED != 0 && record.count == 1;
        let first = self.image.matches.iter().enumerate().filter(|(_, record)| restricted(record));
        let last = first
            .take(RESTRICTED_BY_MAX)
            .fold(self.unlisted(), |asker, (program, _)| self.execute(&asker, Some(program), Proof::NameOnly));
        self.execute(&last, None, Proof::Proven)
    }

    /// The policy's answer for these places; of the second one, only what its own rules deny counts.
    fn expected(&self, places: Places<'_>, process: &Process, asked: Asked, scale: &mut Vec<Weighed<'a>>) -> Answer {
        let needs = self.meaning.needs(process, asked);
        let first = self.meaning.answer_by(needs, places.place, process, scale);
        match places.behind {
            Some(behind) => first.and(self.meaning.answer_covered(behind, process, scale)),
            None => first,
        }
    }

    /// Queries both for what the rules of a place deny themselves. Where other rules deny too, the verdict on the place
    /// does not show it, and behind a gateway it counts.
    pub(super) fn ask_covered(
        &self,
        place: &Index,
        cell: u32,
        asker: &Asker,
        asked: Asked,
        scale: &mut Vec<Weighed<'a>>,
    ) -> Result<(), Box<Witness>> {
        let model = self.meaning.answer_covered(place, &asker.process, scale);
        let image = judge(self.image, &asker.label, cell, Unless::Covered);
        if same(model, image) { Ok(()) } else { Err(self.witness(&asker.process, asked, model, image)) }
    }

    /// Queries the tables.
    pub(super) fn verdict(&self, asker: &Asker, asked: Asked) -> Verdict {
        self.verdict_and_cell(asker, asked, &Searched::default()).0
    }

    /// Queries the tables; returns also the cell that they found first, which is that of the address itself.
    pub(super) fn verdict_and_cell(&self, asker: &Asker, asked: Asked, searched: &Searched) -> (Verdict, Option<u32>) {
        let cached = Cached { image: self.image, searched, first: std::cell::Cell::new(None) };
        let verdict = match asked {
            Asked::Request(request) => decide(&cached, &asker.label, &request),
            Asked::Raw => decide_raw(&cached, &asker.label),
        };
        (verdict, cached.first.get())
    }

    /// Queries both. Puts the weighed rules into `scale`.
    pub(super) fn ask(
        &self,
        places: Places<'_>,
        asker: &Asker,
        asked: Asked,
        searched: &Searched,
        scale: &mut Vec<Weighed<'a>>,
    ) -> Result<Answer, Box<Witness>> {
        let model = self.expected(places, &asker.process, asked, scale);
        let (image, _) = self.verdict_and_cell(asker, asked, searched);
        if same(model, image) && self.applies(places, &asker.process, asked, image) {
            return Ok(model);
        }
        Err(self.witness(&asker.process, asked, model, image))
    }

    pub(super) fn witness(&self, process: &Process, asked: Asked, model: Answer, image: Verdict) -> Box<Witness> {
        Box::new(Witness { process: self.in_words(process), asked: in_words(asked), model, image })
    }

    /// Whether each rule that a verdict names is one that leads to it.
    fn applies(&self, places: Places<'_>, process: &Process, asked: Asked, verdict: Verdict) -> bool {
        let meaning = self.meaning;
        let policy = self.policy.policy();
        let needs_grant = meaning.needs(process, asked).grant;
        let any = |number: u32, wanted: &dyn Fn(Weighed<'_>) -> bool| {
            meaning
                .rule(number)
                .is_some_and(|rule| places.any(|place| wanted(Weighed { rule, covers: meaning.covers(place, number) })))
        };
        let refuses = |enforcement: Enforcement, effects: &[Effect], number: u32| {
            any(number, &|weighed: Weighed<'_>| {
                // Several exclusive rules of one class share a flag, and the first of them is named.
                let exclusive = weighed.rule.effect.excludes() && weighed.covers;
                weighed.rule.enforcement == enforcement
                    && effects.contains(&weighed.rule.effect)
                    && (exclusive || identities(process).any(|identity| weighed.refuses(process, identity)))
            })
        };
        let enforced = |effects: &[Effect]| refuses(Enforcement::Enforced, effects, verdict.rule);
        let decided = match verdict.reason {
            Reason::Default => verdict.rule == NO_RULE && !needs_grant,
            Reason::NotGranted => verdict.rule == NO_RULE && needs_grant,
            Reason::Granted => {
                any(verdict.rule, &|weighed| identities(process).any(|identity| weighed.grants(identity)))
            }
            Reason::Denied => enforced(&[Effect::Deny, Effect::Confined]),
            Reason::Exclusive => enforced(&[Effect::Exclusive, Effect::DenyOthers]),
            Reason::Confined => enforced(&[Effect::Confined]),
            Reason::Overflow | Reason::Fault => false,
        };
        let every = [Effect::Exclusive, Effect::Confined, Effect::Deny, Effect::DenyOthers];
        let audited = verdict.is_allowed() && verdict.audited != NO_RULE;
        let governs = |weighed: Weighed<'_>| {
            asked == Asked::Raw && is_silent_on_raw(weighed.rule) && governs(policy, weighed.rule, process)
        };
        let is_audited = refuses(Enforcement::Audited, &every, verdict.audited) || any(verdict.audited, &governs);
        decided && (!audited || is_audited)
    }

    fn in_words(&self, process: &Process) -> String {
        let path = |ProgramIndex(program): &ProgramIndex| {
            let program = self.policy.policy().programs.get(*program);
            format!("`{}`", program.map_or("?", |program| program.path.as_str()))
        };
        let started: Vec<String> = process.restricted_by.iter().map(path).collect();
        let started = if started.is_empty() { String::new() } else { format!(" under {}", started.join(", ")) };
        match &process.program {
            Some(program) => format!("{}{started}", path(program)),
            None => format!("an unknown program{started}"),
        }
    }
}

pub(super) fn same(model: Answer, image: Verdict) -> bool {
    // A table that cannot be read denies; that never matches the policy.
    let allowed = image.is_allowed();
    image.reason != Reason::Fault && model == Answer { allowed, audited: allowed && image.audited != NO_RULE }
}

fn in_words(asked: Asked) -> String {
    let Asked::Request(Request { address, port, protocol }) = asked else { return "a raw socket".to_owned() };
    let address = match address {
        Address::V4(bits) => Ipv4Addr::from_bits(bits).to_string(),
        Address::V6 { high, low } => {
            format!("[{}]", Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
        }
    };
    format!("{address}:{port}/{}", format!("{protocol:?}").to_lowercase())
}
