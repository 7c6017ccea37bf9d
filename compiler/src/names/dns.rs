//! DNS queries in several rounds: names → addresses, by hickory-resolver.
//!
//! Always: a name is queried exactly as it is: without search domains, hosts file or cache, and no name is answered
//! without a query. A and AAAA must both be answered, because a partial set would leave an address unprotected, unless
//! only IPv4 addresses of a name are requested. Every named resolver is taken into account. Answers that DNSSEC shows
//! to be forged are never used. Waiting is bounded.

mod agreement;
mod anchor;
mod client;
mod error;
mod server;
mod validator;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::names::dns_name::DnsName;
use crate::names::lock::{LockedName, ResolvedAt};

use agreement::{agreed_answer, first_answer};
pub use anchor::{TrustAnchorError, TrustAnchors};
pub use error::{DnsError, ResolversError};
use server::Server;

/// The default limit in seconds for one name at one resolver, including every alias, attempt and transport.
pub const TIMEOUT_SECONDS: u64 = 5;
const TIMEOUT: Duration = Duration::from_secs(TIMEOUT_SECONDS);
/// How many names are queried at a time.
const CONCURRENCY: usize = 16;
const DNS_PORT: u16 = 53;

/// The resolvers to query, and how their answers are combined.
#[derive(Clone, Debug)]
pub struct Resolvers {
    /// Not empty, without duplicates.
    addresses: Vec<SocketAddr>,
    ask: Ask,
    timeout: Duration,
    anchors: TrustAnchors,
    /// The names for which only IPv4 addresses are requested.
    ipv4_only: Arc<BTreeSet<DnsName>>,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// The system's resolvers: the first one that answers, as in the C library.
    UntilAnswered,
    /// Named resolvers: each must answer.
    Everyone,
    /// Named resolvers, of which this many must return the same addresses.
    Quorum(usize),
}

impl Resolvers {
    /// The resolvers that the system is configured with. Its search domains and options do not apply.
    ///
    /// # Errors
    ///
    /// The configuration cannot be read, or names no resolver.
    pub fn system() -> Result<Resolvers, ResolversError> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| ResolversError::System { reason: error.to_string() })?;
        let mut addresses = Vec::new();
        for server in config.name_servers() {
            let address = SocketAddr::new(server.ip, DNS_PORT);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(ResolversError::System { reason: "it names no resolver".to_owned() });
        }
        Ok(Resolvers::of(addresses, Ask::UntilAnswered))
    }

    /// The resolvers given as `IP[:PORT]`; each must answer.
    ///
    /// # Errors
    ///
    /// One of them is not a usable address or is given twice, or there is none.
    pub fn parse(written: &[String]) -> Result<Resolvers, ResolversError> {
        let mut addresses = Vec::new();
        for written in written {
            let address = parse_address(written)?;
            // A resolver's agreement with itself would look like a second witness.
            if addresses.contains(&address) {
                return Err(ResolversError::Twice { written: written.clone() });
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(ResolversError::Nobody);
        }
        Ok(Resolvers::of(addresses, Ask::Everyone))
    }

    fn of(addresses: Vec<SocketAddr>, ask: Ask) -> Resolvers {
        Resolvers { addresses, ask, timeout: TIMEOUT, anchors: TrustAnchors::default(), ipv4_only: Arc::default() }
    }

    /// The same resolvers, with another limit for one name at one resolver.
    pub fn with_timeout(self, timeout: Duration) -> Resolvers {
        Resolvers { timeout, ..self }
    }

    /// The same resolvers, with only IPv4 addresses requested for these names.
    pub fn with_ipv4_only(self, names: BTreeSet<DnsName>) -> Resolvers {
        Resolvers { ipv4_only: Arc::new(names), ..self }
    }

    /// The same resolvers, of which `quorum` must return the same addresses; the others are outvoted.
    ///
    /// # Errors
    ///
    /// `quorum` is zero, or more than there are resolvers.
    pub fn with_quorum(self, quorum: usize) -> Result<Resolvers, ResolversError> {
        let known = self.addresses.len();
        if quorum == 0 || quorum > known {
            let resolvers = format!("{known} resolver{}", if known == 1 { "" } else { "s" });
            return Err(ResolversError::Quorum { quorum, resolvers });
        }
        Ok(Resolvers { ask: Ask::Quorum(quorum), ..self })
    }

    /// The same resolvers, with these DNSSEC trust anchors beside, or in place of, that of the public root.
    pub fn with_trust_anchors(self, anchors: TrustAnchors) -> Resolvers {
        Resolvers { anchors, ..self }
    }
}

fn parse_address(written: &str) -> Result<SocketAddr, ResolversError> {
    let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    let address = match (bare.parse::<IpAddr>(), written.parse::<SocketAddr>()) {
        (Ok(address), _) => SocketAddr::new(address, DNS_PORT),
        (_, Ok(address)) => address,
        _ => return Err(ResolversError::Address { written: written.to_owned() }),
    };
    if address.port() == 0 || address.ip().is_unspecified() {
        return Err(ResolversError::Address { written: written.to_owned() });
    }
    Ok(address)
}

/// Resolves every name; for each, its addresses or why there are none.
///
/// Blocks, so it must not be called from inside an async runtime.
pub fn resolve(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: OffsetDateTime,
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    resolve_with_progress(names, resolvers, now, &mut |_| {})
}

/// As [`resolve`]; calls `progress` for each name as soon as it is done.
pub fn resolve_with_progress(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: OffsetDateTime,
    progress: &mut dyn FnMut(&DnsName),
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = DnsError::unanswered(error.to_string());
            return names.iter().map(|name| (name.clone(), Err(failed.clone()))).collect();
        }
    };
    runtime.block_on(resolve_all(names, resolvers, ResolvedAt::new(now), progress))
}

async fn resolve_all(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: ResolvedAt,
    progress: &mut dyn FnMut(&DnsName),
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    // One client for each server, shared by all names: it keeps a TCP connection, never an answer.
    let mut servers = Vec::new();
    for &address in &resolvers.addresses {
        servers
            .push(Server::new(address, resolvers.timeout, &resolvers.anchors, Arc::clone(&resolvers.ipv4_only)).await);
    }
    let servers = Arc::new(servers);
    let ask = resolvers.ask;

    let mut waiting: VecDeque<DnsName> = names.iter().cloned().collect();
    let mut running = JoinSet::new();
    let mut answers = BTreeMap::new();
    loop {
        while running.len() < CONCURRENCY
            && let Some(name) = waiting.pop_front()
        {
            let servers = Arc::clone(&servers);
            running.spawn(async move {
                let answer = match ask {
                    Ask::UntilAnswered => first_answer(&name, &servers).await,
                    Ask::Everyone => agreed_answer(&name, &servers, None).await,
                    Ask::Quorum(quorum) => agreed_answer(&name, &servers, Some(quorum)).await,
                };
                (name, answer)
            });
        }
        let Some(done) = running.join_next().await else { break };
        if let Ok((name, answer)) = done {
            progress(&name);
            let locked = answer.map(|told| LockedName {
                addresses: told.addresses,
                cname: told.cname,
                ttl_seconds: told.ttl_seconds,
                stability: told.stability,
                dnssec: told.dnssec,
                // The caller knows the reason.
                ipv4_only: None,
                resolvers: told.resolvers,
                resolved_at: now,
                seen: BTreeMap::new(),
            });
            answers.insert(name, locked);
        }
    }
    // A task that ended without a result must not make its name vanish from the lock.
    for name in names {
        answers.entry(name.clone()).or_insert_with(|| Err(DnsError::unanswered("the query was dropped")));
    }
    answers
}
