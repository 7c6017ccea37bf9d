//! Concerns about what is left to programs: raw sockets around an exclusive destination, no loopback, no
//! resolver.

use bfp_bundle::request::{Address, LOOPBACK_V4, Protocol, Request};

use super::concern::Concern;
use crate::policy::model::{self, Asked, Process};
use crate::policy::{Addresses, Default, Effect, Enforcement, PortRange, ResolvedPolicy, Rule, Subjects};
use crate::resolve::coverage;

const DNS_PORT: u16 = 53;

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found = Vec::new();
    let enforced = || policy.rules.iter().filter(|rule| rule.enforcement == Enforcement::Enforced);
    let unlisted = |asked| model::judge(policy, &Process::of(None), asked).allowed;
    let exclusive = enforced().find(|rule| rule.effect == Effect::Exclusive && !rule.covers_everything);
    if let Some(rule) = exclusive.filter(|_| unlisted(Asked::Raw)) {
        found.push(Concern::RawOpen { rule: rule.span });
    }
    if let Default::Deny(span) = policy.default {
        let loopback = |address| Asked::Request(Request { address, port: 8080, protocol: Protocol::Tcp });
        if ![Address::V4(LOOPBACK_V4), Address::v6(1)].map(loopback).into_iter().any(unlisted) {
            found.push(Concern::NoLoopback { span });
        }
        if !enforced().filter(|rule| rule.effect.grants() || rule.effect == Effect::AllowOthers).any(covers_a_resolver)
        {
            found.push(Concern::NoResolver { span });
        }
    }
    for rule in enforced().filter(|rule| rule.effect == Effect::Confined && !covers_a_resolver(rule)) {
        let Subjects::Programs(programs) = &rule.subjects else { continue };
        let mut written = policy.written(programs);
        let first = written.next();
        let covered = |(_, addresses): &(_, &Vec<std::net::IpAddr>)| {
            addresses.iter().all(|address| coverage::covers_address(&rule.destinations, *address))
        };
        if let (Some(first), Some((name, _))) = (first, policy.names.iter().find(covered)) {
            let programs = match written.count() {
                0 => format!("`{}`", first.name),
                more => format!("`{}` and {more} more", first.name),
            };
            found.push(Concern::CannotResolve { programs, name: name.to_string(), span: rule.destinations_span });
        }
    }
    found
}

/// Whether some address on port 53 is covered.
fn covers_a_resolver(rule: &Rule) -> bool {
    let port = |range: &PortRange| {
        matches!(range.protocol, Protocol::Udp | Protocol::Tcp) && (range.first..=range.last).contains(&DNS_PORT)
    };
    let reachable = |destination: &crate::policy::Destination| {
        destination.addresses != Addresses::Raw && destination.ports.iter().any(port)
    };
    rule.destinations.iter().any(reachable)
}
