//! DNSSEC: signed records → proven, not proven, or forged.
//!
//! hickory follows the chain from the trust anchors down. Its "bogus" has two meanings: a signature that is wrong, and
//! a chain that cannot be followed, as for every private zone below a public root that denies it. The first is always
//! rejected here. The second proves nothing, and counts as not proven. Below an anchor of the user's there is no such
//! excuse: whatever is not proven there is rejected.

use std::sync::Arc;

use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError as WireError, NetError};
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_resolver::proto::dnssec::{Proof, PublicKey, TrustAnchors as Keys, Verifier};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record, RecordType, SerialNumber};
use time::OffsetDateTime;

use super::anchor::{Anchor, TrustAnchors};
use super::client::Client;

pub(super) struct Validator {
    client: Client,
    secure: DnssecDnsHandle<Client>,
    /// The zones below which everything must be proven.
    strict: Vec<LowerName>,
}

/// An answer, each record of which carries its proof.
pub(super) struct Validated {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    /// For an answer without records: their absence is proven.
    pub(super) absence_is_proven: bool,
}

/// Why an answer is not used.
pub(super) enum Invalid {
    /// It is forged or expired, or its zone is broken.
    Bogus(String),
    /// It did not arrive.
    Wire(NetError),
}

impl Validator {
    /// Fetches the keys of the zones that have an anchor of their own, and keeps those that the anchor proves.
    pub(super) async fn new(client: Client, anchors: &TrustAnchors) -> Validator {
        let zones = anchors.zones();
        let root = LowerName::new(&Name::root());
        // An anchor for the root replaces that of the public root.
        let mut keys = if zones.contains(&root) { Keys::empty() } else { Keys::default() };
        for zone in &zones {
            let name = Name::from(zone);
            let own = anchors.anchors.iter().filter(|(owner, _)| LowerName::new(owner) == *zone);
            for key in anchored_keys(&client, &name, own.map(|(_, anchor)| anchor).collect()).await {
                keys.insert_with_name(key.public_key(), zone.clone());
            }
        }
        let secure = DnssecDnsHandle::with_trust_anchor(client.clone(), Arc::new(keys));
        Validator { client, secure, strict: zones }
    }

    /// Whether records of `name` must be validated: they are signed, or have to be.
    pub(super) fn must_validate(&self, name: &Name, records: &[Record]) -> bool {
        self.strict_zone(name).is_some() || records.iter().any(|record| record.record_type() == RecordType::RRSIG)
    }

    fn strict_zone(&self, name: &Name) -> Option<&LowerName> {
        let name = LowerName::new(name);
        self.strict.iter().find(|zone| zone.zone_of(&name))
    }

    pub(super) async fn ask(&self, query: Query, options: DnsRequestOptions) -> Result<Validated, Invalid> {
        let (message, absence) = match self.secure.lookup(query.clone(), options).first_answer().await {
            Ok(message) => (message, Proof::Secure),
            Err(NetError::Dns(WireError::Nsec { response, proof, .. })) => (*response, proof),
            Err(error) => return Err(Invalid::Wire(error)),
        };
        let answer = Validated {
            code: message.response_code,
            absence_is_proven: absence.is_secure() && message.authorities.iter().any(proves_absence),
            answers: message.answers.clone(),
            authorities: message.authorities.clone(),
        };
        let records = || answer.answers.iter().chain(&answer.authorities);
        let bogus = records().any(is_unproven);
        if bogus || absence.is_bogus() {
            if let Some(zone) = self.strict_zone(query.name()) {
                return Err(Invalid::Bogus(format!("nothing proves it, although `{zone}` has a trust anchor")));
            }
            self.refuse_forged(&records().cloned().collect::<Vec<_>>(), options).await?;
            if !bogus && records().any(|record| record.proof.is_secure()) {
                return Err(Invalid::Bogus("its zone is signed, and does not prove that there is no more".to_owned()));
            }
        }
        Ok(answer)
    }

