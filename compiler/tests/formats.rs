//! Diagnostics for machines: JSON, SARIF, and workflow commands, each one document on the standard output.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "each test needs a part of it")]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::Place;

/// Two errors in two files, one of them behind characters of more than one byte.
const POLICY: &str = "# größe: 100 %\ninclude \"hosts.bfp\"\n\nonly \"/usr/bin/öl\" -> kns\n";
const HOSTS: &str = "host kms = 10.1.2.3/8\n";

impl Place {
    /// The document that a command prints: nothing may be on the standard error.
    fn json(&self, code: i32, words: &[&str]) -> Value {
        serde_json::from_str(&self.bfpc(&[words, &["--format", "json"]].concat()).answers(code)).unwrap()
    }
}

#[test]
fn json_tells_places_as_people_and_as_programs_count() {
    let place = Place::with(&[("p/policy.bfp", POLICY), ("p/hosts.bfp", HOSTS)]);
    let told = place.json(2, &["check", "p/policy.bfp"]);
    let expected = json!({
        "version": 1,
        "diagnostics": [
            {
                "code": "resolve::unknown_name",
                "severity": "error",
                "message": "no host is called `kns`",
                "help": "did you mean `kms`?",
                "file": "p/policy.bfp",
                "labels": [{
                    "file": "p/policy.bfp",
                    "line": 4, "column": 23, "end_line": 4, "end_column": 26,
                    "offset": 61, "length": 3,
                    "message": "not declared",
                }],
                "docs": "docs/errors/resolve/unknown_name.md",
            },
            {
                "code": "resolve::host_bits",
                "severity": "error",
                "message": "`10.1.2.3/8` has host bits set",
                "help": "write `10.0.0.0/8` or `10.1.2.3`",
                "file": "p/hosts.bfp",
                "labels": [{
                    "file": "p/hosts.bfp",
                    "line": 1, "column": 12, "end_line": 1, "end_column": 22,
                    "offset": 11, "length": 10,
                    "message": "not the first address of a network",
                }],
                "docs": "docs/errors/resolve/host_bits.md",
            },
        ],
        "errors": 2,
        "warnings": 0,
    });
    let mut found = told.clone();
    // The declaration that a misspelt use leaves unused is told, too.
    found["diagnostics"].as_array_mut().unwrap().retain(|told| told["code"] != "resolve::unused_name");
    found["errors"] = json!(found["diagnostics"].as_array().unwrap().len());
    assert_eq!(found, expected, "{told:#}");
}

#[test]
fn policy_without_a_fault_gives_an_empty_document() {
    let place = Place::with(&[("policy.bfp", "deny * -> metadata\n")]);
    for words in [&["check", "policy.bfp"][..], &["fmt", "--check", "policy.bfp"]] {
        let empty = json!({ "version": 1, "diagnostics": [], "errors": 0, "warnings": 0 });
        assert_eq!(place.json(0, words), empty);
        assert_eq!(place.bfpc(&[words, &["--format", "github"]].concat()).answers(0), "");
        let sarif: Value =
            serde_json::from_str(&place.bfpc(&[words, &["--format", "sarif"]].concat()).answers(0)).unwrap();
        assert_eq!(sarif["runs"][0]["results"], json!([]));
    }
}

#[test]
fn faults_of_a_lock_and_of_files_are_told_one_by_one() {
    let place = Place::with(&[("policy.bfp", "only \"/a\" -> kms.internal\n"), ("policy.bfp.lock", "version = 99\n")]);
    let told = place.json(2, &["check", "policy.bfp"]);
    assert_eq!(told["diagnostics"][0]["code"], "lock::unknown_version", "{told}");
    assert_eq!(told["diagnostics"][0]["file"], "policy.bfp.lock");
    assert_eq!(told["errors"], 1);
    let told = place.json(2, &["check", "gone.bfp"]);
    assert_eq!(told["diagnostics"][0]["code"], "source::unreadable", "{told}");
    assert_eq!((&told["diagnostics"][0]["file"], &told["diagnostics"][0]["labels"]), (&Value::Null, &json!([])));
    let told = place.json(2, &["build", "gone.bfp", "-o", "o", "--key", "k"]);
    assert_eq!(told["diagnostics"][0]["code"], "source::unreadable", "{told}");
    let told = place.json(2, &["lock", "gone.bfp"]);
    assert_eq!(told["diagnostics"][0]["code"], "source::unreadable", "{told}");
}

