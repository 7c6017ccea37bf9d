//! A signer whose content is pinned by its fs-verity digest, which the compiler computed from the build on another
//! machine. Each scenario applies a policy of fixtures/pinned by itself, with the signer on the guest's own ext4 or on
//! a btrfs that it creates, to which a symbolic link leads from the signer's path.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, OUTSIDE_V4, PORT, SIGNER, THIEF, every_way_to, to};
use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::Expected;
use crate::programs::{Running, copy_probe_to};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a pinned signer with the right content reaches the KMS in every way", |host| pinned(host, EXT4, right_content)),
    ("a pinned signer that ran before the policy has no grant until it starts again", running_before),
    ("a pinned signer without fs-verity is refused and stays confined", |host| pinned(host, EXT4, without_verity)),
    ("a pinned signer with one byte more is refused and stays confined", |host| pinned(host, EXT4, modified)),
    ("a copy of the pinned signer elsewhere is refused", |host| pinned(host, EXT4, copy_elsewhere)),
    ("an upgrade to a pinned build is followed without a reload from 6.8 on", |host| pinned(host, EXT4, upgrade)),
    ("an upgrade to another build loses the grant", |host| pinned(host, EXT4, wrong_upgrade)),
    ("each of two pinned builds holds the grant, and no third", |host| two_builds(host, EXT4)),
    ("apply says which pinned executable has another content", says_who_has_other_content),
    ("a pinned executable on a filesystem without fs-verity has no grant, and is told", no_verity_there),
    ("on btrfs, a pinned signer with the right content reaches the KMS", |host| on_btrfs(host, right_content)),
    ("on btrfs, a pinned signer without fs-verity is refused and stays confined", |host| {
        on_btrfs(host, without_verity)
    }),
    ("on btrfs, a pinned signer with one byte more is refused and stays confined", |host| on_btrfs(host, modified)),
    ("on btrfs, a copy of the pinned signer elsewhere is refused", |host| on_btrfs(host, copy_elsewhere)),
    ("on btrfs, an upgrade to a pinned build is followed without a reload from 6.8 on", |host| on_btrfs(host, upgrade)),
    ("on btrfs, an upgrade to another build loses the grant", |host| on_btrfs(host, wrong_upgrade)),
    ("on btrfs, each of two pinned builds holds the grant, and no third", |host| {
        with_btrfs(|| two_builds(host, BTRFS))
    }),
];

/// The harness builds it: the probe is pinned.
const BUNDLE: &str = "/pinned/policy.bfpb";
/// Likewise, with the probe and the same with one more byte.
const UPGRADE: &str = "/pinned/upgrade.bfpb";
/// The exit status if less is enforced than the policy says.
const LESS: i32 = 1;

/// The folder that the signer's file is in.
type Place = &'static str;

const EXT4: Place = "/usr/bin";
const BTRFS: Place = "/mnt/btrfs";
const BTRFS_DISK: &str = "/tmp/btrfs-disk";

fn kms() -> Destination {
    Destination::tcp(KMS_V4, PORT)
}

/// Applies the policy with the pinned signer in its place, and restores the host.
fn pinned(host: &Host, place: Place, scenario: fn(&Host, Place) -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    install(place, 0, true)?;
    let tried = enforcer::apply(Path::new(BUNDLE)).and_then(|()| {
        let tried = scenario(host, place);
        tried.and(enforcer::remove())
    });
    tried.and(install(place, 0, false))
}

fn on_btrfs(host: &Host, scenario: fn(&Host, Place) -> Result<(), String>) -> Result<(), String> {
    with_btrfs(|| pinned(host, BTRFS, scenario))
}

/// Creates a btrfs, and makes the signer's path lead there while `then` runs.
fn with_btrfs(then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    const SIZE: u64 = 200 << 20;
    let wrong = |error: std::io::Error| format!("{BTRFS}: {error}");
    fs::File::create(BTRFS_DISK).and_then(|disk| disk.set_len(SIZE)).map_err(wrong)?;
    fs::create_dir_all(BTRFS).map_err(wrong)?;
    call("/bin/mkfs.btrfs", &["-q", BTRFS_DISK])?;
    call("busybox", &["mount", "-t", "btrfs", "-o", "loop", BTRFS_DISK, BTRFS])?;
    let lead_there = || fs::remove_file(SIGNER).and_then(|()| symlink(format!("{BTRFS}/signer"), SIGNER));
    let tried = lead_there().map_err(wrong).and_then(|()| then());
    // A copy to a link is written through it.
    fs::remove_file(SIGNER).map_err(wrong)?;
    install(EXT4, 0, false)?;
    call("busybox", &["umount", BTRFS])?;
    fs::remove_file(BTRFS_DISK).map_err(wrong)?;
    tried
}

