//! An entry of the lock, and what DNS answers now → the entry to lock in its place, what is different in it, and what a
//! person must review first.
//!
//! Always: nothing is lost from the entry of a name that must not change. An address that is not answered any more stays
//! until it was last seen longer ago than is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::names::lock::{Dnssec, LockedName, ResolvedAt, Seen, Stability};

/// Whether the addresses of a name may change without a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// The policy says so: `may change`.
    Allowed,
    /// Any change needs a review.
    Frozen,
}

/// What a refresh makes of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// What to lock if nothing needs a review.
    pub entry: LockedName,
    /// The addresses that were not locked.
    pub added: BTreeSet<IpAddr>,
    /// The addresses that are answered as before.
    pub same: BTreeSet<IpAddr>,
    /// The addresses that are not answered now, and stay.
    pub kept: BTreeSet<IpAddr>,
    /// The addresses that were last seen too long ago.
    pub removed: BTreeSet<IpAddr>,
    /// What a person must review. Empty if the entry may be locked.
    pub reviews: Vec<Review>,
}

/// Why an answer must not enter the lock by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// A name that must not change has other addresses.
    Added(BTreeSet<IpAddr>),
    /// A name that must not change has lost addresses.
    Gone(BTreeSet<IpAddr>),
    /// The addresses of a name that must not change differ from answer to answer.
    Rotates,
    /// DNSSEC proved the addresses, and does not any more.
    Unproven,
}

impl LockedName {
    /// The addresses that were answered when the name was last resolved. A refresh keeps others for a time.
    pub fn current(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().copied().filter(|address| self.seen(*address).last == self.resolved_at).collect()
    }
}

/// Merges what DNS answers now, `live`, with what was locked. `keep` is how long an address stays after it was last seen.
pub fn refresh(before: &LockedName, live: LockedName, changes: Changes, keep: Duration) -> Refreshed {
    let now = live.resolved_at;
    // What is not answered now was seen before now, even within one second, or if the clock went back.
    let before_now = ResolvedAt::new(now.moment() - Duration::from_secs(1));
    let added: BTreeSet<IpAddr> = live.addresses.difference(&before.addresses).copied().collect();
    let same = live.addresses.intersection(&before.addresses).copied().collect();
    let (mut kept, mut removed) = (BTreeMap::new(), BTreeSet::new());
    for address in before.addresses.difference(&live.addresses) {
        let seen = before.seen(*address);
        let (first, last) = (seen.first.min(before_now), seen.last.min(before_now));
        if changes == Changes::Allowed && now.moment() - last.moment() > keep {
            removed.insert(*address);
        } else {
            kept.insert(*address, Seen { first, last });
        }
    }
    let reviews = reviews(before, &live, &added, changes);

    let either_rotates = [before.stability, live.stability].contains(&Stability::Rotating);
    let all_proven = live.dnssec == Dnssec::Secure && (kept.is_empty() || before.dnssec == Dnssec::Secure);
    let entry = LockedName {
        addresses: live.addresses.iter().chain(kept.keys()).copied().collect(),
        stability: if either_rotates { Stability::Rotating } else { Stability::Stable },
        dnssec: if all_proven { Dnssec::Secure } else { Dnssec::Unproven },
        ipv4_only: before.ipv4_only.clone(),
        ..live
    };
    let mut entry = entry.after(before);
    for (address, seen) in &kept {
        entry.note_seen(*address, *seen);
    }
    Refreshed { entry, added, same, kept: kept.into_keys().collect(), removed, reviews }
}

fn reviews(before: &LockedName, live: &LockedName, added: &BTreeSet<IpAddr>, changes: Changes) -> Vec<Review> {
    let mut reviews = Vec::new();
    if changes == Changes::Frozen {
        if !added.is_empty() {
            reviews.push(Review::Added(added.clone()));
        }
        // A rotating name may answer with any part of what was locked.
        if before.stability == Stability::Stable {
            let gone: BTreeSet<IpAddr> = before.current().difference(&live.addresses).copied().collect();
            if !gone.is_empty() {
                reviews.push(Review::Gone(gone));
            }
            if live.stability == Stability::Rotating {
                reviews.push(Review::Rotates);
            }
        }
    }
    if before.dnssec == Dnssec::Secure && live.dnssec == Dnssec::Unproven {
        reviews.push(Review::Unproven);
    }
    reviews
}
