//! The edges of the policy: its destinations → classes of addresses, and of ports at each address.
//!
//! Always: the same rules cover every address of a class. Lowering uses different code for the same task on purpose: a
//! mistake in one must not hide in the other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bfp_bundle::request::port_key;

use crate::policy::{Addresses, PortRange, ResolvedPolicy};
use crate::prove::hash::{NumberMap, of_list};

/// Lists, concatenated: a policy has too many for one allocation each.
pub(super) struct Rows<T> {
    items: Vec<T>,
    ends: Vec<usize>,
}

impl<T> Default for Rows<T> {
    fn default() -> Rows<T> {
        Rows { items: Vec::new(), ends: Vec::new() }
    }
}

impl<T> Rows<T> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Appends a list.
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = T>) {
        self.items.extend(items);
        self.ends.push(self.items.len());
    }

    /// The list with this number; empty if there is none.
    pub(super) fn row(&self, number: u32) -> &[T] {
        let at = number as usize;
        let first = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = first.zip(self.ends.get(at).copied()).map(|(first, end)| first..end);
        range.and_then(|range| self.items.get(range)).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[T]> {
        (0..self.len()).map(|number| self.row(number as u32))
    }
}

/// Lists of numbers, each kept once.
#[derive(Default)]
pub(super) struct Lists {
    /// By hash; of several lists with the same hash, the others use the hashes that follow.
    numbers: NumberMap<u64, u32>,
    rows: Rows<u32>,
}

impl Lists {
    fn number(&mut self, list: &[u32]) -> u32 {
        let mut hash = of_list(list);
        loop {
            match self.numbers.entry(hash) {
                Entry::Occupied(known) if self.rows.row(*known.get()) == list => return *known.get(),
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
                Entry::Vacant(free) => {
                    let number = self.rows.len() as u32;
                    free.insert(number);
                    self.rows.push(list.iter().copied());
                    return number;
                }
            }
        }
    }

    pub(super) fn list(&self, number: u32) -> &[u32] {
        self.rows.row(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.rows.iter()
    }
}

/// An address or a port key, with a successor and a predecessor.
pub(super) trait Key: Copy + Ord + Into<u128> {
    /// The successor; of the last one, the first.
    fn after(self) -> Self;
    fn before(self) -> Self;
}

macro_rules! key {
    ($($type:ty),*) => { $(impl Key for $type {
        fn after(self) -> Self { self.wrapping_add(1) }
        fn before(self) -> Self { self.wrapping_sub(1) }
    })* };
}
key!(u32, u128);

/// A range of keys that ends here and begins after the previous one, and its value.
pub(super) struct Class<K, V> {
    pub(super) last: K,
    pub(super) value: V,
}

/// The classes of a policy. The rules in `everywhere` cover all of them, and are in none of their lists.
pub(super) struct Classes {
    /// Classes of IPv4 addresses, each with the number of its covering.
    pub(super) v4: Vec<Class<u32, u32>>,
    /// Classes of IPv6 addresses, each with the number of its covering.
    pub(super) v6: Vec<Class<u128, u32>>,
    /// For each covering, the classes of ports, each with the number of its set of rules.
    pub(super) ports: Rows<Class<u32, u32>>,
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
    let (mut v4, mut v6) = (Sweep::new(u32::MAX), Sweep::new(u128::MAX));
    let (mut raw, mut everywhere) = (Vec::new(), Vec::new());
    let mut of_rule: HashMap<&[PortRange], u32> = HashMap::new();
    for (number, rule) in policy.rules.iter().enumerate() {
        let number = number as u32;
        if covers_everything(rule.covers_everything, policy.clients, &rule.destinations) {
            everywhere.push(number);
            continue;
        }
        of_rule.clear();
        for destination in &rule.destinations {
            let claim = *of_rule.entry(destination.ports.as_slice()).or_insert_with(|| {
                claims.push((number, &destination.ports));
                claims.len() as u32 - 1
            });
            match destination.addresses {
                Addresses::V4(first, last) => v4.put(first, last, claim),
                Addresses::V6(first, last) => v6.put(first, last, claim),
                Addresses::Raw => raw.push(number),
            }
        }
    }
    raw.dedup();
    let (mut coverings, mut sets) = (Lists::default(), Lists::default());
    let v4 = v4.classes(&mut coverings);
    let v6 = v6.classes(&mut coverings);
    let mut ports = Rows::default();
    let mut of_covering = Sweep::new(policy.last_port_key());
    for covering in coverings.iter() {
        for (rule, ranges) in covering.iter().filter_map(|claim| claims.get(*claim as usize)) {
            for range in *ranges {
                let key = |port| port_key(range.protocol, port);
                of_covering.put(key(range.first), key(range.last), *rule);
            }
        }
        ports.push(of_covering.classes(&mut sets));
    }
    let raw = sets.number(&raw);
    Classes { v4, v6, ports, sets, raw, everywhere }
}

/// Whether a rule that claims to cover everything really does.
fn covers_everything(says: bool, answers: bool, destinations: &[crate::policy::Destination]) -> bool {
    let all = if answers { PortRange::all_and_answers() } else { PortRange::all() };
    let ranges = || destinations.iter().filter(|destination| destination.ports == all);
    let has = |addresses| ranges().any(|destination| destination.addresses == addresses);
    let mapped = (0xffff_0000_0000_u128, 0xffff_ffff_ffff_u128);
    // Mapped addresses are judged as IPv4, so IPv6 without them is complete.
    let v6 = || {
        has(Addresses::V6(0, u128::MAX))
            || (has(Addresses::V6(0, mapped.0 - 1)) && has(Addresses::V6(mapped.1 + 1, u128::MAX)))
    };
    says && v6() && has(Addresses::V4(0, u32::MAX)) && has(Addresses::Raw)
}

/// The ends of ranges, and the items that cover the keys between two of them.
struct Sweep<K> {
    maximum: K,
    /// (key, item, whether the item begins to cover here); `false` where it ceases to.
    ends: Vec<(K, u32, bool)>,
    /// The items that cover, sorted; with a count, because a rule may cover an address twice.
    open: Vec<(u32, u32)>,
    /// The items that cover after the next end.
    kept: Vec<(u32, u32)>,
    items: Vec<u32>,
}

impl<K: Key> Sweep<K> {
    fn new(maximum: K) -> Sweep<K> {
        Sweep { maximum, ends: Vec::new(), open: Vec::new(), kept: Vec::new(), items: Vec::new() }
    }

