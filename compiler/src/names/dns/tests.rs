//! How the answers of several servers are combined, tested with real servers on loopback.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::net::UdpSocket;
use std::str::FromStr;
use std::sync::mpsc;

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::{A, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};

use super::agreement::Testimony;
use super::*;
use crate::names::lock::{Dnssec, Stability};

/// For servers that stay silent; those that answer have all the time they need.
const LIMIT: Duration = Duration::from_millis(300);

/// Serves `corp.test`, with these last bytes of 192.0.2.0/24 as the addresses of `kms`.
fn serve(kms: &[u8]) -> Server {
    let own = |name: &str| Name::from_str(name).unwrap();
    let origin = own("corp.test.");
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
    let soa = SOA::new(own("ns.corp.test."), own("host.corp.test."), 1, 60, 60, 600, 60);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
    for &last in kms {
        let address = RData::A(A::new(192, 0, 2, last));
        zone.upsert_mut(Record::from_rdata(own("kms.corp.test."), 60 + u32::from(last), address), 1);
    }
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut catalog = Catalog::new();
            catalog.upsert(origin.into(), vec![Arc::new(zone)]);
            let mut server = hickory_server::Server::new(catalog);
            let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            tell.send(udp.local_addr().unwrap()).unwrap();
            server.register_socket(udp);
            server.block_until_done().await.unwrap();
        });
    });
    server(told.recv().unwrap(), TIMEOUT)
}

/// Without a trust anchor, creating a server sends no query.
fn server(address: SocketAddr, timeout: Duration) -> Server {
    block_on(Server::new(address, timeout, &TrustAnchors::default(), Arc::default()))
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn kms() -> DnsName {
    DnsName::parse("kms.corp.test").unwrap()
}

fn agreed(servers: &[Server], quorum: Option<usize>) -> Result<Testimony, DnsError> {
    block_on(agreed_answer(&kms(), servers, quorum))
}

fn addresses(told: &Testimony) -> Vec<String> {
    told.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn silent_system_resolver_is_passed_over_and_the_one_that_answered_is_recorded() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = [server(silent.local_addr().unwrap(), LIMIT), serve(&[1])];
    let told = block_on(first_answer(&kms(), &servers)).unwrap();
    assert_eq!(told.addresses.len(), 1);
    assert_eq!(told.resolvers, [servers[1].to_string()]);
}

#[test]
fn name_that_the_first_system_resolver_denies_is_not_asked_for_again() {
    let error = block_on(first_answer(&kms(), &[serve(&[]), serve(&[1])])).unwrap_err();
    assert!(matches!(error, DnsError::NoSuchName { .. }), "{error}");
}

#[test]
fn agreement_takes_the_shortest_time_to_live() {
    let told = agreed(&[serve(&[1]), serve(&[1])], None).unwrap();
    assert_eq!((told.addresses.len(), told.ttl_seconds, told.resolvers.len()), (1, 61, 2));
    assert_eq!((told.stability, told.dnssec), (Stability::Stable, Dnssec::Unproven));
}

#[test]
fn name_that_only_one_resolver_knows_is_a_disagreement() {
    let error = agreed(&[serve(&[1]), serve(&[])], None).unwrap_err().to_string();
    assert!(error.contains("says 192.0.2.1; ") && error.ends_with("says that it does not exist"), "{error}");
}

#[test]
fn name_that_no_resolver_knows_does_not_exist() {
    let error = agreed(&[serve(&[]), serve(&[])], None).unwrap_err();
    assert!(matches!(error, DnsError::NoSuchName { .. }), "{error}");
}

#[test]
fn silence_of_one_named_resolver_is_an_error_although_the_other_answers() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = [serve(&[1]), server(silent.local_addr().unwrap(), LIMIT)];
    let error = agreed(&servers, None).unwrap_err();
    assert!(matches!(error, DnsError::NoAnswer { .. }), "{error}");
}

#[test]
fn resolvers_that_name_different_addresses_make_the_name_rotate_over_all_of_them() {
    let told = agreed(&[serve(&[1]), serve(&[1, 2])], None).unwrap();
    assert_eq!(addresses(&told), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(told.stability, Stability::Rotating);
}

#[test]
fn quorum_outvotes_who_lies_and_who_says_nothing() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let servers = [serve(&[66]), serve(&[1]), server(silent.local_addr().unwrap(), LIMIT), serve(&[1]), serve(&[])];
    let told = agreed(&servers, Some(2)).unwrap();
    assert_eq!((addresses(&told), told.stability), (vec!["192.0.2.1".to_owned()], Stability::Stable));
    assert_eq!(told.resolvers, [servers[1].to_string(), servers[3].to_string()]);
}

#[test]
fn quorum_that_is_not_met_says_who_said_what() {
    let servers = [serve(&[1]), serve(&[2]), serve(&[])];
    let error = agreed(&servers, Some(2)).unwrap_err();
    let [one, two, none] = [0, 1, 2].map(|index| servers[index].to_string());
    let said = format!("{one} says 192.0.2.1; {two} says 192.0.2.2; {none} says that it does not exist");
    assert_eq!(error, DnsError::NoQuorum { quorum: 2, answers: said });
}

#[test]
fn two_sets_with_a_quorum_each_make_the_name_rotate() {
    let told = agreed(&[serve(&[1]), serve(&[2]), serve(&[])], Some(1)).unwrap();
    assert_eq!((addresses(&told).len(), told.stability), (2, Stability::Rotating));
}

#[test]
fn resolver_is_an_address_with_or_without_a_port() {
    for (written, shown) in [
        ("192.0.2.53", "192.0.2.53"),
        ("192.0.2.53:53", "192.0.2.53"),
        ("192.0.2.53:5353", "192.0.2.53:5353"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:53", "::1"),
        ("[::1]:5353", "[::1]:5353"),
    ] {
        let address = parse_address(written).unwrap();
        assert_eq!(server(address, LIMIT).to_string(), shown, "{written}");
    }
    for written in ["", "dns.example", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[::1", "::1]:53", "0.0.0.0"]
    {
        assert!(parse_address(written).is_err(), "{written}");
    }
}
