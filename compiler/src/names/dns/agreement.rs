//! The answers of several resolvers in several rounds → one entry of the lock, or why there is none.
//!
//! Always: the entry has every address of every answer, unless a quorum outvoted the resolver that gave it. Any
//! difference between answers makes the name rotating. An answer that DNSSEC refutes ends the resolution of the name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::DnsError;
use super::server::{Answer, Server};
use crate::names::dns_name::DnsName;
use crate::names::lock::{Dnssec, Stability};

/// How often each resolver is queried for a name. A server that picks its answer at random from two gives the same one
/// in every round once in four times.
const ROUNDS: usize = 3;

/// All answers of one resolver, or of several.
#[derive(Debug)]
pub(super) struct Testimony {
    /// The resolvers, in the order of the queries.
    pub(super) resolvers: Vec<String>,
    /// Every address in the answers.
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) cname: Vec<DnsName>,
    pub(super) ttl_seconds: u32,
    pub(super) stability: Stability,
    pub(super) dnssec: Dnssec,
}

impl Testimony {
    fn of(resolver: String, answer: Answer) -> Testimony {
        let Answer { addresses, cname, ttl_seconds, dnssec } = answer;
        Testimony { resolvers: vec![resolver], addresses, cname, ttl_seconds, stability: Stability::Stable, dnssec }
    }

    fn and(mut self, other: Testimony) -> Testimony {
        if other.stability == Stability::Rotating || other.addresses != self.addresses {
            self.stability = Stability::Rotating;
        }
        if other.dnssec == Dnssec::Unproven {
            self.dnssec = Dnssec::Unproven;
        }
        for resolver in other.resolvers {
            if !self.resolvers.contains(&resolver) {
                self.resolvers.push(resolver);
            }
        }
        for alias in other.cname {
            if !self.cname.contains(&alias) {
                self.cname.push(alias);
            }
        }
        self.ttl_seconds = self.ttl_seconds.min(other.ttl_seconds);
        self.addresses.extend(other.addresses);
        self
    }
}

/// In each round, the first server that gives an answer decides, for both families. Only silence and failures are
/// skipped: that a name does not exist is an answer.
pub(super) async fn first_answer(name: &DnsName, servers: &[Server]) -> Result<Testimony, DnsError> {
    let mut all: Option<Testimony> = None;
    for _ in 0..ROUNDS {
        let testimony = first_of_round(name, servers).await?;
        all = Some(match all {
            Some(earlier) => earlier.and(testimony),
            None => testimony,
        });
    }
    all.ok_or_else(|| DnsError::unanswered("no resolver is named"))
}

async fn first_of_round(name: &DnsName, servers: &[Server]) -> Result<Testimony, DnsError> {
    let mut first_failure = None;
    for server in servers {
        match server.ask(name).await {
            Ok(answer) => return Ok(Testimony::of(server.to_string(), answer)),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                first_failure.get_or_insert(error);
            }
        }
    }
    Err(first_failure.unwrap_or_else(|| DnsError::unanswered("no resolver is named")))
}

/// Queries every server in every round. Without a quorum, each must answer, and a name has no address only if all
/// servers say so. With a quorum, addresses count if that many servers return exactly the same ones.
pub(super) async fn agreed_answer(
    name: &DnsName,
    servers: &[Server],
    quorum: Option<usize>,
) -> Result<Testimony, DnsError> {
    let mut testimonies = Vec::new();
    for server in servers {
        testimonies.push((server, hear(server, name, quorum).await?));
    }
    for _ in 1..ROUNDS {
        let mut again = Vec::new();
        for (server, testimony) in testimonies {
            // A server that failed before is not queried again.
            let testimony = match testimony {
                Ok(earlier) => hear(server, name, quorum).await?.map(|now| earlier.and(now)),
                failed => failed,
            };
            again.push((server, testimony));
        }
        testimonies = again;
    }
    match quorum {
        None => everyone(testimonies),
        Some(quorum) => enough(testimonies, quorum),
    }
}

/// One answer of one server. The outer error ends the resolution at every server.
async fn hear(server: &Server, name: &DnsName, quorum: Option<usize>) -> Result<Result<Testimony, DnsError>, DnsError> {
    match server.ask(name).await {
        Ok(answer) => Ok(Ok(Testimony::of(server.to_string(), answer))),
        Err(error) if is_forged(&error) || (quorum.is_none() && !error.is_answer()) => Err(error),
        Err(error) => Ok(Err(error)),
    }
}

type Testimonies<'a> = Vec<(&'a Server, Result<Testimony, DnsError>)>;

fn everyone(testimonies: Testimonies<'_>) -> Result<Testimony, DnsError> {
    let same_kind = testimonies.windows(2).all(|pair| match pair {
        [(_, Ok(_)), (_, Ok(_))] => true,
        [(_, Err(one)), (_, Err(other))] => std::mem::discriminant(one) == std::mem::discriminant(other),
        _ => false,
    });
    if !same_kind {
        return Err(DnsError::Disagree { answers: in_words(&testimonies) });
    }
    let mut all: Option<Testimony> = None;
    for (_, testimony) in testimonies {
        let testimony = testimony?;
        all = Some(match all {
            Some(earlier) => earlier.and(testimony),
            None => testimony,
        });
    }
    all.ok_or_else(|| DnsError::unanswered("no resolver is named"))
}

fn enough(testimonies: Testimonies<'_>, quorum: usize) -> Result<Testimony, DnsError> {
    let mut votes: BTreeMap<&BTreeSet<IpAddr>, usize> = BTreeMap::new();
    for (_, testimony) in &testimonies {
        if let Ok(testimony) = testimony {
            *votes.entry(&testimony.addresses).or_default() += 1;
        }
    }
    let elected: Vec<BTreeSet<IpAddr>> =
        votes.into_iter().filter(|(_, votes)| *votes >= quorum).map(|(addresses, _)| addresses.clone()).collect();
    if elected.is_empty() {
        return Err(DnsError::NoQuorum { quorum, answers: in_words(&testimonies) });
    }
    let counted = testimonies.into_iter().filter_map(|(_, testimony)| testimony.ok());
    let counted = counted.filter(|testimony| elected.contains(&testimony.addresses));
    counted.reduce(Testimony::and).ok_or_else(|| DnsError::unanswered("no resolver is named"))
}

/// Whether this error ends the resolution at every server.
fn is_final(error: &DnsError) -> bool {
    error.is_answer() || is_forged(error)
}

fn is_forged(error: &DnsError) -> bool {
    matches!(error, DnsError::Bogus { .. })
}

fn in_words(testimonies: &Testimonies<'_>) -> String {
    let answers = testimonies.iter().map(|(server, testimony)| match testimony {
        Ok(testimony) => {
            let addresses: Vec<String> = testimony.addresses.iter().map(ToString::to_string).collect();
            format!("{server} says {}", addresses.join(", "))
        }
        Err(DnsError::NoSuchName { .. }) => format!("{server} says that it does not exist"),
        Err(error) if error.is_answer() => format!("{server} says that it has no address"),
        Err(error) => error.to_string(),
    });
    answers.collect::<Vec<_>>().join("; ")
}
