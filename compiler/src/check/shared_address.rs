//! One address behind two names with different rights: what one name reserves or denies, the other one
//! grants, and on the wire there is only the address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::concern::Concern;
use crate::names::dns_name::DnsName;
use crate::policy::{
    Addresses, Destination, Effect, Enforcement, NameUse, Part, PortRange, ResolvedPolicy, Rule, Subjects,
};
use crate::resolve::coverage;

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut owners: BTreeMap<IpAddr, BTreeSet<&DnsName>> = BTreeMap::new();
    for (name, addresses) in &policy.names {
        for address in addresses {
            owners.entry(address.to_canonical()).or_default().insert(name);
        }
    }
    let mut uses: BTreeMap<&DnsName, Vec<(&NameUse, &Rule)>> = BTreeMap::new();
    for used in policy.name_uses.iter().filter(|used| used.part == Part::Covered) {
        if let Some(rule) = policy.rules.get(used.rule).filter(|rule| rule.enforcement == Enforcement::Enforced) {
            uses.entry(&used.name).or_default().push((used, rule));
        }
    }
    let mut told: BTreeSet<(&DnsName, &DnsName)> = BTreeSet::new();
    let mut found = Vec::new();
    for (address, names) in owners.iter().filter(|(_, names)| names.len() > 1) {
        for closed in names {
            for open in names.iter().filter(|open| *open != closed) {
                let of = |name: &DnsName| uses.get(name).map_or(&[][..], Vec::as_slice);
                let clash = of(closed).iter().find_map(|closing| {
                    let opening = of(open).iter().find(|opening| disagree(closing.1, opening.1, *address))?;
                    Some((closing, opening))
                });
                if let Some(((closing, closing_rule), (opening, opening_rule))) = clash
                    && told.insert((closed, open))
                {
                    found.push(Concern::SharedAddress {
                        closed: closed.to_string(),
                        open: open.to_string(),
                        address: address.to_string(),
                        closing: closing.span,
                        opening: opening.span,
                        rights: match closing_rule.effect {
                            Effect::DenyOthers => {
                                format!("denied to all but {}", who(policy, &closing_rule.subjects))
                            }
                            Effect::Deny => format!("denied to {}", who(policy, &closing_rule.subjects)),
                            _ => format!("only {} may reach it", who(policy, &closing_rule.subjects)),
                        },
                        granted: format!("granted to {} here", who(policy, &opening_rule.subjects)),
                    });
                }
            }
        }
    }
    found
}

/// Whether one rule refuses to somebody what the other one grants, at this address.
fn disagree(closing: &Rule, opening: &Rule, address: IpAddr) -> bool {
    if !matches!(opening.effect, Effect::Allow | Effect::Confined) || closing.span == opening.span {
        return false;
    }
    let refused = match (closing.effect, &closing.subjects, &opening.subjects) {
        (Effect::Exclusive | Effect::DenyOthers, Subjects::Programs(members), Subjects::Programs(granted)) => {
            granted.iter().any(|program| members.binary_search(program).is_err())
        }
        (Effect::Exclusive | Effect::DenyOthers, Subjects::Programs(_), Subjects::Everyone) => true,
        (Effect::Deny, Subjects::Programs(denied), Subjects::Programs(granted)) => {
            granted.iter().any(|program| denied.binary_search(program).is_ok())
        }
        (Effect::Deny, _, _) => true,
        _ => false,
    };
    refused && {
        let at = |rule: &Rule| -> Vec<Destination> {
            let single = match address {
                IpAddr::V4(address) => Addresses::V4(address.to_bits(), address.to_bits()),
                IpAddr::V6(address) => Addresses::V6(address.to_bits(), address.to_bits()),
            };
            let here = Destination { addresses: single, ports: PortRange::all() };
            let covering = rule
                .destinations
                .iter()
                .filter(|to| coverage::overlaps(std::slice::from_ref(to), std::slice::from_ref(&here)));
            covering.map(|to| Destination { addresses: single, ports: to.ports.clone() }).collect()
        };
        coverage::overlaps(&at(closing), &at(opening))
    }
}

fn who(policy: &ResolvedPolicy, subjects: &Subjects) -> String {
    let Subjects::Programs(programs) = subjects else { return "everyone".to_owned() };
    let mut written = policy.written(programs);
    let name = written.next().map_or("nobody", |program| program.name.as_str());
    match written.count() + 1 {
        0 | 1 => format!("`{name}`"),
        more => format!("`{name}` and {} more", more - 1),
    }
}
