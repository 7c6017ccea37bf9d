//! The clients of the service on the host, each of which remembers what it was told for a while.

use std::net::Ipv4Addr;

use super::world::Moment;

/// How many addresses a client tries before it gives up.
const TRIES: usize = 3;

/// What a client remembers: until when, and which addresses.
#[derive(Default)]
struct Memory {
    until: Moment,
    addresses: Vec<Ipv4Addr>,
}

impl Memory {
    fn recall(&mut self, now: Moment, keeps: Moment, ask: impl FnOnce() -> Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
        if now >= self.until {
            *self = Memory { until: now + keeps, addresses: ask() };
        }
        self.addresses.iter().take(TRIES).copied().collect()
    }
}

pub(super) struct Client {
    number: u64,
    /// For how many minutes it remembers an answer.
    keeps: Moment,
    with_policy: Memory,
    without_policy: Memory,
}

/// One that asks again each minute, and one that remembers for half an hour, as connection pools and virtual machines do.
pub(super) fn all() -> Vec<Client> {
    [1, 30]
        .into_iter()
        .zip(1..)
        .map(|(keeps, number)| Client {
            number,
            keeps,
            with_policy: Memory::default(),
            without_policy: Memory::default(),
        })
        .collect()
}

impl Client {
    /// The addresses that it tries now, where `ask` is how the policy's strategy has it resolve.
    pub(super) fn with_policy(&mut self, now: Moment, ask: impl FnOnce(u64) -> Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
        self.with_policy.recall(now, self.keeps, || ask(self.number))
    }

    /// As [`Self::with_policy`], where `ask` is DNS.
    pub(super) fn without_policy(&mut self, now: Moment, ask: impl FnOnce(u64) -> Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
        self.without_policy.recall(now, self.keeps, || ask(self.number))
    }
}
