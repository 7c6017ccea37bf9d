//! Asking DNS, once: names → addresses, by hickory-resolver.
//!
//! Always: a name is asked as it stands (no search domains, no hosts file), A and AAAA must both be
//! answered (a partial set would leave an address unprotected), and several resolvers must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as WireError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use time::OffsetDateTime;

use crate::dns_name::DnsName;
use crate::lock::{LockedName, ResolvedAt};

/// How long one question may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Resolvers {
    groups: Vec<(String, Vec<NameServerConfig>)>,
    timeout: Duration,
}

/// Why there is nobody to ask.
#[derive(Clone, Debug, thiserror::Error, miette::Diagnostic)]
pub enum ResolversError {
    /// Not an address.
    #[error("`{written}` is not the address of a resolver")]
    #[diagnostic(code(resolve::resolver_address), help("write `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:53`"))]
    Address {
        /// What was written.
        written: String,
    },
    /// The system's configuration cannot be used.
    #[error("the system's DNS configuration cannot be used: {reason}")]
    #[diagnostic(code(resolve::system_configuration), help("name a resolver with `--resolver IP[:PORT]`"))]
    System {
        /// Why not.
        reason: String,
    },
}

/// Why a name has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum DnsError {
    /// NXDOMAIN.
    #[error("the name does not exist, says {resolver}")]
    #[diagnostic(code(resolve::no_such_name), help("check the spelling, and that the resolver serves this zone"))]
    NoSuchName {
        /// Who said so.
        resolver: String,
    },
    /// Neither A nor AAAA.
    #[error("the name exists and has no address, says {resolver}")]
    #[diagnostic(code(resolve::no_address), help("give the name an A or AAAA record, or write the address itself"))]
    NoAddress {
        /// Who said so.
        resolver: String,
    },
    /// An error code.
    #[error("{resolver} answers with {code}")]
    #[diagnostic(code(resolve::refused), help("ask another resolver with `--resolver`, or try again later"))]
    Refused {
        /// Who said so.
        resolver: String,
        /// The response code.
        code: String,
    },
    /// No answer, or none that can be read.
    #[error("{resolver} gives no answer: {reason}")]
    #[diagnostic(code(resolve::no_answer), help("check that the resolver can be reached, or name another one"))]
    NoAnswer {
        /// Who was asked.
        resolver: String,
        /// What happened.
        reason: String,
    },
    /// Different addresses.
    #[error("the resolvers disagree: {answers}")]
    #[diagnostic(
        code(resolve::resolvers_disagree),
        help("name resolvers that see the same zone, or write the addresses")
    )]
    Disagree {
        /// Who said what.
        answers: String,
    },
}

impl Resolvers {
    /// Those that the system is configured with.
    pub fn system() -> Result<Resolvers, ResolversError> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| ResolversError::System { reason: error.to_string() })?;
        let servers = config.name_servers().to_vec();
        if servers.is_empty() {
            return Err(ResolversError::System { reason: "it names no resolver".to_owned() });
        }
        Ok(Resolvers { groups: vec![("the system's resolver".to_owned(), servers)], timeout: TIMEOUT })
    }

    /// Those given as `IP[:PORT]`.
    pub fn parse(written: &[String]) -> Result<Resolvers, ResolversError> {
        let server = |written: &String| {
            let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
            let address = match (bare.parse::<IpAddr>(), written.parse::<SocketAddr>()) {
                (Ok(address), _) => SocketAddr::new(address, 53),
                (_, Ok(address)) => address,
                _ => return Err(ResolversError::Address { written: written.clone() }),
            };
            let port = |mut connection: ConnectionConfig| {
                connection.port = address.port();
                connection
            };
            let connections = vec![port(ConnectionConfig::udp()), port(ConnectionConfig::tcp())];
            Ok((address.to_string(), vec![NameServerConfig::new(address.ip(), true, connections)]))
        };
        Ok(Resolvers { groups: written.iter().map(server).collect::<Result<_, _>>()?, timeout: TIMEOUT })
    }

    /// The same, with another limit for one question.
    pub fn with_timeout(self, timeout: Duration) -> Resolvers {
        Resolvers { timeout, ..self }
    }
}

