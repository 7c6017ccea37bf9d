//! Two compiled policies → who gains what, and who loses what.
//!
//! It compares verdicts, not texts: every kind of request is put to both, for every program that one of
//! them names and for everyone else. Two policies without a difference decide alike on everything, and two
//! that differ in spelling alone have none.
//!
//! What a program starts is compared too, as far as it is told by the program itself: where a restriction
//! that it hands down changes, and its own verdict does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bfp_bundle::decide::Reason;
use bfp_bundle::identity::Executable;
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::label::Label;

use crate::compiled::{Compiled, Who};
use crate::policy::Destination;
use crate::regions::{Plane, Region, judge};
use crate::resolve::coverage::union;

/// What changes from one policy to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// By who asks; those for whom nothing changes are not in it.
    pub changes: Vec<Change>,
    /// What makes a process one of the programs, where that changes.
    pub identities: Vec<IdentityChange>,
}

impl Difference {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.identities.is_empty()
    }

    /// Whether somebody may do what nobody of that name could before.
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| !change.gains.is_empty())
            || self.identities.iter().any(|change| change.aspect.widens())
    }
}

/// What changes for one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub who: Who,
    /// What is allowed now and was not.
    pub gains: Vec<Destination>,
    /// What was allowed and is not any more.
    pub loses: Vec<Destination>,
}

/// What changes about who a program is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityChange {
    /// The path of the program.
    pub path: String,
    /// What changes.
    pub aspect: Aspect,
}

/// What makes a process one of the programs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// A grant needs no digest any more.
    Unpinned,
    /// A grant needs a digest now.
    Pinned(Vec<[u8; 32]>),
    /// A content that has the grants now.
    PinAdded([u8; 32]),
    /// A content that has them no more.
    PinRemoved([u8; 32]),
    /// What it starts inherits its grants now.
    ChildrenAdded,
    /// What it starts inherits its grants no more.
    ChildrenRemoved,
}

impl Aspect {
    /// Whether more processes have the program's grants.
    pub fn widens(&self) -> bool {
        matches!(self, Aspect::Unpinned | Aspect::PinAdded(_) | Aspect::ChildrenAdded)
    }

    /// In words.
    pub fn text(&self) -> String {
        let hex = |digest: &[u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Aspect::Unpinned => "is no longer pinned: any file at this path has its grants".to_owned(),
            Aspect::Pinned(pins) => {
                let pins: Vec<String> = pins.iter().map(|pin| format!("sha256:{}", hex(pin))).collect();
                format!("is pinned now, to {}", pins.join(", "))
            }
            Aspect::PinAdded(pin) => format!("has its grants as sha256:{} too", hex(pin)),
            Aspect::PinRemoved(pin) => format!("has no grants as sha256:{} any more", hex(pin)),
            Aspect::ChildrenAdded => "passes its grants on to what it starts now".to_owned(),
            Aspect::ChildrenRemoved => "no longer passes its grants on to what it starts".to_owned(),
        }
    }
}

/// Compares two policies.
pub fn compare(old: &Compiled, new: &Compiled) -> Difference {
    if old.image == new.image {
        return Difference { changes: Vec::new(), identities: Vec::new() };
    }
    let plane = Plane::of(&[&old.image, &new.image]);
    let regions = plane.regions();
    let mut kinds: BTreeMap<(usize, usize), &Region> = BTreeMap::new();
    for region in &regions {
        kinds.entry(region.kind).or_insert(region);
    }
    let both = Both { old, new, kinds };

    let paths: BTreeSet<&str> =
        [old, new].iter().flat_map(|one| one.executables()).map(|executable| executable.path.as_str()).collect();
    let mut moves: Vec<(Who, Moves)> = Vec::new();
    let mut open = Open::new();
    for who in paths.iter().map(|path| Who::Program((*path).to_owned())).chain([Who::Stranger]) {
        let moved = both.moves(&who, &mut open);
        moves.push((who, moved));
    }
    let parents: BTreeSet<&str> =
        [old, new].iter().flat_map(|one| one.parents()).map(|executable| executable.path.as_str()).collect();
    let mut handed_down = Vec::new();
    for path in parents {
        let told: Vec<&Moves> = moves
            .iter()
            .filter(|(who, _)| matches!(who, Who::Program(named) if named == path))
            .map(|(_, moved)| moved)
            .collect();
        handed_down.push((Who::StartedBy(path.to_owned()), both.handed_down(path, &told, &open)));
    }
    moves.extend(handed_down);

    let changes = moves.into_iter().filter(|(_, moved)| !moved.is_empty()).map(|(who, moved)| {
        let of = |wanted: Move| {
            let moved = regions.iter().filter(|region| moved.get(&region.kind) == Some(&wanted));
            union(&moved.map(Region::destination).collect::<Vec<_>>())
        };
        Change { who, gains: of(Move::Gain), loses: of(Move::Loss) }
    });
    Difference { changes: changes.collect(), identities: identities(old, new) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    Gain,
    Loss,
}

/// The kinds of requests whose verdict changes.
type Moves = HashMap<(usize, usize), Move>;

/// Some of those who may do a kind of request before and after: there, what a parent hands down decides.
type Open = HashMap<(usize, usize), Vec<Who>>;

struct Both<'a> {
    old: &'a Compiled,
    new: &'a Compiled,
    /// One region of each kind.
    kinds: BTreeMap<(usize, usize), &'a Region>,
}

