//! Notes of rules, through the commands: who sees them, and what `until` does on which day.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use support::Place;

const POLICY: &str = "program app = \"/usr/bin/app\"\n\
    deny * -> raw\n\
    app -> only 192.0.2.1:5432 until 2027-01-31 owner \"payments\" ticket \"SEC-12\" because \"a \\\"new\\\" db\"\n\
    deny * -> 192.0.2.9 owner \"net\"\n\
    test \"t\" {\n    app -> 192.0.2.1:5432 allowed\n}\n";

#[test]
fn rule_is_refused_from_its_day_on_and_warned_about_before() {
    let place = Place::with(&[("policy.bfp", POLICY)]);
    place.key("key");
    let build = ["build", "policy.bfp", "-o", "policy.bfpb", "--key", "key"];
    for command in [&["check", "policy.bfp"][..], &["test", "policy.bfp"], &build] {
        let run = |today: &str| place.bfpc(&[command, &["--today", today]].concat()).ended();
        for today in ["1970-01-01", "2027-01-16"] {
            let ended = run(today);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            assert!(!ended.stderr.contains("expire"), "{today}: {}", ended.stderr);
        }
        for (today, days) in [("2027-01-17", "14 days"), ("2027-01-30", "1 day")] {
            let ended = run(today);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let warning =
                format!("this rule expires in {days}: the policy does not compile with it from 2027-01-31 on");
            assert!(
                ended.stderr.contains("check::expires_soon") && ended.stderr.contains(&warning),
                "{}",
                ended.stderr
            );
        }
        for today in ["2027-01-31", "9999-12-31"] {
            let ended = run(today);
            assert_eq!(ended.code, 2, "{}", ended.stderr);
            assert!(
                ended.stderr.contains("this rule was wanted until 2027-01-31, and that day has come"),
                "{}",
                ended.stderr
            );
            assert!(
                ended.stderr.contains("ask `payments` (ticket `SEC-12`), then remove the rule"),
                "{}",
                ended.stderr
            );
        }
        let ended = run("31.1.2027");
        assert_eq!(ended.code, 2);
        assert!(ended.stderr.contains("write a day as YYYY-MM-DD"), "{}", ended.stderr);
    }
    let ended = place.bfpc(&["check", "policy.bfp", "--deny-warnings", "--today", "2027-01-20"]).ended();
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("check::expires_soon"), "{}", ended.stderr);
    // Questions have answers on any day.
    place.bfpc(&["explain", "policy.bfp", "app", "192.0.2.1:5432"]).ok();
}

#[test]
fn day_of_the_build_is_not_in_the_bundle() {
    let place = Place::with(&[("policy.bfp", POLICY)]);
    place.key("key");
    for (file, today) in [("a.bfpb", "2026-01-01"), ("b.bfpb", "2027-01-30")] {
        place.bfpc(&["build", "policy.bfp", "-o", file, "--key", "key", "--today", today]).ok_with_warnings();
    }
    assert_eq!(std::fs::read(place.path("a.bfpb")).unwrap(), std::fs::read(place.path("b.bfpb")).unwrap());
}

#[test]
fn notes_are_shown_beside_their_rule_alike_by_a_policy_and_its_bundle() {
    let place = Place::with(&[("policy.bfp", POLICY)]);
    place.key("key");
    place
        .bfpc(&["build", "policy.bfp", "-o", "policy.bfpb", "--key", "key", "--today", "2026-01-01"])
        .ok_with_warnings();
    let notes = "until 2027-01-31 owner \"payments\" ticket \"SEC-12\" because \"a \\\"new\\\" db\"";
    for file in ["policy.bfp", "policy.bfpb"] {
        let explain = ["explain", file, "app", "192.0.2.2:80", "--trust", "key.pub"];
        let said = place.bfpc(&explain).answers(1);
        assert!(said.contains(&format!("policy.bfp:3  app -> only 192.0.2.1:5432 {notes}\n")), "{said}");
        let said = place.bfpc(&[&explain[..], &["--format", "json"]].concat()).answers(1);
        let told: serde_json::Value = serde_json::from_str(&said).unwrap();
        let rule = &told["answers"][0]["rule"];
        let expected = serde_json::json!({
            "file": "policy.bfp", "line": 3, "text": "app -> only 192.0.2.1:5432",
            "until": "2027-01-31", "owner": "payments", "ticket": "SEC-12", "because": "a \"new\" db",
        });
        assert_eq!(rule, &expected);
    }
    let said = place.bfpc(&["inspect", "policy.bfpb", "--trust", "key.pub"]).ok();
    assert!(said.contains(&format!("  2  policy.bfp:3  app -> only 192.0.2.1:5432 {notes}\n")), "{said}");
    assert!(said.contains("  3  policy.bfp:4  deny * -> 192.0.2.9 owner \"net\"\n"), "{said}");
}

#[test]
fn changed_notes_are_told_and_change_no_verdict() {
    let changed = POLICY.replace("until 2027-01-31 owner", "until 2027-07-31 owner").replace(" owner \"net\"", "");
    let place = Place::with(&[("old.bfp", POLICY), ("new.bfp", &changed)]);
    let said = place.bfpc(&["diff", "old.bfp", "new.bfp"]).ok();
    assert_eq!(
        said,
        "old.bfp and new.bfp decide alike\n\
         the notes of `app -> only 192.0.2.1:5432`\n\
         \x20 - until 2027-01-31 owner \"payments\" ticket \"SEC-12\" because \"a \\\"new\\\" db\"\n\
         \x20 + until 2027-07-31 owner \"payments\" ticket \"SEC-12\" because \"a \\\"new\\\" db\"\n\
         the notes of `deny * -> 192.0.2.9`\n\
         \x20 - owner \"net\"\n"
    );
    let said = place.bfpc(&["diff", "old.bfp", "new.bfp", "--format", "json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["notes"][0]["after"][0]["until"], "2027-07-31");
    assert_eq!(
        told["notes"][1],
        serde_json::json!({"rule": "deny * -> 192.0.2.9", "before": [{"owner": "net"}], "after": []})
    );
    let said = place.bfpc(&["diff", "old.bfp", "new.bfp", "--format", "markdown"]).ok();
    assert!(said.contains("no change in what any program may reach; the notes of rules change."), "{said}");
    assert!(said.contains("| notes now | `app -> only 192.0.2.1:5432` | `until 2027-07-31 owner"), "{said}");
    // Beside another change, and where a rule only moves.
    let wider = format!("deny * -> 192.0.2.9 owner \"it\"\n{}", changed.replace("deny * -> 192.0.2.9\n", ""))
        .replace(":5432", "");
    place.write("wider.bfp", wider);
    let said = place.bfpc(&["diff", "old.bfp", "wider.bfp"]).answers(1);
    assert!(said.contains("the notes of `deny * -> 192.0.2.9`\n  - owner \"net\"\n  + owner \"it\"\n"), "{said}");
    assert!(said.ends_with("access widens\n") && !said.contains("2027"), "{said}");
}