    fn put(&mut self, first: K, last: K, item: u32) {
        self.ends.push((first, item, true));
        if last < self.maximum {
            self.ends.push((last.after(), item, false));
        }
    }

    /// Visits all ends in order, and counts how often each item covers. Leaves the sweep empty.
    fn classes(&mut self, lists: &mut Lists) -> Vec<Class<K, u32>> {
        self.ends.sort_unstable();
        self.open.clear();
        let Sweep { maximum, ends, open, kept, items } = self;
        let mut classes: Vec<Class<K, u32>> = Vec::new();
        let mut ends = ends.drain(..).peekable();
        loop {
            let next = ends.peek().map(|(at, ..)| *at);
            if next.is_none_or(|next| next.into() != 0) {
                items.clear();
                items.extend(open.iter().map(|(item, _)| *item));
                let value = lists.number(items);
                let last = next.map_or(*maximum, Key::before);
                match classes.last_mut() {
                    Some(class) if class.value == value => class.last = last,
                    _ => classes.push(Class { last, value }),
                }
            }
            let Some(at) = next else { return classes };
            // Many items may begin or end at one key: `open` is rebuilt in the order of the lists above.
            kept.clear();
            let mut before = open.drain(..).peekable();
            while let Some((_, item, opens)) = ends.next_if(|(next, ..)| *next == at) {
                while let Some(other) = before.next_if(|(other, _)| *other < item) {
                    kept.push(other);
                }
                let known = before.next_if(|(other, _)| *other == item);
                if kept.last().is_none_or(|(other, _)| *other != item) {
                    kept.push(known.unwrap_or((item, 0)));
                }
                if let Some((_, count)) = kept.last_mut() {
                    // An item that was never opened cannot close.
                    *count = if opens { *count + 1 } else { count.saturating_sub(1) };
                }
            }
            kept.extend(before);
            kept.retain(|(_, count)| *count > 0);
            std::mem::swap(open, kept);
        }
    }
}
