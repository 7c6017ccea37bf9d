//! The commands that ask a policy or a bundle: whole answers over fixtures/questions, exit codes, and the
//! same answer from a policy and from its bundle.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;
use std::path::Path;

use support::Place;

impl Place {
    /// A directory with the fixture.
    fn of_fixture() -> Place {
        let place = Place::new();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/questions");
        for file in ["policy.bfp", "policy.bfp.lock", "changed.bfp", "changed.bfp.lock", "common/corp.bfp"] {
            place.write(file, fs::read(fixture.join(file)).unwrap());
        }
        place
    }

    /// The same with a key, and the bundle of the policy.
    fn with_bundle() -> Place {
        let place = Place::of_fixture();
        place.signed("policy");
        place
    }

    /// Builds `NAME.bfpb` of `NAME.bfp`, signed by `key`.
    fn signed(&self, name: &str) {
        self.key("key");
        let (policy, bundle) = (format!("{name}.bfp"), format!("{name}.bfpb"));
        self.bfpc(&["build", &policy, "-o", &bundle, "--key", "key"]).ok_with_warnings();
    }

    /// Several commands and their answers, as one text.
    fn session(&self, commands: &[&[&str]]) -> String {
        let mut said = String::new();
        for words in commands {
            let ended = self.bfpc(words).ended();
            said.push_str(&format!("$ bfpc {}\n{}{}[{}]\n\n", words.join(" "), ended.stdout, ended.stderr, ended.code));
        }
        said
    }
}

#[test]
fn explain_tells_the_rule_and_what_else_applies() {
    let place = Place::of_fixture();
    insta::assert_snapshot!(place.session(&[
        &["explain", "policy.bfp", "signer", "kms"],
        &["explain", "policy.bfp", "*", "kms.internal:443"],
        &["explain", "policy.bfp", "/usr/bin/cargo", "10.9.1.2:443"],
        &["explain", "policy.bfp", "backup", "198.51.100.7:443"],
        &["explain", "policy.bfp", "signer", "169.254.169.254:80"],
        &["explain", "policy.bfp", "backup > /usr/bin/ssh", "198.51.100.8:443"],
        &["explain", "policy.bfp", "backup > /bin/sh > signer", "{ kms, 198.51.100.8:443 }"],
        &["explain", "policy.bfp", "ci > nobody", "kms"],
        &["explain", "policy.bfp", "backup", "raw"],
        &["explain", "policy.bfp", "backup", "10.0.0.1/icmp"],
        &["explain", "policy.bfp", "backup", "{ corp, 203.0.113.0/24 } except metadata"],
    ]));
}

#[test]
fn programs_in_units_are_asked_about_by_their_units() {
    let place = Place::of_fixture();
    place.write(
        "units.bfp",
        "policy units\nprogram backup = \"/usr/bin/python3\" in unit \"backup.service\"\n\
         program batch = * in unit \"batch@.service\"\n\n\
         only backup -> 10.0.0.1:443\ndeny batch -> 10.0.0.2\n\"/bin/python3\" -> only 10.0.0.0/8\n\
         deny * except { backup, * in unit \"agent.service\" } -> 10.0.0.3\ndefault allow\n\n\
         test \"by units\" {\n    backup -> 10.0.0.1:443 allowed\n    \"/bin/python3\" -> 192.0.2.1:443 denied\n    \
         batch > \"/bin/sh\" -> 10.0.0.2 denied\n    \"/bin/sh\" in unit \"batch@a.service\" -> 10.0.0.2 denied\n    \
         \"/bin/sh\" in unit \"agent.service\" -> 10.0.0.3 allowed\n}\n",
    );
    insta::assert_snapshot!(place.session(&[
        &["test", "units.bfp"],
        &["explain", "units.bfp", "/usr/bin/python3 in unit backup.service", "10.0.0.1:443"],
        &["explain", "units.bfp", "/usr/bin/python3", "10.0.0.1:443"],
        &["explain", "units.bfp", "/usr/bin/python3 in unit user@1000.service", "10.0.0.1:443"],
        &["explain", "units.bfp", "/usr/bin/python3 in unit batch@blue.service", "10.0.0.2:443"],
        &["explain", "units.bfp", "* in unit batch@.service", "10.0.0.2:443"],
        &["explain", "units.bfp", "/bin/sh in unit batch@blue.service", "10.0.0.2:443"],
        &["explain", "units.bfp", "--all", "--destination", "10.0.0.2:443"],
    ]));
}

