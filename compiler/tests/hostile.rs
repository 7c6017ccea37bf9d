//! What nobody writes by accident: `bfpc check` answers each with an error at its place, soon, and shortly.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Checks a policy: every report ends with exit code 2, in bounded time and on few pages.
fn told(directory: &TempDir, policy: impl AsRef<[u8]>) -> String {
    fs::write(directory.path().join("policy.bfp"), policy).unwrap();
    let start = Instant::now();
    let ran = Command::new(env!("CARGO_BIN_EXE_bfpc"))
        .args(["check", "policy.bfp"])
        .current_dir(directory.path())
        .env_clear()
        .output()
        .unwrap();
    let report = String::from_utf8(ran.stderr).unwrap();
    let begin: String = report.chars().take(2000).collect();
    assert_eq!(ran.status.code(), Some(2), "{begin}");
    // Far more than it takes, for tests are not optimised.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}: {begin}", start.elapsed());
    assert!(report.len() < 1 << 20, "{} bytes: {begin}", report.len());
    report
}

fn place() -> TempDir {
    TempDir::new().unwrap()
}

#[test]
fn nesting_without_end_is_an_error_at_its_place() {
    let place = place();
    let sets = |before: &str, within: &str, after: &str| {
        format!("{before}{}{within}{}{after}\n", "{".repeat(10_000), "}".repeat(10_000))
    };
    assert!(told(&place, sets("only \"/a\" -> ", "10.0.0.1", "")).contains("policy.bfp:1:78]"));
    assert!(told(&place, sets("only ", "\"/a\"", " -> 10.0.0.1")).contains("syntax::too_deep"));
    assert!(told(&place, format!("host a = {}", "ranges(".repeat(10_000))).contains("syntax::"));
    let excepts = format!("only \"/a\" -> 10.0.0.0/8{}", " except 10.0.0.1".repeat(10_000));
    assert!(told(&place, excepts).contains("policy.bfp:1:"));
    assert!(told(&place, "}".repeat(20_000)).contains("… and 19900 more"));
}

#[test]
fn words_without_end_are_cut_in_the_report() {
    let place = place();
    let long = "a".repeat(2_000_000);
    assert!(told(&place, &long).contains("syntax::unknown_statement"));
    assert!(told(&place, format!("host {long} = 10.0.0.1\nonly \"/a\" -> {long}x\n")).contains("policy.bfp:2:14]"));
    assert!(told(&place, format!("only \"/a\" -> {}b", "a.".repeat(500_000))).contains("at most 253"));
    assert!(told(&place, format!("only \"{long}\" -> 10.0.0.1")).contains("at most 255 bytes"));
    assert!(told(&place, format!("only \"{long}")).contains("syntax::unterminated_string"));
    assert!(told(&place, format!("include \"{long}\"")).contains("2000000 bytes, at most 255"));
    assert!(told(&place, format!("include \"{}x\"", "../".repeat(100_000))).contains("at most 4095"));
}

