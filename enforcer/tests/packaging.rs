//! What docs/operations.md has an administrator type, and the units that it names: the block under "Install" is run
//! here as it stands, below another root, with stand-ins for `bfp-enforcer` and `systemctl`.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The units, by name.
fn units() -> Vec<(String, String)> {
    let entries = fs::read_dir(repository().join("packaging/systemd")).unwrap();
    let mut units: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    units.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    units.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The values of a setting, each once for each of its lines.
fn values<'a>(unit: &'a str, setting: &str) -> Vec<&'a str> {
    let assigned = |line: &'a str| line.strip_prefix(setting)?.strip_prefix('=');
    unit.lines().filter_map(assigned).collect()
}

/// The commands of the first block of shell under a heading, without comments.
fn block_under(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect()
}

/// Units that change another program's file, and so are enabled by themselves, by the page that explains them.
const OPTIONAL: [(&str, &str); 1] = [("bfp-hosts.service", "docs/names.md")];

/// What stands for the enforcer: it asks that there is what a command needs by then.
const ENFORCER: &str = r#"#!/bin/sh -eu
[ -x "$ROOT/usr/sbin/bfp-enforcer" ] && [ -f "$ROOT/etc/bfp/trust/release.pem" ]
case $1 in
    doctor) ;;
    apply) [ -f "$2" ] && [ "$3" = --expect-revision ] ;;
    *) exit 2 ;;
esac
echo "$1" >>"$ROOT/commands"
"#;

/// What stands for systemd: it starts units that are there, once there is what they apply.
const SYSTEMCTL: &str = r#"#!/bin/sh -eu
[ "$1 $2" = "enable --now" ] && [ -f "$ROOT/etc/bfp/policy.bfpb" ]
shift 2
for unit; do
    grep -q "^WantedBy=" "$ROOT/etc/systemd/system/$unit"
    echo "$unit" >>"$ROOT/enabled"
done
"#;

#[test]
fn the_install_block_is_run_as_it_stands() {
    let (root, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, work) = (root.path(), work.path());
    for folder in ["usr/sbin", "etc/systemd/system", "bin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (path, text) in [("bfp-enforcer", ENFORCER), ("release-key.pub", "key"), ("policy.bfpb", "bundle")] {
        fs::write(work.join(path), text).unwrap();
    }
    for (name, text) in [("bfp-enforcer", ENFORCER), ("systemctl", SYSTEMCTL)] {
        let path = root.join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    symlink(repository().join("packaging"), work.join("packaging")).unwrap();

    // Every absolute path is below the other root; nothing else can be one.
    let below = |word: &str| if word.starts_with('/') { format!("$ROOT{word}") } else { word.to_owned() };
    let commands = block_under(&read("docs/operations.md"), "Install");
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let words: Vec<String> = command.split_whitespace().map(below).collect();
        assert!(words.iter().all(|word| word.starts_with("$ROOT/") || !word.contains(['=', '"', '\'', '$', '~', '`'])));
        assert!(["install", "bfp-enforcer", "systemctl"].contains(&words.first().unwrap().as_str()), "{command}");
        let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &words.join(" ")]).current_dir(work).env("ROOT", root).env("PATH", path);
        assert!(shell.status().unwrap().success(), "{command}");
    }

    assert_eq!(fs::read_to_string(root.join("commands")).unwrap(), "doctor\napply\n");
    let enabled = fs::read_to_string(root.join("enabled")).unwrap();
    let mut enabled: Vec<&str> = enabled.lines().collect();
    enabled.sort_unstable();
    let units = units();
    let to_enable = units.iter().filter(|(_, unit)| unit.contains("\n[Install]\n")).map(|(name, _)| name.as_str());
    let (optional, to_enable): (Vec<_>, Vec<_>) =
        to_enable.partition(|name| OPTIONAL.iter().any(|(optional, _)| optional == name));
    assert_eq!(enabled, to_enable, "each unit that can be enabled is");
    assert_eq!(optional, OPTIONAL.map(|(name, _)| name));
    for (name, unit) in &units {
        assert_eq!(&fs::read_to_string(root.join("etc/systemd/system").join(name)).unwrap(), unit);
        for command in values(unit, "ExecStart").iter().filter(|command| !command.starts_with("/bin/sh")) {
            let program = command.split(' ').next().unwrap();
            assert!(root.join(program.trim_start_matches('/')).exists(), "{name}: {program} is not installed");
        }
        for watched in values(unit, "PathChanged") {
            assert!(root.join(watched.trim_start_matches('/')).exists(), "{name}: {watched} is not put there");
        }
    }
}

#[test]
fn the_page_names_every_unit_and_no_other() {
    let page = read("docs/operations.md");
    let units = units();
    for (name, _) in &units {
        assert!(page.contains(&format!("`{name}`")), "docs/operations.md does not name {name}");
    }
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    let named = words.map(|word| word.trim_end_matches('.')).filter(|word| {
        word.starts_with("bfp-") && [".service", ".path", ".timer"].iter().any(|kind| word.ends_with(kind))
    });
    for word in named {
        assert!(units.iter().any(|(name, _)| name == word), "docs/operations.md names {word}, which is none");
    }
}

#[test]
fn an_optional_unit_is_enabled_on_the_page_that_explains_it() {
    for (name, page) in OPTIONAL {
        let command = format!("systemctl enable --now {name}");
        for page in ["docs/operations.md", page] {
            assert!(read(page).contains(&command), "{page} does not say `{command}`");
        }
    }
}

/// systemd waits for ever until a `oneshot` has ended, and for nothing where a service needs only to be started.
#[test]
fn no_unit_can_keep_the_host_from_coming_up() {
    for (name, unit) in units().iter().filter(|(name, _)| name.ends_with(".service")) {
        match values(unit, "Type").as_slice() {
            [] => {}
            ["oneshot"] => {
                let seconds = values(unit, "TimeoutStartSec").last().and_then(|value| value.parse::<u32>().ok());
                assert!(seconds.is_some_and(|seconds| (1..=600).contains(&seconds)), "{name}: {seconds:?}");
            }
            other => assert!(other.is_empty(), "{name}: what does systemd wait for where the type is {other:?}?"),
        }
    }
}