#[test]
fn what_explain_prints_it_can_read_back() {
    let place = Place::of_fixture();
    let (mut read, mut ranges) = (0, 0);
    for program in ["backup", "ci", "/usr/bin/curl"] {
        let said = place.bfpc(&["explain", "policy.bfp", program, "*"]).ended().stdout;
        for line in said.lines() {
            let Some((verdict, (who, to))) =
                line.split_once("  ").and_then(|(word, rest)| Some((word, rest.split_once(" -> ")?)))
            else {
                continue;
            };
            if !["allowed", "denied"].contains(&verdict) || to.ends_with(" more ranges") {
                continue;
            }
            let again = place.bfpc(&["explain", "policy.bfp", who, to]).ended().stdout;
            assert!(again.starts_with(&format!("{verdict}  {who} -> ")), "{line}: {again}");
            read += 1;
            ranges += usize::from(to.contains('-'));
        }
    }
    assert!(read > 20 && ranges > 4, "{read} destinations, {ranges} of them ranges");
    // Also where an address is judged as another one.
    place.write("nat64.bfp", "default deny\nallow \"/usr/bin/web\" -> 10.0.0.1:443\n");
    let said = place.bfpc(&["explain", "nat64.bfp", "/usr/bin/web", "[64:ff9b::]:5"]).answers(1);
    assert!(said.starts_with("denied  /usr/bin/web -> [64:ff9b::]:5/tcp\n"), "{said}");
}

#[test]
fn protocols_of_a_set_of_ports_are_asked_about_as_they_are_printed() {
    let place = Place::of_fixture();
    place.write(
        "other.bfp",
        "default deny\nallow * -> loopback\nallow \"/x\" -> { 10.0.1.1:443 except { 10.0.1.1:443/tcp, 10.0.1.1:443/udp }, \
         10.0.1.2:{443/tcp, 53/udp, icmp} }\n",
    );
    let all = place.bfpc(&["explain", "other.bfp", "--all", "--program", "/x"]).ok();
    assert!(all.contains("  10.0.1.1:443/other\n  10.0.1.2:{443/tcp, 53/udp, icmp}\n"), "{all}");
    for (asked, allowed) in [
        ("10.0.1.1:443/other", true),
        ("10.0.1.1:{443/other}", true),
        ("10.0.1.1:{443/udp, 443/other}", false),
        ("10.0.1.1:{444/other, 443/other}", false),
        ("10.0.1.1:*/other", false),
        ("10.0.1.2:{443/tcp, 53/udp, icmp}", true),
        ("10.0.1.2:{443, icmp}", false),
        ("10.0.1.2:443", true),
        ("{ 10.0.1.2:{443/tcp, icmp}, 10.0.1.1:443/other }", true),
        ("10.0.1.2:{443/tcp, 53/udp, icmp} except 10.0.1.2/icmp", true),
    ] {
        let said = place.bfpc(&["explain", "other.bfp", "/x", asked]).answers(i32::from(!allowed));
        assert_eq!(said.contains("denied  "), !allowed, "{asked}: {said}");
    }
    let said = place.bfpc(&["explain", "other.bfp", "/x", "10.0.1.1:{443/udp, 443/other}"]).answers(1);
    assert!(said.contains("allowed  /x -> 10.0.1.1:443/other\n") && said.contains("10.0.1.1:443/udp"), "{said}");
    // A policy says it by what is left when the others are taken away.
    place.write("named.bfp", "deny * -> 10.0.1.1:443/other\n");
    place.bfpc(&["check", "named.bfp"]).fails(2, "`other` is not a protocol that a policy can name");
}

#[test]
fn declared_ports_are_known_to_a_policy_and_spelled_out_in_its_bundle() {
    let place = Place::new();
    place.write(
        "policy.bfp",
        "default deny\nports etcd = {2379, 2380}\nports dns = {53/udp, icmp}\n\
         host peers = { 10.0.1.1, 10.0.1.2 }:etcd/tcp\nhost names = { 10.0.1.3:{dns, 853/tcp}, 10.0.1.4:dns }\n\
         allow \"/x\" -> { peers, names, { 10.0.1.5 }:{etcd, 80} }\n",
    );
    place.key("key");
    place.bfpc(&["build", "policy.bfp", "-o", "policy.bfpb", "--key", "key"]).ok_with_warnings();
    for (asked, allowed) in [
        ("peers", true),
        ("names", true),
        ("{ 10.0.1.1, 10.0.1.2 }:2380", true),
        ("{ 10.0.1.1, 10.0.1.2 }:2380/udp", false),
        ("10.0.1.3:{53/udp, icmp, 853/tcp}", true),
        ("10.0.1.4:{53/udp, 853/tcp}", false),
    ] {
        for file in ["policy.bfp", "policy.bfpb"] {
            let said = place.bfpc(&["explain", file, "/x", asked, "--trust", "key.pub"]).answers(i32::from(!allowed));
            assert_eq!(said.contains("denied  "), !allowed, "{file}, {asked}: {said}");
        }
    }
    // Without a protocol, TCP is meant, unless the declaration has some.
    for (asked, allowed) in
        [("10.0.1.5:etcd", true), ("10.0.1.1:etcd", true), ("10.0.1.4:dns", true), ("10.0.1.4:etcd", false)]
    {
        let said = place.bfpc(&["explain", "policy.bfp", "/x", asked]).answers(i32::from(!allowed));
        assert_eq!(said.contains("denied  "), !allowed, "{asked}: {said}");
    }
    place
        .bfpc(&["explain", "policy.bfpb", "/x", "10.0.1.5:etcd", "--trust", "key.pub"])
        .fails(2, "no set of ports is called `etcd`");
}

