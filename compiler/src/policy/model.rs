//! The plain model: what a checked policy means, by a linear scan, with no table in sight.
//!
//! It follows section by section what the language reference says, and exists to be obviously right:
//! `decide` over an image is held against it. It is never used to decide anything.

use bfp_bundle::request::{Address, LOOPBACK_V4, Request};
use smallvec::SmallVec;

use crate::policy::{Addresses, Default, Effect, Enforcement, PortRange, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// Who asks, as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// The program that it is, with proof.
    pub program: Option<ProgramIndex>,
    /// The programs that led to it, itself included.
    pub under: SmallVec<[ProgramIndex; 4]>,
    /// The programs `with children` that led to it, with proof.
    pub heir_of: SmallVec<[ProgramIndex; 4]>,
}

impl Process {
    /// A process of `program` that nothing restricted started.
    pub fn of(program: Option<ProgramIndex>) -> Process {
        Process { program, under: program.into_iter().collect(), heir_of: SmallVec::new() }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An address, a port, a protocol.
    Request(Request),
    /// A raw or packet socket.
    Raw,
}

/// What the policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the request may go on.
    pub allowed: bool,
    /// Whether an `audit` rule would refuse it; said of what is allowed only.
    pub audited: bool,
}

impl Answer {
    /// Both hold.
    pub(crate) fn and(self, other: Answer) -> Answer {
        let allowed = self.allowed && other.allowed;
        Answer { allowed, audited: allowed && (self.audited || other.audited) }
    }
}

/// Whether `process` may do what it asks for.
pub fn answer(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let Asked::Request(request) = asked else { return judge(policy, process, asked) };
    let address = match request.address {
        Address::V4(0) => Address::V4(LOOPBACK_V4),
        Address::V4(_) => request.address,
        Address::V6 { high, low } => match u128::from(high) << 64 | u128::from(low) {
            0 => Address::v6(1),
            bits if bits >> 32 == 0xffff => match bits as u32 {
                0 => Address::V4(LOOPBACK_V4),
                carried => Address::V4(carried),
            },
            bits => Address::v6(bits),
        },
    };
    let first = judge(policy, process, Asked::Request(Request { address, ..request }));
    let Some(embedded) = address.behind_nat64() else { return first };
    // What a gateway sends on reaches the IPv4 address, whose restrictions hold; who may use the gateway is said by
    // the rules that cover the IPv6 address.
    let second = Asked::Request(Request { address: Address::V4(embedded), ..request });
    let covering = policy.rules.iter().filter(|rule| covers(rule, second));
    let covering: Vec<Weighed<'_>> = covering.map(|rule| Weighed { rule, covers: true }).collect();
    first.and(weigh(Needs::NOTHING, &covering, process))
}

/// The same, of a request whose address stands for itself.
pub(crate) fn judge(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let weighed: Vec<Weighed<'_>> =
        policy.rules.iter().map(|rule| Weighed { rule, covers: covers(rule, asked) }).collect();
    weigh(Needs::of(policy, process, asked), &weighed, process)
}

/// What is refused though no rule speaks of it: everything under `default deny`; and raw and packet sockets, which
/// carry no destination that could be checked, to whoever is governed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// It needs a grant.
    pub(crate) grant: bool,
    /// It would need one if an audited rule were enforced.
    pub(crate) grant_under_audit: bool,
}

impl Needs {
    pub(crate) const NOTHING: Needs = Needs { grant: false, grant_under_audit: false };

