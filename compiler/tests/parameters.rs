//! Parameters of a policy, through the commands: one source and one lock file, and a bundle for each value.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;

use support::Place;

const POLICY: &str = "policy kms\n\
    param env = { \"staging\", \"prod\" }\n\
    program signer = \"/opt/${env}/bin/signer\"\n\
    host kms = \"kms.${env}.internal\":443\n\
    only signer -> only kms\n\
    deny * -> raw\n\
    test \"t\" {\n    signer -> kms allowed\n    \"/opt/other/bin/signer\" -> kms denied\n}\n";

fn lock(names: &[(&str, &str)]) -> String {
    let mut text = "version = 2\n".to_owned();
    for (name, address) in names {
        text += &format!("\n[[name]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nttl_seconds = 300\n");
        text += "stability = \"stable\"\nresolvers = [\"192.0.2.53\"]\nresolved_at = \"2026-07-14T09:30:00Z\"\n";
    }
    text
}

const STAGING: (&str, &str) = ("kms.staging.internal", "192.0.2.1");
const PROD: (&str, &str) = ("kms.prod.internal", "192.0.2.2");

fn place() -> Place {
    let place = Place::with(&[("policy.bfp", POLICY), ("policy.bfp.lock", &lock(&[PROD, STAGING]))]);
    place.key("key");
    place
}

#[test]
fn each_value_has_a_bundle_of_its_own() {
    let place = place();
    let said = place.bfpc(&["check", "policy.bfp", "--locked"]).ok_with_warnings();
    assert_eq!(said, "policy.bfp: ok, 2 rules, 1 program, each with 2 choices of parameters\n");
    // What is found with each value is told once.
    let ended = place.bfpc(&["check", "policy.bfp"]).ended();
    assert_eq!(ended.stderr.matches("check::path_grant").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.ends_with("3 warnings in policy.bfp\n"), "{}", ended.stderr);
    for (value, own, other) in
        [("prod", "192.0.2.2:443", "192.0.2.1:443"), ("staging", "192.0.2.1:443", "192.0.2.2:443")]
    {
        let (set, bundle) = (format!("env={value}"), format!("{value}.bfpb"));
        let build = ["build", "policy.bfp", "-o", &bundle, "--key", "key", "--set", &set, "--locked"];
        place.bfpc(&build).ok_with_warnings();
        let first = fs::read(place.path(&bundle)).unwrap();
        place.bfpc(&build).ok_with_warnings();
        assert!(first == fs::read(place.path(&bundle)).unwrap(), "the same bytes");
        place.bfpc(&["test", "policy.bfp", "--set", &set]).ok();
        let signer = format!("/opt/{value}/bin/signer");
        let in_bundle = ["explain", &bundle, &signer, "kms", "--trust", "key.pub"];
        let said = place.bfpc(&in_bundle).ok();
        assert!(said.contains(&format!("allowed  {signer} -> {own}\n")), "{said}");
        assert!(said.contains(&format!("is kms.{value}.internal in the lock")), "{said}");
        let in_policy = ["explain", "policy.bfp", &signer, "kms", "--set", &set];
        assert_eq!(place.bfpc(&in_policy).ok(), said);
        place.bfpc(&["explain", &bundle, &signer, other, "--trust", "key.pub"]).answers(1);
        let said = place.bfpc(&["inspect", &bundle, "--trust", "key.pub"]).ok();
        assert!(
            said.contains(&format!("\nparameter   env={value}\n"))
                && said.contains("policy.bfp:5  only signer -> only kms"),
            "{said}"
        );
        let said = place.bfpc(&["inspect", &bundle, "--trust", "key.pub", "--format", "json"]).ok();
        let told: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(told["parameters"], serde_json::json!({ "env": value }));
        place
            .bfpc(&["explain", &bundle, &signer, "kms", "--trust", "key.pub", "--set", &set])
            .fails(2, "input::set_of_bundle");
    }
    assert_ne!(fs::read(place.path("prod.bfpb")).unwrap(), fs::read(place.path("staging.bfpb")).unwrap());
    let said = place.bfpc(&["diff", "staging.bfpb", "prod.bfpb", "--trust", "key.pub"]).answers(1);
    assert!(said.contains("/opt/prod/bin/signer"), "{said}");
}