#[test]
fn lists_of_the_policy_can_be_asked_about() {
    let place = Place::of_fixture();
    fs::create_dir(place.path("lists")).unwrap();
    place.write(
        "lists/office.json",
        r#"[ { "net": "10.1.0.0/16", "at": "eu" }, { "net": "10.2.0.0/16", "at": "us" } ]"#,
    );
    let rule = "deny \"/opt/a\" -> ranges(\"lists/office.json\", at = \"eu\"):443\n";
    place.write("list.bfp", rule);
    place.bfpc(&["lock", "list.bfp"]).ok();
    let ask = |code: i32, asked: &str| place.bfpc(&["explain", "list.bfp", "/opt/a", asked]).answers(code);
    assert!(
        ask(1, "ranges(\"lists/office.json\", at = \"eu\"):443").starts_with("denied  /opt/a -> 10.1.0.0/16:443/tcp\n")
    );
    assert!(ask(0, "ranges(\"./lists/office.json\", at = \"us\")").starts_with("allowed  /opt/a -> 10.2.0.0/16\n"));
    assert!(
        ask(0, "ranges(\"lists/office.json\"):80").starts_with("allowed  /opt/a -> 10.1.0.0-10.2.255.255:80/tcp\n")
    );
    let whole = ask(1, "{ ranges(\"lists/office.json\"), 10.9.0.1 } except 10.2.0.0/16");
    assert!(whole.contains("denied  /opt/a -> 10.1.0.0/16:443"), "{whole}");
    let refused = |says: &str, asked: &str| place.bfpc(&["explain", "list.bfp", "/opt/a", asked]).fails(2, says);
    refused("explain::list", "ranges(\"other.json\")");
    refused("name a list that it does: `ranges(\"lists/office.json\")`", "ranges(\"other.json\")");
    refused("entry with at = \"asia\"", "ranges(\"lists/office.json\", at = \"asia\")");
    place.signed("list");
    let words = ["explain", "list.bfpb", "/opt/a", "ranges(\"lists/office.json\")", "--trust", "key.pub"];
    place.bfpc(&words).fails(2, "a bundle holds no list `lists/office.json`");
}

#[test]
fn icmp_is_asked_about_by_itself() {
    let place = Place::of_fixture();
    let rules = "program monitor = \"/usr/bin/monitor\"\nhost corp = { 10.0.0.0/8, [fd00::/8] }\n\
                 allow monitor -> { corp/icmp, 192.0.2.0/24 }\ndeny * -> 10.0.0.9/icmp\ndefault deny\n\n";
    let wrong = "    monitor -> 192.0.2.1/icmp    denied\n";
    let test = |more: &str| {
        format!(
            "{rules}test \"pings only\" {{\n    monitor -> corp/icmp except 10.0.0.9/icmp    allowed\n    \
             monitor -> corp:0-65535    denied\n{more}}}\n"
        )
    };
    place.write("icmp.bfp", test(""));
    place.write("wrong.bfp", test(wrong).replace("corp/icmp,", "corp,"));
    insta::assert_snapshot!(place.session(&[
        &["explain", "icmp.bfp", "monitor", "corp/icmp"],
        &["explain", "icmp.bfp", "monitor", "10.0.0.1"],
        &["explain", "icmp.bfp", "*", "[fd00::1]/icmp"],
        &["explain", "icmp.bfp", "monitor", "10.0.0.1:443/icmp"],
        &["explain", "icmp.bfp", "--all", "--program", "monitor"],
        &["explain", "icmp.bfp", "--all", "--destination", "10.0.0.8/31/icmp"],
        &["test", "icmp.bfp", "--coverage"],
        &["test", "wrong.bfp"],
        &["diff", "icmp.bfp", "wrong.bfp"],
    ]));
    place.signed("icmp");
    let trust = ["--trust", "key.pub"];
    for question in ["corp/icmp", "10.0.0.1", "[fd00::1]/icmp"] {
        let ask = |file: &str, more: &[&str]| {
            let words = [&["explain", file, "monitor", question], more].concat();
            let ended = place.bfpc(&words).ended();
            (ended.code, ended.stdout)
        };
        assert_eq!(ask("icmp.bfp", &[]), ask("icmp.bfpb", &trust), "{question}");
    }
    assert!(place.bfpc(&["inspect", "icmp.bfpb", "--trust", "key.pub"]).ok().contains("corp/icmp"));
    place.bfpc(&["graph", "icmp.bfp", "-o", "icmp.svg"]).ok();
    assert!(place.text("icmp.svg").contains("10.0.0.9/icmp"));
}