fn call(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ended = Command::new(program).args(arguments).output();
    let ended = ended.map_err(|error| format!("cannot run {program}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&ended.stderr)))
}

/// Installs the signer as a new file with the pinned content and `more` bytes appended, by a rename as a package
/// manager does it.
fn install(place: Place, more: usize, with_verity: bool) -> Result<(), String> {
    let (new, signer) = (format!("{place}/.signer.new"), format!("{place}/signer"));
    copy_probe_to(Path::new(&new))?;
    let appended = OpenOptions::new().append(true).open(&new).and_then(|mut file| file.write_all(&vec![0; more]));
    appended.map_err(|error| format!("{new}: {error}"))?;
    if with_verity {
        enable_verity(&new)?;
    }
    fs::rename(&new, &signer).map_err(|error| format!("{signer}: {error}"))
}

pub(super) fn enable_verity(file: &str) -> Result<(), String> {
    call("/bin/fsverity", &["enable", file])
}

fn right_content(host: &Host, _: Place) -> Result<(), String> {
    every_way_to([KMS_V4, KMS_V6]).try_for_each(|(way, at)| host.reaches(SIGNER, &way, at))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.refused(THIEF, &to("tcp", KMS_V4))
}

fn running_before(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install(EXT4, 0, true)?;
    let mut old = Running::start_until(SIGNER, &["wait-then", "tcp", "127.0.0.10", "443"], "ready")?;
    enforcer::apply(Path::new(BUNDLE))?;
    let tried =
        host.goes_on(&mut old, Expected::Refused).and_then(|()| host.reaches(SIGNER, &to("tcp", KMS_V4), kms()));
    tried.and(enforcer::remove()).and(install(EXT4, 0, false))
}

fn is_refused_and_confined(host: &Host) -> Result<(), String> {
    host.refused(SIGNER, &to("tcp", KMS_V4))?;
    host.refused(SIGNER, &to("sendto", KMS_V6))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))
}

fn without_verity(host: &Host, place: Place) -> Result<(), String> {
    install(place, 0, false)?;
    is_refused_and_confined(host)
}

fn modified(host: &Host, place: Place) -> Result<(), String> {
    install(place, 1, true)?;
    is_refused_and_confined(host)
}

fn copy_elsewhere(host: &Host, place: Place) -> Result<(), String> {
    let folder = if place == EXT4 { "/usr/local".to_owned() } else { format!("{place}/elsewhere") };
    let copy = format!("{folder}/signer");
    copy_probe_to(Path::new(&copy))?;
    enable_verity(&copy)?;
    let refused = host.refused(&copy, &to("tcp", KMS_V4));
    fs::remove_file(&copy).map_err(|error| format!("{copy}: {error}"))?;
    refused
}

fn upgrade(host: &Host, place: Place) -> Result<(), String> {
    // Away from the inode that was measured when the policy was applied, and back to the same content.
    install(place, 1, true)?;
    is_refused_and_confined(host)?;
    install(place, 0, true)?;
    if measures_at_exec()? {
        return right_content(host, place);
    }
    is_refused_and_confined(host)?;
    enforcer::apply(Path::new(BUNDLE))?;
    right_content(host, place)
}

/// The old build and the new one, whichever exists when the policy is applied; and from one to the other.
fn two_builds(host: &Host, place: Place) -> Result<(), String> {
    host.unenforced()?;
    let tried = [0, 1].into_iter().try_for_each(|more| {
        install(place, more, true)?;
        enforcer::apply(Path::new(UPGRADE))?;
        let tried = right_content(host, place).and_then(|()| {
            install(place, 1 - more, true)?;
            if measures_at_exec()? {
                right_content(host, place)?
            } else {
                is_refused_and_confined(host)?
            }
            install(place, 2, true)?;
            is_refused_and_confined(host)
        });
        tried.and(enforcer::remove())
    });
    tried.and(install(place, 0, false))
}

/// Whether the kernel has the function by which a program reads a digest.
pub(super) fn measures_at_exec() -> Result<bool, String> {
    let symbols = fs::read_to_string("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms: {error}"))?;
    Ok(symbols.lines().any(|line| line.split_whitespace().nth(2) == Some("bpf_get_fsverity_digest")))
}

fn wrong_upgrade(host: &Host, place: Place) -> Result<(), String> {
    host.reaches(SIGNER, &to("tcp", KMS_V4), kms())?;
    install(place, 1, true)?;
    is_refused_and_confined(host)
}

fn says_who_has_other_content(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install(EXT4, 1, true)?;
    let ended = enforcer::try_apply(Path::new(BUNDLE))?;
    ended.expect_code(1)?;
    let refused = is_refused_and_confined(host);
    refused.and(enforcer::remove()).and(install(EXT4, 0, false))?;
    let warning = "warning: `/usr/bin/signer` matches none of its pinned fs-verity digests: nobody holds its grants";
    if ended.stderr.contains(warning) { Ok(()) } else { Err(format!("no warning, but `{}`", ended.stderr)) }
}

fn no_verity_there(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    // A temporary filesystem.
    let elsewhere = Path::new("/tmp/signer-in-memory");
    copy_probe_to(elsewhere)?;
    fs::remove_file(SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    symlink(elsewhere, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    let ended = enforcer::try_apply(Path::new(BUNDLE));
    fs::remove_file(SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    fs::remove_file(elsewhere).map_err(|error| format!("{}: {error}", elsewhere.display()))?;
    install(EXT4, 0, false)?;
    let ended = ended?;
    let told = ended.expect_code(LESS);
    let removed = enforcer::try_remove().map(drop);
    told.and(removed)?;
    if ended.stderr.contains(SIGNER) || ended.stdout.contains(SIGNER) {
        Ok(())
    } else {
        Err(format!("seen `{}{}`", ended.stdout, ended.stderr))
    }
}
