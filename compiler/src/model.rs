//! The plain model: what a checked policy means, by a linear scan, with no table in sight.
//!
//! It follows section by section what the language reference says, and exists to be obviously right:
//! `decide` over an image is held against it. It is never used to decide anything.

use bfp_bundle::request::{Address, LOOPBACK_V4, Request};

use crate::policy::{Addresses, CheckedPolicy, Default, Effect, ProgramIndex, Rule, Subjects};

/// Who asks, as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// The program that it is, with proof.
    pub program: Option<ProgramIndex>,
    /// The programs that led to it, itself included.
    pub under: Vec<ProgramIndex>,
}

impl Process {
    /// A process of `program` that nothing restricted started.
    pub fn of(program: Option<ProgramIndex>) -> Process {
        Process { program, under: program.into_iter().collect() }
    }
}

/// Whether `process` may do what `request` asks.
pub fn allows(policy: &CheckedPolicy, process: &Process, request: &Request) -> bool {
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
    let allowed = allows_address(policy, process, &Request { address, ..*request });
    match address.behind_nat64() {
        Some(embedded) => {
            let request = Request { address: Address::V4(embedded), ..*request };
            let named = policy.policy().rules.iter().any(|rule| !rule.covers_everything && covers(rule, &request));
            allowed && (!named || allows_address(policy, process, &request))
        }
        None => allowed,
    }
}

fn allows_address(policy: &CheckedPolicy, process: &Process, request: &Request) -> bool {
    let policy = policy.policy();
    let is = |rule: &Rule| match &rule.subjects {
        Subjects::Everyone => true,
        Subjects::Programs(programs) => process.program.is_some_and(|program| programs.contains(&program)),
    };
    let is_under = |rule: &Rule| match &rule.subjects {
        Subjects::Everyone => true,
        Subjects::Programs(programs) => process.under.iter().any(|program| programs.contains(program)),
    };
    let refused = policy.rules.iter().any(|rule| match rule.effect {
        Effect::Exclusive => covers(rule, request) && !is(rule),
        Effect::Confined => !covers(rule, request) && is_under(rule),
        Effect::Deny => covers(rule, request) && is_under(rule),
        Effect::Allow => false,
    });
    let granted = || policy.rules.iter().any(|rule| rule.effect != Effect::Deny && covers(rule, request) && is(rule));
    !refused && (policy.default == Default::Allow || granted())
}

/// Whether a rule's right side covers a request.
pub fn covers(rule: &Rule, request: &Request) -> bool {
    rule.destinations.iter().any(|destination| {
        let address = match (destination.addresses, request.address) {
            (Addresses::V4(first, last), Address::V4(bits)) => (first..=last).contains(&bits),
            (Addresses::V6(first, last), Address::V6 { high, low }) => {
                (first..=last).contains(&(u128::from(high) << 64 | u128::from(low)))
            }
            _ => false,
        };
        let port = |range: &crate::policy::PortRange| {
            range.protocol == request.protocol && (range.first..=range.last).contains(&request.port)
        };
        address && destination.ports.iter().any(port)
    })
}
