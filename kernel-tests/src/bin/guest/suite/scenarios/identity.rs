//! Identity: the signer is the process whose executable is the file at /usr/bin/signer as the host sees it. Copies,
//! links, mounts and children are not.

use std::fs;
use std::path::Path;

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, OUTSIDE_V4, OUTSIDE_V6, PORT, SIGNER, THIEF, every_way_to, to};
use crate::destination::Destination;
use crate::listeners::Expected;
use crate::programs::{Programs, Running, copy_probe_to};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("signer reaches the KMS in every way", signer_reaches_the_kms),
    ("signer reaches nothing else in any way", signer_reaches_nothing_else),
    ("thief is refused the KMS in every way", thief_is_refused_the_kms),
    ("thief reaches everything else in every way", thief_reaches_everything_else),
    ("whoever starts the signer, it is the signer", anyone_may_start_the_signer),
    ("a symbolic link to the signer is the signer", symbolic_link_is_the_signer),
    ("a copy of the signer elsewhere is refused", copy_elsewhere_is_refused),
    ("a hard link to the signer elsewhere is refused", hard_link_elsewhere_is_refused),
    ("a hard link to the signer beside it is refused", hard_link_beside_is_refused),
    ("a copy of the signer in memory is refused", copy_in_memory_is_refused),
    ("a file mounted over the signer elsewhere is refused", mounted_file_is_refused),
    ("a directory mounted over the signer's elsewhere is refused", mounted_directory_is_refused),
    ("a signer in a chroot is refused", signer_in_chroot_is_refused),
    ("a signer started by the dynamic loader is refused", signer_under_loader_is_refused),
    ("an upgraded signer keeps its grant", upgraded_signer_keeps_its_grant),
    ("a signer that was replaced while it ran keeps its grant", replaced_signer_keeps_its_grant),
    ("a child of the signer has no grant", child_has_no_grant),
    ("a child of the signer is confined", child_is_confined),
    ("forks and threads of the signer keep grant and confinement", forks_and_threads_are_the_signer),
    ("a signer with a large table of descriptors is the signer", signer_with_a_large_table),
    ("an exec in a thread of the signer ends the grant, not the confinement", exec_in_thread),
];

/// The probe, dynamically linked to the C library.
const DYNAMIC_PROBE: &str = "/bin/probe-dynamic";
const COPY: &str = "/tmp/copy-of-signer";
const EVIL: &str = "/tmp/evil";
const EVIL_SIGNER: &str = "/tmp/evil/signer";

fn kms() -> Destination {
    Destination::tcp(KMS_V4, PORT)
}

fn signer_reaches_the_kms(host: &Host) -> Result<(), String> {
    host.enforced()?;
    every_way_to([KMS_V4, KMS_V6]).try_for_each(|(way, at)| host.reaches(SIGNER, &way, at))
}

fn signer_reaches_nothing_else(host: &Host) -> Result<(), String> {
    host.enforced()?;
    every_way_to([OUTSIDE_V4, OUTSIDE_V6]).try_for_each(|(way, _)| host.refused(SIGNER, &way))?;
    // The KMS is one port, not the machine.
    host.refused(SIGNER, &format!("tcp {KMS_V4} 444"))?;
    host.refused(SIGNER, &format!("sendto {KMS_V6} 444"))
}

fn thief_is_refused_the_kms(host: &Host) -> Result<(), String> {
    host.enforced()?;
    every_way_to([KMS_V4, KMS_V6]).try_for_each(|(way, _)| host.refused(THIEF, &way))
}

fn thief_reaches_everything_else(host: &Host) -> Result<(), String> {
    host.enforced()?;
    every_way_to([OUTSIDE_V4, OUTSIDE_V6]).try_for_each(|(way, at)| host.reaches(THIEF, &way, at))
}

fn anyone_may_start_the_signer(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let signer = format!("{SIGNER} {}", to("tcp", KMS_V4));
    host.reaches(THIEF, &format!("spawn {signer}"), kms())?;
    host.reaches(THIEF, &format!("exec {signer}"), kms())?;
    host.reaches(SIGNER, &format!("spawn {signer}"), kms())?;
    host.reaches(SIGNER, &format!("spawn {THIEF} spawn {signer}"), kms())
}

fn symbolic_link_is_the_signer(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let link = "/tmp/link-to-signer";
    std::os::unix::fs::symlink(SIGNER, link).map_err(|error| error.to_string())?;
    let reached = host.reaches(link, &to("tcp", KMS_V4), kms());
    remove(link)?;
    reached
}

fn copy_elsewhere_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let _copy = Programs::install([COPY, EVIL_SIGNER])?;
    // The same content elsewhere, and the same name elsewhere.
    every_way_to([KMS_V4, KMS_V6]).try_for_each(|(way, _)| host.refused(COPY, &way))?;
    host.refused(EVIL_SIGNER, &to("tcp", KMS_V4))?;
    // Nor does the signer pass its grant to a copy that it starts.
    host.refused(SIGNER, &format!("spawn {COPY} {}", to("tcp", KMS_V4)))
}

fn hard_link_elsewhere_is_refused(host: &Host) -> Result<(), String> {
    hard_link_is_refused(host, "/usr/hard-link-to-signer")
}

fn hard_link_beside_is_refused(host: &Host) -> Result<(), String> {
    hard_link_is_refused(host, "/usr/bin/hard-link-to-signer")
}

