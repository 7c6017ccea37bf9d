//! A signer whose content is pinned by its fs-verity digest, which the compiler worked out from the build
//! on another machine. Each scenario applies the policy of fixtures/pinned by itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, OUTSIDE_V4, PORT, SIGNER, THIEF, every_way_to, to};
use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::Expected;
use crate::programs::{Running, copy_probe_to};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a pinned signer with the right content reaches the KMS in every way", |host| pinned(host, right_content)),
    ("a pinned signer that ran before the policy reaches the KMS", running_before),
    ("a pinned signer without fs-verity is refused and stays confined", |host| pinned(host, without_verity)),
    ("a pinned signer with one byte more is refused and stays confined", |host| pinned(host, modified)),
    ("a copy of the pinned signer elsewhere is refused", |host| pinned(host, copy_elsewhere)),
    ("an upgrade to a pinned build is followed without a reload from 6.8 on", |host| pinned(host, upgrade)),
    ("an upgrade to another build loses the grant", |host| pinned(host, wrong_upgrade)),
    ("apply says which pinned executable has another content", says_who_has_other_content),
    ("a pinned executable on a filesystem without fs-verity is not applied", no_verity_there),
];

/// The harness builds it.
const BUNDLE: &str = "/pinned/policy.bfpb";
/// The exit status where the host cannot enforce.
const CANNOT_ENFORCE: i32 = 4;

fn kms() -> Destination {
    Destination::tcp(KMS_V4, PORT)
}

/// Applies the policy with the pinned signer in its place, and gives the host back as it was.
fn pinned(host: &Host, scenario: fn(&Host) -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    install(true)?;
    let tried = enforcer::apply(Path::new(BUNDLE)).and_then(|()| {
        let tried = scenario(host);
        tried.and(enforcer::remove())
    });
    tried.and(install(false))
}

/// The signer is a new file with the pinned content, by a rename as a package manager does it.
fn install(with_verity: bool) -> Result<(), String> {
    let new = PathBuf::from("/usr/bin/.signer.new");
    copy_probe_to(&new)?;
    put_in_place(&new, with_verity)
}

/// The same with one byte more at its end.
fn install_modified(with_verity: bool) -> Result<(), String> {
    let new = PathBuf::from("/usr/bin/.signer.new");
    copy_probe_to(&new)?;
    let appended = OpenOptions::new().append(true).open(&new).and_then(|mut file| file.write_all(&[0]));
    appended.map_err(|error| format!("{}: {error}", new.display()))?;
    put_in_place(&new, with_verity)
}

fn put_in_place(new: &Path, with_verity: bool) -> Result<(), String> {
    if with_verity {
        enable_verity(new)?;
    }
    fs::rename(new, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))
}

pub(super) fn enable_verity(file: &Path) -> Result<(), String> {
    let ended = Command::new("/bin/fsverity").arg("enable").arg(file).output();
    let ended = ended.map_err(|error| format!("cannot run fsverity: {error}"))?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

fn right_content(host: &Host) -> Result<(), String> {
    every_way_to([KMS_V4, KMS_V6]).try_for_each(|(way, at)| host.reaches(SIGNER, &way, at))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.refused(THIEF, &to("tcp", KMS_V4))
}

fn running_before(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install(true)?;
    let mut old = Running::start_until(SIGNER, &["wait-then", "tcp", "127.0.0.10", "443"], "ready")?;
    enforcer::apply(Path::new(BUNDLE))?;
    let reached = host.goes_on(&mut old, Expected::Reaches(kms()));
    reached.and(enforcer::remove()).and(install(false))
}

fn is_refused_and_confined(host: &Host) -> Result<(), String> {
    host.refused(SIGNER, &to("tcp", KMS_V4))?;
    host.refused(SIGNER, &to("sendto", KMS_V6))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))
}

fn without_verity(host: &Host) -> Result<(), String> {
    install(false)?;
    is_refused_and_confined(host)
}

fn modified(host: &Host) -> Result<(), String> {
    install_modified(true)?;
    is_refused_and_confined(host)
}

fn copy_elsewhere(host: &Host) -> Result<(), String> {
    let copy = Path::new("/usr/local/signer");
    copy_probe_to(copy)?;
    enable_verity(copy)?;
    let refused = host.refused("/usr/local/signer", &to("tcp", KMS_V4));
    fs::remove_file(copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    refused
}

fn upgrade(host: &Host) -> Result<(), String> {
    // Away from the inode that was measured when the policy was applied, and back to the same content.
    install_modified(true)?;
    is_refused_and_confined(host)?;
    install(true)?;
    if measures_at_exec()? {
        return right_content(host);
    }
    is_refused_and_confined(host)?;
    enforcer::apply(Path::new(BUNDLE))?;
    right_content(host)
}

/// Whether the kernel has the function by which a program learns a digest.
pub(super) fn measures_at_exec() -> Result<bool, String> {
    let symbols = fs::read_to_string("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms: {error}"))?;
    Ok(symbols.lines().any(|line| line.split_whitespace().nth(2) == Some("bpf_get_fsverity_digest")))
}

fn wrong_upgrade(host: &Host) -> Result<(), String> {
    host.reaches(SIGNER, &to("tcp", KMS_V4), kms())?;
    install_modified(true)?;
    is_refused_and_confined(host)
}

fn says_who_has_other_content(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install_modified(true)?;
    let ended = enforcer::try_apply(Path::new(BUNDLE))?;
    ended.expect_code(0)?;
    let refused = is_refused_and_confined(host);
    refused.and(enforcer::remove()).and(install(false))?;
    let warning = "warning: the content of `/usr/bin/signer` is none that the policy pins";
    if ended.stderr.contains(warning) { Ok(()) } else { Err(format!("no warning, but `{}`", ended.stderr)) }
}

fn no_verity_there(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    // A temporary filesystem.
    let elsewhere = Path::new("/tmp/signer-in-memory");
    copy_probe_to(elsewhere)?;
    fs::remove_file(SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    std::os::unix::fs::symlink(elsewhere, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    let ended = enforcer::try_apply(Path::new(BUNDLE));
    fs::remove_file(SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    fs::remove_file(elsewhere).map_err(|error| format!("{}: {error}", elsewhere.display()))?;
    install(false)?;
    let ended = ended?;
    ended.expect_code(CANNOT_ENFORCE)?;
    let sentence = "the content of `/usr/bin/signer` cannot be measured";
    if ended.stderr.contains(sentence) { Ok(()) } else { Err(format!("seen `{}`", ended.stderr)) }
}
