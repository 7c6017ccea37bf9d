//! One resolver: a name enters, and everything that the resolver answers about it leaves.
//!
//! hickory's pool carries the queries (UDP, TCP when the answer is truncated, case randomisation, retries). Its stub
//! resolver is left out on purpose: it answers `localhost` and `.invalid` by itself, takes records of any owner and
//! from any section, and cannot distinguish a loop from a name without addresses. So this module follows the chain
//! itself, from the answer section alone, by owner.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as WireError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::anchor::TrustAnchors;
use super::client::{ATTEMPTS, Client, client};
use super::validator::{Invalid, Validator};
use super::{DNS_PORT, DnsError};
use crate::names::dns_name::DnsName;
use crate::names::lock::Dnssec;

/// As many aliases as common resolvers follow.
const LONGEST_CHAIN: usize = 16;

pub(super) struct Server {
    address: SocketAddr,
    timeout: Duration,
    client: Result<(Client, Validator), NetError>,
    ipv4_only: Arc<BTreeSet<DnsName>>,
}

/// The answer of one resolver for one name.
pub(super) struct Answer {
    /// The addresses; never empty.
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) cname: Vec<DnsName>,
    pub(super) ttl_seconds: u32,
    pub(super) dnssec: Dnssec,
}

impl Server {
    /// Queries the keys of the zones that have a trust anchor; sends nothing if there are none.
    pub(super) async fn new(
        address: SocketAddr,
        timeout: Duration,
        anchors: &TrustAnchors,
        ipv4_only: Arc<BTreeSet<DnsName>>,
    ) -> Self {
        let client = match client(address, timeout / ATTEMPTS) {
            Ok(client) => Ok((client.clone(), Validator::new(client, anchors).await)),
            Err(error) => Err(error),
        };
        Self { address, timeout, client, ipv4_only }
    }