#[test]
fn explain_all_lists_what_is_reached_and_who_reaches_it() {
    let place = Place::of_fixture();
    insta::assert_snapshot!(place.session(&[
        &["explain", "policy.bfp", "--all", "--program", "backup"],
        &["explain", "policy.bfp", "--all", "--program", "signer"],
        &["explain", "policy.bfp", "--all", "--program", "/usr/bin/curl"],
        &["explain", "policy.bfp", "--all", "--destination", "kms"],
        &["explain", "policy.bfp", "--all", "--destination", "198.51.100.0/24"],
    ]));
}

#[test]
fn json_has_a_version_and_every_field() {
    let place = Place::of_fixture();
    insta::assert_snapshot!(place.session(&[
        &["explain", "policy.bfp", "backup", "198.51.100.7:443", "--format", "json"],
        &["explain", "policy.bfp", "--all", "--destination", "kms", "--format", "json"],
        &["test", "changed.bfp", "--coverage", "--format", "json"],
        &["diff", "policy.bfp", "changed.bfp", "--format", "json"],
    ]));
}

#[test]
fn bundle_answers_as_its_policy_does() {
    let place = Place::with_bundle();
    let trust = ["--trust", "key.pub"];
    for question in [
        &["signer", "kms"][..],
        &["*", "kms.internal:443"],
        &["backup", "corp"],
        &["ci", "{ artifacts.example:443, 198.51.100.7 }"],
        &["signer", "raw"],
        &["--all", "--program", "*"],
        &["--all", "--destination", "*"],
    ] {
        for format in ["human", "json"] {
            let ask = |file: &str, more: &[&str]| {
                let words = [&["explain", file, "--format", format], question, more].concat();
                let ended = place.bfpc(&words).ended();
                assert_eq!(ended.stderr, "");
                (ended.code, ended.stdout)
            };
            assert_eq!(ask("policy.bfp", &[]), ask("policy.bfpb", &trust), "{question:?}");
        }
    }
    assert_eq!(
        place.bfpc(&["hosts", "policy.bfp"]).ok(),
        place.bfpc(&["hosts", "policy.bfpb", "--trust", "key.pub"]).ok()
    );
    assert_eq!(
        place.bfpc(&["diff", "policy.bfp", "policy.bfpb", "--trust", "key.pub"]).ok(),
        "policy.bfp and policy.bfpb decide alike\n"
    );
    place.bfpc(&["graph", "policy.bfp", "-o", "a.svg"]).ok();
    place.bfpc(&["graph", "policy.bfpb", "-o", "b.svg", "--trust", "key.pub"]).ok();
    assert_eq!(place.read("a.svg"), place.read("b.svg"));
    for command in [
        &["hosts", "policy.bfpb"][..],
        &["graph", "policy.bfpb", "-o", "c.svg"],
        &["diff", "policy.bfp", "policy.bfpb"],
    ] {
        place.bfpc(command).fails(2, "add `--trust KEY`");
    }
    place.bfpc(&["hosts", "policy.bfpb", "--trust", "key.pub", "--threshold", "2"]).fails(2, "key::threshold");
    place.bfpc(&["test", "policy.bfpb"]).fails(2, "input::not_a_policy");
}

#[test]
fn tests_of_a_policy_pass_or_show_a_counterexample() {
    let place = Place::of_fixture();
    place.write("none.bfp", "deny * -> 10.0.0.1\n");
    place.write(
        "odd.bfp",
        "only \"/a\" -> 10.0.0.1:443\n\ntest \"<&\\\"> is nobody's\" {\n    * -> 10.0.0.0/24 allowed\n    \"/a\" -> raw allowed\n}\n",
    );
    insta::assert_snapshot!(place.session(&[
        &["test", "policy.bfp", "--coverage"],
        &["test", "changed.bfp"],
        &["test", "none.bfp"],
        &["test", "odd.bfp", "--coverage"],
    ]));
}

