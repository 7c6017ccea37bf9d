//! A trust set: edits of a valid one, as a file or signed again; a nearly valid one, which is accepted exactly if it
//! follows the set in force; and any bytes.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bfp_bundle::envelope::Document;
use bfp_bundle::key::{KeyId, PublicKey};
use bfp_bundle::verify::{Trust, TrustSet, verify_trust_set};
use bfp_fuzz::nearly::{IN_FORCE, changed, id, sealed, signers, trust_set};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let set = trust_set(&mut Unstructured::new(&[])).expect("without bytes, all is right");
    let file = sealed(Document::TrustSet, &body(&set), &[1, 2]);
    assert!(verify_trust_set(&file, &IN_FORCE).is_ok(), "the valid trust set is refused");
    file
});

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, edits)) = bytes.split_first() else { return };
    if mode % 4 == 2 {
        // Too few bytes for an input are not an error.
        let _ = try_nearly(&mut Unstructured::new(edits));
        return;
    }
    let file = changed(Document::TrustSet, &VALID, mode % 4, edits);
    let accepted = is_accepted(&file);
    if mode % 4 == 0 {
        assert_eq!(accepted, file == *VALID, "another file than was signed is accepted");
    }
});

fn body(set: &TrustSet) -> Vec<u8> {
    postcard::to_allocvec(set).expect("a list in memory")
}

/// Whether the file is accepted. An accepted one survives being stored.
fn is_accepted(file: &[u8]) -> bool {
    let accepted = verify_trust_set(file, &IN_FORCE);
    if let Ok(trust) = &accepted {
        assert_eq!(Trust::from_kept_bytes(&trust.to_bytes()).as_ref(), Ok(trust));
    }
    accepted.is_ok()
}

fn try_nearly(u: &mut Unstructured<'_>) -> Result<()> {
    let set = trust_set(u)?;
    let signers = signers(u, &[1, 2])?;
    let file = sealed(Document::TrustSet, &body(&set), &signers);
    let found = verify_trust_set(&file, &IN_FORCE);
    assert_eq!(found.is_ok(), follows(&set, &signers), "{found:?} of {set:?}, signed by {signers:?}");
    is_accepted(&file);
    Ok(())
}

/// The format's rules for such a set, written independently of the verifier.
fn follows(set: &TrustSet, signers: &[u8]) -> bool {
    let old = &*IN_FORCE;
    let old_ids: BTreeSet<KeyId> = old.keys().iter().map(PublicKey::id).collect();
    let keys: Option<Vec<PublicKey>> = set.keys.iter().map(PublicKey::from_bytes).collect();
    let Some(keys) = keys else { return false };
    let new_ids: BTreeSet<KeyId> = keys.iter().map(PublicKey::id).collect();
    let signed: BTreeSet<KeyId> = signers.iter().map(|number| id(*number)).collect();
    set.version == 7
        && set.keys.len() <= 32
        && set.revoked.len() <= 1024
        && new_ids.len() == keys.len()
        && (1..=keys.len()).contains(&usize::from(set.threshold))
        && old.revoked().iter().all(|id| set.revoked.contains(id))
        && set.revoked.iter().all(|id| !new_ids.contains(id))
        && signers.len() <= 32
        && signed.len() == signers.len()
        && signed.iter().all(|id| old_ids.contains(id) || new_ids.contains(id))
        && signed.intersection(&old_ids).count() >= old.threshold()
        && signed.intersection(&new_ids).count() >= usize::from(set.threshold)
}
