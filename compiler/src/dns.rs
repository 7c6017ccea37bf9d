//! Asking DNS, once: names → addresses, by hickory-resolver.
//!
//! Always: a name is asked as it stands (no search domains, no hosts file, no cache, no name that is
//! answered without asking); A and AAAA must both be answered (a partial set would leave an address
//! unprotected); every resolver that was named must say the same; and there is an end to the waiting.

mod error;
mod server;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::dns_name::DnsName;
use crate::lock::{LockedName, ResolvedAt};

pub use error::{DnsError, ResolversError};
use server::{Answer, Server};

/// How long one resolver may take for one name, with every alias, attempt and transport.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How many names are being asked for at a time.
const CONCURRENCY: usize = 16;
const DNS_PORT: u16 = 53;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Resolvers {
    /// Not empty, and nobody twice.
    addresses: Vec<SocketAddr>,
    ask: Ask,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    /// The system's: the first that answers, as the C library does.
    UntilAnswered,
    /// Those that were named: each, and they must agree.
    Everyone,
}

impl Resolvers {
    /// Those that the system is configured with. Its search domains and options do not apply.
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
        Ok(Resolvers { addresses, ask: Ask::UntilAnswered, timeout: TIMEOUT })
    }

    /// Those given as `IP[:PORT]`.
    pub fn parse(written: &[String]) -> Result<Resolvers, ResolversError> {
        let mut addresses = Vec::new();
        for written in written {
            let address = parse_address(written)?;
            // Its agreement with itself would look like a second witness.
            if addresses.contains(&address) {
                return Err(ResolversError::Twice { written: written.clone() });
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(ResolversError::Nobody);
        }
        Ok(Resolvers { addresses, ask: Ask::Everyone, timeout: TIMEOUT })
    }

    /// The same, with another limit for one name at one resolver.
    pub fn with_timeout(self, timeout: Duration) -> Resolvers {
        Resolvers { timeout, ..self }
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

/// Resolves every name, or says why not.
///
/// Blocks, so it must not be called from inside an async runtime.
pub fn resolve(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: OffsetDateTime,
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    resolve_with_progress(names, resolvers, now, &mut |_| {})
}

/// The same, and tells `progress` each name as it is done, in the order in which that happens.
pub fn resolve_with_progress(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: OffsetDateTime,
    progress: &mut dyn FnMut(&DnsName),
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = DnsError::NoAnswer { resolver: "nobody".to_owned(), reason: error.to_string() };
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
    let servers: Vec<Server> =
        resolvers.addresses.iter().map(|&address| Server::new(address, resolvers.timeout)).collect();
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
                    Ask::Everyone => agreed_answer(&name, &servers).await,
                };
                (name, answer)
            });
        }
        let Some(done) = running.join_next().await else { break };
        if let Ok((name, answer)) = done {
            progress(&name);
            let locked = answer.map(|(answer, resolvers)| LockedName {
                addresses: answer.addresses,
                cname: answer.cname,
                ttl_seconds: answer.ttl_seconds,
                resolvers,
                resolved_at: now,
            });
            answers.insert(name, locked);
        }
    }
    // A task that ended without a result must not make its name vanish from the lock.
    for name in names {
        answers.entry(name.clone()).or_insert_with(|| {
            Err(DnsError::NoAnswer { resolver: "nobody".to_owned(), reason: "the question was dropped".to_owned() })
        });
    }
    answers
}

type Told = Result<(Answer, Vec<String>), DnsError>;

/// The first server that knows anything decides, for both families. Only silence and failures are
/// passed over: that a name does not exist is an answer.
async fn first_answer(name: &DnsName, servers: &[Server]) -> Told {
    let mut first_failure = None;
    for server in servers {
        match server.ask(name).await {
            Ok(answer) => return Ok((answer, vec![server.to_string()])),
            Err(error) if error.is_answer() => return Err(error),
            Err(error) => {
                first_failure.get_or_insert(error);
            }
        }
    }
    Err(first_failure.unwrap_or_else(nobody))
}

/// Every server is asked. A failure of one is a failure; different answers are one too.
async fn agreed_answer(name: &DnsName, servers: &[Server]) -> Told {
    let mut told: Vec<(String, Result<Answer, DnsError>)> = Vec::new();
    for server in servers {
        let answer = server.ask(name).await;
        match answer {
            Err(error) if !error.is_answer() => return Err(error),
            answer => told.push((server.to_string(), answer)),
        }
    }
    let agree = told.windows(2).all(|pair| match pair {
        [(_, one), (_, other)] => says_the_same(one, other),
        _ => true,
    });
    if !agree {
        let answers = told.iter().map(|(server, answer)| format!("{server} says {}", in_words(answer)));
        return Err(DnsError::Disagree { answers: answers.collect::<Vec<_>>().join("; ") });
    }
    let ttl_seconds = told.iter().filter_map(|(_, answer)| Some(answer.as_ref().ok()?.ttl_seconds)).min();
    let asked = told.iter().map(|(server, _)| server.clone()).collect();
    let Some((_, first)) = told.into_iter().next() else { return Err(nobody()) };
    let mut answer = first?;
    answer.ttl_seconds = ttl_seconds.unwrap_or(answer.ttl_seconds);
    Ok((answer, asked))
}

/// Compares what a policy is made of. Aliases and times to live may differ between caches.
fn says_the_same(one: &Result<Answer, DnsError>, other: &Result<Answer, DnsError>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one.addresses == other.addresses,
        (Err(one), Err(other)) => std::mem::discriminant(one) == std::mem::discriminant(other),
        _ => false,
    }
}

fn in_words(answer: &Result<Answer, DnsError>) -> String {
    match answer {
        Ok(answer) => answer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Err(DnsError::NoSuchName { .. }) => "that it does not exist".to_owned(),
        Err(_) => "that it has no address".to_owned(),
    }
}

fn nobody() -> DnsError {
    DnsError::NoAnswer { resolver: "nobody".to_owned(), reason: "no resolver is named".to_owned() }
}