    /// Queries A and AAAA within the limit for this name; A alone where only IPv4 addresses are requested.
    pub(super) async fn ask(&self, name: &DnsName) -> Result<Answer, DnsError> {
        match tokio::time::timeout(self.timeout, self.ask_both(name)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_late()),
        }
    }

    async fn ask_both(&self, name: &DnsName) -> Result<Answer, DnsError> {
        let v4 = self.follow(name, RecordType::A).await?;
        let v6 = if self.ipv4_only.contains(name) {
            // Nothing is known about that family: it neither adds nor contradicts.
            Followed { missing: v4.missing.clone(), ..Followed::nothing() }
        } else {
            self.follow(name, RecordType::AAAA).await?
        };
        let resolver = self.to_string();
        let mut cname = v4.cname;
        // Usually one chain. Where a server answers the families with different chains, both are recorded.
        for alias in v6.cname {
            if !cname.contains(&alias) {
                cname.push(alias);
            }
        }
        let addresses: BTreeSet<IpAddr> = v4.addresses.into_iter().chain(v6.addresses).collect();
        match (addresses.is_empty(), v4.missing, v6.missing) {
            (false, None, None) => Ok(Answer {
                addresses,
                cname,
                ttl_seconds: v4.ttl_seconds.min(v6.ttl_seconds),
                dnssec: if v4.proven && v6.proven { Dnssec::Secure } else { Dnssec::Unproven },
            }),
            (false, _, _) => Err(DnsError::Contradiction { resolver }),
            (true, Some(missing), Some(_)) if missing == name.as_str() => Err(DnsError::NoSuchName { resolver }),
            (true, Some(target), Some(_)) => Err(DnsError::DanglingAlias { resolver, target }),
            (true, _, _) => Err(DnsError::NoAddress { resolver }),
        }
    }

    /// Follows the aliases of `name` to its addresses of one family.
    async fn follow(&self, name: &DnsName, kind: RecordType) -> Result<Followed, DnsError> {
        let mut followed = Followed::nothing();
        let mut current = name.clone();
        loop {
            let records = match self.question(&current, kind).await? {
                Said::Records(records) => records,
                Said::Nothing { proven } => {
                    followed.proven &= proven;
                    return Ok(followed);
                }
                Said::NoSuchName => {
                    followed.missing = Some(current.to_string());
                    return Ok(followed);
                }
            };
            let asked = current.clone();
            // An answer may hold several links of the chain, in any order.
            while let Some((target, alias)) = self.alias_of(&current, &records)? {
                followed.take(alias);
                if target == *name || followed.cname.contains(&target) {
                    return Err(DnsError::CnameLoop { resolver: self.to_string(), again: target.to_string() });
                }
                if followed.cname.len() == LONGEST_CHAIN {
                    return Err(DnsError::CnameTooLong { resolver: self.to_string(), limit: LONGEST_CHAIN });
                }
                followed.cname.push(target.clone());
                current = target;
            }
            for record in owned_by(&current, &records) {
                let address = match &record.data {
                    RData::A(address) if kind == RecordType::A => IpAddr::V4(address.0),
                    // A mapped address is judged as the IPv4 address in it, and must not be locked beside it.
                    RData::AAAA(address) if kind == RecordType::AAAA => IpAddr::V6(address.0).to_canonical(),
                    _ => continue,
                };
                followed.take(record);
                followed.addresses.insert(address);
            }
            // Without an address, the end of the chain is queried by its own name: a server of one zone stops where the
            // next one begins, and does not report whether anything exists there.
            if !followed.addresses.is_empty() || current == asked {
                return Ok(followed);
            }
        }
    }

    /// The one alias of `owner`, if it has one.
    fn alias_of<'r>(
        &self,
        owner: &'r DnsName,
        records: &'r [Record],
    ) -> Result<Option<(DnsName, &'r Record)>, DnsError> {
        let mut found: Option<(DnsName, &Record)> = None;
        for record in owned_by(owner, records) {
            let RData::CNAME(target) = &record.data else { continue };
            let target = target.0.to_ascii();
            let target = DnsName::parse(&target)
                .map_err(|error| self.malformed(format!("the alias of `{owner}` is no name: {error}")))?;
            found = match found {
                Some((earlier, _)) if earlier != target => {
                    return Err(self.malformed(format!("`{owner}` is an alias of `{earlier}` and of `{target}`")));
                }
                Some((_, earlier)) if earlier.ttl <= record.ttl => Some((target, earlier)),
                Some(_) | None => Some((target, record)),
            };
        }
        Ok(found)
    }

    async fn question(&self, name: &DnsName, kind: RecordType) -> Result<Said, DnsError> {
        let (client, validator) = self.client.as_ref().map_err(|error| self.no_answer(&error.to_string()))?;
        let mut absolute =
            Name::from_ascii(name.as_str()).map_err(|error| self.malformed(format!("`{name}`: {error}")))?;
        absolute.set_fqdn(true);
        let mut options = DnsRequestOptions::default();
        options.case_randomization = true;
        // Requests signatures, where there are any.
        options.edns_set_dnssec_ok = true;

        let query = Query::query(absolute, kind);
        let (code, answers, authorities) = match client.lookup(query.clone(), options).first_answer().await {
            Ok(response) => (response.response_code, response.answers.clone(), response.authorities.clone()),
            Err(NetError::Dns(WireError::NoRecordsFound(none))) => {
                (none.response_code, Vec::new(), none.authorities.map_or_else(Vec::new, |records| records.to_vec()))
            }
            Err(error) => return Err(self.failed(error)),
        };
        let signed = if answers.is_empty() { &authorities } else { &answers };
        if !validator.must_validate(query.name(), signed) {
            return self.said(code, answers, &authorities, Proven::No);
        }
        match validator.ask(query, options).await {
            Ok(valid) => {
                let absence = if valid.absence_is_proven { Proven::Yes } else { Proven::No };
                self.said(valid.code, valid.answers, &valid.authorities, absence)
            }
            Err(Invalid::Bogus(reason)) => Err(DnsError::Bogus { resolver: self.to_string(), reason }),
            Err(Invalid::Wire(error)) => Err(self.failed(error)),
        }
    }

    /// Interprets an answer. `absence`: it is proven that records missing from it do not exist.
    fn said(
        &self,
        code: ResponseCode,
        answers: Vec<Record>,
        authorities: &[Record],
        absence: Proven,
    ) -> Result<Said, DnsError> {
        let has = |kind| authorities.iter().any(|record| record.record_type() == kind);
        match code {
            // No name has an address and does not exist: such answers are forged on their way.
            ResponseCode::NXDomain if answers.iter().any(is_address) => {
                Err(self.malformed("it says that the name does not exist, and gives addresses".to_owned()))
            }
            // With aliases, NXDOMAIN is about the end of their chain, which is then queried itself.
            ResponseCode::NoError | ResponseCode::NXDomain if !answers.is_empty() => Ok(Said::Records(answers)),
            ResponseCode::NXDomain => Ok(Said::NoSuchName),
            ResponseCode::NoError if has(RecordType::NS) && !has(RecordType::SOA) => {
                Err(DnsError::Referral { resolver: self.to_string() })
            }
            ResponseCode::NoError => Ok(Said::Nothing { proven: matches!(absence, Proven::Yes) }),
            code => Err(self.refused(code)),
        }
    }

    fn failed(&self, error: NetError) -> DnsError {
        match error {
            NetError::Dns(WireError::ResponseCode(code)) => self.refused(code),
            NetError::Timeout => self.too_late(),
            NetError::Io(_) | NetError::NoConnections | NetError::Busy => self.no_answer(&error.to_string()),
            error => self.malformed(error.to_string()),
        }
    }

    fn refused(&self, code: ResponseCode) -> DnsError {
        DnsError::Refused { resolver: self.to_string(), code: code.to_string() }
    }

    fn no_answer(&self, reason: &str) -> DnsError {
        DnsError::NoAnswer { resolver: self.to_string(), reason: reason.to_owned() }
    }

    /// A silent server and a slow one look the same: answers that arrive after the attempt's time are dropped.
    fn too_late(&self) -> DnsError {
        let (limit, each) = (self.timeout.as_millis(), (self.timeout / ATTEMPTS).as_millis());
        self.no_answer(&format!(
            "nothing complete came within {limit} ms, in {ATTEMPTS} tries of {each} ms for a question"
        ))
    }

    fn malformed(&self, reason: String) -> DnsError {
        DnsError::Malformed { resolver: self.to_string(), reason }
    }
}