#[test]
fn junit_is_xml_with_a_case_for_each_test() {
    let place = Place::of_fixture();
    place.write(
        "odd.bfp",
        "only \"/a\" -> 10.0.0.1:443\n\ntest \"<&\\\"> is nobody's\" {\n    * -> 10.0.0.0/24 allowed\n}\n\ntest \"fine\" {\n    \"/b\" -> raw allowed\n}\n",
    );
    place.bfpc(&["test", "odd.bfp", "--junit", "out.xml"]).answers(1);
    let text = place.text("out.xml");
    let xml = roxmltree::Document::parse(&text).unwrap();
    let suite = xml.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("2"), Some("1")));
    let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
    let names: Vec<_> = cases.iter().map(|case| case.attribute("name").unwrap()).collect();
    assert_eq!(names, ["<&\"> is nobody's", "fine"]);
    let failures: Vec<_> = xml.descendants().filter(|node| node.has_tag_name("failure")).collect();
    let [failure] = failures.as_slice() else { unreachable!("{text}") };
    assert_eq!(failure.attribute("message"), Some("* -> 10.0.0.0/24 allowed"));
    assert!(failure.text().unwrap().contains("denied  everyone else -> 10.0.0.1:443/tcp"), "{text}");
}

#[test]
fn diff_tells_who_gains_and_who_loses() {
    let place = Place::of_fixture();
    fs::copy(place.path("policy.bfp"), place.path("same.bfp")).unwrap();
    fs::copy(place.path("policy.bfp.lock"), place.path("same.bfp.lock")).unwrap();
    insta::assert_snapshot!(place.session(&[
        &["diff", "policy.bfp", "changed.bfp"],
        &["diff", "policy.bfp", "changed.bfp", "--format", "markdown"],
        &["diff", "policy.bfp", "same.bfp"],
        &["diff", "policy.bfp", "same.bfp", "--format", "markdown"],
    ]));
}

#[test]
fn denied_widening_is_a_finding_and_a_narrower_policy_is_not() {
    let place = Place::of_fixture();
    place.write("wide.bfp", "deny * -> 10.0.0.1\n");
    place.write("narrow.bfp", "deny * -> 10.0.0.0/30\n");
    let diff = |old, new, code| place.bfpc(&["diff", old, new, "--deny-widening"]).answers(code);
    assert_eq!(
        diff("wide.bfp", "narrow.bfp", 0),
        "everyone else\n  - 10.0.0.0\n  - 10.0.0.2/31\n1 program loses access: nothing widens\n"
    );
    assert_eq!(
        diff("narrow.bfp", "wide.bfp", 1),
        "everyone else\n  + 10.0.0.0\n  + 10.0.0.2/31\n1 program gains access: access widens\n"
    );
    place.bfpc(&["diff", "wide.bfp", "narrow.bfp"]).answers(1);
}

#[test]
fn long_difference_is_folded_in_markdown() {
    let place = Place::of_fixture();
    let hosts: Vec<String> = (0..20).map(|host| format!("10.0.{host}.1")).collect();
    place.write("none.bfp", "deny * -> 192.0.2.1\n");
    place.write("many.bfp", format!("deny * -> {{ 192.0.2.1, {} }}\n", hosts.join(", ")));
    let said = place.bfpc(&["diff", "none.bfp", "many.bfp", "--format", "markdown"]).answers(1);
    assert!(
        said.starts_with("**Egress policy `many`:** 1 program loses access; nothing widens.\n\n<details>"),
        "{said}"
    );
    assert!(said.ends_with("</details>\n"), "{said}");
}

