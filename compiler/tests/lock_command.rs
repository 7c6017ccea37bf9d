//! `bfpc lock`, `bfpc drift` and `--locked` as they are run, against a server of this process whose zone
//! each test changes as it goes.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod name_server;
#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use support::Place;

const POLICY: &str = "program signer = \"/usr/bin/signer\"
allow signer -> { kms.test:443, cdn.test:443 }
";

/// A name's answers, one set after the other, round and round.
struct Turns {
    turn: usize,
    sets: Vec<Vec<IpAddr>>,
}

/// What each name answers.
#[derive(Clone, Default)]
struct Zone {
    names: Arc<Mutex<BTreeMap<String, Turns>>>,
    /// Whether it fails wherever it is asked for IPv6 addresses.
    lacks_v6: Arc<Mutex<bool>>,
    /// How long it thinks before each answer.
    delay: Arc<Mutex<Duration>>,
}

impl Zone {
    fn set(&self, name: &str, sets: &[&[&str]]) {
        let sets = sets.iter().map(|set| set.iter().map(|address| address.parse().unwrap()).collect()).collect();
        self.names.lock().unwrap().insert(format!("{name}."), Turns { turn: 0, sets });
    }

    fn remove(&self, name: &str) {
        self.names.lock().unwrap().remove(&format!("{name}.")).unwrap();
    }

    fn answer(&self, name: &Name, kind: RecordType) -> Option<Vec<Record>> {
        let mut zone = self.names.lock().unwrap();
        let Turns { turn, sets } = zone.get_mut(&name.to_string().to_lowercase())?;
        let set = sets.get(*turn % sets.len()).unwrap();
        // Both families belong to one turn.
        *turn += usize::from(kind == RecordType::AAAA);
        let data = set.iter().filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), RecordType::A) => Some(RData::A(A(*address))),
            (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(AAAA(*address))),
            _ => None,
        });
        Some(data.map(|data| Record::from_rdata(name.clone(), 60, data)).collect())
    }
}

#[async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut reply: R) -> ResponseInfo {
        let question = request.request_info().unwrap().query;
        let name = Name::from(question.name().clone());
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let answer = self.answer(&name, question.query_type());
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = if answer.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let mut answers = answer.unwrap_or_default();
        if *self.lacks_v6.lock().unwrap() && question.query_type() == RecordType::AAAA {
            metadata.response_code = ResponseCode::ServFail;
            answers.clear();
        }
        let response = MessageResponseBuilder::from_message_request(request).build(metadata, &answers, [], [], []);
        reply.send_response(response).await.unwrap()
    }
}

/// A policy, a zone for it, and the server of that zone.
struct Served {
    place: Place,
    zone: Zone,
    server: String,
}

impl Deref for Served {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Served {
    fn new() -> Served {
        let zone = Zone::default();
        zone.set("kms.test", &[&["203.0.113.10", "2001:db8::10"]]);
        zone.set("cdn.test", &[&["198.51.100.1"]]);
        let server = name_server::serve(zone.clone()).to_string();
        Served { place: Place::with(&[("p.bfp", POLICY)]), zone, server }
    }

    fn ask(&self, code: i32, words: &[&str]) -> String {
        self.bfpc(&[words, &["--resolver", &self.server]].concat()).says(code)
    }