#[test]
fn value_is_demanded_where_one_is_needed() {
    let place = place();
    for command in
        [&["test", "policy.bfp"][..], &["explain", "policy.bfp", "*", "*"], &["build", "policy.bfp", "-o", "x"]]
    {
        let fails = |more: &[&str], code: &str, help: &str| {
            let ended = place.bfpc(&[command, more].concat()).fails(2, code);
            assert!(ended.all().contains(help), "{}", ended.all());
        };
        fails(&[], "parameter::not_set", "write `--set env=staging` or `--set env=prod`");
        fails(&["--set", "env=production"], "parameter::not_allowed", "write `--set env=staging` or `--set env=prod`");
        fails(&["--set", "evn=prod"], "parameter::not_declared", "did you mean `env`?");
        fails(&["--set", "env=prod", "--set", "env=staging"], "parameter::not_set", "write `--set env=staging`");
    }
    place.write("plain.bfp", "deny * -> 192.0.2.1\n");
    place.bfpc(&["check", "plain.bfp", "--set", "env=prod"]).fails(2, "the policy declares no parameter");
    assert_eq!(place.bfpc(&["check", "policy.bfp", "--set", "env"]).ended().code, 2);
}

#[test]
fn check_finds_what_is_wrong_with_any_value() {
    let place = place();
    place.write("policy.bfp.lock", lock(&[STAGING]));
    let ended = place.bfpc(&["check", "policy.bfp"]).fails(2, "`kms.prod.internal` is not in the lock file");
    assert!(!ended.all().contains("kms.staging.internal"), "{}", ended.all());
    // One value does not need the others' names.
    place.bfpc(&["check", "policy.bfp", "--set", "env=staging"]).ok_with_warnings();
    place.bfpc(&["build", "policy.bfp", "-o", "x.bfpb", "--set", "env=staging", "--key", "key"]).ok_with_warnings();
    // What only one value needs is not stale.
    place.write("policy.bfp.lock", lock(&[PROD, STAGING]));
    place.bfpc(&["check", "policy.bfp", "--locked", "--set", "env=staging"]).ok_with_warnings();
    place.write("policy.bfp.lock", lock(&[PROD, STAGING, ("kms.test.internal", "192.0.2.3")]));
    place.bfpc(&["check", "policy.bfp", "--locked"]).fails(2, "kms.test.internal");
}

#[test]
fn lock_keeps_the_names_of_every_value() {
    let place = place();
    for more in [&[][..], &["--set", "env=prod"]] {
        let before = fs::read(place.path("policy.bfp.lock")).unwrap();
        let said = place.bfpc(&[&["lock", "policy.bfp"], more].concat()).ok();
        assert!(said.ends_with("2 names locked, 2 of them as before\n"), "{said}");
        assert!(before == fs::read(place.path("policy.bfp.lock")).unwrap());
    }
    // Only the names of this value are asked for: no resolver answers for the other.
    place.write("policy.bfp.lock", lock(&[PROD]));
    let said = place.bfpc(&["lock", "policy.bfp", "--set", "env=prod"]).ok();
    assert!(said.ends_with("1 name locked, 1 of them as before\n"), "{said}");
}

#[test]
fn included_parameter_serves_several_policies() {
    let place = Place::with(&[
        ("env.bfp", "param env = { \"a\", \"b\" }\nparam spare = { \"x\", \"y\" }\n"),
        ("policy.bfp", "include \"env.bfp\"\ndeny \"/opt/${env}/x\" -> 192.0.2.1\n"),
    ]);
    place.bfpc(&["check", "env.bfp"]).ok();
    place.bfpc(&["check", "policy.bfp"]).ok_with_warnings();
    place.bfpc(&["explain", "policy.bfp", "/opt/a/x", "192.0.2.1:1", "--set", "env=a", "--set", "spare=x"]).answers(1);
    place.bfpc(&["explain", "policy.bfp", "/opt/b/x", "192.0.2.1:1", "--set", "env=a", "--set", "spare=x"]).ok();
}