#[test]
fn untidy_policy_is_a_finding_at_its_first_line_that_differs() {
    let place = Place::with(&[("a.bfp", "deny * -> metadata\ndeny *->raw\n"), ("b.bfp", "deny * -> raw\n\n")]);
    let told = place.json(1, &["fmt", "--check", "a.bfp", "b.bfp"]);
    let place_of = |index: usize| {
        let told = &told["diagnostics"][index];
        (told["code"].clone(), told["file"].clone(), told["labels"][0]["line"].clone())
    };
    assert_eq!(place_of(0), (json!("fmt::not_canonical"), json!("a.bfp"), json!(2)));
    assert_eq!(place_of(1), (json!("fmt::not_canonical"), json!("b.bfp"), json!(2)));
}

#[test]
fn warning_is_shown_and_fails_only_where_that_is_asked_for() {
    let policy = "accept check::wide_grant because \"it was\"\ndeny * -> metadata\n";
    let place = Place::with(&[("policy.bfp", policy)]);
    let told = place.json(0, &["check", "policy.bfp"]);
    assert_eq!((&told["errors"], &told["warnings"]), (&json!(0), &json!(1)), "{told}");
    assert_eq!(told["diagnostics"][0]["severity"], "warning");
    assert_eq!(place.json(1, &["check", "policy.bfp", "--deny-warnings"]), told);
    let github = place.bfpc(&["check", "policy.bfp", "--deny-warnings", "--format", "github"]).answers(1);
    assert!(github.starts_with("::warning file=policy.bfp,line=1,"), "{github}");

    let ended = place.bfpc(&["check", "policy.bfp"]).ended();
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.ends_with("\n1 warning in policy.bfp\n"));
    assert_eq!(ended.stdout, "policy.bfp: ok, 1 rule, 0 programs\n");
    let ended = place.bfpc(&["check", "policy.bfp", "--deny-warnings"]).ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.ends_with("\n1 warning in policy.bfp\n"));

    place.key("key");
    let build = ["build", "policy.bfp", "-o", "policy.bfpb", "--key", "key"];
    assert_eq!(place.json(1, &[&build[..], &["--deny-warnings"]].concat())["warnings"], 1);
    assert!(!place.path("policy.bfpb").exists(), "what is refused is not written");
    assert_eq!(place.json(0, &build)["warnings"], 1);
    assert!(place.path("policy.bfpb").exists());
}

#[test]
fn workflow_commands_stand_on_one_line_each_whatever_a_file_is_called() {
    let name = "a,b:c%::error::x.bfp";
    let place = Place::with(&[(name, "only \"/a\" => 10.0.0.1\ndeny * -> {\n")]);
    let commands = place.bfpc(&["check", name, "--format", "github"]).answers(2);
    let lines: Vec<&str> = commands.lines().collect();
    assert_eq!(
        lines,
        [
            "::error file=a%2Cb%3Ac%25%3A%3Aerror%3A%3Ax.bfp,line=1,col=11,endLine=1,title=syntax%3A%3Awrong_arrow\
             ::`=>` is not an arrow of this language%0Ahelp: write `->` between the program and the destination",
            "::error file=a%2Cb%3Ac%25%3A%3Aerror%3A%3Ax.bfp,line=2,col=11,endLine=2,title=syntax%3A%3Aunclosed_bracket\
             ::`{` is never closed%0Ahelp: close the bracket before the next statement begins",
        ]
    );
}

