//! A signer whose libraries are pinned too. Each scenario applies the policy fixtures/pinned/libraries.bfp by itself,
//! to the dynamic build of the probe.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::Scenario;
use super::host::{Host, KMS_V4, PORT, SIGNER, THIEF, to};
use super::pinned::{enable_verity, measures_at_exec};
use crate::destination::Destination;
use crate::enforcer;
use crate::programs::{answer_of, copy_probe_to};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a signer with pinned libraries loads them and reaches the KMS", |host| pinned(host, loads_its_own)),
    ("a signer with pinned libraries executes no other file", |host| pinned(host, no_other_file)),
    ("a signer with pinned libraries executes no memory that it wrote", |host| pinned(host, no_memory)),
    ("pinned libraries concern nobody else", |host| pinned(host, nobody_else)),
    ("a signer whose library has another content does not start", |host| pinned(host, other_library)),
    ("apply says which pinned library has another content", says_which_library),
    ("a pinned library that is missing is told, and everything else holds", missing_library),
];

/// The harness builds it.
const BUNDLE: &str = "/pinned/libraries.bfpb";

/// Enforced, but less than the policy says.
const LESS: i32 = 1;
const DYNAMIC: &str = "/bin/probe-dynamic";
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const LIBGCC: &str = "/lib/x86_64-linux-gnu/libgcc_s.so.1";

/// Puts the dynamic signer and its libraries in place, with fs-verity; applies the policy; restores the host.
fn pinned(host: &Host, scenario: fn(&Host) -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    install()?;
    let tried = enforcer::apply(Path::new(BUNDLE)).and_then(|()| {
        let tried = scenario(host);
        tried.and(enforcer::remove())
    });
    tried.and(copy_probe_to(Path::new(SIGNER)))
}

fn install() -> Result<(), String> {
    let new = Path::new("/usr/bin/.signer.new");
    fs::copy(DYNAMIC, new).map_err(|error| format!("{DYNAMIC}: {error}"))?;
    enable_verity(&new.to_string_lossy())?;
    fs::rename(new, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
    [LOADER, LIBC, LIBGCC].into_iter().try_for_each(|library| replace(library, b""))
}

/// The same file as a new one, with something appended, by a rename: a running process keeps the old one.
fn replace(library: &str, more: &[u8]) -> Result<(), String> {
    let new = format!("{library}.new");
    let written = || -> std::io::Result<()> {
        // Not what an earlier scenario may have left there, but a copy of the harness's.
        let original = format!("{library}.original");
        if !Path::new(&original).exists() {
            fs::copy(library, &original)?;
        }
        fs::copy(original, &new)?;
        OpenOptions::new().append(true).open(&new)?.write_all(more)
    };
    written().map_err(|error| format!("{library}: {error}"))?;
    enable_verity(&new)?;
    fs::rename(new, library).map_err(|error| format!("{library}: {error}"))
}

fn expect(program: &str, arguments: &[&str], wanted: &str) -> Result<(), String> {
    let seen = answer_of(program, arguments)?;
    if seen == wanted { Ok(()) } else { Err(format!("{program} {arguments:?}: expected `{wanted}`, seen `{seen}`")) }
}

fn loads_its_own(host: &Host) -> Result<(), String> {
    host.reaches(SIGNER, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))?;
    [SIGNER, LOADER, LIBC, LIBGCC].into_iter().try_for_each(|file| expect(SIGNER, &["map-file", file], "ok"))
}

fn no_other_file(_host: &Host) -> Result<(), String> {
    // One with fs-verity, and one without.
    let other = Path::new("/usr/lib/other.so");
    copy_probe_to(other)?;
    enable_verity(&other.to_string_lossy())?;
    let refused = expect(SIGNER, &["map-file", "/usr/lib/other.so"], "EPERM");
    fs::remove_file(other).map_err(|error| format!("{}: {error}", other.display()))?;
    refused?;
    expect(SIGNER, &["map-file", "/bin/probe"], "EPERM")
}

fn no_memory(_host: &Host) -> Result<(), String> {
    expect(SIGNER, &["map-memory"], "EPERM")?;
    expect(SIGNER, &["map-written-memory"], "EPERM")
}

fn nobody_else(_host: &Host) -> Result<(), String> {
    for arguments in [&["map-memory"][..], &["map-written-memory"], &["map-file", "/bin/probe"]] {
        expect(THIEF, arguments, "ok")?;
    }
    // A child of the signer is another program.
    expect(SIGNER, &["spawn", THIEF, "map-memory"], "ok")
}

fn other_library(host: &Host) -> Result<(), String> {
    replace(LIBGCC, b"\n")?;
    let ended = Command::new(SIGNER).args(["tcp", "127.0.0.10", "443"]).output();
    let ended = ended.map_err(|error| format!("{SIGNER}: {error}"))?;
    // An upgrade to the pinned content is followed if the kernel measures.
    replace(LIBGCC, b"")?;
    if ended.status.success() {
        return Err("the signer ran with another library".to_owned());
    }
    let complaint = String::from_utf8_lossy(&ended.stderr);
    if !complaint.contains("libgcc_s.so.1") {
        return Err(format!("the loader said `{complaint}`"));
    }
    if measures_at_exec()? { loads_its_own(host) } else { Ok(()) }
}

fn says_which_library(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install()?;
    replace(LIBGCC, b"\n")?;
    let ended = enforcer::try_apply(Path::new(BUNDLE))?;
    ended.expect_code(1)?;
    enforcer::remove()?;
    replace(LIBGCC, b"")?;
    copy_probe_to(Path::new(SIGNER))?;
    let warning = format!(
        "warning: `{LIBGCC}`, a library of `/usr/bin/signer`, matches none of its pinned fs-verity digests: \
         `/usr/bin/signer` cannot load it"
    );
    if ended.stderr.contains(&warning) { Ok(()) } else { Err(format!("no warning, but `{}`", ended.stderr)) }
}

fn missing_library(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    install()?;
    // The enforcer needs it too, and its loader also looks there.
    let elsewhere = "/usr/lib/libgcc_s.so.1";
    let made = fs::create_dir_all("/usr/lib");
    let moved = made.and_then(|()| fs::copy(LIBGCC, elsewhere)).and_then(|_| fs::remove_file(LIBGCC));
    moved.map_err(|error| format!("{LIBGCC}: {error}"))?;
    let ended = enforcer::try_apply(Path::new(BUNDLE));
    let moved = fs::copy(elsewhere, LIBGCC).and_then(|_| fs::remove_file(elsewhere));
    moved.map_err(|error| format!("{LIBGCC}: {error}"))?;
    copy_probe_to(Path::new(SIGNER))?;
    let ended = ended?;
    let tried = ended.expect_code(LESS).and_then(|()| {
        let sentence = format!("`{LIBGCC}`, a library of `/usr/bin/signer`, is not on this host");
        if ended.stderr.contains(&sentence) { Ok(()) } else { Err(format!("seen `{}`", ended.stderr)) }
    });
    tried.and(enforcer::remove())
}