#[test]
fn mistakes_without_end_are_counted() {
    let place = place();
    assert!(told(&place, "only \"/a\" => 10.0.0.1\n".repeat(50_000)).contains("… and 49900 more"));
    let unclosed = "test \"t\" {\ndeny \"/a\" -> 10.0.0.1\n".repeat(20_000);
    assert!(told(&place, unclosed).contains("syntax::unclosed_bracket"));
    let within = format!("test \"t\" {{\n{}}}\n", "deny \"/a\" -> 10.0.0.1\n".repeat(20_000));
    assert!(told(&place, within).contains("20000 errors in policy.bfp"));
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_line() {
    let place = place();
    assert!(told(&place, "only \"/a\" -> 10.0.0.1\n\0\n").contains("policy.bfp:2:1]"));
    assert!(told(&place, b"only \"/a\" -> 10.0.0.1\n# \xff\xfe\n").contains("line 2 cannot be decoded"));
    assert!(told(&place, "only \"/a\" -> 10.0.0.1\rdeny * -> raw\r").contains("U+000D"));
    assert!(told(&place, "# one\r\nonly \"/a\" => 10.0.0.1\r\n").contains("policy.bfp:2:11]"));
}

#[test]
fn devices_and_pipes_are_never_opened() {
    let place = place();
    symlink("/dev/zero", place.path().join("zero")).unwrap();
    assert!(Command::new("mkfifo").arg(place.path().join("fifo")).status().unwrap().success());
    for (file, reason) in [("zero", "is outside the tree"), ("fifo", "is not a regular file")] {
        for policy in [
            format!("include \"{file}\"\n"),
            format!("deny * -> ranges(\"{file}\")\n"),
            format!("program p = \"/p\" verity file(\"{file}\")\nonly p -> 10.0.0.1\n"),
        ] {
            let report = told(&place, policy);
            assert!(report.contains(&format!("`{file}` {reason}")), "{report}");
            assert!(report.contains("policy.bfp:1:"), "{report}");
        }
    }
}

#[test]
fn lock_of_nonsense_is_told_at_its_place() {
    let place = place();
    for (lock, said) in [
        ("version = \"1\"\n", "a number belongs here"),
        ("version = [2]\n", "a number belongs here"),
        ("version = 2\nname = 7\n", "policy.bfp.lock:2:8]"),
        ("version = 2\n\u{0}\n", "policy.bfp.lock:2:2]"),
        ("version = 99999999999999999999\n", "policy.bfp.lock:1:"),
        ("version = 2\n[[name]]\nname = \"kms.internal\"\naddresses = [\"10.0.0.999\"]\n", "policy.bfp.lock:"),
    ] {
        fs::write(place.path().join("policy.bfp.lock"), lock).unwrap();
        let report = told(&place, "only \"/a\" -> kms.internal:443\n");
        assert!(report.contains(said), "{lock:?}: {report}");
    }
    let deep = format!("version = 2\nname = {}\n", "[".repeat(100_000));
    fs::write(place.path().join("policy.bfp.lock"), deep).unwrap();
    assert!(told(&place, "only \"/a\" -> kms.internal:443\n").contains("lock::"));
}

#[test]
fn name_of_a_file_writes_no_line() {
    let place = TempDir::new().unwrap();
    let name = "a\n::error::b.bfp";
    fs::write(place.path().join(name), "deny * -> metadata\n").unwrap();
    for words in [&["check", name][..], &["explain", name, "*", "*"], &["test", name], &["fmt", "--check", name]] {
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{said}");
        assert!(said.contains("source::control_character") && said.contains("a\\n::error::b.bfp"), "{said}");
        assert!(!said.lines().any(|line| line.starts_with("::")), "{said}");
    }
}

/// Every command that reads a policy.
const READERS: [&[&str]; 10] = [
    &["check"],
    &["check", "--format", "json"],
    &["fmt", "--check"],
    &["fmt"],
    &["build", "-o", "out.bfpb"],
    &["lock"],
    &["drift"],
    &["test"],
    &["diff", "--new"],
    &["graph", "-o", "out.svg"],
];

/// What every command says of `policies/p.bfp`: on both outputs, with a secret in the environment.
fn all_said(place: &Path) -> Vec<(String, Option<i32>)> {
    let asked = [&["explain", "policies/p.bfp", "/a", "10.0.0.1"][..], &["hosts", "policies/p.bfp"]];
    let words = READERS.iter().map(|words| [*words, &["policies/p.bfp"]].concat());
    let run = |words: Vec<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bfpc"));
        command.args(&words).current_dir(place).env_clear().env("SECRET_TOKEN", "hunter2");
        let ran = command.output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        (format!("bfpc {}\n{said}", words.join(" ")), ran.status.code())
    };
    words.chain(asked.iter().map(|words| words.to_vec())).map(run).collect()
}

