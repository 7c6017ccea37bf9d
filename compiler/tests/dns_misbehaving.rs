//! Resolution against servers that answer wrongly, partly, in circles, late, elsewhere or each time anew: hickory-server
//! in this process, on loopback, with its answers written out per question.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod name_server;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bfp_compiler::names::dns::{DnsError, Resolvers, resolve};
use bfp_compiler::names::dns_name::DnsName;
use bfp_compiler::names::lock::{LockedName, Stability};
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, NS};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use miette::Diagnostic;
use time::macros::datetime;

/// What one question is answered with.
struct Script {
    code: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

fn own(name: &str) -> Name {
    Name::from_str(name).unwrap()
}

fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(own(name), ttl, data)
}

fn a(name: &str, ttl: u32, last: u8) -> Record {
    record(name, ttl, RData::A(A::new(192, 0, 2, last)))
}

fn aaaa(name: &str, last: u16) -> Record {
    record(name, 300, RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)))
}

fn alias(name: &str, target: &str) -> Record {
    record(name, 30, RData::CNAME(CNAME(own(target))))
}

fn answer(answers: Vec<Record>) -> Script {
    Script { code: ResponseCode::NoError, answers, authorities: Vec::new() }
}

fn code(code: ResponseCode) -> Script {
    Script { code, answers: Vec::new(), authorities: Vec::new() }
}

/// The server's whole behaviour, one name a line. All names end in `.test.`; `turn` counts the questions
/// for addresses of IPv4.
fn script(name: &str, kind: RecordType, turn: u8) -> Script {
    let v4 = kind == RecordType::A;
    match (name.trim_end_matches(".test."), v4) {
        ("half", true) => answer(vec![a("half.test.", 300, 1)]),
        ("half", false) => code(ResponseCode::ServFail),
        ("contradiction", true) => answer(vec![a("contradiction.test.", 300, 1)]),
        ("contradiction", false) => code(ResponseCode::NXDomain),
        ("loop", _) => answer(vec![alias("loop.test.", "pool.test.")]),
        ("pool", _) => answer(vec![alias("pool.test.", "loop.test.")]),
        ("self", _) => answer(vec![alias("self.test.", "self.test.")]),
        // In one answer, as a recursive resolver gives it, and out of order.
        ("whole", true) => answer(vec![
            a("end.test.", 60, 7),
            alias("middle.test.", "end.test."),
            alias("whole.test.", "middle.test."),
        ]),
        ("whole", false) => answer(vec![alias("whole.test.", "middle.test."), alias("middle.test.", "end.test.")]),
        ("end", true) => answer(vec![a("end.test.", 60, 7)]),
        // The answer smuggles an address of another owner along.
        ("smuggle", true) => answer(vec![a("smuggle.test.", 300, 1), a("elsewhere.test.", 5, 66)]),
        ("dangling", _) => answer(vec![alias("dangling.test.", "nowhere.test.")]),
        ("ghost", true) => Script { code: ResponseCode::NXDomain, ..answer(vec![a("ghost.test.", 300, 1)]) },
        ("ghost", false) => code(ResponseCode::NXDomain),
        ("nowhere", _) => code(ResponseCode::NXDomain),
        ("referred", _) => Script {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: vec![record("test.", 300, RData::NS(NS(own("ns.elsewhere."))))],
        },
        ("odd", true) => answer(vec![alias("odd.test.", "*.test.")]),
        ("v6", false) => answer(vec![aaaa("v6.test.", 1)]),
        // hop0 → hop1 → … without end, and no loop.
        (hop, _) if hop.starts_with("hop") => {
            let next: u32 = hop.trim_start_matches("hop").parse::<u32>().unwrap() + 1;
            answer(vec![alias(name, &format!("hop{next}.test."))])
        }
        ("servfail", _) => code(ResponseCode::ServFail),
        // Two of three, the next two each time.
        ("robin", true) => answer(vec![a("robin.test.", 60, turn % 3), a("robin.test.", 60, (turn + 1) % 3)]),
        ("shuffled", true) => {
            let one_first = turn.is_multiple_of(2);
            answer(if one_first { vec![a(name, 60, 1), a(name, 60, 2)] } else { vec![a(name, 60, 2), a(name, 60, 1)] })
        }
        ("moving", true) => answer(vec![alias("moving.test.", &format!("node{turn}.test.")), a(name, 60, 9)]),
        (node, true) if node.starts_with("node") => answer(vec![a(name, 60, 7)]),
        ("slow", true) => answer(vec![a("slow.test.", 300, 1)]),
        // Records of everybody but the one who was asked for.
        ("liar", true) => answer(vec![a("elsewhere.test.", 300, 66), a("test.", 300, 67)]),
        ("refused", _) => code(ResponseCode::Refused),
        ("localhost.", true) => answer(vec![a("localhost.", 300, 5)]),
        _ => answer(Vec::new()),
    }
}

#[derive(Default)]
struct Scripted {
    turn: AtomicU8,
}

#[async_trait]
impl RequestHandler for Scripted {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let question = request.request_info().unwrap().query;
        let name = question.name().to_string();
        let v4 = u8::from(question.query_type() == RecordType::A);
        let script = script(&name, question.query_type(), self.turn.fetch_add(v4, Ordering::Relaxed));
        if name.starts_with("slow") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = script.code;
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &script.answers,
            &script.authorities,
            [],
            [],
        );
        reply.send_response(response).await.unwrap()
    }
}