/// As written after `--resolver`, without the default port.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.port() {
            DNS_PORT => self.address.ip().fmt(f),
            _ => self.address.fmt(f),
        }
    }
}

struct Followed {
    addresses: BTreeSet<IpAddr>,
    cname: Vec<DnsName>,
    ttl_seconds: u32,
    /// The name at the end of the chain, if it does not exist.
    missing: Option<String>,
    /// Every record that was used is proven, and so is every absence.
    proven: bool,
}

impl Followed {
    fn nothing() -> Followed {
        Followed { addresses: BTreeSet::new(), cname: Vec::new(), ttl_seconds: u32::MAX, missing: None, proven: true }
    }

    fn take(&mut self, record: &Record) {
        self.ttl_seconds = self.ttl_seconds.min(record.ttl);
        self.proven &= record.proof.is_secure();
    }
}

enum Said {
    Records(Vec<Record>),
    Nothing { proven: bool },
    NoSuchName,
}

enum Proven {
    Yes,
    No,
}

fn is_address(record: &Record) -> bool {
    matches!(record.data, RData::A(_) | RData::AAAA(_))
}

/// The records whose owner is this name. Others do not answer the question, whoever added them.
fn owned_by<'a>(owner: &'a DnsName, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| {
        let written = record.name.to_ascii();
        let bare = written.strip_suffix('.').unwrap_or(&written);
        record.dns_class == DNSClass::IN && bare.eq_ignore_ascii_case(owner.as_str())
    })
}