#[test]
fn what_a_link_leads_to_is_not_shown() {
    let place = place();
    let repo = place.path().join("repo");
    let at = |name: &str| repo.join(name);
    for folder in ["policies", ".git", "common"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    let key = "-----BEGIN PRIVATE KEY-----\nhunter2\n";
    fs::write(at("../release.key"), key).unwrap();
    fs::write(at(".git/config"), "hunter2\n").unwrap();
    fs::write(at("common/secret.env"), "# settings\nversion=1\nTOKEN=hunter2\n").unwrap();
    fs::write(at("common/Cargo.toml"), "[package]\nversion = \"hunter2\"\n").unwrap();
    symlink("../..", at("policies/up")).unwrap();
    let policy = "only \"/a\" -> kms.internal:443\n";
    let outside = ["/proc/self/environ", "/proc/self/cmdline", "../../release.key", "../.git/config", "up/release.key"];
    for (target, code) in outside
        .map(|target| (target, "load::outside"))
        .into_iter()
        .chain([("../common/secret.env", "not a policy"), ("../common/Cargo.toml", "not a policy")])
    {
        for linked in ["policies/p.bfp", "policies/p.bfp.lock"] {
            fs::write(at("policies/p.bfp"), policy).unwrap();
            let _ = fs::remove_file(at(linked));
            symlink(target, at(linked)).unwrap();
            for (said, ended) in all_said(&repo) {
                // What does not read the lock has nothing to say about it.
                if said.starts_with("bfpc fmt") && linked.ends_with(".lock") {
                    continue;
                }
                let is_lock = linked.ends_with(".lock");
                let code = match code {
                    "load::outside" => code,
                    _ if is_lock && said.starts_with("bfpc lock") => "source::not_replaced",
                    _ if is_lock => "lock::not_a_lock",
                    _ => "load::not_a_policy",
                };
                assert!(!said.contains("hunter2"), "{linked} -> {target}: {said}");
                assert!(said.contains(code), "{linked} -> {target}: {said}");
                assert_eq!(ended, Some(2), "{linked} -> {target}: {said}");
            }
            fs::remove_file(at(linked)).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(at("../release.key")).unwrap(), key);
}

#[test]
fn key_that_is_taken_for_a_policy_is_not_shown() {
    let place = place();
    fs::create_dir(place.path().join("policies")).unwrap();
    for secret in ["-----BEGIN PRIVATE KEY-----\nhunter2\n", "PATH=/bin\0TOKEN=hunter2\0"] {
        fs::write(place.path().join("policies/p.bfp"), secret).unwrap();
        for (said, ended) in all_said(place.path()) {
            assert!(said.contains("load::not_a_policy") && !said.contains("\nhunter2"), "{said}");
            assert!(!said.contains("=hunter2"), "{said}");
            assert_eq!(ended, Some(2), "{said}");
        }
    }
}

#[test]
fn link_within_the_tree_is_the_file_that_it_leads_to() {
    let place = place();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("policies/..data")).unwrap();
    fs::create_dir(at("common")).unwrap();
    let check = |code: i32, says: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bfpc"));
        let ran = command.args(["check", "policies/p.bfp"]).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    };
    // As a volume of Kubernetes has it: links to links in the policy's own folder.
    fs::write(at("policies/..data/p.bfp"), "deny * -> 10.0.0.1\n").unwrap();
    fs::write(at("policies/..data/p.bfp.lock"), "version = 2\n").unwrap();
    symlink("..data", at("policies/now")).unwrap();
    for file in ["p.bfp", "p.bfp.lock"] {
        symlink(format!("now/{file}"), at("policies").join(file)).unwrap();
    }
    check(0, "policies/p.bfp: ok");
    // Beside the folder: in a work tree alone.
    fs::rename(at("policies/..data/p.bfp"), at("common/p.bfp")).unwrap();
    fs::remove_file(at("policies/p.bfp")).unwrap();
    symlink("../common/p.bfp", at("policies/p.bfp")).unwrap();
    check(2, "load::outside");
    fs::create_dir(at(".git")).unwrap();
    check(0, "policies/p.bfp: ok");
    // A folder on the way to a policy is its reader's choice.
    fs::remove_dir(at(".git")).unwrap();
    fs::remove_dir_all(at("policies")).unwrap();
    symlink(at("common"), at("policies")).unwrap();
    check(0, "policies/p.bfp: ok");
}

/// Neither of the two forms that a runner of GitHub obeys: `::x::` behind blanks, and `##[x]` anywhere.
fn holds_no_command(said: &str) -> bool {
    let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
    !said.split(['\n', '\r']).any(is_command)
}

