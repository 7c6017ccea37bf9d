//! Where the policy itself changes: its destinations → classes of addresses, and of ports at each.
//!
//! Always: from one end of a class to the other, exactly the same rules cover. This is on purpose not
//! the code that lowering cuts with: a mistake in one must not hide in the other.

use std::collections::HashMap;

use bfp_bundle::request::{LAST_PORT_KEY, port_key};

use crate::policy::{Addresses, PortRange, ResolvedPolicy};

/// Lists of numbers, each kept once.
#[derive(Default)]
pub(super) struct Lists {
    numbers: HashMap<Vec<u32>, u32>,
    lists: Vec<Vec<u32>>,
}

impl Lists {
    fn number(&mut self, list: &[u32]) -> u32 {
        if let Some(number) = self.numbers.get(list) {
            return *number;
        }
        let number = self.lists.len() as u32;
        self.numbers.insert(list.to_vec(), number);
        self.lists.push(list.to_vec());
        number
    }

    pub(super) fn list(&self, number: u32) -> &[u32] {
        self.lists.get(number as usize).map_or(&[], Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.lists.iter().map(Vec::as_slice)
    }
}

/// A range of keys that ends here and begins behind the one before, and what holds in it.
pub(super) struct Class<V> {
    pub(super) last: u128,
    pub(super) value: V,
}

/// The classes of a policy. The rules in `everywhere` cover all of them, and are in none of their lists.
pub(super) struct Classes {
    /// Classes of IPv4 addresses, each with the number of its covering.
    pub(super) v4: Vec<Class<u32>>,
    /// Of IPv6 addresses.
    pub(super) v6: Vec<Class<u32>>,
    /// For each covering, the classes of ports, each with the number of its set of rules.
    pub(super) ports: Vec<Vec<Class<u32>>>,
    /// The sets of rules.
    pub(super) sets: Lists,
    /// The set that covers raw and packet sockets.
    pub(super) raw: u32,
    /// The rules that cover everything.
    pub(super) everywhere: Vec<u32>,
}

pub(super) fn classes(policy: &ResolvedPolicy) -> Classes {
    // A claim is a rule with some ports: a covering is a list of claims.
    let mut claims: Vec<(u32, &[PortRange])> = Vec::new();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let (mut raw, mut everywhere) = (Vec::new(), Vec::new());
    for (number, rule) in policy.rules.iter().enumerate() {
        let number = number as u32;
        if covers_everything(rule.covers_everything, &rule.destinations) {
            everywhere.push(number);
            continue;
        }
        let mut of_rule: HashMap<&[PortRange], u32> = HashMap::new();
        for destination in &rule.destinations {
            let claim = *of_rule.entry(destination.ports.as_slice()).or_insert_with(|| {
                claims.push((number, &destination.ports));
                claims.len() as u32 - 1
            });
            match destination.addresses {
                Addresses::V4(first, last) => v4.push((first.into(), last.into(), claim)),
                Addresses::V6(first, last) => v6.push((first, last, claim)),
                Addresses::Raw => raw.push(number),
            }
        }
    }
    raw.dedup();
    let (mut coverings, mut sets) = (Lists::default(), Lists::default());
    let v4 = sweep(v4, u32::MAX.into(), &mut coverings);
    let v6 = sweep(v6, u128::MAX, &mut coverings);
    let ports = coverings.lists.iter().map(|covering| {
        let claims = covering.iter().filter_map(|claim| claims.get(*claim as usize));
        let ranges = claims.flat_map(|(rule, ports)| {
            let key = |protocol, port| u128::from(port_key(protocol, port));
            ports.iter().map(move |range| (key(range.protocol, range.first), key(range.protocol, range.last), *rule))
        });
        sweep(ranges.collect(), LAST_PORT_KEY.into(), &mut sets)
    });
    let ports = ports.collect();
    let raw = sets.number(&raw);
    Classes { v4, v6, ports, sets, raw, everywhere }
}

/// Whether a rule that says so of itself leaves nothing out.
fn covers_everything(says: bool, destinations: &[crate::policy::Destination]) -> bool {
    let ranges = || destinations.iter().filter(|destination| destination.ports == PortRange::all());
    let has = |addresses| ranges().any(|destination| destination.addresses == addresses);
    let mapped = (0xffff_0000_0000_u128, 0xffff_ffff_ffff_u128);
    // Mapped addresses are judged as IPv4, so IPv6 without them is all of it.
    let v6 = has(Addresses::V6(0, u128::MAX))
        || (has(Addresses::V6(0, mapped.0 - 1)) && has(Addresses::V6(mapped.1 + 1, u128::MAX)));
    says && v6 && has(Addresses::V4(0, u32::MAX)) && has(Addresses::Raw)
}

/// Goes over the ends of all ranges (first, last, item) in their order, and keeps count of what is open.
fn sweep(ranges: Vec<(u128, u128, u32)>, maximum: u128, lists: &mut Lists) -> Vec<Class<u32>> {
    let mut ends: Vec<(u128, u32, bool)> = Vec::with_capacity(ranges.len() * 2);
    for (first, last, item) in ranges {
        ends.push((first, item, true));
        if last < maximum {
            ends.push((last + 1, item, false));
        }
    }
    ends.sort_unstable();
    let mut classes: Vec<Class<u32>> = Vec::new();
    // Sorted by item; a rule may cover an address twice.
    let mut open: Vec<(u32, u32)> = Vec::new();
    let mut items: Vec<u32> = Vec::new();
    let mut ends = ends.into_iter().peekable();
    loop {
        let next = ends.peek().map(|(at, ..)| *at);
        if next != Some(0) {
            items.clear();
            items.extend(open.iter().map(|(item, _)| *item));
            let value = lists.number(&items);
            let last = next.map_or(maximum, |next| next - 1);
            match classes.last_mut() {
                Some(class) if class.value == value => class.last = last,
                _ => classes.push(Class { last, value }),
            }
        }
        let Some(at) = next else { return classes };
        while let Some((_, item, opens)) = ends.next_if(|(next, ..)| *next == at) {
            let place = open.binary_search_by_key(&item, |(item, _)| *item);
            match (place, opens) {
                (Ok(place), true) => open.iter_mut().skip(place).take(1).for_each(|(_, count)| *count += 1),
                (Err(place), true) => open.insert(place, (item, 1)),
                (Ok(place), false) => match open.get_mut(place) {
                    Some((_, count)) if *count > 1 => *count -= 1,
                    _ => drop(open.remove(place)),
                },
                // What was never opened does not close.
                (Err(_), false) => {}
            }
        }
    }
}
