//! The plain model: what a checked policy means, by a linear scan, with no table in sight.
//!
//! It follows section by section what the language reference says, and exists to be obviously right:
//! `decide` over an image is held against it. It is never used to decide anything.

use bfp_bundle::request::{Address, LOOPBACK_V4, Request};

use crate::policy::{
    Addresses, CheckedPolicy, Default, Effect, Enforcement, PortRange, ProgramIndex, ResolvedPolicy, Rule, Subjects,
};

/// Who asks, as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// The program that it is, with proof.
    pub program: Option<ProgramIndex>,
    /// The programs that led to it, itself included.
    pub under: Vec<ProgramIndex>,
    /// The programs `with children` that led to it, with proof.
    pub heir_of: Vec<ProgramIndex>,
}

impl Process {
    /// A process of `program` that nothing restricted started.
    pub fn of(program: Option<ProgramIndex>) -> Process {
        Process { program, under: program.into_iter().collect(), heir_of: Vec::new() }
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

/// Whether `process` may do what it asks for.
pub fn answer(policy: &CheckedPolicy, process: &Process, asked: Asked) -> Answer {
    let Asked::Request(request) = asked else { return judge(policy.policy(), process, asked) };
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
    let first = judge(policy.policy(), process, Asked::Request(Request { address, ..request }));
    let Some(embedded) = address.behind_nat64() else { return first };
    let second = Asked::Request(Request { address: Address::V4(embedded), ..request });
    if !policy.policy().rules.iter().any(|rule| !rule.covers_everything && covers(rule, second)) {
        return first;
    }
    let second = judge(policy.policy(), process, second);
    let allowed = first.allowed && second.allowed;
    Answer { allowed, audited: allowed && (first.audited || second.audited) }
}

/// The same, of a request whose address stands for itself.
pub(crate) fn judge(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let is = |rule: &Rule, identity: Option<ProgramIndex>| match &rule.subjects {
        Subjects::Everyone => true,
        Subjects::Programs(programs) => identity.is_some_and(|program| programs.contains(&program)),
    };
    let is_under = |rule: &Rule| match &rule.subjects {
        Subjects::Everyone => true,
        Subjects::Programs(programs) => process.under.iter().any(|program| programs.contains(program)),
    };
    let refuses = |rule: &Rule, identity: Option<ProgramIndex>| match rule.effect {
        Effect::Exclusive => covers(rule, asked) && !is(rule, identity),
        Effect::Confined => !covers(rule, asked) && is_under(rule),
        Effect::Deny => covers(rule, asked) && is_under(rule),
        Effect::Allow => false,
    };
    let grants = |rule: &Rule, identity: Option<ProgramIndex>| {
        rule.enforcement == Enforcement::Enforced
            && rule.effect != Effect::Deny
            && covers(rule, asked)
            && is(rule, identity)
    };
    // One identity must satisfy everything: its own, or one that it inherits.
    let identities = std::iter::once(process.program).chain(process.heir_of.iter().copied().map(Some));
    let allowing = |identity: &Option<ProgramIndex>| {
        let enforced = |rule: &&Rule| rule.enforcement == Enforcement::Enforced;
        !policy.rules.iter().filter(enforced).any(|rule| refuses(rule, *identity))
            && (policy.default == Default::Allow || policy.rules.iter().any(|rule| grants(rule, *identity)))
    };
    // The first identity that is allowed is the one that audit judges.
    let Some(identity) = identities.into_iter().find(allowing) else {
        return Answer { allowed: false, audited: false };
    };
    let audited = |rule: &&Rule| rule.enforcement == Enforcement::Audited;
    Answer { allowed: true, audited: policy.rules.iter().filter(audited).any(|rule| refuses(rule, identity)) }
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
