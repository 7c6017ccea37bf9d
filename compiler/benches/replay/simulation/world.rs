//! The histories: what DNS answers, what is true, and what a provider publishes, minute by minute.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::DAY;
use super::random::below;

/// A minute of a history, from 0.
pub(crate) type Moment = u32;

const HOUR: Moment = 60;

/// The attacker's address, which a program under attack tries all the time.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(100, 64, 66, 66);

/// How many nodes of a content delivery network serve the name at a time, and how many each answer has.
const NODES: u64 = 96;
const ANSWERED: u64 = 4;
/// How many of its nodes are replaced each day.
const REPLACED: u64 = 4;

/// What happens in a history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    RoundRobin,
    Subsets,
    Failover,
    BlueGreen,
    Growth { published: Moment },
    Poisoned,
}

/// A name, and what happens to it.
pub(crate) struct History {
    pub(crate) name: &'static str,
    kind: Kind,
    seed: u64,
}

/// When the network of [`Kind::Growth`] begins to use its new range.
const GROWS: Moment = 12 * DAY;

impl History {
    pub(crate) fn all(seed: u64) -> Vec<History> {
        let all = [
            ("round robin of four", Kind::RoundRobin),
            ("rotating subsets of a CDN", Kind::Subsets),
            ("failover, twice", Kind::Failover),
            ("blue-green, three switches", Kind::BlueGreen),
            ("a CDN grows; published two days before", Kind::Growth { published: GROWS - 2 * DAY }),
            ("a CDN grows; published two days late", Kind::Growth { published: GROWS + 2 * DAY }),
            ("a poisoned resolver, three times", Kind::Poisoned),
        ];
        all.into_iter().map(|(name, kind)| History { name, kind, seed }).collect()
    }