#[test]
fn diff_reads_a_git_revision_with_its_lock_and_includes() {
    let place = Place::of_fixture();
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let ended = place.run(&[&["git"], &identity[..], words].concat()).ended();
        assert_eq!(ended.code, 0, "git {}: {}", words.join(" "), ended.stderr);
    };
    place.bfpc(&["diff", "HEAD", "policy.bfp"]).fails(2, "diff::revision");
    git(&["init", "-q"]);
    fs::create_dir(place.path("deep")).unwrap();
    for file in ["policy.bfp", "policy.bfp.lock", "common"] {
        fs::rename(place.path(file), place.path("deep").join(file)).unwrap();
    }
    git(&["add", "deep"]);
    git(&["commit", "-qm", "one"]);
    assert_eq!(place.bfpc(&["diff", "HEAD", "deep/policy.bfp"]).ok(), "HEAD and deep/policy.bfp decide alike\n");

    // The included file changes, and the lock.
    place.write("deep/common/corp.bfp", "host corp = 10.0.0.0/8\n");
    let lock = place.text("deep/policy.bfp.lock");
    place.write("deep/policy.bfp.lock", lock.replace("203.0.113.21", "203.0.113.22"));
    let said = place.bfpc(&["diff", "HEAD", "deep/policy.bfp"]).answers(1);
    for line in ["  + 10.9.0.0/16", "  - [fd00::-fd00:ec2::253]", "  + 203.0.113.22:443/tcp (artifacts.example)"] {
        assert!(said.contains(line), "`{line}` is not in: {said}");
    }
    place.bfpc(&["diff", "HEAD~7", "deep/policy.bfp"]).fails(2, "`HEAD~7` is neither a file nor a git revision");
    // A clone of one commit says what it lacks.
    git(&["commit", "-qam", "two"]);
    let from = format!("file://{}", place.path("").display());
    git(&["clone", "-q", "--depth", "1", &from, "shallow"]);
    place.bfpc(&["diff", "HEAD~1", "shallow/deep/policy.bfp"]).fails(2, "fetch-depth: 0");
    place.bfpc(&["diff", "HEAD~1", "deep/policy.bfp"]).answers(1);
    place.bfpc(&["diff", "--", "--upload-pack=x", "deep/policy.bfp"]).fails(2, "`--upload-pack=x` is neither a file");
    fs::rename(place.path("deep"), place.path("other")).unwrap();
    // What the revision does not have is compared with no policy: its rules only take access away.
    let said = place.bfpc(&["diff", "HEAD", "other/policy.bfp"]).answers(1);
    assert!(said.starts_with("other/policy.bfp is new: it is compared with no policy"), "{said}");
    assert!(said.ends_with("lose access: nothing widens\n"), "{said}");
    assert_eq!(place.bfpc(&["diff", "--new", "other/policy.bfp"]).answers(1), said);
    let markdown = place.bfpc(&["diff", "HEAD", "other/policy.bfp", "--format", "markdown"]).answers(1);
    assert!(markdown.starts_with("**Egress policy `payments` (new, compared with no policy):**"), "{markdown}");
    let json = place.bfpc(&["diff", "--new", "other/policy.bfp", "--format", "json"]).answers(1);
    assert!(json.contains("\"new_policy\": true") && json.contains("\"widens\": false"), "{json}");
    place.bfpc(&["diff", "--new", "other/policy.bfp", "HEAD"]).fails(2, "--new");
    // It may have had another name there, under which it allowed less.
    let says = "`HEAD` has no `other/policy.bfp`";
    place.bfpc(&["diff", "HEAD", "other/policy.bfp", "--deny-widening"]).fails(2, says);
    place.bfpc(&["diff", "--new", "other/policy.bfp", "--deny-widening"]).ok();
    place.bfpc(&["diff", "HEAD", "other/gone.bfp"]).fails(2, "cannot be read");
    place.bfpc(&["diff", "HAED", "other/policy.bfp"]).fails(2, "`HAED` is neither a file");
}

