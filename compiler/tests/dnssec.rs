//! DNSSEC against real servers: hickory-server signs zones in this process, on loopback, with keys that
//! each test makes for itself.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod name_server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bfp_compiler::names::dns::{DnsError, Resolvers, TrustAnchors, resolve};
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{Dnssec, LockedName};
use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_server::proto::dnssec::{DigestType, DnssecSigner, SigningKey};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use time::OffsetDateTime;
use time::macros::datetime;

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

fn own(name: &str) -> Name {
    Name::from_str(name).unwrap()
}

/// A zone with a start and a name server; whether it is signed is decided by `sign`.
fn zone(origin: &str, records: &[(&str, RData)]) -> Zone {
    let origin = own(origin);
    let mut zone: Zone =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, Some(NxProofKind::Nsec));
    let soa = SOA::new(own("ns.test."), own("host.test."), 1, 60, 60, 600, 60);
    let fixed = [(origin.to_ascii(), RData::SOA(soa)), (origin.to_ascii(), RData::NS(NS(own("ns.test."))))];
    let records = records.iter().map(|(name, data)| ((*name).to_owned(), data.clone()));
    for (name, data) in fixed.into_iter().chain(records) {
        assert!(zone.upsert_mut(Record::from_rdata(own(&name), 300, data), 1));
    }
    zone
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn aaaa(last: u16) -> RData {
    RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(own(target)))
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Key {
    zone: Name,
    secret: Vec<u8>,
}

impl Key {
    fn new(zone: &str) -> Key {
        Key { zone: own(zone), secret: Ed25519SigningKey::generate_pkcs8().unwrap().secret_pkcs8_der().to_vec() }
    }

    fn signing(&self) -> Ed25519SigningKey {
        Ed25519SigningKey::from_pkcs8(&self.secret.as_slice().into()).unwrap()
    }

    fn public(&self) -> DNSKEY {
        DNSKEY::from_key(&self.signing().to_public_key().unwrap())
    }

    fn signer(&self) -> DnssecSigner {
        DnssecSigner::new(self.public(), Box::new(self.signing()), self.zone.clone(), DAY)
    }

    fn digest(&self) -> DS {
        let key = self.public();
        let digest = key.to_digest(&self.zone, DigestType::SHA256).unwrap();
        let algorithm = hickory_server::proto::dnssec::Algorithm::ED25519;
        DS::new(key.calculate_key_tag().unwrap(), algorithm, DigestType::SHA256, digest.as_ref().to_owned())
    }

    /// As a file of trust anchors has it.
    fn dnskey_line(&self) -> String {
        format!("{} 3600 IN DNSKEY {} ; the key\n", self.zone, self.public())
    }

    fn ds_line(&self) -> String {
        format!("{} IN DS {}\n", self.zone, self.digest())
    }
}

fn sign(mut zone: Zone, keys: &[&Key]) -> Zone {
    for key in keys {
        zone.add_zone_signing_key_mut(key.signer()).unwrap();
    }
    zone.secure_zone_mut().unwrap();
    zone
}

/// `corp.test`, in which everything that a name can be is.
fn corp() -> Zone {
    zone(
        "corp.test.",
        &[
            ("kms.corp.test.", a(1)),
            ("kms.corp.test.", aaaa(1)),
            ("v4.corp.test.", a(4)),
            ("alias.corp.test.", alias("kms.corp.test.")),
            ("away.corp.test.", alias("www.plain.test.")),
        ],
    )
}

fn plain() -> Zone {
    zone("plain.test.", &[("www.plain.test.", a(80))])
}

/// Puts other data in place of a record's, under the same signatures.
fn forge(zone: &mut Zone, name: &str, kind: RecordType, change: impl Fn(&RecordSet) -> RecordSet) {
    let set = zone.records_get_mut().get_mut(&RrKey::new(own(name).into(), kind)).unwrap();
    *set = Arc::new(change(set));
}

fn with_address(last: u8) -> impl Fn(&RecordSet) -> RecordSet {
    move |set| {
        let mut forged = RecordSet::with_ttl(set.name().clone(), set.record_type(), set.ttl());
        forged.add_rdata(a(last));
        forged.set_rrsigs(set.rrsigs().to_vec());
        forged
    }
}

/// Questions about a delegation go to the zone above, as they would in the world.
struct Served {
    below: Catalog,
    above: Catalog,
}

#[async_trait]
impl RequestHandler for Served {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, reply: R) -> ResponseInfo {
        let asked = request.request_info().unwrap().query.query_type();
        let catalog = if asked == RecordType::DS { &self.above } else { &self.below };
        catalog.handle_request::<R, T>(request, reply).await
    }
}

fn catalog(zones: Vec<Zone>) -> Catalog {
    let mut catalog = Catalog::new();
    for zone in zones {
        let origin = hickory_server::zone_handler::ZoneHandler::origin(&zone).clone();
        catalog.upsert(origin, vec![Arc::new(zone)]);
    }
    catalog
}

