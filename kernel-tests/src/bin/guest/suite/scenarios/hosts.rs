//! `hosts`: the names of the enforced policy in a hosts file, which the C library of the guest reads.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::symlink;

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, PORT};
use crate::enforcer;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("hosts writes the names of the policy and takes them out again", names_come_and_go),
    ("the C library gives a name the addresses of the policy", c_library_agrees),
    ("hosts writes nothing where nothing is enforced", nothing_is_enforced),
];

const HOSTS: &str = "/etc/hosts";
const COPY: &str = "/tmp/hosts";
const LINK: &str = "/tmp/hosts-link";
/// The only name in fixtures/accept/signer-kms/policy.bfp.
const NAME: &str = "kms.internal";
const BLOCK: &str = "# BEGIN bfp-enforcer hosts: policy payments-kms revision 1
127.0.0.10 kms.internal
fd00:bf::10 kms.internal
# END bfp-enforcer hosts: policy payments-kms revision 1
";
/// The exit status of a finding.
const FINDING: i32 = 1;
/// The exit status for an input that cannot be used.
const INPUT_ERROR: i32 = 2;

fn names_come_and_go(host: &Host) -> Result<(), String> {
    host.enforced()?;
    // Without a last line break.
    const OLD: &str = "127.0.0.1 localhost\n::1 localhost";
    write(COPY, OLD)?;
    let in_copy = |code, arguments: &[&str]| {
        enforcer::hosts_of(&host.bundle, &[&["--file", COPY], arguments].concat())?.expect_code(code)
    };
    in_copy(0, &[])?;
    expect(COPY, &format!("{BLOCK}{OLD}"))?;
    in_copy(0, &[])?;
    expect(COPY, &format!("{BLOCK}{OLD}"))?;
    let printed = enforcer::hosts_of(&host.bundle, &["--print"])?;
    printed.expect_code(0)?;
    if printed.stdout != BLOCK {
        return Err(format!("expected the block, seen: {}", printed.stdout));
    }
    in_copy(0, &["--remove"])?;
    expect(COPY, OLD)?;
    // A line that the policy contradicts is reported, and stays.
    let contradiction = format!("198.51.100.7 {NAME}\n");
    write(COPY, &contradiction)?;
    in_copy(FINDING, &[])?;
    expect(COPY, &format!("{BLOCK}{contradiction}"))?;
    let _ = fs::remove_file(LINK);
    symlink(COPY, LINK).map_err(|error| format!("{LINK}: {error}"))?;
    enforcer::hosts_of(&host.bundle, &["--file", LINK])?.expect_code(INPUT_ERROR)?;
    expect(COPY, &format!("{BLOCK}{contradiction}"))?;
    write(COPY, BLOCK.lines().next().unwrap_or_default())?;
    in_copy(INPUT_ERROR, &[])
}

fn c_library_agrees(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let old = read(HOSTS)?;
    if let Ok(before) = resolved() {
        return Err(format!("expected no address of {NAME} before, seen: {before:?}"));
    }
    enforcer::hosts_of(&host.bundle, &[])?.expect_code(0)?;
    let found = resolved();
    let removed = enforcer::hosts_of(&host.bundle, &["--remove"])?.expect_code(0);
    // Without `multi on` in /etc/host.conf, glibc takes the first line alone.
    let wanted: BTreeSet<IpAddr> = [KMS_V4, KMS_V6].into();
    match found {
        Ok(found) if !found.is_empty() && found.is_subset(&wanted) => removed.and(expect(HOSTS, &old)),
        Ok(found) => Err(format!("expected addresses of {wanted:?}, seen: {found:?}")),
        Err(error) => Err(format!("{NAME} is not resolved: {error}")),
    }
}

fn nothing_is_enforced(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let old = format!("{BLOCK}127.0.0.1 localhost\n");
    write(COPY, &old)?;
    enforcer::hosts_of(&host.bundle, &["--file", COPY])?.expect_code(FINDING)?;
    expect(COPY, &old)?;
    enforcer::hosts_of(&host.bundle, &["--file", COPY, "--remove"])?.expect_code(0)?;
    expect(COPY, "127.0.0.1 localhost\n")
}

/// What the C library says about the name.
fn resolved() -> std::io::Result<BTreeSet<IpAddr>> {
    Ok((NAME, PORT).to_socket_addrs()?.map(|address| address.ip()).collect())
}

fn expect(path: &str, wanted: &str) -> Result<(), String> {
    match read(path)? {
        seen if seen == wanted => Ok(()),
        seen => Err(format!("expected in {path}:\n{wanted}\nseen:\n{seen}")),
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{path}: {error}"))
}