fn hard_link_is_refused(host: &Host, link: &str) -> Result<(), String> {
    host.enforced()?;
    fs::hard_link(SIGNER, link).map_err(|error| format!("{link}: {error}"))?;
    let refused = host.refused(link, &to("tcp", KMS_V4));
    remove(link)?;
    refused?;
    // The signer has been the same inode under two names, and is still itself.
    host.reaches(SIGNER, &to("tcp", KMS_V4), kms())
}

fn copy_in_memory_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    host.refused(THIEF, &format!("exec-from-memory {SIGNER} {}", to("tcp", KMS_V4)))
}

fn mounted_file_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let _evil = Programs::install([EVIL_SIGNER])?;
    let signer = format!("exec {SIGNER} {}", to("tcp", KMS_V4));
    host.refused(THIEF, &format!("in-mount-namespace {EVIL_SIGNER} {SIGNER} {signer}"))
}

fn mounted_directory_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let _evil = Programs::install([EVIL_SIGNER])?;
    let signer = format!("exec {SIGNER} {}", to("tcp", KMS_V4));
    host.refused(THIEF, &format!("in-mount-namespace {EVIL} /usr/bin {signer}"))?;
    // The host's own file is unaffected.
    host.reaches(SIGNER, &to("tcp", KMS_V4), kms())
}

fn signer_in_chroot_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let root = "/tmp/jail";
    let inside = format!("{root}{SIGNER}");
    let _jail = Programs::install([inside.as_str()])?;
    host.refused(THIEF, &format!("in-chroot {root} exec {SIGNER} {}", to("tcp", KMS_V4)))
}

fn signer_under_loader_is_refused(host: &Host) -> Result<(), String> {
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if !Path::new(loader).exists() {
        return Err(format!("the guest has no {loader}: the harness must take it along"));
    }
    // The loader maps a dynamic program into itself, but executes a static one directly: that would be the signer.
    fs::copy(DYNAMIC_PROBE, SIGNER).map_err(|error| format!("{DYNAMIC_PROBE}: {error}"))?;
    host.enforced()?;
    let tried = host
        .refused(loader, &format!("{SIGNER} {}", to("tcp", KMS_V4)))
        // The signer may start the loader, which is then a confined child.
        .and_then(|()| host.refused(SIGNER, &format!("spawn {loader} {SIGNER} {}", to("tcp", KMS_V4))));
    tried.and(upgrade_signer())
}

fn upgraded_signer_keeps_its_grant(host: &Host) -> Result<(), String> {
    host.enforced()?;
    upgrade_signer()?;
    host.reaches(SIGNER, &to("tcp", KMS_V4), kms())?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.refused(THIEF, &to("tcp", KMS_V4))
}

fn replaced_signer_keeps_its_grant(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let mut old = Running::start_until(SIGNER, &["wait-then", "tcp", "127.0.0.10", "443"], "ready")?;
    upgrade_signer()?;
    host.goes_on(&mut old, Expected::Reaches(kms()))
}

/// As a package manager does it: a new file beside the old one, renamed over it.
fn upgrade_signer() -> Result<(), String> {
    let new = "/usr/bin/.signer.new";
    copy_probe_to(Path::new(new))?;
    fs::rename(new, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))
}

fn child_has_no_grant(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let thief = format!("{THIEF} {}", to("tcp", KMS_V4));
    host.refused(SIGNER, &format!("spawn {thief}"))?;
    host.refused(SIGNER, &format!("exec {thief}"))?;
    host.refused(SIGNER, &format!("fork exec {thief}"))
}

fn child_is_confined(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for address in [OUTSIDE_V4, OUTSIDE_V6] {
        for way in ["tcp", "sendto", "fastopen"] {
            let thief = format!("{THIEF} {}", to(way, address));
            host.refused(SIGNER, &format!("spawn {thief}"))?;
            host.refused(SIGNER, &format!("exec {thief}"))?;
            host.refused(SIGNER, &format!("spawn {THIEF} fork spawn {thief}"))?;
        }
    }
    Ok(())
}

fn forks_and_threads_are_the_signer(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for prefix in ["fork", "thread", "fork thread", "fork fork"] {
        host.reaches(SIGNER, &format!("{prefix} {}", to("tcp", KMS_V4)), kms())?;
        host.refused(SIGNER, &format!("{prefix} {}", to("tcp", OUTSIDE_V4)))?;
        host.refused(THIEF, &format!("{prefix} {}", to("tcp", KMS_V4)))?;
    }
    Ok(())
}

fn exec_in_thread(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for address in [KMS_V4, OUTSIDE_V4] {
        host.refused(SIGNER, &format!("thread exec {THIEF} {}", to("tcp", address)))?;
    }
    host.reaches(THIEF, &format!("thread exec {SIGNER} {}", to("tcp", KMS_V4)), kms())
}

/// At exec the programs search the table for devices that send without asking.
fn signer_with_a_large_table(host: &Host) -> Result<(), String> {
    use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    host.enforced()?;
    let before = getrlimit(Resource::Nofile);
    let wrong = |error: rustix::io::Errno| error.to_string();
    setrlimit(Resource::Nofile, Rlimit { current: Some(30_000), maximum: Some(30_000) }).map_err(wrong)?;
    let null = fs::File::open("/dev/null").map_err(|error| error.to_string())?;
    let last = fcntl_dupfd_cloexec(&null, 20_000).map_err(wrong)?;
    fcntl_setfd(&last, FdFlags::empty()).map_err(wrong)?;
    let outcome = host.reaches(SIGNER, &to("tcp", KMS_V4), kms());
    drop(last);
    setrlimit(Resource::Nofile, before).map_err(wrong)?;
    outcome
}

fn remove(path: &str) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("{path}: {error}"))
}