fn serve() -> SocketAddr {
    name_server::serve(Scripted::default())
}

fn ask(servers: &[SocketAddr], name: &str) -> Result<LockedName, DnsError> {
    let written: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let resolvers = Resolvers::parse(&written).unwrap();
    let names = BTreeSet::from([DnsName::parse(name).unwrap()]);
    resolve(&names, &resolvers, datetime!(2026-11-24 00:00 UTC)).into_values().next().unwrap()
}

fn failure(name: &str) -> (String, String) {
    let error = ask(&[serve()], name).unwrap_err();
    (error.code().unwrap().to_string(), error.to_string())
}

fn addresses(answer: &LockedName) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

fn chain(answer: &LockedName) -> Vec<&str> {
    answer.cname.iter().map(DnsName::as_str).collect()
}

#[test]
fn subset_that_changes_with_each_round_is_locked_whole_and_called_rotating() {
    let answer = ask(&[serve()], "robin.test").unwrap();
    assert_eq!(addresses(&answer), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(answer.stability, Stability::Rotating);
}

#[test]
fn another_order_or_another_alias_is_no_rotation() {
    for (name, found) in [("shuffled.test", &["192.0.2.1", "192.0.2.2"][..]), ("moving.test", &["192.0.2.7"])] {
        let answer = ask(&[serve()], name).unwrap();
        assert_eq!(
            (addresses(&answer), answer.stability),
            (found.iter().map(ToString::to_string).collect(), Stability::Stable)
        );
    }
}

#[test]
fn slow_resolver_is_waited_for() {
    let answer = ask(&[serve(), serve()], "slow.test").unwrap();
    assert_eq!((answer.resolvers.len(), answer.stability), (2, Stability::Stable));
}

#[test]
fn records_of_others_are_no_answer() {
    assert_eq!(failure("liar.test").0, "resolve::no_address");
}

#[test]
fn server_that_fails_is_named_with_its_code() {
    let (code, message) = failure("servfail.test");
    assert_eq!(code, "resolve::refused");
    assert!(message.ends_with("answers with Server Failure"), "{message}");
}

#[test]
fn half_an_answer_is_an_error() {
    assert_eq!(failure("half.test").0, "resolve::refused");
    assert_eq!(failure("contradiction.test").0, "resolve::contradiction");
}

#[test]
fn aliases_in_a_circle_are_an_error_of_their_own() {
    assert_eq!(failure("loop.test").0, "resolve::cname_loop");
    assert_eq!(failure("self.test").0, "resolve::cname_loop");
}

#[test]
fn aliases_without_end_are_an_error_of_their_own() {
    assert_eq!(failure("hop0.test").0, "resolve::cname_too_long");
}

#[test]
fn long_chain_that_ends_is_followed_to_its_end() {
    let answer = ask(&[serve()], "whole.test").unwrap();
    assert_eq!(chain(&answer), ["middle.test", "end.test"]);
    assert_eq!(addresses(&answer), ["192.0.2.7"]);
    assert_eq!(answer.ttl_seconds, 30);
}

#[test]
fn address_of_another_owner_is_not_taken() {
    let answer = ask(&[serve()], "smuggle.test").unwrap();
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
    assert_eq!(answer.ttl_seconds, 300);
}

#[test]
fn alias_to_nothing_says_so() {
    let (code, message) = failure("dangling.test");
    assert_eq!(code, "resolve::dangling_alias");
    assert!(message.contains("nowhere.test"), "{message}");
}

#[test]
fn referral_is_not_taken_for_a_name_without_addresses() {
    assert_eq!(failure("referred.test").0, "resolve::referral");
}

#[test]
fn alias_that_is_no_name_is_an_error() {
    assert_eq!(failure("odd.test").0, "resolve::malformed");
}

#[test]
fn name_that_does_not_exist_has_no_address() {
    let (code, message) = failure("ghost.test");
    assert_eq!(code, "resolve::malformed");
    assert!(message.ends_with("it says that the name does not exist, and gives addresses"), "{message}");
}

#[test]
fn localhost_is_asked_like_any_other_name() {
    assert_eq!(addresses(&ask(&[serve()], "localhost").unwrap()), ["192.0.2.5"]);
}

#[test]
fn one_resolver_twice_is_refused() {
    let twice = ["127.0.0.1".to_owned(), "127.0.0.1:53".to_owned()];
    assert!(Resolvers::parse(&twice).is_err());
    assert!(Resolvers::parse(&["127.0.0.1:0".to_owned()]).is_err());
}

#[test]
fn many_silent_names_take_no_longer_than_a_few() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let written = [silent.local_addr().unwrap().to_string()];
    let resolvers = Resolvers::parse(&written).unwrap().with_timeout(Duration::from_millis(300));
    let names: BTreeSet<DnsName> = (0..16).map(|number| DnsName::parse(&format!("n{number}.test")).unwrap()).collect();
    let start = Instant::now();
    let answers = resolve(&names, &resolvers, datetime!(2026-11-24 00:00 UTC));
    assert!(answers.values().all(Result::is_err));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}
