//! Recovers what it can when the record is damaged or missing. Trust sets and good bundles are signed documents, so
//! they prove by themselves what the record said about them.
//!
//! Enters: the files beside the record, and the administrator's keys. Leaves: a record. Every remaining trust set stays
//! in it, even one that does not follow from the others: it may revoke a key, and the next check of a signature then
//! reports it ([`crate::admit::trust::follow`]).

use std::path::{Path, PathBuf};

use bfp_bundle::verify::{Host, Refusal, Trust, VerifiedBundle, verify, verify_trust_set};

use crate::admit::admission::{HighestRevision, Revisions};
use crate::admit::state::{LastGood, Record};
use crate::admit::trust::AdoptedSet;

/// What is left on disk.
#[derive(Debug)]
pub struct Remains {
    /// As a record.
    pub record: Record,
    /// The files that cannot be used, with the reasons.
    pub unusable: Vec<String>,
}

/// How often a bundle is verified again as of another time or another host.
const ATTEMPTS: usize = 3;

/// Gathers what is left. A good bundle was accepted once on this host: neither its expiry nor a later trust set
/// invalidates it.
pub fn gather(
    trust_sets: Vec<AdoptedSet>,
    bundles: &[(PathBuf, Vec<u8>)],
    first: Option<Trust>,
    host: &Host,
) -> Remains {
    let mut unusable = Vec::new();
    let trusts = chain(first, &trust_sets, &mut unusable);
    let mut good: Vec<LastGood> = Vec::new();
    for (path, bytes) in bundles {
        match trusts.iter().rev().find_map(|trust| accepted(bytes, trust, host)) {
            Some(current) => good.push(current),
            None => {
                unusable.push(format!("`{}` is damaged, or not signed by keys that this host trusts", path.display()))
            }
        }
    }
    good.sort_by_key(|current| current.revision);
    let mut revisions = Revisions::default();
    for current in &good {
        revisions.see(HighestRevision {
            policy: current.policy.clone(),
            revision: current.revision,
            manifest_digest: Some(current.manifest_digest),
        });
    }
    let record = Record { seen: revisions.seen, current: good.pop(), trust_sets, ..Record::default() };
    Remains { record, unusable }
}

/// The trust sets of the host in order, as far as each follows from the one before.
fn chain(first: Option<Trust>, sets: &[AdoptedSet], unusable: &mut Vec<String>) -> Vec<Trust> {
    let Some(first) = first else { return Vec::new() };
    let mut trusts = vec![first];
    for (version, document) in sets {
        let Some(last) = trusts.last() else { break };
        match verify_trust_set(document, last) {
            Ok(next) => trusts.push(next),
            Err(refusal) => {
                unusable.push(format!("version {version} of the trust set does not follow: {refusal}"));
                break;
            }
        }
    }
    trusts
}

/// How a bundle was accepted, if `trust` accepts its signatures.
fn accepted(bytes: &[u8], trust: &Trust, host: &Host) -> Option<LastGood> {
    let mut host = Host { now: host.now, tags: host.tags.clone(), capabilities: host.capabilities.clone() };
    let bundle = verify_as_then(bytes, trust, &mut host)?;
    let manifest = bundle.manifest();
    Some(LastGood {
        policy: manifest.policy.clone(),
        revision: manifest.revision,
        manifest_digest: bundle.manifest_digest(),
        accepted_at: host.now,
        trust: trust.to_set(),
        tags: host.tags,
    })
}

/// Verifies a bundle as of a time and for a host that it was made for. The signatures are checked first.
fn verify_as_then<'a>(bytes: &'a [u8], trust: &Trust, host: &mut Host) -> Option<VerifiedBundle<'a>> {
    for _ in 0..ATTEMPTS {
        match verify(bytes, trust, host) {
            Ok(bundle) => return Some(bundle),
            Err(Refusal::Expired { expires, .. }) => host.now = expires.saturating_sub(1),
            Err(Refusal::NotYetValid { not_before, .. }) => host.now = not_before,
            Err(Refusal::WrongAudience(tags)) => host.tags.extend(tags),
            Err(_) => return None,
        }
    }
    None
}

/// The first keys. Without them, nothing that is left can be verified.
pub fn first_keys(named: Option<&Path>) -> Option<Trust> {
    crate::admit::trust::read(named.unwrap_or(Path::new(crate::admit::trust::TRUST))).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bfp_bundle::key::KeyId;
    use bfp_bundle::seal::seal_trust_set;
    use bfp_bundle::secret_key::SecretKey;
    use bfp_bundle::verify::TrustSet;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn set(version: u64, seed: u8, revoked: &[KeyId], signers: &[u8]) -> AdoptedSet {
        let keys = vec![key(seed).public().to_bytes()];
        let set = TrustSet { version, threshold: 1, keys, revoked: revoked.to_vec() };
        let signers: Vec<SecretKey> = signers.iter().map(|seed| key(*seed)).collect();
        (version, seal_trust_set(&set, &signers).unwrap())
    }

    fn host() -> Host {
        Host { now: 1000, tags: vec![], capabilities: vec![] }
    }

    #[test]
    fn a_revocation_outlives_the_record() {
        let first = Trust::first(vec![key(1).public()], 1).unwrap();
        let sets = vec![set(1, 2, &[key(1).public().id()], &[1, 2])];
        let remains = gather(sets.clone(), &[], Some(first.clone()), &host());
        assert!(remains.unusable.is_empty());
        let rollback_state =
            crate::apply::rollback_state::RollbackState { record: remains.record, ..Default::default() };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("first.pem"), key(1).public().to_pem().unwrap()).unwrap();
        let trust = crate::admit::trust::follow(first, &rollback_state.record.trust_sets).unwrap();
        assert_eq!((trust.keys(), trust.revoked()), (&[key(2).public()][..], &[key(1).public().id()][..]));
    }

    #[test]
    fn a_set_that_does_not_follow_is_reported_and_stays() {
        let first = Trust::first(vec![key(1).public()], 1).unwrap();
        let sets = vec![set(1, 2, &[], &[2]), set(2, 3, &[], &[2, 3])];
        let remains = gather(sets.clone(), &[], Some(first), &host());
        assert_eq!(remains.unusable.len(), 1);
        assert_eq!(remains.record.trust_sets, sets);
    }

    #[test]
    fn a_bundle_that_is_damaged_is_reported_and_nothing_is_known_from_it() {
        let first = Trust::first(vec![key(1).public()], 1).unwrap();
        let remains = gather(vec![], &[(PathBuf::from("good-1.bfpb"), vec![7; 100])], Some(first), &host());
        assert_eq!((remains.record, remains.unusable.len()), (Record::default(), 1));
    }
}