#[test]
fn inspect_without_trust_says_so_first_and_last() {
    let place = Place::with_bundle();
    let said = place.bfpc(&["inspect", "policy.bfpb"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines.first().unwrap().starts_with("NOT VERIFIED"), "{said}");
    assert!(lines.last().unwrap().starts_with("NOT VERIFIED"), "{said}");
    let verified = place.bfpc(&["inspect", "policy.bfpb", "--trust", "key.pub"]).ok();
    assert!(!verified.contains("NOT VERIFIED"), "{verified}");
    let inside = lines.get(1..lines.len() - 1).unwrap().join("\n").replace("names key ", "signed by ");
    assert_eq!(format!("{inside}\n"), verified, "what is shown is the same");
    for (more, is_verified) in [(&[][..], false), (&["--trust", "key.pub"], true)] {
        let said = place.bfpc(&[&["inspect", "policy.bfpb", "--format", "json"], more].concat()).ok();
        let document: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(document.get("version").unwrap(), 1);
        assert_eq!(document.get("verified").unwrap(), is_verified);
    }

    // A signature that does not hold is not looked at, and everything else is.
    let mut bytes = place.read("policy.bfpb");
    let last = bytes.len() - 1;
    *bytes.get_mut(last).unwrap() ^= 1;
    place.write("broken.bfpb", &bytes);
    place.bfpc(&["inspect", "broken.bfpb"]).fails(3, "verify::refused");
    place.bfpc(&["inspect", "policy.bfp"]).fails(3, "not a bfp bundle");
}

#[test]
fn hosts_are_lines_of_etc_hosts() {
    let place = Place::of_fixture();
    assert_eq!(
        place.bfpc(&["hosts", "policy.bfp"]).ok(),
        "203.0.113.20 artifacts.example\n203.0.113.21 artifacts.example\n203.0.113.10 kms.internal\n2001:db8::10 kms.internal\n"
    );
}

#[test]
fn graph_is_svg_that_escapes_what_the_policy_says() {
    let place = Place::of_fixture();
    assert_eq!(place.bfpc(&["graph", "policy.bfp", "-o", "out.svg"]).ok(), "");
    let svg = place.text("out.svg");
    roxmltree::Document::parse(&svg).unwrap();
    insta::assert_snapshot!(svg);

    place.write("odd.bfp", "policy odd\nonly \"/usr/bin/<script>&\\\"\" -> 10.0.0.1\n");
    place.bfpc(&["graph", "odd.bfp", "-o", "odd.svg"]).ok();
    let svg = place.text("odd.svg");
    let xml = roxmltree::Document::parse(&svg).unwrap();
    assert!(!xml.descendants().any(|node| node.has_tag_name("script")), "{svg}");
    assert!(xml.descendants().any(|node| node.text() == Some("/usr/bin/<script>&\"")), "{svg}");
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let place = Place::of_fixture();
    let man = place.bfpc(&["man"]).ok();
    for shell in ["bash", "zsh", "fish"] {
        let said = place.bfpc(&["completions", shell]).ok();
        for command in ["explain", "diff", "graph", "hosts", "inspect", "test"] {
            assert!(said.contains(command), "{shell}: {command}");
            assert!(man.contains(&format!("COMMAND: {}", command.to_uppercase())), "man: {command}");
        }
    }
}

#[test]
fn page_about_the_commands_shows_what_they_print() {
    let place = Place::of_fixture();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let page = fs::read_to_string(page).unwrap();
    let mut shown = 0;
    for block in page.split("\n```\n").filter(|block| block.starts_with("$ bfpc ")) {
        for example in block.split("\n\n") {
            let (command, expected) = example.split_once('\n').unwrap();
            // What is in quotes is one word, as for a shell.
            let parts = command.trim_start_matches("$ bfpc ").split('\'').enumerate();
            let words: Vec<&str> = parts
                .flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
                .collect();
            let ended = place.bfpc(&words).ended();
            assert_eq!(ended.stdout.trim_end(), expected, "{command}");
            shown += 1;
        }
    }
    assert!(shown >= 8, "only {shown} examples were tried");
}

#[test]
fn rule_that_is_blamed_refuses_the_program() {
    let place = Place::of_fixture();
    place.write(
        "shared.bfp",
        "program a = \"/usr/bin/a\"\nprogram b = \"/usr/bin/b\"\nprogram c = \"/usr/bin/c\"\n\n\
         only { a, b } -> 192.0.2.0/24\nonly { b, c } -> 192.0.2.10\naudit only b -> 192.0.2.10\n\
         only { a, b, c } -> 198.51.100.0/24\nonly a -> 198.51.100.7\n",
    );
    for (program, to, blamed) in [
        ("a", "192.0.2.10:443/tcp", "only { b, c } -> 192.0.2.10"),
        ("c", "192.0.2.10:443/tcp", "only { a, b } -> 192.0.2.0/24"),
        ("b", "198.51.100.7:443/tcp", "only a -> 198.51.100.7"),
        ("/usr/bin/stranger", "198.51.100.8:443/tcp", "only { a, b, c } -> 198.51.100.0/24"),
    ] {
        let answer = place.bfpc(&["explain", "shared.bfp", program, to]).answers(1);
        let (_, because) = answer.split_once("  because ").unwrap();
        assert!(because.lines().nth(1).unwrap().ends_with(blamed), "{program} -> {to}: {answer}");
    }
}

#[test]
fn questions_about_patterns_are_answered_for_the_files_that_they_cover() {
    let place = Place::of_fixture();
    place.write(
        "patterns.bfp",
        "program vault = \"/nix/store/*-vault-*/bin/vault\"\nprogram app = \"/opt/app/*\"\n\n\
         default deny\nallow vault -> 192.0.2.1:443\nallow app -> 192.0.2.2:443\n\
         allow \"/opt/app/one\" -> 192.0.2.3:443\ndeny \"/opt/*/two*\" -> 192.0.2.2:443\n\n\
         test \"any file\" {\n    \"/nix/store/abc-vault-1.2/bin/vault\" -> 192.0.2.1:443  allowed\n    \
         app -> 192.0.2.1:443  denied\n    \"/opt/app/one\" -> { 192.0.2.2:443, 192.0.2.3:443 }  allowed\n    \
         \"/bin/curl\" -> 192.0.2.1:443  denied\n}\n",
    );
    let explain = |code, program: &str, to: &str| place.bfpc(&["explain", "patterns.bfp", program, to]).answers(code);
    assert_eq!(
        explain(0, "/nix/store/abc-vault-1.2/bin/vault", "192.0.2.1:443"),
        "allowed  /nix/store/abc-vault-1.2/bin/vault -> 192.0.2.1:443/tcp\n  \
         this file is `/nix/store/*-vault-*/bin/vault`\n  because a rule grants it\n  \
         patterns.bfp:5  allow vault -> 192.0.2.1:443\n"
    );
    let one = explain(0, "/opt/app/one", "192.0.2.2:443");
    assert!(one.contains("this file is `/opt/app/*` and `/opt/app/one`"), "{one}");
    let two = explain(1, "/opt/app/two-three", "192.0.2.2:443");
    assert!(two.contains("this file is `/opt/*/two*` and `/opt/app/*`") && two.contains(":8  deny"), "{two}");
    assert!(explain(1, "/nix/store/abc-vault/bin/vault", "192.0.2.1:443").contains("no rule grants it"));
    // A pattern is everything that its files can be.
    let all = explain(1, "app", "192.0.2.2:443");
    for line in [
        "allowed  /opt/app/* -> 192.0.2.2:443/tcp",
        "allowed  /opt/app/one -> 192.0.2.2:443/tcp",
        "denied  what matches both `/opt/*/two*` and `/opt/app/*` -> 192.0.2.2:443/tcp",
    ] {
        assert!(all.contains(line), "{line}: {all}");
    }
    assert_eq!(explain(1, "/opt/app/*", "192.0.2.2:443"), all);
    assert!(place.bfpc(&["test", "patterns.bfp"]).ok().contains("1 test passed"));
    let everyone = place.bfpc(&["explain", "patterns.bfp", "--all", "--destination", "192.0.2.3:443"]).ok();
    assert_eq!(everyone.matches("yes ").count(), 1, "{everyone}");
    assert!(everyone.contains("yes   /opt/app/one\n"), "{everyone}");
}

#[test]
fn a_question_without_end_is_refused() {
    let place = Place::of_fixture();
    let rules = (0..1_500_u32).map(|at| format!("deny \"/opt/{at}/run\" -> 10.{}.{}.1:443\n", at / 256, at % 256));
    place.write("many.bfp", rules.collect::<String>());
    for question in [&["explain", "many.bfp", "*", "*"][..], &["explain", "many.bfp", "--all", "--destination", "*"]] {
        let said = place.bfpc(question).ended();
        assert_eq!(said.code, 2, "{question:?}: {}", said.stdout);
        assert!(said.stderr.contains("explain::size") && said.stderr.contains("1501 programs"), "{}", said.stderr);
    }
    place.bfpc(&["explain", "many.bfp", "/opt/7/run", "*"]).answers(1);
    place.bfpc(&["explain", "many.bfp", "--all", "--destination", "10.0.7.1:443"]).ok();
}

#[test]
fn rule_without_end_is_cut_for_people_and_whole_for_machines() {
    let place = Place::new();
    let addresses: Vec<String> = (0..4000).map(|at| format!("10.{}.{}.1:443", at / 250, at % 250)).collect();
    let set = addresses.join(", ");
    let policy = format!("deny \"/a\" -> {{ {set} }}\n\ntest \"t\" {{\n    \"/a\" -> {{ {set} }}    allowed\n}}\n");
    place.write("p.bfp", policy);
    let run = |words: &[&str]| place.bfpc(words).ended().stdout;
    let rule = format!("deny \"/a\" -> {{ {set} }}");
    let cut = format!("p.bfp:1  {}… ({} characters more)\n", rule.get(..500).unwrap(), rule.len() - 500);
    let asked = ["explain", "p.bfp", "/a", "10.0.7.1:443"];
    let said = run(&asked);
    assert!(said.contains(&cut) && said.len() < 1000, "{said}");
    assert!(run(&[&asked[..], &["--format", "json"]].concat()).contains(addresses.last().unwrap()));
    let said = run(&["test", "p.bfp", "--coverage"]);
    assert!(said.contains(&cut) && said.len() < 2000, "{said}");
}