/// Resolves every name, or says why not.
pub fn resolve(
    names: &BTreeSet<DnsName>,
    resolvers: &Resolvers,
    now: OffsetDateTime,
) -> BTreeMap<DnsName, Result<LockedName, DnsError>> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let reason = error.to_string();
            let failed = DnsError::NoAnswer { resolver: "the resolver".to_owned(), reason };
            return names.iter().map(|name| (name.clone(), Err(failed.clone()))).collect();
        }
    };
    names.iter().map(|name| (name.clone(), runtime.block_on(resolve_name(name, resolvers, now)))).collect()
}

async fn resolve_name(name: &DnsName, resolvers: &Resolvers, now: OffsetDateTime) -> Result<LockedName, DnsError> {
    let mut agreed: Option<Answer> = None;
    let mut told = Vec::new();
    for (resolver, servers) in &resolvers.groups {
        let answer = ask(name, resolver, servers, resolvers.timeout).await?;
        let addresses: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
        told.push(format!("{resolver} says {}", addresses.join(", ")));
        agreed = match agreed {
            Some(earlier) if earlier.addresses != answer.addresses => {
                return Err(DnsError::Disagree { answers: told.join("; ") });
            }
            Some(earlier) => Some(Answer { ttl_seconds: earlier.ttl_seconds.min(answer.ttl_seconds), ..earlier }),
            None => Some(answer),
        };
    }
    let nobody = || DnsError::NoAnswer { resolver: "nobody".to_owned(), reason: "no resolver is named".to_owned() };
    let answer = agreed.ok_or_else(nobody)?;
    Ok(LockedName {
        addresses: answer.addresses,
        cname: answer.cname,
        ttl_seconds: answer.ttl_seconds,
        resolvers: resolvers.groups.iter().map(|(resolver, _)| resolver.clone()).collect(),
        resolved_at: ResolvedAt::new(now),
    })
}

struct Answer {
    addresses: BTreeSet<IpAddr>,
    cname: Vec<DnsName>,
    ttl_seconds: u32,
}

async fn ask(
    name: &DnsName,
    resolver: &str,
    servers: &[NameServerConfig],
    timeout: Duration,
) -> Result<Answer, DnsError> {
    let failed = |reason: String| DnsError::NoAnswer { resolver: resolver.to_owned(), reason };
    let client = client(servers, timeout).map_err(|error| failed(error.to_string()))?;
    let mut question = Name::from_ascii(name.as_str()).map_err(|error| failed(error.to_string()))?;
    question.set_fqdn(true);

    let mut answer = Answer { addresses: BTreeSet::new(), cname: Vec::new(), ttl_seconds: u32::MAX };
    for kind in [RecordType::A, RecordType::AAAA] {
        let found = match client.lookup(question.clone(), kind).await {
            Ok(found) => found,
            Err(NetError::Dns(WireError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NoError => continue,
                ResponseCode::NXDomain => return Err(DnsError::NoSuchName { resolver: resolver.to_owned() }),
                code => return Err(DnsError::Refused { resolver: resolver.to_owned(), code: code.to_string() }),
            },
            Err(NetError::Dns(WireError::ResponseCode(code))) => {
                return Err(DnsError::Refused { resolver: resolver.to_owned(), code: code.to_string() });
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut chain = Vec::new();
        for record in found.answers() {
            answer.ttl_seconds = answer.ttl_seconds.min(record.ttl);
            match &record.data {
                RData::A(address) => drop(answer.addresses.insert(IpAddr::V4(address.0))),
                RData::AAAA(address) => drop(answer.addresses.insert(IpAddr::V6(address.0))),
                RData::CNAME(alias) => {
                    let alias = alias.0.to_ascii();
                    chain.push(DnsName::parse(&alias).map_err(|error| failed(format!("the alias {alias}: {error}")))?);
                }
                _ => {}
            }
        }
        if chain.len() > answer.cname.len() {
            answer.cname = chain;
        }
    }
    if answer.addresses.is_empty() {
        return Err(DnsError::NoAddress { resolver: resolver.to_owned() });
    }
    Ok(answer)
}

fn client(servers: &[NameServerConfig], timeout: Duration) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_name_servers(servers.to_vec());
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.attempts = ATTEMPTS;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    Resolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}