fn serve(below: Vec<Zone>, above: Vec<Zone>) -> SocketAddr {
    name_server::serve(Served { below: catalog(below), above: catalog(above) })
}

fn ask(servers: &[SocketAddr], anchors: &str, name: &str) -> Result<LockedName, DnsError> {
    let written: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let mut resolvers = Resolvers::parse(&written).unwrap();
    if !anchors.is_empty() {
        resolvers = resolvers.with_trust_anchors(TrustAnchors::parse(anchors).unwrap());
    }
    let names = BTreeSet::from([DnsName::parse(name).unwrap()]);
    resolve(&names, &resolvers, datetime!(2026-11-24 00:00 UTC)).into_values().next().unwrap()
}

fn proof(servers: &[SocketAddr], anchors: &str, name: &str) -> Dnssec {
    ask(servers, anchors, name).unwrap().dnssec
}

fn bogus(servers: &[SocketAddr], anchors: &str, name: &str) -> String {
    match ask(servers, anchors, name) {
        Err(DnsError::Bogus { reason, .. }) => reason,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn signed_name_below_an_anchor_is_secure() {
    let key = Key::new("corp.test.");
    let server = [serve(vec![sign(corp(), &[&key])], vec![])];
    for anchor in [key.dnskey_line(), key.ds_line()] {
        for name in ["kms.corp.test", "alias.corp.test"] {
            assert_eq!(proof(&server, &anchor, name), Dnssec::Secure, "{name}: {anchor}");
        }
        // That there is no AAAA is proven too.
        assert_eq!(proof(&server, &anchor, "v4.corp.test"), Dnssec::Secure, "{anchor}");
        let missing = ask(&server, &anchor, "gone.corp.test");
        assert!(matches!(missing, Err(DnsError::NoSuchName { .. })), "{missing:?}");
    }
}

#[test]
fn anchor_of_one_key_vouches_for_the_other_keys_of_its_zone() {
    let (one, other) = (Key::new("corp.test."), Key::new("corp.test."));
    let server = [serve(vec![sign(corp(), &[&one, &other])], vec![])];
    assert_eq!(proof(&server, &other.ds_line(), "kms.corp.test"), Dnssec::Secure);
}

#[test]
fn signed_zone_without_an_anchor_proves_nothing_and_is_used() {
    let key = Key::new("corp.test.");
    let server = [serve(vec![sign(corp(), &[&key])], vec![])];
    for name in ["kms.corp.test", "v4.corp.test", "alias.corp.test"] {
        assert_eq!(proof(&server, "", name), Dnssec::Unproven, "{name}");
    }
}

#[test]
fn alias_out_of_a_signed_zone_is_not_secure() {
    let key = Key::new("corp.test.");
    let server = [serve(vec![sign(corp(), &[&key]), plain()], vec![])];
    let away = ask(&server, &key.ds_line(), "away.corp.test").unwrap();
    assert_eq!((away.dnssec, away.addresses.len()), (Dnssec::Unproven, 1));
}

#[test]
fn wrong_signature_is_refused_with_and_without_an_anchor() {
    let key = Key::new("corp.test.");
    let mut zone = sign(corp(), &[&key]);
    forge(&mut zone, "kms.corp.test.", RecordType::A, with_address(66));
    let server = [serve(vec![zone], vec![])];
    let reason = bogus(&server, "", "kms.corp.test");
    assert_eq!(reason, "the signature of `corp.test.` over A of `kms.corp.test.` is not valid");
    bogus(&server, &key.ds_line(), "kms.corp.test");
    bogus(&server, "", "alias.corp.test");
}

#[test]
fn signature_that_has_expired_is_refused() {
    let key = Key::new("corp.test.");
    let mut zone = sign(corp(), &[&key]);
    let last_month = OffsetDateTime::now_utc() - 30 * DAY;
    forge(&mut zone, "kms.corp.test.", RecordType::A, |set| {
        let old = RRSIG::from_rrset(set, DNSClass::IN, last_month, &key.signer()).unwrap();
        let mut set = set.clone();
        let old = RData::DNSSEC(DNSSECRData::RRSIG(old));
        set.set_rrsigs(vec![Record::from_rdata(set.name().clone(), 300, old)]);
        set
    });
    let server = [serve(vec![zone], vec![])];
    assert!(bogus(&server, "", "kms.corp.test").ends_with("is not valid"));
}

#[test]
fn what_an_anchor_does_not_prove_is_refused() {
    let (key, other) = (Key::new("corp.test."), Key::new("corp.test."));
    let signed_by_another = [serve(vec![sign(corp(), &[&other])], vec![])];
    let unsigned = [serve(vec![corp()], vec![])];
    for anchor in [key.dnskey_line(), key.ds_line()] {
        for server in [signed_by_another, unsigned] {
            let reason = bogus(&server, &anchor, "kms.corp.test");
            assert_eq!(reason, "nothing proves it, although `corp.test.` has a trust anchor");
        }
    }
}

#[test]
fn absence_that_a_signed_zone_does_not_prove_is_refused() {
    let key = Key::new("corp.test.");
    let mut zone = sign(corp(), &[&key]);
    // The address is hidden, and the proof of what there is stays.
    zone.records_get_mut().remove(&RrKey::new(own("kms.corp.test.").into(), RecordType::AAAA)).unwrap();
    bogus(&[serve(vec![zone], vec![])], &key.ds_line(), "kms.corp.test");
    let (top, mut zone) = (Key::new("test."), sign(corp(), &[&key]));
    zone.records_get_mut().remove(&RrKey::new(own("kms.corp.test.").into(), RecordType::AAAA)).unwrap();
    let server = [serve(vec![zone, world(&key, &top)], vec![world(&key, &top)])];
    bogus(&server, &top.ds_line(), "kms.corp.test");
}

#[test]
fn one_forged_answer_outweighs_every_quorum() {
    let key = Key::new("corp.test.");
    let mut zone = sign(corp(), &[&key]);
    forge(&mut zone, "kms.corp.test.", RecordType::A, with_address(66));
    let servers = [serve(vec![sign(corp(), &[&key])], vec![]), serve(vec![zone], vec![])];
    let written = servers.map(|server| server.to_string());
    let resolvers = Resolvers::parse(&written).unwrap().with_quorum(1).unwrap();
    let names = BTreeSet::from([DnsName::parse("kms.corp.test").unwrap()]);
    let answers = resolve(&names, &resolvers, datetime!(2026-11-24 00:00 UTC));
    assert!(matches!(answers.into_values().next(), Some(Err(DnsError::Bogus { .. }))));
}

/// `test`, signed, which delegates `corp.test` with a digest and `plain.test` without.
fn world(digest_of: &Key, key: &Key) -> Zone {
    let delegation = RData::DNSSEC(DNSSECRData::DS(digest_of.digest()));
    let ns = || RData::NS(NS(own("ns.test.")));
    let above =
        zone("test.", &[("corp.test.", ns()), ("corp.test.", delegation), ("plain.test.", ns()), ("ns.test.", a(53))]);
    sign(above, &[key])
}

#[test]
fn chain_is_followed_from_the_zone_above() {
    let (top, key) = (Key::new("test."), Key::new("corp.test."));
    let below = vec![sign(corp(), &[&key]), plain(), world(&key, &top)];
    let server = [serve(below, vec![world(&key, &top)])];
    assert_eq!(proof(&server, &top.ds_line(), "kms.corp.test"), Dnssec::Secure);
    assert_eq!(proof(&server, &top.ds_line(), "v4.corp.test"), Dnssec::Secure);
}

#[test]
fn zone_that_is_provably_not_signed_is_used_and_not_secure() {
    let (top, key) = (Key::new("test."), Key::new("corp.test."));
    let below = vec![sign(corp(), &[&key]), plain(), world(&key, &top)];
    let server = [serve(below, vec![world(&key, &top)])];
    assert_eq!(proof(&server, &top.ds_line(), "www.plain.test"), Dnssec::Unproven);
}

#[test]
fn zone_whose_parent_vouches_for_another_key_is_refused() {
    let (top, key, other) = (Key::new("test."), Key::new("corp.test."), Key::new("corp.test."));
    let below = vec![sign(corp(), &[&key]), world(&other, &top)];
    let server = [serve(below, vec![world(&other, &top)])];
    bogus(&server, &top.ds_line(), "kms.corp.test");
}

#[test]
fn file_of_anchors_is_read_whole_or_not_at_all() {
    let key = Key::new("corp.test.");
    let good = format!("; anchors\n\n{}{}", key.dnskey_line(), key.ds_line());
    assert!(TrustAnchors::parse(&good).is_ok());
    for (line, says) in [
        ("corp.test. IN A 192.0.2.1", "neither DS nor DNSKEY"),
        ("corp.test. IN DS 1 13", ""),
        ("corp.test. IN DNSKEY 256 3 15", ""),
        ("corp.test.", "neither DS nor DNSKEY"),
        ("corp..test. IN DS 1 13 2 00", "name of a zone"),
        ("corp.test. IN DNSKEY 0 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=", "signs no zone"),
    ] {
        let errors = TrustAnchors::parse(&format!("{good}{line}\n")).unwrap_err();
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert!(
            errors.iter().all(|error| error.reason.contains(says) && error.at.offset() == good.len()),
            "{errors:?}"
        );
    }
    assert!(TrustAnchors::parse("; nothing\n").is_err());
}
