//! Two rules that contradict each other → the one line that could stand in their place.
//!
//! Always: the line is written with names that the policy declares, with paths and addresses, or with DNS names of the policy, so that it
//! can be pasted as it is; where it would be too long to paste, a sentence says what belongs in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bfp_bundle::request::Protocol;

use crate::policy::{Addresses, Destination, PortRange, ProgramIndex, ResolvedPolicy, Rule, Subjects};
use crate::resolve::coverage::{contains, union};

/// More elements than this are not pasted, but rewritten by their author.
const LONGEST_SET: usize = 12;

pub(super) fn exclusive(
    policy: &ResolvedPolicy,
    programs: &BTreeSet<ProgramIndex>,
    first: &Rule,
    second: &Rule,
) -> String {
    // What one of them reserves and the other does not is granted to more programs than before: that is said.
    let are_equal =
        contains(&first.destinations, &second.destinations) && contains(&second.destinations, &first.destinations);
    match (left_side(policy, programs), right_side(policy, first, second)) {
        (Some(left), Some(right)) if are_equal => format!("write one rule for both: `only {left} -> {right}`"),
        (Some(left), Some(right)) => format!(
            "take what both cover out of one rule with `except`; or write one rule, which lets each of the programs reach \
             all of it: `only {left} -> {right}`"
        ),
        _ => {
            "write one `only` rule, with the programs of both on the left and the destinations on the right".to_owned()
        }
    }
}

/// `programs` are those that both rules confine; `None` is every program.
pub(super) fn confinement(
    policy: &ResolvedPolicy,
    programs: Option<&BTreeSet<ProgramIndex>>,
    first: &Rule,
    second: &Rule,
) -> String {
    let one_is_for_everyone = [first, second].iter().any(|rule| rule.subjects == Subjects::Everyone);
    let (advice, left) = match programs {
        // In place of both, a line for some programs would set everyone else free.
        Some(_) if one_is_for_everyone => ("make the rule for `*` cover the other too", Some("*".to_owned())),
        None => ("confine it once", Some("*".to_owned())),
        Some(programs) => ("confine it once", left_side(policy, programs)),
    };
    match (left, right_side(policy, first, second)) {
        (Some(left), Some(right)) => format!("{advice}: `{left} -> only {right}`"),
        _ => format!("{advice}, with the destinations of both on the right"),
    }
}

/// Declared names where they stand for these programs and no others, and paths for the rest.
fn left_side(policy: &ResolvedPolicy, programs: &BTreeSet<ProgramIndex>) -> Option<String> {
    let mut declared: Vec<_> =
        policy.declared_programs.iter().filter(|(_, of)| !of.is_empty() && of.is_subset(programs)).collect();
    // The widest first: one name for a set instead of one for each of its elements.
    declared.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
    let mut rest = programs.clone();
    // Nobody writes a class: it is in what its members say.
    rest.retain(|program| policy.programs.get(program.0).is_some_and(|program| !program.is_class()));
    let mut words: Vec<(ProgramIndex, String)> = Vec::new();
    for (name, of) in declared {
        if let Some(first) = of.intersection(&rest).next().copied() {
            words.push((first, name.clone()));
            rest.retain(|program| !of.contains(program));
        }
    }
    for index in rest {
        words.push((index, policy.programs.get(index.0)?.source()));
    }
    words.sort();
    set(words.into_iter().map(|(_, word)| word).collect())
}

fn right_side(policy: &ResolvedPolicy, first: &Rule, second: &Rule) -> Option<String> {
    if first.covers_everything || second.covers_everything {
        return Some("*".to_owned());
    }
    let mut by_ports: BTreeMap<Vec<PortRange>, Vec<Addresses>> = BTreeMap::new();
    for Destination { addresses, ports } in union(&[first.destinations.clone(), second.destinations.clone()].concat()) {
        by_ports.entry(ports).or_default().push(addresses);
    }
    let mut elements = Vec::new();
    for (ports, ranges) in by_ports {
        let suffixes = suffixes(&ports)?;
        for host in hosts(policy, &ranges)? {
            elements.extend(suffixes.iter().map(|suffix| format!("{host}{suffix}")));
        }
    }
    set(elements)
}