impl Both<'_> {
    fn moves(&self, who: &Who, open: &mut Open) -> Moves {
        let (before, after) = (who.label(&self.old.image), who.label(&self.new.image));
        let mut moves = Moves::new();
        for (kind, region) in &self.kinds {
            let was = judge(&self.old.image, &before, region.sample()).is_allowed();
            let is = judge(&self.new.image, &after, region.sample()).is_allowed();
            match (was, is) {
                (false, true) => drop(moves.insert(*kind, Move::Gain)),
                (true, false) => drop(moves.insert(*kind, Move::Loss)),
                (true, true) => {
                    let known = open.entry(*kind).or_default();
                    // Two are enough: one of them is not the parent.
                    if known.len() < 2 {
                        known.push(who.clone());
                    }
                }
                (false, false) => {}
            }
        }
        moves
    }

    /// Where a restriction that a program hands down changes, and nothing else says so.
    fn handed_down(&self, path: &str, told: &[&Moves], open: &Open) -> Moves {
        let parent = Who::Program(path.to_owned());
        let of = |(kind, region): (&(usize, usize), &&Region)| {
            let was = is_closed(self.old, path, region);
            let is = is_closed(self.new, path, region);
            let moved = match (was, is) {
                (true, false) => Move::Gain,
                (false, true) => Move::Loss,
                _ => return None,
            };
            let is_told = told.iter().any(|told| told.get(kind) == Some(&moved));
            let concerns_somebody = open.get(kind).is_some_and(|whos| whos.iter().any(|who| *who != parent));
            (!is_told && concerns_somebody).then_some((*kind, moved))
        };
        self.kinds.iter().filter_map(of).collect()
    }
}

/// Whether a program closes a region to everything that it starts.
fn is_closed(compiled: &Compiled, path: &str, region: &Region) -> bool {
    let mut label = Who::StartedBy(path.to_owned()).label(&compiled.image);
    label.heir_of = Label::STRANGER.heir_of;
    let refused = |label: &Label| {
        matches!(judge(&compiled.image, label, region.sample()).reason, Reason::Denied | Reason::Confined)
    };
    refused(&label) && !refused(&Label::STRANGER)
}

fn identities(old: &Compiled, new: &Compiled) -> Vec<IdentityChange> {
    let of = |compiled: &Compiled| -> BTreeMap<String, NamedExecutable> {
        compiled.executables().iter().map(|executable| (executable.path.clone(), executable.clone())).collect()
    };
    let (before, after) = (of(old), of(new));
    let has_heirs = |executable: Option<&NamedExecutable>| {
        executable.is_some_and(|executable| executable.flags & Executable::WITH_CHILDREN != 0)
    };
    let mut changes = Vec::new();
    for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (was, is) = (before.get(path), after.get(path));
        let mut aspects = Vec::new();
        if let (Some(was), Some(is)) = (was, is) {
            match (was.pins.as_slice(), is.pins.as_slice()) {
                (was, is) if was == is => {}
                (_, []) => aspects.push(Aspect::Unpinned),
                ([], is) => aspects.push(Aspect::Pinned(is.to_vec())),
                (was, is) => {
                    aspects.extend(is.iter().filter(|pin| !was.contains(pin)).copied().map(Aspect::PinAdded));
                    aspects.extend(was.iter().filter(|pin| !is.contains(pin)).copied().map(Aspect::PinRemoved));
                }
            }
        }
        match (has_heirs(was), has_heirs(is)) {
            (false, true) => aspects.push(Aspect::ChildrenAdded),
            (true, false) => aspects.push(Aspect::ChildrenRemoved),
            _ => {}
        }
        changes.extend(aspects.into_iter().map(|aspect| IdentityChange { path: path.clone(), aspect }));
    }
    changes
}

#[cfg(test)]
mod tests;
