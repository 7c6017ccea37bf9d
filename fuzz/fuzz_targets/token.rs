//! A token: edits of a valid one, as a file or signed again; one that is nearly valid, which is accepted just when
//! it holds here and now; and any bytes.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bfp_bundle::envelope::{Document, HEADER_LENGTH, SIGNATURE_LENGTH};
use bfp_bundle::seal::{seal, seal_token};
use bfp_bundle::verify::{Token, verify_token};
use bfp_fuzz::nearly::{OLD, in_force, key, signers, token};
use bfp_fuzz::{edited, host};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let token = token(&mut Unstructured::new(&[])).expect("without bytes, all is right");
    let file = seal_token(&token, &[key(1), key(2)]).expect("a list in memory");
    assert!(verify_token(&file, &in_force(), &host()).is_ok(), "the valid token is refused");
    file
});

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, edits)) = bytes.split_first() else { return };
    match mode % 4 {
        0 => {
            let file = edited(&VALID, edits);
            let accepted = verify_token(&file, &in_force(), &host()).is_ok();
            assert_eq!(accepted, file == *VALID, "another file than was signed is accepted");
        }
        1 => {
            let body = edited(&VALID[HEADER_LENGTH..VALID.len() - 2 * SIGNATURE_LENGTH], edits);
            let _ = verify_token(&seal(Document::Token, &body, &[key(1), key(2)], &[]), &in_force(), &host());
        }
        2 => drop(try_nearly(&mut Unstructured::new(edits))),
        _ => drop(verify_token(edits, &in_force(), &host())),
    }
});

fn try_nearly(u: &mut Unstructured<'_>) -> Result<()> {
    let token = token(u)?;
    let signers = signers(u, &[1, 2])?;
    let keys: Vec<_> = signers.iter().map(|number| key(*number)).collect();
    let file = seal_token(&token, &keys).expect("a list in memory");
    let found = verify_token(&file, &in_force(), &host());
    assert_eq!(found.is_ok(), holds(&token, &signers), "{found:?} of {token:?}, signed by {signers:?}");
    if let Ok(found) = found {
        assert_eq!(found.token(), &token);
    }
    Ok(())
}

/// What the format says of such a token, in other words than the verifier's.
fn holds(token: &Token, signers: &[u8]) -> bool {
    let (host, distinct) = (host(), signers.iter().collect::<BTreeSet<_>>());
    let body = postcard::to_allocvec(token).expect("a list in memory");
    (2..=32).contains(&signers.len())
        && distinct.len() == signers.len()
        && signers.iter().all(|number| OLD.contains(number))
        && body.len() <= 64 << 10
        && token.not_before.unwrap_or(0) <= host.now
        && host.now < token.expires
        && token.audience.len() <= 64
        && (token.audience.is_empty() || token.audience.contains(&host.labels[0]))
}
