//! What a guest gets: the programs, its trusted key, and policies built with ten thousand rules.
//!
//! Always: the secret key stays outside, and each row of the soak's verdict table that `bfpc` can be queried about is
//! `bfpc`'s answer for the very policy that the guest enforces.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bfp_kernel_tests::Guest;
use bfp_kernel_tests::command::call;
use bfp_kernel_tests::rules::{self, Row};
use tempfile::TempDir;

use crate::week;

/// The entries and their policies.
const ENTRIES: &str = "fixtures/ordinary";

pub(crate) struct Staging {
    programs: PathBuf,
    /// What is put over the guest's system.
    root: TempDir,
    keys: TempDir,
}

impl Staging {
    pub(crate) fn new(programs: &Path) -> Result<Self, String> {
        let temporary = || tempfile::tempdir().map_err(|error| error.to_string());
        let staging = Staging { programs: programs.to_owned(), root: temporary()?, keys: temporary()? };
        call(Command::new(staging.bfpc()).arg("keygen").arg(staging.key()))?;
        staging.write("trust/key.pem", &fs::read(staging.keys.path().join("key.pub")).map_err(|e| e.to_string())?)?;
        // A policy's programs must exist when it is applied.
        for path in rules::programs().chain([rules::STRANGER.to_owned()]) {
            staging.write(path.trim_start_matches('/'), b"#!/bin/sh\n")?;
            let at = staging.root.path().join(path.trim_start_matches('/'));
            fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        }
        Ok(staging)
    }

    /// With the rules as a policy: /bfp/rules.bfpb.
    pub(crate) fn with_rules_alone(self) -> Result<Self, String> {
        self.build("rules", "policy rules\n\ninclude \"ten-thousand.bfp\"\ndefault allow\n")?;
        Ok(self)
    }

    /// With the rules as a policy, and a verdict table: /bfp/rules.bfpb, /bfp/verdicts.txt.
    pub(crate) fn with_verdicts(self) -> Result<Self, String> {
        let rows = rules::rows();
        let mut policy = "policy rules\n\ninclude \"ten-thousand.bfp\"\ndefault allow\n\n".to_owned();
        policy.push_str("test \"the table\" {\n");
        let mut table = String::new();
        for row in &rows {
            let verdict = if row.allowed { "allowed" } else { "denied" };
            let protocol = if row.tcp { "tcp" } else { "udp" };
            let to = format!("{}/{protocol}", std::net::SocketAddr::new(row.address, row.port));
            // Writing to a string cannot fail. The language cannot express which program started which.
            let _ = match row {
                Row { programs, .. } if programs.len() == 1 => {
                    writeln!(policy, "    {:?} -> {to} {verdict}", programs.concat())
                }
                _ => Ok(()),
            };
            let _ = writeln!(table, "{} {to} {verdict}", row.programs.join(">"));
        }
        policy.push_str("}\n");
        self.build("rules", &policy)?;
        self.write("bfp/verdicts.txt", table.as_bytes())?;
        Ok(self)
    }

    /// With the ordinary things and their policies: /bfp/ordinary.
    pub(crate) fn with_entries(self) -> Result<Self, String> {
        for file in fs::read_dir(ENTRIES).map_err(|error| format!("{ENTRIES}: {error}"))?.flatten() {
            let content = fs::read(file.path()).map_err(|error| format!("{}: {error}", file.path().display()))?;
            self.write(&format!("bfp/ordinary/{}", file.file_name().display()), &content)?;
        }
        for name in ["unrelated", "confined"] {
            let policy = Path::new(ENTRIES).join(name).with_extension("bfp");
            let text = fs::read_to_string(&policy).map_err(|error| format!("{}: {error}", policy.display()))?;
            self.build(name, &text)?;
        }
        Ok(self)
    }