    /// The declaration of the host, as an author would write it.
    pub(crate) fn declaration(&self) -> &'static str {
        match self.kind {
            Kind::RoundRobin | Kind::Poisoned => "service.example:443",
            Kind::Failover | Kind::BlueGreen => "service.example:443 may change",
            Kind::Subsets | Kind::Growth { .. } => "service.example:443 within ranges(\"cdn.txt\")",
        }
    }

    /// What the provider publishes.
    pub(crate) fn published(&self, now: Moment) -> &'static str {
        match self.kind {
            Kind::Growth { published } if now >= published => "198.51.100.0/24\n192.0.2.0/24\n",
            _ => "198.51.100.0/24\n",
        }
    }

    /// How long an answer may be kept.
    pub(crate) fn ttl(&self) -> Moment {
        match self.kind {
            Kind::Subsets | Kind::Growth { .. } => 1,
            _ => 5,
        }
    }

    /// What the resolver answers a query, first things first.
    pub(crate) fn answer(&self, now: Moment, query: u64) -> Vec<Ipv4Addr> {
        match self.kind {
            Kind::RoundRobin => {
                let mut all = self.answering(now);
                all.rotate_left(below(4, &[self.seed, 1, query]) as usize);
                all
            }
            Kind::Subsets | Kind::Growth { .. } => {
                let first = below(NODES, &[self.seed, 2, query]);
                // Not neighbours, and no node twice.
                (0..ANSWERED).map(|at| self.node(now, (first + at * 29) % NODES)).collect()
            }
            // DNS follows an outage, and its end, three minutes later.
            Kind::Failover => vec![if is_out(now.saturating_sub(3)) { STANDBY } else { PRIMARY }],
            Kind::BlueGreen => generation(switches(now)).to_vec(),
            Kind::Poisoned if is_poisoned(now) => vec![ATTACKER],
            Kind::Poisoned => self.answering(now),
        }
    }

    /// The addresses that the service answers from, as its operator means it.
    pub(crate) fn answering(&self, now: Moment) -> Vec<Ipv4Addr> {
        match self.kind {
            Kind::RoundRobin => (10..14).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect(),
            Kind::Poisoned => (10..12).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect(),
            Kind::Subsets | Kind::Growth { .. } => (0..NODES).map(|node| self.node(now, node)).collect(),
            Kind::Failover => vec![if is_out(now) { STANDBY } else { PRIMARY }],
            Kind::BlueGreen => generation(switches(now)).to_vec(),
        }
    }

    /// The addresses at which the service can be reached.
    pub(crate) fn serving(&self, now: Moment) -> BTreeSet<Ipv4Addr> {
        let mut serving: BTreeSet<Ipv4Addr> = self.answering(now).into_iter().collect();
        // What was replaced goes on for a day, for clients that remember it.
        if matches!(self.kind, Kind::BlueGreen | Kind::Subsets | Kind::Growth { .. }) {
            serving.extend(self.answering(now.saturating_sub(DAY)));
        }
        serving
    }

    /// Whether an address is the operator's, up or down. Three days after a switch, somebody else has rented it.
    pub(crate) fn is_owned(&self, now: Moment, address: Ipv4Addr) -> bool {
        match self.kind {
            Kind::RoundRobin | Kind::Poisoned => self.answering(now).contains(&address),
            // The provider's networks are its own before it publishes them, and its customers share them.
            Kind::Subsets => address.octets().starts_with(&[198, 51, 100]),
            Kind::Growth { .. } => {
                address.octets().starts_with(&[198, 51, 100]) || address.octets().starts_with(&[192, 0, 2])
            }
            Kind::Failover => [PRIMARY, STANDBY].contains(&address),
            Kind::BlueGreen => {
                let before = now.saturating_sub(GIVEN_UP);
                (switches(before)..=switches(now)).any(|number| generation(number).contains(&address))
            }
        }
    }

    /// What code in the program tries that wants out: the attacker's address, and what the operator has given up.
    pub(crate) fn attempts(&self, now: Moment) -> Vec<Ipv4Addr> {
        let mut all = vec![ATTACKER];
        if self.kind == Kind::BlueGreen {
            all.extend((0..switches(now)).flat_map(generation));
        }
        all
    }

    /// The address of a node. Some are replaced each day, at a minute of their own.
    fn node(&self, now: Moment, node: u64) -> Ipv4Addr {
        let turn = node * DAY as u64 / NODES;
        let days = (u64::from(now) + turn) / u64::from(DAY);
        // Each node is replaced every so many days.
        let every = NODES / REPLACED;
        let age = (days + node) / every;
        let last = below(254, &[self.seed, 3, node, age]) as u8 + 1;
        let is_new = below(2, &[self.seed, 4, node]) == 0;
        match self.kind {
            Kind::Growth { .. } if now >= GROWS && is_new => Ipv4Addr::new(192, 0, 2, last),
            _ => Ipv4Addr::new(198, 51, 100, last),
        }
    }
}

const PRIMARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
const STANDBY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 30);

/// Six hours on the tenth day, two on the twenty-first.
fn is_out(now: Moment) -> bool {
    let outage = |begin: Moment, length: Moment| (begin..begin + length).contains(&now);
    outage(9 * DAY + 10 * HOUR + 17, 6 * HOUR) || outage(20 * DAY + 3 * HOUR + 11, 2 * HOUR)
}

/// How long after a switch its operator keeps the addresses that it left.
const GIVEN_UP: Moment = 3 * DAY;

/// How many switches there were: on the days 8, 16 and 24, at 11:07.
fn switches(now: Moment) -> u8 {
    [8, 16, 24].into_iter().filter(|day| now >= day * DAY + 11 * HOUR + 7).count() as u8
}

/// The two addresses between two switches.
fn generation(number: u8) -> [Ipv4Addr; 2] {
    [40 + 2 * number, 41 + 2 * number].map(|last| Ipv4Addr::new(203, 0, 113, last))
}

/// For ninety minutes, on the days 5, 15 and 25.
fn is_poisoned(now: Moment) -> bool {
    [5, 15, 25].into_iter().any(|day| (day * DAY + 14 * HOUR..day * DAY + 15 * HOUR + 30).contains(&now))
}