    /// One table of the lock, with everything that does not depend on the hour.
    fn entry(&self, name: &str) -> String {
        let lock = self.text("p.bfp.lock");
        lock.split("[[name]]\n")
            .find(|entry| entry.starts_with(&format!("name = \"{name}\"")))
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

#[test]
fn names_that_are_locked_stay_new_ones_are_asked_for_and_unused_ones_leave() {
    let place = Served::new();
    place.write("p.bfp", "allow \"/a\" -> { kms.test:443, old.test }\n");
    place.zone.set("old.test", &[&["192.0.2.1"]]);
    assert_eq!(
        place.ask(0, &["lock", "p.bfp"]),
        "kms.test  203.0.113.10, 2001:db8::10\nold.test  192.0.2.1\np.bfp.lock: 2 names locked\n"
    );
    let kms = place.entry("kms.test");

    place.zone.set("kms.test", &[&["203.0.113.99"]]);
    place.write("p.bfp", POLICY);
    assert_eq!(
        place.ask(0, &["lock", "p.bfp"]),
        "cdn.test  198.51.100.1\nold.test  no longer used\np.bfp.lock: 2 names locked, 1 of them as before\n"
    );
    assert_eq!(place.entry("kms.test"), kms);
    assert!(!place.text("p.bfp.lock").contains("old.test"));

    // Nothing to ask: whoever would be asked does not matter, and the file keeps its very bytes.
    let edited = place.text("p.bfp.lock").replace("version = 2\n", "version = 2 # reviewed\n");
    place.write("p.bfp.lock", &edited);
    place.bfpc(&["lock", "p.bfp", "--resolver", "127.0.0.1:9"]).says(0);
    assert_eq!(place.text("p.bfp.lock"), edited);
}

#[test]
fn what_only_unused_declarations_of_an_included_file_name_is_not_locked() {
    let place = Served::new();
    // Nothing answers for these two.
    place.write(
        "corp.bfp",
        "host kms = kms.test:443\nhost both = { kms, gone.test }\nhost list = ranges(\"list.txt\")\n\
         host used = other except lost.test\nhost other = { 192.0.2.0/24, cdn.test }\n",
    );
    place.write("list.txt", "198.51.100.0/24\n");
    place.write("p.bfp", "include \"corp.bfp\"\nallow \"/a\" -> kms\n");
    let locked = "kms.test  203.0.113.10, 2001:db8::10\np.bfp.lock: 1 name locked\n";
    assert_eq!(place.ask(0, &["lock", "p.bfp"]), locked);
    place.bfpc(&["check", "p.bfp", "--locked"]).ok_with_warnings();

    // It can be asked about, and the answer says what is missing.
    place.key("key");
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--key", "key"]).ok_with_warnings();
    for (of, trust) in [("p.bfp", &[][..]), ("p.bfpb", &["--trust", "key.pub"])] {
        let asked = |host: &str| place.bfpc(&[&["explain", of, "/a", host], trust].concat()).ended();
        assert_eq!(asked("kms").code, 0, "{of}");
        let both = asked("both");
        assert_eq!(both.code, 2, "{of}");
        assert!(both.stderr.contains("the policy has no address for the name `gone.test`"), "{}", both.stderr);
    }

    // Through other declarations, in a test too.
    place.zone.set("lost.test", &[&["192.0.2.7"]]);
    let test = "include \"corp.bfp\"\nallow \"/a\" -> kms\ntest \"t\" {\n    \"/a\" -> { used, list } allowed\n}\n";
    place.write("p.bfp", test);
    place.bfpc(&["check", "p.bfp"]).says(2);
    assert_eq!(
        place.ask(0, &["lock", "p.bfp"]),
        "cdn.test  198.51.100.1\nlost.test  192.0.2.7\nlist.txt  new\n\
         p.bfp.lock: 3 names and 1 list locked, 1 of them as before\n"
    );

    // A name of the policy's own file is locked before a rule uses it.
    place.write("p.bfp", "host old = old.test\nallow \"/a\" -> 192.0.2.1\n");
    place.zone.set("old.test", &[&["192.0.2.1"]]);
    assert!(place.ask(0, &["lock", "p.bfp"]).starts_with("old.test  192.0.2.1\n"));
}

#[test]
fn update_asks_for_all_or_for_one_and_leaves_the_rest_byte_for_byte() {
    let place = Served::new();
    place.ask(0, &["lock", "p.bfp"]);
    let cdn = place.entry("cdn.test");
    place.zone.set("kms.test", &[&["203.0.113.11"]]);
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    place.ask(0, &["lock", "p.bfp", "--update", "kms.test"]);
    assert_eq!(place.entry("cdn.test"), cdn);
    assert!(place.entry("kms.test").contains("addresses = [\"203.0.113.11\"]"));
    place.ask(0, &["lock", "p.bfp", "--update"]);
    assert!(place.entry("cdn.test").contains("addresses = [\"198.51.100.2\"]"));

    // An address that stays keeps when it was first seen.
    let edited = place.text("p.bfp.lock").replace(
        place.entry("cdn.test").lines().find(|line| line.starts_with("resolved_at")).unwrap(),
        "resolved_at = \"2024-07-14T09:30:00Z\"",
    );
    place.write("p.bfp.lock", &edited);
    place.zone.set("cdn.test", &[&["198.51.100.2", "198.51.100.3"]]);
    place.ask(0, &["lock", "p.bfp", "--update", "cdn.test"]);
    let entry = place.entry("cdn.test");
    let record = "seen = [\n    { address = \"198.51.100.2\", first_seen = \"2024-07-14T09:30:00Z\" },\n]";
    assert!(entry.ends_with(record), "{entry}");
    place.bfpc(&["check", "p.bfp"]).says(0);

    let said = place.ask(2, &["lock", "p.bfp", "--update", "other.test"]);
    assert!(said.contains("lock::name_not_used") && said.contains("`cdn.test`, `kms.test`"), "{said}");
}

#[test]
fn lock_of_an_earlier_version_is_asked_for_anew_unless_part_of_it_was_to_stay() {
    let place = Served::new();
    let old = "version = 1\n";
    place.write("p.bfp.lock", old);
    assert!(place.bfpc(&["check", "p.bfp"]).says(2).contains("lock::old_version"));
    assert!(place.ask(2, &["lock", "p.bfp", "--update", "kms.test"]).contains("lock::old_version"));
    assert_eq!(place.text("p.bfp.lock"), old);
    let said = place.ask(0, &["lock", "p.bfp"]);
    assert!(said.starts_with("p.bfp.lock: it could not be used, and every name is resolved again\n"), "{said}");
    place.bfpc(&["check", "p.bfp"]).says(0);
}

#[test]
fn ipv4_address_within_an_ipv6_one_is_locked_once_and_judged_as_what_it_is() {
    let place = Served::new();
    place.zone.set("kms.test", &[&["10.1.1.1", "::ffff:10.1.1.1"]]);
    place.zone.set("cdn.test", &[&["::ffff:169.254.169.254"]]);
    let said = place.ask(0, &["lock", "p.bfp"]);
    assert_eq!(said, "cdn.test  169.254.169.254\nkms.test  10.1.1.1\np.bfp.lock: 2 names locked\n");
    assert!(place.entry("kms.test").contains("addresses = [\"10.1.1.1\"]"));
    let said = place.bfpc(&["check", "p.bfp"]).says(0);
    let special = "resolves `cdn.test` to 169.254.169.254, where clouds give out credentials";
    assert!(said.contains("check::special_address") && said.contains(special), "{said}");
    // Of the same answers nothing has drifted, and a server that drops the mapped one has the same.
    place.ask(0, &["drift", "p.bfp"]);
    place.zone.set("kms.test", &[&["10.1.1.1"]]);
    place.ask(0, &["drift", "p.bfp"]);
    // What was locked in another way is refused, and locked anew.
    let both = place.text("p.bfp.lock").replace("[\"10.1.1.1\"]", "[\"10.1.1.1\", \"::ffff:10.1.1.1\"]");
    place.write("p.bfp.lock", &both);
    assert!(place.bfpc(&["check", "p.bfp"]).says(2).contains("lock::address_not_canonical"));
    place.ask(0, &["lock", "p.bfp"]);
    assert!(place.entry("kms.test").contains("addresses = [\"10.1.1.1\"]"));
}

#[test]
fn of_many_addresses_the_first_are_told_and_all_are_locked() {
    let place = Served::new();
    let many: Vec<String> = (1..=20).map(|last| format!("198.51.100.{last}")).collect();
    place.zone.set("cdn.test", &[&many.iter().map(String::as_str).collect::<Vec<_>>()]);
    let said = place.ask(0, &["lock", "p.bfp"]);
    assert!(said.contains(", 198.51.100.7, 198.51.100.8, and 12 more\n"), "{said}");
    assert!(many.iter().all(|address| place.entry("cdn.test").contains(&format!("\"{address}\""))));
    place.zone.set("cdn.test", &[&many.iter().take(8).map(String::as_str).collect::<Vec<_>>()]);
    let said = place.ask(0, &["lock", "p.bfp", "--update"]);
    assert!(said.contains(", 198.51.100.8\n"), "{said}");
}

#[test]
fn rotating_name_is_locked_as_such_and_refused_where_it_would_leave_something_open() {
    let place = Served::new();
    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2", "198.51.100.3"]]);
    let said = place.ask(0, &["lock", "p.bfp"]);
    assert!(said.starts_with("cdn.test  198.51.100.1, 198.51.100.2, 198.51.100.3  rotating\n"), "{said}");
    assert!(place.entry("cdn.test").contains("stability = \"rotating\""));
    place.bfpc(&["check", "p.bfp"]).says(0);
    place.write("p.bfp", POLICY.replace("allow signer", "only signer"));
    assert!(place.bfpc(&["check", "p.bfp"]).says(2).contains("check::rotating_exclusive"));
}

#[test]
fn quorum_is_demanded_and_proof_too() {
    let place = Served::new();
    let other = Zone::default();
    other.set("kms.test", &[&["203.0.113.66"]]);
    other.set("cdn.test", &[&["198.51.100.1"]]);
    let liar = name_server::serve(other).to_string();
    let said = place.ask(2, &["lock", "p.bfp", "--resolver", &liar, "--quorum", "2"]);
    assert!(said.contains("resolve::no_quorum") && said.contains(&liar) && said.contains("203.0.113.66"), "{said}");
    assert!(place.ask(2, &["lock", "p.bfp", "--quorum", "2"]).contains("resolve::quorum"));
    let said = place.ask(2, &["lock", "p.bfp", "--require-dnssec", "kms.test"]);
    assert!(said.contains("lock::not_secure") && said.contains("must be proven"), "{said}");
    place.write("anchors", "kms.test. IN MX 10 mail.test.\n");
    let said = place.ask(2, &["lock", "p.bfp", "--trust-anchor", "anchors"]);
    assert!(said.contains("resolve::trust_anchor") && said.contains("1 error in anchors"), "{said}");
    place.write("anchors", "test. IN DS 1 15 2 0000000000000000000000000000000000000000000000000000000000000000\n");
    assert!(place.ask(2, &["lock", "p.bfp", "--trust-anchor", "anchors"]).contains("resolve::bogus"));
    assert!(!place.path("p.bfp.lock").exists());
}

#[test]
fn proof_that_was_written_by_hand_is_none() {
    let place = Served::new();
    place.ask(0, &["lock", "p.bfp"]);
    let edited = place.text("p.bfp.lock").replace("\nresolvers", "\ndnssec = \"secure\"\nresolvers");
    place.write("p.bfp.lock", &edited);
    assert!(place.ask(2, &["lock", "p.bfp", "--require-dnssec", "kms.test"]).contains("lock::not_secure"));
    assert_eq!(place.text("p.bfp.lock"), edited);
}

#[test]
fn locked_refuses_a_lock_that_would_change() {
    let place = Served::new();
    let build = ["build", "p.bfp", "-o", "p.bfpb", "--key", "key"];
    let locked = [&build[..], &["--locked"]].concat();
    place.key("key");
    place.ask(0, &["lock", "p.bfp"]);
    place.bfpc(&locked).says(0);
    place.bfpc(&["check", "p.bfp", "--locked"]).says(0);

    place.write("p.bfp", "allow \"/a\" -> kms.test:443\n");
    place.bfpc(&build).says(0);
    for words in [&locked[..], &["check", "p.bfp", "--locked"]] {
        let said = place.bfpc(words).says(2);
        assert!(said.contains("lock::stale") && said.contains("1 error in p.bfp.lock"), "{said}");
    }
    insta::assert_snapshot!(place.bfpc(&locked).says(2).replace(&place.server, "SERVER"));
    place.write("p.bfp", "allow \"/a\" -> { kms.test:443, cdn.test, new.test }\n");
    assert!(place.bfpc(&locked).says(2).contains("resolve::not_locked"));
}

#[test]
fn a_lock_may_be_too_old_and_none_is_from_the_future() {
    let place = Served::new();
    let check = |code, age: &str| place.bfpc(&["check", "p.bfp", "--max-age", age]).says(code);
    place.ask(0, &["lock", "p.bfp"]);
    check(0, "1d");

    let fresh = place.text("p.bfp.lock");
    let resolved_at = fresh.lines().find(|line| line.starts_with("resolved_at")).unwrap();
    place.write("p.bfp.lock", fresh.replacen(resolved_at, "resolved_at = \"2024-07-14T09:30:00Z\"", 1));
    place.bfpc(&["check", "p.bfp"]).says(0);
    let said = check(2, "30d");
    assert!(said.contains("lock::too_old") && said.contains("1 error in p.bfp.lock"), "{said}");
    assert!(said.contains("`--max-age` allows 30 days") && said.contains("p.bfp --update cdn.test"), "{said}");
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--max-age", "30d"]).says(2);
    check(0, "100y");
    // What it advises helps.
    place.ask(0, &["lock", "p.bfp", "--update", "cdn.test"]);
    check(0, "30d");

    place.write("p.bfp.lock", fresh.replacen(resolved_at, "resolved_at = \"2999-07-14T09:30:00Z\"", 1));
    let said = check(2, "30d");
    assert!(said.contains("lock::from_the_future") && said.contains("2999-07-14T09:30:00Z"), "{said}");
    let said = check(2, "soon");
    assert!(said.contains("--max-age"), "{said}");
}

#[test]
fn name_is_asked_for_its_ipv4_addresses_alone_with_a_reason() {
    let place = Served::new();
    *place.zone.lacks_v6.lock().unwrap() = true;
    assert!(place.ask(2, &["lock", "p.bfp"]).contains("resolve::refused"));
    let halved = ["--ipv4-only", "kms.test", "cdn.test"];
    let said = place.ask(2, &[&["lock", "p.bfp"], &halved[..]].concat());
    assert!(said.contains("--because"), "{said}");
    let reason = ["--because", "the \"old\" resolver has no AAAA"];
    let said = place.ask(0, &[&["lock", "p.bfp"], &halved[..], &reason[..]].concat());
    assert!(said.contains("kms.test  203.0.113.10  IPv4 only"), "{said}");
    let entry = place.entry("kms.test");
    assert!(entry.contains("addresses = [\"203.0.113.10\"]"), "{entry}");
    assert!(entry.contains(r#"ipv4_only = "the \"old\" resolver has no AAAA""#), "{entry}");

    // It stays so, for whoever asks again.
    place.zone.set("kms.test", &[&["203.0.113.11"]]);
    place.ask(0, &["lock", "p.bfp", "--update"]);
    assert!(place.entry("kms.test").contains("ipv4_only") && place.entry("kms.test").contains("203.0.113.11"));
    place.ask(0, &["drift", "p.bfp"]);
    place.bfpc(&["check", "p.bfp", "--locked"]).says(0);
    // What it may have besides would be free.
    place.write("p.bfp", "only \"/usr/bin/signer\" -> { kms.test:443, cdn.test:443 }\n");
    let said = place.bfpc(&["check", "p.bfp"]).says(2);
    assert!(said.contains("check::ipv4_only_exclusive") && said.contains("2 errors"), "{said}");
}

#[test]
fn drift_compares_the_lock_with_what_dns_says_now() {
    let place = Served::new();
    place.ask(0, &["lock", "p.bfp"]);
    assert_eq!(place.ask(0, &["drift", "p.bfp"]), "p.bfp: 2 names, as locked\n");
    place.zone.set("kms.test", &[&["203.0.113.11", "2001:db8::10"]]);
    place.zone.remove("cdn.test");
    insta::assert_snapshot!(place.ask(1, &["drift", "p.bfp"]), @"
    name      locked        live
    cdn.test  198.51.100.1  -             removed
                                          it has no address any more
    kms.test  203.0.113.10  -             removed
              -             203.0.113.11  added
              2001:db8::10  2001:db8::10

    p.bfp: 2 of 2 names drifted
    ");
    place.zone.set("cdn.test", &[&["198.51.100.1"]]);
    insta::assert_snapshot!(place.ask(1, &["drift", "p.bfp", "--format", "json"]));
    // Whoever cannot be asked has not agreed.
    let said = place.bfpc(&["drift", "p.bfp", "--resolver", "127.0.0.1:9"]).says(2);
    assert!(said.contains("resolve::no_answer"), "{said}");
    place.write("p.bfp.lock", "version = 2\n");
    assert!(place.ask(2, &["drift", "p.bfp"]).contains("resolve::not_locked"));
}

#[test]
fn part_of_a_rotating_name_is_no_drift_and_a_name_that_begins_to_rotate_is() {
    let place = Served::new();
    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2"]]);
    place.ask(0, &["lock", "p.bfp"]);
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    place.ask(0, &["drift", "p.bfp"]);
    place.zone.set("cdn.test", &[&["198.51.100.3"]]);
    assert!(place.ask(1, &["drift", "p.bfp"]).contains("198.51.100.3  added"));

    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2"]]);
    place.zone.set("kms.test", &[&["203.0.113.10", "2001:db8::10"], &["203.0.113.10"]]);
    let said = place.ask(1, &["drift", "p.bfp"]);
    assert!(said.contains("its addresses rotate now") && said.ends_with("1 of 2 names drifted\n"), "{said}");
}

#[test]
fn drift_reads_the_addresses_of_a_bundle_that_it_can_verify() {
    let place = Served::new();
    place.key("key");
    place.ask(0, &["lock", "p.bfp"]);
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--key", "key"]).says(0);
    assert!(place.ask(2, &["drift", "p.bfpb"]).contains("--trust KEY"));
    let drift = ["drift", "p.bfpb", "--trust", "key.pub"];
    assert_eq!(place.ask(0, &drift), "p.bfpb: 2 names, as locked\n");
    place.zone.set("kms.test", &[&["203.0.113.10", "2001:db8::11"]]);
    assert!(place.ask(1, &drift).contains("2001:db8::11  added"));
    place.key("other");
    place.ask(3, &["drift", "p.bfpb", "--trust", "other.pub"]);
    assert!(place.bfpc(&[&drift[..], &["--resolver", "127.0.0.1:9"]].concat()).says(2).contains("resolve::no_answer"));
}

#[test]
fn bundle_reports_no_more_than_its_policy() {
    let place = Served::new();
    place.key("key");
    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2"]]);
    place.ask(0, &["lock", "p.bfp"]);
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--key", "key"]).says(0);
    // It rotates, and is asked when it does not.
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    place.ask(0, &["drift", "p.bfp"]);
    place.ask(0, &["drift", "p.bfpb", "--trust", "key.pub"]);
    place.zone.set("cdn.test", &[&["198.51.100.3"]]);
    place.ask(1, &["drift", "p.bfp"]);
    place.ask(1, &["drift", "p.bfpb", "--trust", "key.pub"]);
}

#[test]
fn a_resolver_is_given_the_time_that_is_asked_for() {
    let place = Served::new();
    // Messages are wrapped.
    let in_one_line = |said: String| said.replace('│', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let too_late = "nothing complete came within 1000 ms, in 2 tries of 500 ms for a question";
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let said = in_one_line(place.bfpc(&["lock", "p.bfp", "--resolver", &silent, "--timeout", "1"]).says(2));
    assert!(said.contains(too_late) && said.contains("more time with `--timeout`"), "{said}");

    // One that needs longer than a try of half a second answers all the same to who waits.
    *place.zone.delay.lock().unwrap() = Duration::from_millis(700);
    let said = in_one_line(place.ask(2, &["lock", "p.bfp", "--timeout", "1"]));
    assert!(said.contains(too_late), "{said}");
    place.ask(0, &["lock", "p.bfp", "--timeout", "20"]);

    assert!(place.bfpc(&["lock", "p.bfp", "--timeout", "0"]).says(2).contains("0 is not in 1..=600"));
}

/// The lock of [`POLICY`], with every time in it this many days ago.
fn aged(place: &Served, days: i64) {
    let then = time::OffsetDateTime::now_utc() - time::Duration::days(days);
    let then = bfp_compiler::names::lock::ResolvedAt::new(then).to_string();
    let lock = place.text("p.bfp.lock");
    let times = lock.match_indices("Z\"").filter_map(|(end, _)| lock.get(end.checked_sub(19)?..=end));
    let times: std::collections::BTreeSet<String> = times.map(str::to_owned).collect();
    place.write("p.bfp.lock", times.iter().fold(lock.clone(), |text, time| text.replace(time, &then)));
}

const MAY_CHANGE: &str = "host cdn = cdn.test:443 may change
allow \"/usr/bin/signer\" -> { kms.test:443, cdn }
";

#[test]
fn refresh_takes_what_may_change_and_forgets_what_is_gone_for_long() {
    let place = Served::new();
    place.write("p.bfp", MAY_CHANGE);
    place.ask(0, &["lock", "p.bfp"]);
    aged(&place, 3);
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    let said = place.ask(0, &["lock", "p.bfp", "--refresh", "--keep", "7d"]);
    let line = "cdn.test  added 198.51.100.2; kept 198.51.100.1\n";
    assert_eq!(said, format!("{line}kms.test  as locked\np.bfp.lock: 2 names refreshed\n"));
    assert!(place.entry("cdn.test").contains("\n    \"198.51.100.1\",\n    \"198.51.100.2\",\n"));
    let stays = place.entry("kms.test");
    assert!(stays.contains("{ address = \"203.0.113.10\", first_seen = "), "{stays}");
    place.bfpc(&["check", "p.bfp", "--locked", "--max-age", "1d"]).says(0);
    // What is kept for a time is not expected in an answer, and may come back; a bundle knows that too.
    place.key("key");
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--key", "key"]).says(0);
    let of_bundle = ["drift", "p.bfpb", "--trust", "key.pub"];
    place.ask(0, &["drift", "p.bfp"]);
    place.ask(0, &of_bundle);
    place.zone.set("cdn.test", &[&["198.51.100.1", "198.51.100.2"]]);
    place.ask(0, &["drift", "p.bfp"]);
    place.ask(0, &of_bundle);
    place.zone.set("cdn.test", &[&["198.51.100.1"]]);
    assert!(place.ask(1, &["drift", "p.bfp"]).contains("198.51.100.2"));
    assert!(place.ask(1, &of_bundle).contains("198.51.100.2"));

    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    let said = place.ask(0, &["lock", "p.bfp", "--refresh", "--keep", "4d"]);
    assert!(said.starts_with("cdn.test  same 198.51.100.2; kept 198.51.100.1\n"), "{said}");
    let said = place.ask(0, &["lock", "p.bfp", "--refresh", "--keep", "2d"]);
    assert!(said.starts_with("cdn.test  same 198.51.100.2; removed 198.51.100.1\n"), "{said}");
    assert!(place.entry("cdn.test").contains("addresses = [\"198.51.100.2\"]"));
}

#[test]
fn refresh_stops_where_a_person_must_look_and_writes_nothing() {
    let place = Served::new();
    place.write("p.bfp", MAY_CHANGE);
    place.ask(0, &["lock", "p.bfp"]);
    let locked = place.text("p.bfp.lock");
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    place.zone.set("kms.test", &[&["203.0.113.11", "2001:db8::10"]]);
    insta::assert_snapshot!(place.ask(3, &["lock", "p.bfp", "--refresh"]));
    assert_eq!(place.text("p.bfp.lock"), locked);
    // What it advises helps, and nothing else has come with it.
    place.ask(0, &["lock", "p.bfp", "--update", "kms.test"]);
    place.ask(0, &["lock", "p.bfp", "--refresh"]);

    // A name that disappears, that begins to rotate, or that leads to where no host is.
    place.zone.set("kms.test", &[&["203.0.113.11"], &["203.0.113.11", "2001:db8::10"]]);
    assert!(place.ask(3, &["lock", "p.bfp", "--refresh"]).contains("its addresses rotate now"));
    place.zone.set("kms.test", &[&["203.0.113.11", "2001:db8::10"]]);
    for (address, kind) in [("169.254.169.254", "credentials"), ("127.0.0.1", "this machine"), ("0.0.0.0", "loopback")]
    {
        place.zone.set("cdn.test", &[&["198.51.100.2", address]]);
        let said = place.ask(3, &["lock", "p.bfp", "--refresh"]);
        assert!(said.contains("may change, but not so") && said.contains(kind), "{said}");
    }
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    let edited = place.text("p.bfp.lock").replace("\nresolvers", "\ndnssec = \"secure\"\nresolvers");
    place.write("p.bfp.lock", edited);
    assert!(place.ask(3, &["lock", "p.bfp", "--refresh"]).contains("DNSSEC does not prove it any more"));
    place.zone.remove("cdn.test");
    assert!(place.ask(2, &["lock", "p.bfp", "--refresh"]).contains("resolve::no_such_name"));
}

#[test]
fn refresh_of_what_is_not_locked_or_not_to_be_refreshed_is_refused() {
    let place = Served::new();
    place.write("p.bfp", MAY_CHANGE);
    assert!(place.ask(2, &["lock", "p.bfp", "--refresh"]).contains("resolve::not_locked"));
    assert!(place.ask(2, &["lock", "p.bfp", "--keep", "1d"]).contains("--refresh"));
    assert!(place.ask(2, &["lock", "p.bfp", "--refresh", "--update"]).contains("--update"));
    assert!(place.ask(2, &["lock", "p.bfp", "--refresh", "--keep", "soon"]).contains("--keep"));
    assert!(place.ask(2, &["lock", "-", "--refresh"]).contains("lock::nowhere"));
    place.ask(0, &["lock", "p.bfp"]);
    place.write("p.bfp", "deny * -> cdn.test\n");
    let said = place.ask(0, &["lock", "p.bfp", "--refresh"]);
    assert_eq!(said, "cdn.test  as locked\nkms.test  no longer used\np.bfp.lock: 1 name refreshed\n");
}

#[test]
fn frozen_name_that_rotates_answers_with_a_part_and_loses_nothing() {
    let place = Served::new();
    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2"]]);
    place.ask(0, &["lock", "p.bfp"]);
    aged(&place, 30);
    place.zone.set("cdn.test", &[&["198.51.100.2"]]);
    let said = place.ask(0, &["lock", "p.bfp", "--refresh"]);
    assert!(said.starts_with("cdn.test  same 198.51.100.2; kept 198.51.100.1\n"), "{said}");
    assert!(place.entry("cdn.test").contains("rotating") && place.entry("cdn.test").contains("last_seen"));
    place.zone.set("cdn.test", &[&["198.51.100.3"]]);
    assert!(place.ask(3, &["lock", "p.bfp", "--refresh"]).contains("198.51.100.3, which is not locked"));
}

const WITHIN: &str = "host cdn = cdn.test:443 within ranges(\"cdn.txt\")
only \"/usr/bin/signer\" -> cdn
";

#[test]
fn rotating_name_within_a_list_is_exclusive_as_a_whole() {
    let place = Served::new();
    place.write("p.bfp", WITHIN);
    place.write("cdn.txt", "198.51.100.0/28\n");
    place.zone.set("cdn.test", &[&["198.51.100.1"], &["198.51.100.2"]]);
    place.ask(0, &["lock", "p.bfp"]);
    assert!(!place.bfpc(&["check", "p.bfp", "--locked"]).says(0).contains("rotating"));
    // The rule covers the whole list, and the ports of the name.
    for (code, destination) in [(1, "198.51.100.14:443"), (1, "cdn"), (0, "198.51.100.14:80"), (0, "198.51.100.16:443")]
    {
        place.bfpc(&["explain", "p.bfp", "/usr/bin/curl", destination]).says(code);
    }
    place.key("key");
    place.bfpc(&["build", "p.bfp", "-o", "p.bfpb", "--key", "key"]).says(0);
    let explain = ["explain", "p.bfpb", "/usr/bin/curl", "198.51.100.14:443", "--trust", "key.pub"];
    place.bfpc(&explain).says(1);

    // Which of its addresses are answered makes no difference.
    place.zone.set("cdn.test", &[&["198.51.100.9"]]);
    place.ask(0, &["drift", "p.bfp"]);
    let said = place.ask(0, &["lock", "p.bfp", "--refresh"]);
    assert!(said.contains("added 198.51.100.9"), "{said}");

    // One outside is told by each.
    place.zone.set("cdn.test", &[&["198.51.100.9", "198.51.100.77"]]);
    let said = place.ask(1, &["drift", "p.bfp"]);
    assert!(said.contains("it has left the list that it is within"), "{said}");
    assert!(place.ask(1, &["drift", "p.bfp", "--format", "json"]).contains("\"status\": \"outside\""));
    let locked = place.text("p.bfp.lock");
    let said = place.ask(3, &["lock", "p.bfp", "--refresh"]);
    assert!(said.contains("198.51.100.77, outside of the list") && said.contains("lock::needs_review"), "{said}");
    let said = place.ask(2, &["lock", "p.bfp", "--update"]);
    assert!(said.contains("resolve::outside_range") && said.contains("198.51.100.77"), "{said}");
    assert_eq!(place.text("p.bfp.lock"), locked);

    // A list that no longer holds what was locked is found by the next lock.
    place.write("cdn.txt", "203.0.113.0/24\n");
    assert!(place.ask(2, &["lock", "p.bfp"]).contains("resolve::outside_range"));
}
