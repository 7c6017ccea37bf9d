//! The demo's table: what signer and thief try, the expected outcome, and the actual one.
//!
//! What enters: the bundle of fixtures/demo. What leaves: a line for each attempt, and whether all were as expected.

use std::path::Path;

use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::{Expected, Listeners};
use crate::programs::{Programs, answer_of};
use crate::scenarios::host::{KMS_V4, KMS_V6, OUTSIDE_V4, OUTSIDE_V6, PORT, SIGNER, THIEF};

const COPY: &str = "/tmp/signer";

/// Applies the bundle, tries everything, removes it again.
pub(crate) fn run(bundle: &Path) -> Result<bool, String> {
    let both = |address| [Destination::tcp(address, PORT), Destination::udp(address, PORT)];
    let destinations: Vec<Destination> = [KMS_V4, KMS_V6, OUTSIDE_V4, OUTSIDE_V6].into_iter().flat_map(both).collect();
    let listeners = Listeners::open(destinations.iter().copied())?;
    let _programs = Programs::install([SIGNER, THIEF, COPY])?;
    enforcer::apply(bundle)?;
    println!("{:<17} {:<21} {:<22} {:<9} seen", "program", "how", "destination", "expected");
    let mut as_expected = true;
    for program in [SIGNER, THIEF, COPY] {
        for &destination in &destinations {
            let is_kms = destination.address == KMS_V4 || destination.address == KMS_V6;
            let allowed = (program == SIGNER) == is_kms;
            let expected = if allowed { Expected::Reaches(destination) } else { Expected::Refused };
            for &how in destination.ways() {
                listeners.clear();
                let answer = answer_of(program, &[how, &destination.address.to_string(), &PORT.to_string()])?;
                let judged = listeners.judge(&answer, expected);
                let mark = if judged.is_ok() { "" } else { "  <-- differs" };
                as_expected &= judged.is_ok();
                let word = if allowed { "ok" } else { "EPERM" };
                println!("{program:<17} {how:<21} {:<22} {word:<9} {answer}{mark}", destination.to_string());
            }
        }
    }
    enforcer::remove()?;
    Ok(as_expected)
}