/// The names whose every address is in `ranges`, and the networks of the rest.
fn hosts(policy: &ResolvedPolicy, ranges: &[Addresses]) -> Option<Vec<String>> {
    let mut hosts = Vec::new();
    let mut named: BTreeSet<Addresses> = BTreeSet::new();
    for (name, addresses) in &policy.names {
        let single: Vec<Addresses> = addresses.iter().map(|address| single(*address)).collect();
        if !single.is_empty() && single.iter().all(|address| ranges.contains(address)) {
            let bare = name.as_str().contains('.');
            hosts.push(if bare { name.as_str().to_owned() } else { format!("\"{}\"", name.as_str()) });
            named.extend(single);
        }
    }
    for range in ranges.iter().filter(|range| !named.contains(range)) {
        networks(*range, &mut hosts)?;
    }
    Some(hosts)
}

fn single(address: IpAddr) -> Addresses {
    match address.to_canonical() {
        IpAddr::V4(address) => Addresses::V4(address.to_bits(), address.to_bits()),
        IpAddr::V6(address) => Addresses::V6(address.to_bits(), address.to_bits()),
    }
}

/// Cuts a range into networks, the largest that fit from the front.
fn networks(range: Addresses, hosts: &mut Vec<String>) -> Option<()> {
    let (mut first, last, width) = match range {
        Addresses::V4(first, last) => (u128::from(first), u128::from(last), 32),
        Addresses::V6(first, last) => (first, last, 128),
        Addresses::Raw => {
            hosts.push("raw".to_owned());
            return Some(());
        }
    };
    loop {
        if hosts.len() > LONGEST_SET {
            return None;
        }
        let aligned = first.trailing_zeros().min(width);
        let mask = |free: u32| u128::MAX.checked_shr(128 - free).unwrap_or(0);
        let free = (0..=aligned).rev().find(|&free| mask(free) <= last - first)?;
        let length = width - free;
        hosts.push(match range {
            Addresses::V4(..) if free == 0 => Ipv4Addr::from_bits(first as u32).to_string(),
            Addresses::V4(..) => format!("{}/{length}", Ipv4Addr::from_bits(first as u32)),
            Addresses::V6(..) if free == 0 => format!("[{}]", Ipv6Addr::from_bits(first)),
            Addresses::V6(..) | Addresses::Raw => format!("[{}/{length}]", Ipv6Addr::from_bits(first)),
        });
        match (first | mask(free)).checked_add(1) {
            Some(next) if next <= last => first = next,
            _ => return Some(()),
        }
    }
}

/// What stands behind each host for these ports; `None` where the language cannot say it in one line.
fn suffixes(ports: &[PortRange]) -> Option<Vec<String>> {
    if ports == PortRange::all() || ports == PortRange::all_and_answers() {
        return Some(vec![String::new()]);
    }
    // `clients` stands in the place of a host, not behind one.
    if ports.iter().any(|range| range.protocol == Protocol::Answer) {
        return None;
    }
    let of = |protocol| -> Vec<(u16, u16)> {
        let ranges = ports.iter().filter(|range| range.protocol == protocol);
        ranges.map(|range| (range.first, range.last)).collect()
    };
    let (tcp, udp, other) = (of(Protocol::Tcp), of(Protocol::Udp), of(Protocol::Other));
    let mut suffixes = Vec::new();
    match of(Protocol::Icmp).as_slice() {
        [] => {}
        [(0, u16::MAX)] => suffixes.push("/icmp".to_owned()),
        _ => return None,
    }
    if tcp == udp && udp == other {
        if !tcp.is_empty() {
            suffixes.push(format!(":{}", list(&tcp)));
        }
        return Some(suffixes);
    }
    if !other.is_empty() {
        return None;
    }
    if !tcp.is_empty() {
        suffixes.push(format!(":{}/tcp", list(&tcp)));
    }
    if !udp.is_empty() {
        suffixes.push(format!(":{}/udp", list(&udp)));
    }
    Some(suffixes)
}

fn list(ranges: &[(u16, u16)]) -> String {
    let texts: Vec<String> = ranges
        .iter()
        .map(|range| match range {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    match texts.as_slice() {
        [one] => one.clone(),
        several => format!("{{{}}}", several.join(", ")),
    }
}

fn set(elements: Vec<String>) -> Option<String> {
    match elements.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several if several.len() <= LONGEST_SET => Some(format!("{{ {} }}", several.join(", "))),
        _ => None,
    }
}
