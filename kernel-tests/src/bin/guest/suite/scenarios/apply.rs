//! What `apply` does with a file that is not a bundle, and which sockets it opens.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::Scenario;
use super::host::{Host, KMS_V4, THIEF, to};
use crate::enforcer::{self, ENFORCER, VERIFICATION_REFUSED};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("apply opens no socket but Unix ones", apply_opens_unix_sockets_only),
    ("what is no bundle is refused with a sentence", no_bundle_is_refused),
];

const INPUT_ERROR: i32 = 2;
const TRACE: &str = "/tmp/sockets.trace";

fn apply_opens_unix_sockets_only(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let traced = Command::new("strace")
        .args(["-f", "-e", "trace=socket,socketpair", "-o", TRACE, ENFORCER])
        .args(enforcer::applying(&host.bundle))
        .output()
        .map_err(|error| format!("strace: {error}"))?;
    let removed = enforcer::remove();
    if !traced.status.success() {
        return Err(format!("{}: {}", traced.status, String::from_utf8_lossy(&traced.stderr)));
    }
    removed?;
    let trace = fs::read_to_string(TRACE).map_err(|error| format!("{TRACE}: {error}"))?;
    let calls: Vec<&str> = trace.lines().filter(|line| line.contains("socket")).collect();
    match calls.iter().find(|call| !call.contains("AF_UNIX")) {
        Some(other) => Err(format!("expected AF_UNIX alone, seen: {other}")),
        // The canary needs one: none at all would mean that nothing was traced.
        None if calls.is_empty() => Err("no socket was seen at all".to_owned()),
        None => Ok(()),
    }
}

fn no_bundle_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let zeros = Path::new("/tmp/zeros");
    // A sparse file of a gigabyte.
    File::create(zeros)
        .and_then(|file| file.set_len(1 << 30))
        .map_err(|error| format!("{}: {error}", zeros.display()))?;
    let inputs = [
        (Path::new("/tmp/missing.bfpb"), INPUT_ERROR),
        (Path::new("/tmp"), INPUT_ERROR),
        (Path::new("/dev/zero"), INPUT_ERROR),
        (Path::new("/dev/null"), INPUT_ERROR),
        (zeros, VERIFICATION_REFUSED),
        (Path::new(ENFORCER), VERIFICATION_REFUSED),
    ];
    for (input, code) in inputs {
        let ended = enforcer::try_apply(input)?;
        let shown = input.display();
        ended.expect_code(code).map_err(|difference| format!("{shown}: {difference}"))?;
        if !ended.stderr.starts_with("bfp-enforcer: ") || ended.stderr.contains("panicked") {
            return Err(format!("{shown}: expected a sentence, seen: {}", ended.stderr));
        }
    }
    let removed = fs::remove_file(zeros).map_err(|error| format!("{}: {error}", zeros.display()));
    host.refused(THIEF, &to("tcp", KMS_V4)).and(removed)
}