    /// Of records that no chain proves, rejects those whose own signature is wrong, and those whose zone does have a
    /// chain.
    async fn refuse_forged(&self, records: &[Record], options: DnsRequestOptions) -> Result<(), Invalid> {
        let bogus = |reason: String| Err(Invalid::Bogus(reason));
        for signed in records.iter().filter(|record| is_unproven(record)) {
            let (owner, kind) = (&signed.name, signed.record_type());
            let signatures: Vec<&RRSIG> = signatures_of(records, owner, kind).collect();
            let Some(first) = signatures.first() else { continue };
            let zone = first.input().signer_name.clone();
            let set: Vec<&Record> =
                records.iter().filter(|record| record.name == *owner && record.record_type() == kind).collect();
            let mut verified = false;
            for signature in signatures {
                let keys = dnskeys(&self.client, &signature.input().signer_name, options).await;
                verified |= keys.1.iter().any(|key| verifies(key, signature, owner, &set));
            }
            if !verified {
                return bogus(format!("the signature of `{zone}` over {kind} of `{owner}` is not valid"));
            }
            let delegation = Query::query(zone.clone(), RecordType::DS);
            let delegated = match self.secure.lookup(delegation, options).first_answer().await {
                Ok(message) => message.answers.iter().any(|record| is_proven(record, RecordType::DS)),
                Err(_) => false,
            };
            if delegated {
                return bogus(format!("`{zone}` signs with keys that its parent does not vouch for"));
            }
        }
        Ok(())
    }
}

/// Whether hickory expects a proof of this record, and finds none.
fn is_unproven(record: &Record) -> bool {
    record.record_type() != RecordType::RRSIG && record.proof.is_bogus()
}

fn is_proven(record: &Record, kind: RecordType) -> bool {
    record.record_type() == kind && record.proof.is_secure()
}

fn proves_absence(record: &Record) -> bool {
    is_proven(record, RecordType::NSEC) || is_proven(record, RecordType::NSEC3)
}

fn signatures_of<'a>(records: &'a [Record], owner: &'a Name, kind: RecordType) -> impl Iterator<Item = &'a RRSIG> {
    records.iter().filter(move |record| record.name == *owner).filter_map(move |record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) if signature.input().type_covered == kind => Some(signature),
        _ => None,
    })
}

/// The key set of a zone as published, not yet proven.
async fn dnskeys(client: &Client, zone: &Name, mut options: DnsRequestOptions) -> (Vec<Record>, Vec<DNSKEY>) {
    options.edns_set_dnssec_ok = true;
    let answer = client.lookup(Query::query(zone.clone(), RecordType::DNSKEY), options).first_answer().await;
    let records: Vec<Record> = answer.map_or_else(|_| Vec::new(), |message| message.answers.clone());
    let own = records.iter().filter(|record| record.name == *zone);
    let keys = own.filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key.clone()),
        _ => None,
    });
    let keys = keys.collect();
    (records, keys)
}

/// All keys of `zone`, if a key that an anchor names has signed them; else the anchors that are keys.
async fn anchored_keys(client: &Client, zone: &Name, anchors: Vec<&Anchor>) -> Vec<DNSKEY> {
    let (records, keys) = dnskeys(client, zone, DnsRequestOptions::default()).await;
    let is_anchored = |key: &&DNSKEY| {
        anchors.iter().any(|anchor| match anchor {
            Anchor::Key(known) => known.public_key() == key.public_key(),
            Anchor::Digest(digest) => digest.covers(zone, key).unwrap_or(false),
        })
    };
    let set: Vec<&Record> =
        records.iter().filter(|record| record.name == *zone && record.record_type() == RecordType::DNSKEY).collect();
    let proven = keys.iter().filter(is_anchored).any(|key| {
        signatures_of(&records, zone, RecordType::DNSKEY).any(|signature| verifies(key, signature, zone, &set))
    });
    if proven {
        return keys.into_iter().filter(|key| key.zone_key() && !key.revoke()).collect();
    }
    let known = anchors.into_iter().filter_map(|anchor| match anchor {
        Anchor::Key(key) => Some(key.clone()),
        Anchor::Digest(_) => None,
    });
    known.collect()
}

/// Whether `key` made this signature over the whole set, and it is valid now (RFC 4035, section 5.3.1).
fn verifies(key: &DNSKEY, signature: &RRSIG, owner: &Name, set: &[&Record]) -> bool {
    let input = signature.input();
    let now = SerialNumber::new(OffsetDateTime::now_utc().unix_timestamp() as u32);
    let Some(class) = set.first().map(|record| record.dns_class) else { return false };
    key.zone_key()
        && !key.revoke()
        && input.algorithm == key.public_key().algorithm()
        && input.signer_name.zone_of(owner)
        && input.num_labels <= owner.num_labels()
        && input.sig_inception <= now
        && now <= input.sig_expiration
        && key.calculate_key_tag().is_ok_and(|tag| tag == input.key_tag)
        && key.verify_rrsig(owner, class, signature, set.iter().copied()).is_ok()
}