#[test]
fn text_of_a_policy_is_no_command_in_any_output() {
    let place = place();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bfpc"));
        let ran = command.args(words).current_dir(place.path()).env_clear().output().unwrap();
        String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap()
    };
    let held = |words: &[&str]| {
        let said = run(words);
        assert!(holds_no_command(&said), "bfpc {}\n{said}", words.join(" "));
        said
    };
    let mut begun = 0;
    for length in 70..100 {
        let path = format!("/opt/{} ::stop-commands::zz", "a".repeat(length));
        let policy = format!("only \"{path}\" -> 10.0.0.1\ndeny * -> raw\n");
        fs::write(place.path().join("p.bfp"), policy).unwrap();
        begun += usize::from(held(&["check", "p.bfp"]).contains("    │ ::stop-commands::zz"));
    }
    assert!(begun > 0, "no line was ever broken there");

    let name = "::error::x##[error]y.bfp";
    let policy = "program p = \"/opt/p\"\nonly p -> 10.0.0.1\ntest \"##[error]t\" {\n    p -> 10.0.0.1    denied\n}\n";
    fs::write(place.path().join(name), policy).unwrap();
    fs::write(place.path().join("p.bfp"), format!("include \"{name}\"\ndeny * -> raw\n")).unwrap();
    for file in [name, "p.bfp"] {
        let mut said = String::new();
        for words in [
            &["check", file][..],
            &["check", file, "p.bfp"],
            &["check", file, "--format", "json"],
            &["check", file, "--format", "sarif"],
            &["fmt", "--check", file],
            &["explain", file, "p", "10.0.0.1"],
            &["explain", file, "p", "10.0.0.1", "--format", "json"],
            &["explain", file, "--all", "--program", "p"],
            &["test", file, "--coverage"],
            &["test", file, "--format", "json"],
            &["diff", "--new", file],
            &["diff", "--new", file, "--format", "markdown"],
            &["build", file, "-o", "bundle"],
            &["inspect", "bundle"],
            &["inspect", "bundle", "--format", "json"],
        ] {
            said += &held(words);
        }
        assert!(said.contains("│ ::error::x#?[error]y.bfp:2"), "{said}");
        assert!(said.contains("\"#\\u0023[error]t\""), "as JSON has it: {said}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(&["explain", name, "p", "10.0.0.1", "--format", "json"])).unwrap();
    assert!(json.to_string().contains("::error::x##[error]y.bfp"), "{json}");
    fs::write(place.path().join("p.bfp"), "only \"/opt/##[error]x\" -> 10.0.0.1\n").unwrap();
    assert!(held(&["check", "p.bfp"]).contains("/opt/#?[error]x"));
    // A line of a report ends at a carriage return too.
    fs::write(place.path().join("p.bfp"), "deny * -> 10.0.0.1 # x\r::error::x\nonly\n").unwrap();
    held(&["check", "p.bfp"]);
}

#[test]
fn argument_writes_no_line() {
    let place = place();
    fs::write(place.path().join("p.bfp"), "deny * -> 10.0.0.1\n").unwrap();
    let forged = "/opt/a\n::error::x";
    for words in [
        &["explain", "p.bfp", forged, "10.0.0.1"][..],
        &["explain", "p.bfp", "/a", forged],
        &["explain-code", forged],
        &["lock", "p.bfp", "--update", forged],
        &["diff", forged, "p.bfp"],
        &["build", "p.bfp", "-o", forged],
        &["check", forged],
        &[forged],
        &["--x\r::error::x"],
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{said}");
        assert!(said.contains("source::control_character") && said.contains("::error::x"), "{said}");
        assert!(holds_no_command(&said), "{said}");
    }
    for (program, help) in [
        ("/opt//a", "an absolute path"),
        ("/opt/../a", "an absolute path"),
        ("opt/a", "an absolute path"),
        ("/opt/*", "a pattern exactly as in the policy"),
        ("curl", "`/usr/bin/curl`"),
    ] {
        let words = ["explain", "p.bfp", program, "10.0.0.1"];
        let ran = Command::new(env!("CARGO_BIN_EXE_bfpc")).args(words).current_dir(place.path()).output().unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        let words: Vec<&str> = said.split_whitespace().filter(|word| *word != "│").collect();
        let is_told = said.contains("explain::program") && words.join(" ").contains(help) && !said.contains("bin//");
        assert!(is_told, "{program}: {said}");
    }
}
