//! `clients` in the commands that ask a policy or a bundle: whole answers, and the same answer from both.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;
use std::path::Path;

use support::Place;

/// A directory with the policy of fixtures/accept/clients as `policy.bfp`, and one without the word.
fn place() -> Place {
    let place = Place::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/accept/clients/policy.bfp");
    place.write("policy.bfp", fs::read(fixture).unwrap());
    place.write(
        "without.bfp",
        "policy clients\nprogram server = \"/usr/bin/server\"\nserver -> only { 198.51.100.7:443, 10.0.0.0/8 }\ndeny * -> raw\n",
    );
    place
}

fn session(place: &Place, commands: &[&[&str]]) -> String {
    let mut said = String::new();
    for words in commands {
        let ended = place.bfpc(words).ended();
        said.push_str(&format!("$ bfpc {}\n{}{}[{}]\n\n", words.join(" "), ended.stdout, ended.stderr, ended.code));
    }
    said
}

#[test]
fn answers_are_told_from_requests() {
    let place = place();
    insta::assert_snapshot!(session(
        &place,
        &[
            &["explain", "policy.bfp", "server", "clients"],
            &["explain", "policy.bfp", "server", "clients:8443 from 192.0.2.0/24"],
            &["explain", "policy.bfp", "metrics", "clients:9100 from { 127.0.0.1, [2001:db8::1] }"],
            &["explain", "policy.bfp", "server", "192.0.2.1:8443"],
            &["explain", "policy.bfp", "*", "clients:22"],
            &["explain", "policy.bfp", "--all", "--program", "server"],
            &["explain", "policy.bfp", "--all", "--program", "metrics"],
            &["explain", "policy.bfp", "--all", "--program", "/usr/bin/stranger"],
            &["explain", "policy.bfp", "--all", "--destination", "clients:9100"],
            &["explain", "policy.bfp", "server", "clients:53/udp"],
            &["explain", "without.bfp", "server", "clients"],
            &["test", "policy.bfp"],
        ]
    ));
}

#[test]
fn diff_tells_which_clients_are_answered() {
    let place = place();
    place.write(
        "wider.bfp",
        place
            .text("policy.bfp")
            .replace("only { 198.51.100.7:443, clients:8443 }", "only { 198.51.100.7:443, clients }"),
    );
    insta::assert_snapshot!(session(
        &place,
        &[
            &["diff", "policy.bfp", "wider.bfp"],
            &["diff", "without.bfp", "policy.bfp"],
            &["diff", "policy.bfp", "policy.bfp"],
        ]
    ));
}

#[test]
fn what_is_printed_can_be_asked_and_a_bundle_says_the_same() {
    let place = place();
    place.key("key");
    place.bfpc(&["build", "policy.bfp", "-o", "policy.bfpb", "--key", "key"]).ok_with_warnings();
    let mut asked = 0;
    for program in ["server", "metrics", "worker", "/usr/bin/stranger"] {
        for destination in ["clients", "clients from 127.0.0.0/8", "*"] {
            let said = place.bfpc(&["explain", "policy.bfp", program, destination]).ended().stdout;
            let trusted = ["explain", "policy.bfpb", program, destination, "--trust", "key.pub"];
            assert_eq!(place.bfpc(&trusted).ended().stdout, said);
            for line in said.lines() {
                let Some((verdict, (who, to))) =
                    line.split_once("  ").and_then(|(word, rest)| Some((word, rest.split_once(" -> ")?)))
                else {
                    continue;
                };
                if ["allowed", "denied"].contains(&verdict) && !to.ends_with(" more ranges") {
                    let again = place.bfpc(&["explain", "policy.bfp", who, to]).ended().stdout;
                    assert!(again.starts_with(&format!("{verdict}  {who} -> ")), "{line}: {again}");
                    asked += usize::from(to.starts_with("clients"));
                }
            }
        }
    }
    assert!(asked > 10, "{asked}");
}