    /// As an operator installs it: the host's trusted key, and the policy in its place; beside it the next release,
    /// /bfp/next.bfpb, the one after it, /bfp/after.bfpb, one with an untrusted signature, /bfp/foreign.bfpb, and one
    /// with lockdown, /bfp/locked.bfpb.
    pub(crate) fn installed(self) -> Result<Self, String> {
        let foreign = self.keys.path().join("foreign");
        call(Command::new(self.bfpc()).arg("keygen").arg(&foreign))?;
        self.write("etc/bfp/trust/key.pem", &fs::read(self.keys.path().join("key.pub")).map_err(|e| e.to_string())?)?;
        let policy = self.keys.path().join("policy.bfp");
        let text = format!("policy payments\nonly {:?} -> 192.0.2.1:443\n", rules::STRANGER);
        fs::write(&policy, text).map_err(|error| error.to_string())?;
        self.write("bfp/readme", b"What the test of the units drops into place.\n")?;
        for (place, key, revision, more) in [
            ("etc/bfp/policy.bfpb", self.key(), "1", None),
            ("bfp/next.bfpb", self.key(), "2", None),
            ("bfp/after.bfpb", self.key(), "3", None),
            ("bfp/foreign.bfpb", foreign, "4", None),
            ("bfp/locked.bfpb", self.key(), "4", Some("--lockdown")),
        ] {
            let bundle = self.root.path().join(place);
            let mut build = Command::new(self.bfpc());
            build.arg("build").arg(&policy).arg("-o").arg(bundle).arg("--key").arg(key);
            call(build.args(["--revision", revision]).args(more))?;
        }
        Ok(self)
    }

    /// With the policy of a week in its place, the next one at /opt/week/next.bfpb, and the programs that it names.
    pub(crate) fn for_a_week(self) -> Result<Self, String> {
        self.write("etc/bfp/trust/key.pem", &fs::read(self.keys.path().join("key.pub")).map_err(|e| e.to_string())?)?;
        let probe = fs::read(self.programs.join("probe")).map_err(|error| error.to_string())?;
        for path in week::PROGRAMS {
            self.write(path, &probe)?;
            let at = self.root.path().join(path.trim_start_matches('/'));
            fs::set_permissions(at, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        }
        for (link, target) in week::LINKS {
            symlink(target, self.root.path().join(link)).map_err(|error| error.to_string())?;
        }
        for (name, script) in week::SCRIPTS {
            self.write(&format!("opt/week/{name}"), script.as_bytes())?;
        }
        fs::create_dir_all(self.root.path().join("opt/merged")).map_err(|error| error.to_string())?;
        let policy = self.keys.path().join("policy.bfp");
        fs::write(&policy, week::POLICY).map_err(|error| error.to_string())?;
        for (place, revision) in [("etc/bfp/policy.bfpb", "1"), ("opt/week/next.bfpb", "2")] {
            let bundle = self.root.path().join(place);
            let mut build = Command::new(self.bfpc());
            build.arg("build").arg(&policy).arg("-o").arg(bundle).arg("--key").arg(self.key());
            call(build.args(["--revision", revision]))?;
        }
        Ok(self)
    }

    /// The guest with all this. It must not outlive the staging.
    pub(crate) fn take_along<'a>(&self, mut guest: Guest<'a>) -> Guest<'a> {
        for name in ["bfp-enforcer", "probe", "attacker", "suite"] {
            guest = guest.file(self.programs.join(name), format!("/usr/bin/{name}"));
        }
        // Where the units start it.
        guest = guest.file(self.programs.join("bfp-enforcer"), "/usr/sbin/bfp-enforcer");
        guest.tree(self.root.path(), "/")
    }

    /// Checks, tests and builds a policy that may include the rules as `ten-thousand.bfp`.
    fn build(&self, name: &str, policy: &str) -> Result<(), String> {
        let sources = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = sources.path().join("policy.bfp");
        let rules = format!("# {} rules\n{}", rules::RULES, rules::text());
        let written = fs::write(sources.path().join("ten-thousand.bfp"), rules).and_then(|()| fs::write(&at, policy));
        written.map_err(|error| error.to_string())?;
        let bundle = self.root.path().join("bfp").join(name).with_extension("bfpb");
        fs::create_dir_all(self.root.path().join("bfp")).map_err(|error| error.to_string())?;
        call(Command::new(self.bfpc()).arg("test").arg(&at))?;
        call(Command::new(self.bfpc()).arg("build").arg(&at).arg("-o").arg(bundle).arg("--key").arg(self.key()))
    }

    fn write(&self, place: &str, content: &[u8]) -> Result<(), String> {
        let path = self.root.path().join(place.trim_start_matches('/'));
        let folder = path.parent().unwrap_or(self.root.path());
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }

    fn bfpc(&self) -> PathBuf {
        self.programs.join("bfpc")
    }

    fn key(&self) -> PathBuf {
        self.keys.path().join("key")
    }
}
