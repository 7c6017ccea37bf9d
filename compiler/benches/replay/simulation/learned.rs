//! What others do: a set of addresses that follows DNS on the host, by a timer or by the answers that pass.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::world::{History, Moment};
use super::{Strategy, client_query};

/// Addresses, each until a moment.
#[derive(Default)]
struct Known(BTreeMap<Ipv4Addr, Moment>);

impl Known {
    fn learn(&mut self, addresses: &[Ipv4Addr], until: Moment) {
        for address in addresses {
            let known = self.0.entry(*address).or_default();
            *known = until.max(*known);
        }
    }

    fn forget(&mut self, now: Moment) {
        self.0.retain(|_, until| now < *until);
    }
}

/// How often the refresher asks, in minutes.
const EVERY: Moment = 2;

/// Asks DNS every two minutes. An address stays for its TTL, and at least until the next answer.
pub(super) struct Refresher(Known);

impl Refresher {
    pub(super) fn new() -> Refresher {
        Refresher(Known::default())
    }
}

/// The numbers of the queries that no client makes.
const OWN_QUERY: u64 = 200;

impl Strategy for Refresher {
    fn tick(&mut self, history: &History, now: Moment) {
        self.0.forget(now);
        if now.is_multiple_of(EVERY) {
            let answer = history.answer(now, client_query(now, OWN_QUERY));
            self.0.learn(&answer, now + history.ttl().max(EVERY));
        }
    }

    fn ask(&mut self, history: &History, now: Moment, client: u64) -> Vec<Ipv4Addr> {
        history.answer(now, client_query(now, client))
    }

    fn allows(&mut self, address: Ipv4Addr) -> bool {
        self.0.0.contains_key(&address)
    }

    fn allows_others(&mut self, address: Ipv4Addr) -> bool {
        !self.allows(address)
    }
}

/// Learns each answer that a client gets. An address stays for its TTL.
pub(super) struct Learned(Known);

impl Learned {
    pub(super) fn new() -> Learned {
        Learned(Known::default())
    }
}

impl Strategy for Learned {
    fn tick(&mut self, _history: &History, now: Moment) {
        self.0.forget(now);
    }

    fn ask(&mut self, history: &History, now: Moment, client: u64) -> Vec<Ipv4Addr> {
        let answer = history.answer(now, client_query(now, client));
        self.0.learn(&answer, now + history.ttl());
        answer
    }

    fn allows(&mut self, address: Ipv4Addr) -> bool {
        self.0.0.contains_key(&address)
    }

    fn allows_others(&mut self, address: Ipv4Addr) -> bool {
        !self.allows(address)
    }
}
