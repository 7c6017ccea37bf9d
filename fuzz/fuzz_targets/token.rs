//! A token: edits of a valid one, as a file or signed again; a nearly valid one, which is accepted exactly if it is
//! valid here and now; and any bytes.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bfp_bundle::envelope::Document;
use bfp_bundle::verify::{Token, verify_token};
use bfp_fuzz::host;
use bfp_fuzz::nearly::{IN_FORCE, OLD, changed, sealed, signers, token};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let token = token(&mut Unstructured::new(&[])).expect("without bytes, all is right");
    let file = sealed(Document::Token, &body(&token), &[1, 2]);
    assert!(verify_token(&file, &IN_FORCE, &host()).is_ok(), "the valid token is refused");
    file
});

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, edits)) = bytes.split_first() else { return };
    if mode % 4 == 2 {
        // Too few bytes for an input are not an error.
        let _ = try_nearly(&mut Unstructured::new(edits));
        return;
    }
    let file = changed(Document::Token, &VALID, mode % 4, edits);
    let accepted = verify_token(&file, &IN_FORCE, &host()).is_ok();
    if mode % 4 == 0 {
        assert_eq!(accepted, file == *VALID, "another file than was signed is accepted");
    }
});

fn body(token: &Token) -> Vec<u8> {
    postcard::to_allocvec(token).expect("a list in memory")
}

fn try_nearly(u: &mut Unstructured<'_>) -> Result<()> {
    let token = token(u)?;
    let signers = signers(u, &[1, 2])?;
    let file = sealed(Document::Token, &body(&token), &signers);
    let found = verify_token(&file, &IN_FORCE, &host());
    assert_eq!(found.is_ok(), holds(&token, &signers), "{found:?} of {token:?}, signed by {signers:?}");
    if let Ok(found) = found {
        assert_eq!(found.token(), &token);
    }
    Ok(())
}

/// The format's rules for such a token, written independently of the verifier.
fn holds(token: &Token, signers: &[u8]) -> bool {
    let (host, distinct) = (host(), signers.iter().collect::<BTreeSet<_>>());
    (2..=32).contains(&signers.len())
        && distinct.len() == signers.len()
        && signers.iter().all(|number| OLD.contains(number))
        && body(token).len() <= 64 << 10
        && token.not_before.unwrap_or(0) <= host.now
        && host.now < token.expires
        && token.audience.len() <= 64
        && (token.audience.is_empty() || token.audience.contains(&host.tags[0]))
}