    pub(crate) fn of(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Needs {
        let by = |wanted: &dyn Fn(&Rule) -> bool| {
            asked == Asked::Raw && policy.rules.iter().any(|rule| wanted(rule) && governs(policy, rule, process))
        };
        Needs {
            grant: policy.default != Default::Allow || by(&|rule| rule.enforcement == Enforcement::Enforced),
            grant_under_audit: by(&|rule| is_silent_on_raw(rule)),
        }
    }
}

/// Whether a rule is under trial, and says nothing of raw sockets itself.
pub(crate) fn is_silent_on_raw(rule: &Rule) -> bool {
    rule.enforcement == Enforcement::Audited && !covers(rule, Asked::Raw)
}

/// Whether a rule has something to say about a process itself: it is one of the programs that the rule is about, with
/// proof, or it is restricted by it, itself or by what started it. A grant of what everybody has says nothing.
pub(crate) fn governs(policy: &ResolvedPolicy, rule: &Rule, process: &Process) -> bool {
    let Subjects::Programs(programs) = &rule.subjects else { return false };
    let is_about = |program: &ProgramIndex| programs.binary_search(program).is_ok();
    process.program.as_ref().is_some_and(is_about) && !gives_nothing(policy, rule)
        || restricts(rule) && process.under.iter().any(is_about)
}

/// Whether a rule grants what everybody has.
pub(crate) fn gives_nothing(policy: &ResolvedPolicy, rule: &Rule) -> bool {
    rule.effect == Effect::Allow && policy.default == Default::Allow
}

/// Whether a rule takes something from its programs, and from what these start.
pub(crate) fn restricts(rule: &Rule) -> bool {
    matches!(rule.effect, Effect::Confined | Effect::Deny)
}

/// A rule, and whether its right side covers what is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) covers: bool,
}

impl Weighed<'_> {
    fn is(&self, identity: Option<ProgramIndex>) -> bool {
        match &self.rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => identity.is_some_and(|program| programs.binary_search(&program).is_ok()),
        }
    }

    fn is_under(&self, process: &Process) -> bool {
        match &self.rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => process.under.iter().any(|program| programs.binary_search(program).is_ok()),
        }
    }

    /// Whether the rule refuses, or would if it were enforced.
    pub(crate) fn refuses(&self, process: &Process, identity: Option<ProgramIndex>) -> bool {
        match self.rule.effect {
            Effect::Exclusive => self.covers && !self.is(identity),
            Effect::Confined => !self.covers && self.is_under(process),
            Effect::Deny => self.covers && self.is_under(process),
            Effect::Allow => false,
        }
    }

    /// Whether the rule is a grant to this identity.
    pub(crate) fn grants(&self, identity: Option<ProgramIndex>) -> bool {
        self.rule.enforcement == Enforcement::Enforced
            && self.rule.effect != Effect::Deny
            && self.covers
            && self.is(identity)
    }
}

/// The identities that may satisfy a policy: its own, and those that it inherits.
pub(crate) fn identities(process: &Process) -> impl Iterator<Item = Option<ProgramIndex>> + '_ {
    std::iter::once(process.program).chain(process.heir_of.iter().copied().map(Some))
}

/// What the rules answer together. A rule that neither covers nor confines may be left out.
pub(crate) fn weigh(needs: Needs, rules: &[Weighed<'_>], process: &Process) -> Answer {
    let is_granted = |identity| rules.iter().any(|weighed| weighed.grants(identity));
    // One identity must satisfy everything.
    let allowing = |identity: &Option<ProgramIndex>| {
        let enforced = |weighed: &&Weighed<'_>| weighed.rule.enforcement == Enforcement::Enforced;
        !rules.iter().filter(enforced).any(|weighed| weighed.refuses(process, *identity))
            && (!needs.grant || is_granted(*identity))
    };
    // The first identity that is allowed is the one that audit judges.
    let Some(identity) = identities(process).find(allowing) else {
        return Answer { allowed: false, audited: false };
    };
    let audited = |weighed: &&Weighed<'_>| weighed.rule.enforcement == Enforcement::Audited;
    let is_refused = rules.iter().filter(audited).any(|weighed| weighed.refuses(process, identity));
    Answer { allowed: true, audited: is_refused || needs.grant_under_audit && !is_granted(identity) }
}

/// Whether a rule's right side covers what is asked for.
pub fn covers(rule: &Rule, asked: Asked) -> bool {
    rule.destinations.iter().any(|destination| {
        let request = match (destination.addresses, asked) {
            (Addresses::Raw, Asked::Raw) => return true,
            (Addresses::Raw, _) | (_, Asked::Raw) => return false,
            (_, Asked::Request(request)) => request,
        };
        let address = match (destination.addresses, request.address) {
            (Addresses::V4(first, last), Address::V4(bits)) => (first..=last).contains(&bits),
            (Addresses::V6(first, last), Address::V6 { high, low }) => {
                (first..=last).contains(&(u128::from(high) << 64 | u128::from(low)))
            }
            _ => false,
        };
        let port = |range: &PortRange| {
            range.protocol == request.protocol && (range.first..=range.last).contains(&request.port)
        };
        address && destination.ports.iter().any(port)
    })
}
