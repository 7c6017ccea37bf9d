//! `bfpc fetch`, and `bfpc drift` of lists, as they are run, against a TLS server of this process that answers as each
//! test says, well or badly.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod list_server;
#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::os::unix::fs::symlink;
use std::time::Instant;

use list_server::{Page, Server};
use support::{Ended, Place};

const LIST: &str = r#"{"prefixes": [
  {"ip_prefix": "198.51.100.0/24", "service": "S3"},
  {"ip_prefix": "203.0.113.0/24", "service": "EC2"}
]}"#;

const LONGER: &str = r#"{"prefixes": [
  {"ip_prefix": "198.51.100.0/25", "service": "S3"},
  {"ip_prefix": "192.0.2.0/24", "service": "S3"},
  {"ip_prefix": "203.0.113.0/24", "service": "EC2"}
]}"#;

/// A policy that reads the list at a URL.
fn policy(url: &str) -> String {
    format!(
        "ranges \"ip-ranges.json\" from \"{url}\"
program app = \"/usr/bin/app\"
host s3 = ranges(\"ip-ranges.json\", service = \"S3\"):443
host stores = {{ s3, 192.0.2.9:443 }}
allow app -> stores
default deny
"
    )
}

/// A folder with the policy, and the certificate of the server's authority.
fn place(server: &Server, page: &str) -> Place {
    let place = Place::new();
    place.write("policy.bfp", policy(&server.url(page)));
    place.write("ca.pem", server.authority());
    place
}

/// Runs `bfpc` without the variables of this machine, which may name a proxy.
fn run(place: &Place, words: &[&str]) -> Ended {
    let mut run = place.bfpc(words);
    run.command.env_clear();
    run.ended()
}

fn fetch(place: &Place) -> Ended {
    run(place, &["fetch", "policy.bfp", "--ca", "ca.pem", "--timeout", "20"])
}

fn check(place: &Place) -> Ended {
    run(place, &["check", "policy.bfp"])
}

#[test]
fn list_is_fetched_locked_and_used() {
    let server = Server::start();
    server.set("/ip-ranges.json", Page::text(LIST));
    let place = place(&server, "/ip-ranges.json");
    let missing = check(&place);
    assert!(missing.code == 2 && missing.in_one_line().contains("`bfpc fetch FILE`"), "{}", missing.all());

    let ended = fetch(&place);
    assert_eq!(ended.code, 0, "{}", ended.all());
    let url = server.url("/ip-ranges.json");
    assert!(
        ended.stdout.starts_with(&format!("ip-ranges.json  new, {} bytes, from {url}\n", LIST.len())),
        "{}",
        ended.all()
    );
    assert_eq!(place.text("ip-ranges.json"), LIST);
    let lock = place.text("policy.bfp.lock");
    for line in
        [&format!("bytes = {}\n", LIST.len()), &format!("url = \"{url}\"\n"), "sha256 = \"", "fetched_at = \"20"]
    {
        assert!(lock.contains(line), "{line}: {lock}");
    }
    assert_eq!(check(&place).code, 0);
    place.bfpc(&["check", "policy.bfp", "--locked"]).ok_with_warnings();

    // The same content is the same lock, whenever it is fetched.
    let again = fetch(&place);
    assert!(again.stdout.contains("as before"), "{}", again.all());
    assert_eq!(place.text("policy.bfp.lock"), lock);
    place.bfpc(&["lock", "policy.bfp"]).ok();
    assert_eq!(place.text("policy.bfp.lock"), lock, "`lock` keeps what `fetch` wrote");
}

#[test]
fn list_that_was_edited_is_refused_until_it_is_fetched() {
    let server = Server::start();
    server.set("/l", Page::text(LIST));
    let place = place(&server, "/l");
    assert_eq!(fetch(&place).code, 0);
    place.write("ip-ranges.json", LONGER);
    for words in [
        &["check", "policy.bfp"][..],
        &["build", "policy.bfp", "-o", "policy.bfpb"],
        &["drift", "policy.bfp", "--ca", "ca.pem"],
    ] {
        let ended = run(&place, words);
        assert!(ended.code == 2 && ended.in_one_line().contains("resolve::list_changed"), "{}", ended.all());
        assert!(ended.in_one_line().contains("fetch the list with `bfpc fetch FILE`"), "{}", ended.all());
    }
    // `lock` does not make it the provider's.
    assert_eq!(run(&place, &["lock", "policy.bfp"]).code, 0);
    assert_eq!(check(&place).code, 2);
    assert_eq!(fetch(&place).code, 0);
    assert_eq!(place.text("ip-ranges.json"), LIST);
    assert_eq!(check(&place).code, 0);
}

#[test]
fn change_of_the_url_wants_another_fetch() {
    let server = Server::start();
    server.set("/a", Page::text(LIST));
    server.set("/b", Page::text(LIST));
    let place = place(&server, "/a");
    assert_eq!(fetch(&place).code, 0);
    place.write("policy.bfp", policy(&server.url("/b")));
    let ended = check(&place);
    assert!(ended.code == 2 && ended.stderr.contains("resolve::list_not_fetched"), "{}", ended.all());
    assert_eq!(fetch(&place).code, 0);
    assert_eq!(check(&place).code, 0);
    // Without a URL, the digest alone is locked.
    place.write("policy.bfp", policy("x").split_once('\n').unwrap().1);
    place.bfpc(&["lock", "policy.bfp"]).ok();
    assert!(!place.text("policy.bfp.lock").contains("url"));
    assert_eq!(check(&place).code, 0);
}

#[test]
fn fetch_tells_what_changes_and_which_rules_that_concerns() {
    let server = Server::start();
    server.set("/l", Page::text(LIST));
    let place = place(&server, "/l");
    assert_eq!(fetch(&place).code, 0);
    server.set("/l", Page::text(LONGER));
    let expected = "  policy.bfp:3  ranges(\"ip-ranges.json\", service = \"S3\"):443  host s3
    + 192.0.2.0/24
    - 198.51.100.128/25
    in policy.bfp:5  allow app -> stores
";
    let drifted = run(&place, &["drift", "policy.bfp", "--ca", "ca.pem"]);
    assert_eq!(drifted.code, 1, "{}", drifted.all());
    assert_eq!(drifted.stdout, format!("ip-ranges.json\n{expected}\npolicy.bfp: 1 of 1 list drifted\n"));
    let fetched = fetch(&place);
    assert!(fetched.stdout.contains(expected), "{}", fetched.all());
    let drifted = run(&place, &["drift", "policy.bfp", "--ca", "ca.pem"]);
    assert_eq!((drifted.code, drifted.stdout.as_str()), (0, "policy.bfp: 1 list, as locked\n"), "{}", drifted.all());
    assert_eq!(check(&place).code, 0);
}

#[test]
fn drift_compares_a_list_that_is_given_without_a_network() {
    let server = Server::start();
    server.set("/l", Page::text(LIST));
    let place = place(&server, "/l");
    assert_eq!(fetch(&place).code, 0);
    drop(server);
    place.write("now.json", LONGER);
    let given = ["drift", "policy.bfp", "--list", "ip-ranges.json=now.json", "--format", "json"];
    let ended = run(&place, &given);
    assert_eq!(ended.code, 1, "{}", ended.all());
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let list = told.pointer("/lists/0").unwrap();
    assert_eq!(list.pointer("/status").unwrap(), "changed");
    assert_eq!(list.pointer("/changes/0/host").unwrap(), "s3");
    assert_eq!(list.pointer("/changes/0/added/0").unwrap(), "192.0.2.0/24");
    assert_eq!(list.pointer("/changes/0/removed/0").unwrap(), "198.51.100.128/25");
    assert_eq!(list.pointer("/changes/0/rules/0/line").unwrap(), 5);

    place.write("now.json", LIST.replace("S3", "S4"));
    let ended = run(&place, &given[..4]);
    assert!(
        ended.code == 1 && ended.stdout.contains("! the list has no entry with service = \"S3\""),
        "{}",
        ended.all()
    );
    place.write("now.json", format!("{LIST}\n"));
    assert_eq!(run(&place, &given[..4]).code, 0, "white space is no drift");
    let ended = run(&place, &["drift", "policy.bfp", "--list", "other.json=now.json"]);
    assert!(ended.code == 2 && ended.stderr.contains("name one that it uses: `ip-ranges.json`"), "{}", ended.all());
}

#[test]
fn nothing_is_written_unless_every_list_is_there() {
    let server = Server::start();
    server.set("/good", Page::text(LIST));
    let place = place(&server, "/good");
    let more = format!(
        "{}ranges \"b.txt\" from \"{}\"\ndeny * -> ranges(\"b.txt\")\n",
        policy(&server.url("/good")),
        server.url("/b")
    );
    place.write("policy.bfp", more);
    let ended = fetch(&place);
    assert!(ended.code == 2 && ended.stderr.contains("the server answers with the status 404"), "{}", ended.all());
    assert!(!place.path("ip-ranges.json").exists() && !place.path("policy.bfp.lock").exists());
    server.set("/b", Page::text("192.0.2.0/24\n"));
    assert_eq!(fetch(&place).code, 0);
    assert_eq!(check(&place).code, 0);
}

#[test]
fn hostile_servers_change_nothing() {
    let server = Server::start();
    let elsewhere = Server::start();
    elsewhere.set("/l", Page::text(LIST));
    for (page, reason) in [
        (Page::Status(500), "the server answers with the status 500"),
        (Page::redirect("http://127.0.0.1:1/l"), "it redirects to `http://127.0.0.1:1/l`, which is not https"),
        (Page::redirect("file:///etc/passwd"), "fetch::failed"),
        (Page::redirect("/l"), "it redirects more than 5 times"),
        // Its certificate is of another authority.
        (Page::redirect(&elsewhere.url("/l")), "invalid peer certificate"),
        (Page::text("<!doctype html><html><body>Sign in</body></html>"), "is an HTML page, not a list"),
        (Page::text("{}"), "contains no network"),
        (Page::text(&LIST.replace("S3", "S4")), "has no entry with service = \"S3\""),
        (Page::text(&LIST.replace("198.51.100.0/24", "198.51.100.1/24")), "contains"),
        (Page::Bytes(vec![0xff, 0xfe, b'{']), "what it returns is not UTF-8 text (line 1)"),
        (Page::Short(LIST.to_owned()), "fetch::failed"),
        (Page::Cut(LIST.to_owned()), "the server does not say how long it is"),
        (Page::Endless, "it has more than 64 MiB"),
        (Page::Nonsense, "fetch::failed"),
    ] {
        let place = place(&server, "/l");
        place.write("policy.bfp.lock", "version = 2\n");
        server.set("/l", page);
        let ended = fetch(&place);
        assert_eq!(ended.code, 2, "{reason}: {}", ended.all());
        assert!(ended.in_one_line().contains(reason), "{reason}: {}", ended.all());
        assert!(!place.path("ip-ranges.json").exists(), "{reason}");
        assert_eq!(place.text("policy.bfp.lock"), "version = 2\n", "{reason}");
    }
}

#[test]
fn slow_servers_are_given_up() {
    let server = Server::start();
    let place = place(&server, "/l");
    for page in [Page::Silent, Page::Trickle] {
        server.set("/l", page);
        let begin = Instant::now();
        let ended = run(&place, &["fetch", "policy.bfp", "--ca", "ca.pem", "--timeout", "1"]);
        assert!(ended.code == 2 && ended.stderr.contains("it took longer than 1 s"), "{}", ended.all());
        assert!(begin.elapsed().as_secs() < 10);
    }
}

#[test]
fn server_is_verified() {
    let server = Server::start();
    server.set("/l", Page::text(LIST));
    let place = place(&server, "/l");
    place.write("ca.pem", Server::start().authority());
    let ended = fetch(&place);
    assert!(ended.code == 2 && ended.stderr.contains("invalid peer certificate"), "{}", ended.all());
    place.write("ca.pem", "no certificate\n");
    let ended = fetch(&place);
    assert!(ended.code == 2 && ended.stderr.contains("fetch::certificates"), "{}", ended.all());
    // The certificate is one of 127.0.0.1.
    place.write("ca.pem", server.authority());
    place.write("policy.bfp", policy(&server.url("/l").replace("127.0.0.1", "127.0.0.2")));
    assert_eq!(fetch(&place).code, 2);
    assert!(!place.path("ip-ranges.json").exists());
}

#[test]
fn redirect_within_https_is_followed() {
    let server = Server::start();
    server.set("/l", Page::redirect("/next"));
    server.set("/next", Page::Chunked(LIST.to_owned()));
    let place = place(&server, "/l");
    assert_eq!(fetch(&place).code, 0);
    assert_eq!(place.text("ip-ranges.json"), LIST);
    // What is documented is the URL of the policy.
    assert!(place.text("policy.bfp.lock").contains(&server.url("/l")));
}

#[test]
fn no_other_file_is_replaced() {
    let server = Server::start();
    server.set("/l", Page::text(LIST));
    let place = place(&server, "/l");
    place.key("key");
    for kind in ["key", "policy.bfp"] {
        let bytes = place.read(kind);
        place.write("ip-ranges.json", &bytes);
        let ended = fetch(&place);
        assert!(ended.code == 2 && ended.stderr.contains("source::not_replaced"), "{}", ended.all());
        assert_eq!(place.read("ip-ranges.json"), bytes);
    }
    // A link out of the tree is not followed.
    let outside = Place::with(&[("list.json", "{}")]);
    std::fs::remove_file(place.path("ip-ranges.json")).unwrap();
    symlink(outside.path("list.json"), place.path("ip-ranges.json")).unwrap();
    let ended = fetch(&place);
    assert!(ended.code == 2 && ended.stderr.contains("load::outside"), "{}", ended.all());
    assert_eq!(outside.text("list.json"), "{}");
}

#[test]
fn policy_without_a_url_has_nothing_to_fetch() {
    let place = Place::with(&[("policy.bfp", "deny * -> ranges(\"l.txt\")\n"), ("l.txt", "192.0.2.0/24\n")]);
    let ended = run(&place, &["fetch", "policy.bfp"]);
    assert!(ended.code == 2 && ended.stderr.contains("fetch::nothing"), "{}", ended.all());
    // A library may say where a list comes from that this policy does not use.
    place.write("lists.bfp", "ranges \"m.txt\" from \"https://127.0.0.1:1/m\"\nhost m = ranges(\"m.txt\")\n");
    place.write("m.txt", "198.51.100.0/24\n");
    place.write("policy.bfp", "include \"lists.bfp\"\ndeny * -> ranges(\"l.txt\")\n");
    place.bfpc(&["lock", "policy.bfp"]).ok();
    assert_eq!(check(&place).code, 0, "{}", check(&place).all());
    assert_eq!(run(&place, &["fetch", "policy.bfp"]).code, 2);
    assert_eq!(run(&place, &["check", "lists.bfp"]).code, 0);
}