/// The schema that OASIS publishes, as the crate `serde-sarif` carries it. Cargo has that crate, or there
/// would be no test; but it tells where only when it knows every other crate of the workspace too, which it
/// may have to fetch first.
fn sarif_schema() -> Value {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let platform = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let listed = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let packages = listed["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "serde-sarif").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let schema = fs::read_to_string(manifest.with_file_name("src/schema.json")).unwrap();
    serde_json::from_str(&schema).unwrap()
}

#[test]
fn sarif_is_what_its_schema_says_and_explains_its_rules() {
    let mut schema = sarif_schema();
    assert!(schema["$id"].as_str().unwrap().ends_with("/sarif-schema-2.1.0.json"), "{}", schema["$id"]);
    // A pattern with a bracket too many, which strict readers of expressions refuse. No log of ours has the member.
    for about in ["run", "toolComponent"] {
        let language = schema["definitions"][about]["properties"]["language"].as_object_mut().unwrap();
        assert!(language.remove("pattern").is_some());
    }
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    assert!(!schema.is_valid(&json!({ "version": "2.1.0" })), "the schema refuses nothing");
    let conflict = "only \"/a\" -> 10.0.0.1\nonly \"/b\" -> 10.0.0.1\n";
    let place = Place::with(&[
        ("p q/policy.bfp", POLICY),
        ("p q/hosts.bfp", HOSTS),
        ("conflict.bfp", conflict),
        ("empty.bfp", ""),
        ("good.bfp", "deny * -> metadata\n"),
        ("warned.bfp", "accept check::wide_grant because \"it was\"\ndeny * -> metadata\n"),
    ]);
    let sarif = |code: i32, file: &str| -> Value {
        let text = place.bfpc(&["check", file, "--format", "sarif"]).answers(code);
        let log: Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<String> =
            schema.iter_errors(&log).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{file}: {faults:#?}\n{text}");
        log["runs"][0].clone()
    };
    for (code, file) in [(2, "empty.bfp"), (2, "gone.bfp"), (0, "good.bfp"), (0, "warned.bfp")] {
        sarif(code, file);
    }
    let run = sarif(2, "p q/policy.bfp");
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let result = &run["results"][0];
    let place_of = &result["locations"][0]["physicalLocation"];
    assert_eq!(place_of["artifactLocation"]["uri"], "p%20q/policy.bfp");
    assert_eq!(place_of["region"]["startLine"], 4);
    assert_eq!(place_of["region"]["startColumn"], 23);
    let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
    assert_eq!(rule["id"], result["ruleId"]);
    assert!(rule["help"]["markdown"].as_str().unwrap().contains("```bfp wrong\n"), "{rule}");

    let run = sarif(2, "conflict.bfp");
    assert_eq!(run["results"][0]["relatedLocations"][0]["physicalLocation"]["region"]["startLine"], 2);
    let uri = |place: &Place| {
        let absolute = place.path("conflict.bfp");
        let run = sarif(2, absolute.to_str().unwrap());
        run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap().to_owned()
    };
    assert_eq!(uri(&place), "conflict.bfp", "below the working directory, as the code host knows it");
    let elsewhere = Place::with(&[("conflict.bfp", conflict)]);
    assert!(uri(&elsewhere).starts_with("file:///"));
}

/// One file has one name in every answer: a code host links no other.
#[test]
fn every_answer_names_files_from_the_working_directory() {
    let policy = "include \"../../common/base.bfp\"\nonly app -> corp\n\
                  test \"t\" {\n    app -> corp denied\n}\n";
    let base = "program app = \"/usr/bin/app\"\nhost corp = 10.0.0.0/8\ndeny app -> 10.0.0.1:443\n";
    let place = Place::with(&[
        ("policies/prod/policy.bfp", policy),
        ("policies/prod/sub/wrong.bfp", "include \"../../../common/wrong.bfp\"\n"),
        ("common/base.bfp", base),
        ("common/wrong.bfp", "host corp = 10.0.0.1/8\ndeny * -> corp\n"),
        (".git/HEAD", "the work tree begins here"),
    ]);
    let absolute = place.path("policies/prod/sub/wrong.bfp");
    for file in ["policies/prod/sub/wrong.bfp", "./policies/x/../prod/sub/wrong.bfp", absolute.to_str().unwrap()] {
        fs::create_dir_all(place.path("policies/x")).unwrap();
        let said = place.bfpc(&["check", file, "--format", "github"]).answers(2);
        assert!(said.starts_with("::error file=common/wrong.bfp,line=1,"), "{said}");
        let human = place.bfpc(&["check", file]).ended().stderr;
        assert!(
            human.contains("[common/wrong.bfp:1:13]") && human.contains("1 error in common/wrong.bfp\n"),
            "{human}"
        );
    }
    let file = "policies/prod/policy.bfp";
    let said = |words: &[&str]| place.bfpc(words).ended().stdout;
    let test = said(&["test", file]);
    assert!(test.contains("  policies/prod/policy.bfp:4  app -> corp denied\n"), "{test}");
    assert!(said(&["test", file, "--junit", "-"]).contains("file=\"policies/prod/policy.bfp\""));
    assert!(said(&["test", file, "--format", "json"]).contains("\"file\": \"policies/prod/policy.bfp\""));
    let explained = said(&["explain", file, "app", "10.0.0.1:443"]);
    assert!(explained.contains("  common/base.bfp:3  deny app"), "{explained}");
    assert!(explained.contains("  policies/prod/policy.bfp:2  only app"), "{explained}");
}

/// Behind a link, `..` is the folder that the link leads to.
#[test]
fn path_behind_a_link_is_not_shortened() {
    let place = Place::with(&[("real/deep/x.bfp", ""), ("real/policy.bfp", "deny * -> nowhere\n")]);
    std::os::unix::fs::symlink("real/deep", place.path("link")).unwrap();
    let said = place.bfpc(&["check", "link/../policy.bfp", "--format", "github"]).answers(2);
    assert!(said.starts_with("::error file=link/../policy.bfp,"), "{said}");
}

#[test]
fn test_that_fails_is_shown_beside_its_line() {
    let rules = "deny \"/usr/bin/app\" -> 10.0.0.1\ndeny * -> 192.0.2.1\n";
    let block =
        |verdict: &str| format!("{rules}test \"it, 100%\" {{\n    \"/usr/bin/app\" -> 10.0.0.1:443 {verdict}\n}}\n");
    let place = Place::with(&[
        ("p/wrong.bfp", &block("allowed")),
        ("p/right.bfp", &block("denied")),
        ("p/broken.bfp", "deny * -> nowhere\n"),
    ]);
    let github =
        |code: i32, words: &[&str]| place.bfpc(&[&["test"], words, &["--format", "github"]].concat()).answers(code);
    let failed = "::error file=p/wrong.bfp,line=4,col=5,endLine=4,title=test%3A%3Afailed::`\"/usr/bin/app\" -> 10.0.0.1:443 \
                  allowed` does not hold in the test `it, 100%25`: /usr/bin/app -> 10.0.0.1:443/tcp is denied, because a rule \
                  denies it%0Ahelp: see p/wrong.bfp:1  deny \"/usr/bin/app\" -> 10.0.0.1\n";
    assert_eq!(github(1, &["p/wrong.bfp"]), failed);
    assert_eq!(github(0, &["p/right.bfp"]), "");
    let missed = github(0, &["p/right.bfp", "--coverage"]);
    let warning = "::warning file=p/right.bfp,line=2,col=1,endLine=2,title=test%3A%3Anot_exercised::";
    assert!(missed.starts_with(warning) && missed.lines().count() == 1, "{missed}");
    assert!(github(2, &["p/broken.bfp"]).starts_with("::error file=p/broken.bfp,line=1,"));
}

#[test]
fn several_policies_are_checked_as_one() {
    let including = "include \"base.bfp\"\nonly app -> corp\n";
    let place = Place::with(&[
        ("a.bfp", including),
        ("b.bfp", including),
        ("good.bfp", "deny * -> metadata\n"),
        ("warned.bfp", "accept check::wide_grant because \"it was\"\ndeny * -> metadata\n"),
        ("base.bfp", "program app = \"/usr/bin/app\"\nhost corp = 10.0.0.1/8\n"),
    ]);
    let four = ["check", "a.bfp", "good.bfp", "b.bfp", "warned.bfp"];
    let told = place.json(2, &four);
    assert_eq!((&told["errors"], &told["warnings"]), (&json!(1), &json!(1)), "what both include is told once: {told}");
    assert_eq!(told["diagnostics"][0]["file"], "base.bfp");
    let sarif: Value =
        serde_json::from_str(&place.bfpc(&[&four[..], &["--format", "sarif"]].concat()).answers(2)).unwrap();
    assert_eq!(sarif["runs"].as_array().unwrap().len(), 1);
    let human = place.bfpc(&four).ended();
    assert_eq!(human.code, 2);
    let (stdout, stderr) = (human.stdout, human.stderr);
    let well = "good.bfp: ok, 1 rule, 0 programs\nwarned.bfp: ok, 1 rule, 0 programs\n2 of 4 policies are ok\n";
    assert_eq!(stdout, well);
    assert_eq!(stderr.matches("resolve::host_bits").count(), 1, "{stderr}");
    // The exit code is the worst of them.
    place.bfpc(&["check", "good.bfp", "warned.bfp", "--deny-warnings", "--format", "github"]).answers(1);
    place.bfpc(&["check", "good.bfp", "warned.bfp", "--format", "github"]).answers(0);
    place.bfpc(&["check", "good.bfp", "gone.bfp", "--format", "github"]).answers(2);
}

#[test]
fn file_of_declarations_alone_is_checked_as_one_to_include() {
    let place = Place::with(&[
        ("base.bfp", "program app = \"/usr/bin/app\"\nhost kms = kms.internal:443\n"),
        ("wrong.bfp", "host a = 10.0.0.1/8\nhost b = nowhere\n"),
        ("both.bfp", "include \"base.bfp\"\n"),
        ("policy.bfp", "policy p\nprogram app = \"/usr/bin/app\"\n"),
        ("empty.bfp", "# nothing\n"),
    ]);
    let said = |file: &str| place.bfpc(&["check", file]).ended().stdout;
    assert_eq!(said("base.bfp"), "base.bfp: ok, a file to include: 2 declarations, and no rule to enforce\n");
    assert_eq!(said("both.bfp"), "both.bfp: ok, a file to include: 2 declarations, and no rule to enforce\n");
    let codes = |told: Value| -> Vec<String> {
        told["diagnostics"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(place.json(2, &["check", "wrong.bfp"])), ["resolve::host_bits", "resolve::unknown_name"]);
    // What calls itself a policy is one.
    assert_eq!(codes(place.json(2, &["check", "policy.bfp"])), ["resolve::empty_policy", "resolve::unused_name"]);
    assert_eq!(codes(place.json(2, &["check", "empty.bfp"])), ["resolve::empty_policy"]);
    // Nobody builds a bundle of it.
    let built = place.bfpc(&["build", "base.bfp", "-o", "base.bfpb"]).ended();
    assert_eq!(built.code, 2);
}
