//! Bundles that were tampered with, and what the enforcer prints and leaves behind.

use std::fs;
use std::path::Path;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use crate::destination::Destination;
use crate::enforcer::{self, PINS, VERIFICATION_REFUSED};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a bundle with a flipped bit is refused and changes nothing", flipped_bit_is_refused),
    ("a bundle of another length is refused and changes nothing", other_length_is_refused),
    ("a tampered bundle is refused where nothing is enforced", nothing_comes_of_a_tampered_bundle),
    ("status names the policy", status_names_the_policy),
    ("remove gives everything back and leaves nothing", remove_leaves_nothing),
];

/// The name on the first line of fixtures/accept/signer-kms/policy.bfp.
const POLICY: &str = "payments-kms";
const TAMPERED: &str = "/tmp/tampered.bfpb";
const SAMPLES: usize = 64;

fn flipped_bit_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let intact = read(&host.bundle)?;
    let last = intact.len().saturating_sub(1);
    for sample in 0..SAMPLES {
        // Evenly from the first byte to the last, and every bit of a byte in turn.
        let position = last * sample / (SAMPLES - 1);
        let mut tampered = intact.clone();
        if let Some(byte) = tampered.get_mut(position) {
            *byte ^= 1 << (sample % 8);
        }
        refuses(&tampered).map_err(|difference| format!("byte {position} of {}: {difference}", intact.len()))?;
        if sample % 16 == 0 {
            still_enforced(host)?;
        }
    }
    still_enforced(host)
}

fn other_length_is_refused(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let intact = read(&host.bundle)?;
    for length in [0, 1, intact.len() / 2, intact.len().saturating_sub(1)] {
        refuses(intact.get(..length).unwrap_or_default())
            .map_err(|difference| format!("the first {length} bytes: {difference}"))?;
    }
    let longer = [intact.as_slice(), &[0]].concat();
    refuses(&longer).map_err(|difference| format!("one more byte: {difference}"))?;
    still_enforced(host)
}

fn nothing_comes_of_a_tampered_bundle(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let mut tampered = read(&host.bundle)?;
    if let Some(byte) = tampered.last_mut() {
        *byte ^= 1;
    }
    refuses(&tampered)?;
    nothing_is_enforced(host)
}

fn refuses(content: &[u8]) -> Result<(), String> {
    fs::write(TAMPERED, content).map_err(|error| format!("{TAMPERED}: {error}"))?;
    enforcer::try_apply(Path::new(TAMPERED))?.expect_code(VERIFICATION_REFUSED)
}

fn still_enforced(host: &Host) -> Result<(), String> {
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    host.refused(SIGNER, &to("tcp", OUTSIDE_V4))?;
    host.reaches(SIGNER, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))
}

fn nothing_is_enforced(host: &Host) -> Result<(), String> {
    host.reaches(THIEF, &to("tcp", KMS_V4), Destination::tcp(KMS_V4, PORT))?;
    host.reaches(SIGNER, &to("tcp", OUTSIDE_V4), Destination::tcp(OUTSIDE_V4, PORT))
}

fn status_names_the_policy(host: &Host) -> Result<(), String> {
    host.enforced()?;
    let status = enforcer::status_of(&host.bundle)?;
    status.expect_code(0)?;
    if status.stdout.contains(POLICY) {
        Ok(())
    } else {
        Err(format!("expected `{POLICY}` in the status, seen: {}", status.stdout))
    }
}

fn remove_leaves_nothing(host: &Host) -> Result<(), String> {
    host.enforced()?;
    host.unenforced()?;
    nothing_is_enforced(host)?;
    let said = enforcer::status()?.stdout;
    if said.contains(POLICY) || !said.to_lowercase().contains("nothing") {
        return Err(format!("expected a status that says nothing is enforced, seen: {said}"));
    }
    // The directory itself may stay, empty.
    match fs::read_dir(PINS).map(|entries| entries.flatten().count()) {
        Ok(0) | Err(_) => Ok(()),
        Ok(left) => Err(format!("expected nothing under {PINS}, seen {left} entries")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
