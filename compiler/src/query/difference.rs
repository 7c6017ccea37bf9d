//! Two compiled policies → which programs gain or lose what.
//!
//! It compares verdicts, not texts: every kind of request is judged by both, for every program that one of them names
//! and for unlisted ones. Two policies without a difference decide alike on everything. Two that differ only in
//! spelling have no difference.
//!
//! With patterns, a program is what a file can be under both policies. So if a path is replaced by a pattern, the
//! difference shows the files that are admitted in addition.
//!
//! It also compares what the started processes may do, as far as the program alone decides: a restriction changes that
//! the program hands down, and the program's own verdict does not. One case is not reported: a grant of raw sockets to
//! a program that may open them without it, which counts when a restricted program starts it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bfp_bundle::decide::{Reason, Tables as _};
use bfp_bundle::image::{self, Image, Library, NamedExecutable};
use bfp_bundle::label::{Label, ProgramId, Proof};
use bfp_bundle::names::Match;
use bfp_bundle::names::build::{Automaton, BuildError};
use bfp_bundle::record::{Pair, Policy};

use crate::policy::Destination;
use crate::policy::model::Asked;
use crate::policy::program_text;
use crate::query::queryable::{Queryable, Who};
use crate::query::regions::{self, Plane, Region, judge};
use crate::resolve::coverage::union;
use crate::resolve::program_path;

/// What changes from one policy to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// By requesting process; those without a change are left out.
    pub changes: Vec<Change>,
    /// The changes to the identity of programs.
    pub identities: Vec<IdentityChange>,
}

impl Difference {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.identities.is_empty()
    }

    /// Whether a process of some program may do what no process of that program could before.
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| !change.gains.is_empty())
            || self.identities.iter().any(|change| change.aspect.widens())
    }
}

/// The changes for one requesting process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The requesting process.
    pub who: Who,
    /// What is allowed now and was not before.
    pub gains: Vec<Destination>,
    /// What was allowed before and is not now.
    pub loses: Vec<Destination>,
}

/// A change to the identity of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityChange {
    /// The text of the program.
    pub path: String,
    /// The property that changes.
    pub aspect: Aspect,
}

/// The properties of a program's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// A grant no longer requires a digest.
    Unpinned,
    /// A grant requires one of these digests now.
    Pinned(Vec<[u8; 32]>),
    /// Content with this digest holds the grants now.
    PinAdded([u8; 32]),
    /// Content with this digest no longer holds them.
    PinRemoved([u8; 32]),
    /// The program may map any library now.
    LibrariesUnpinned,
    /// The program may map only listed libraries now.
    LibrariesPinned,
    /// A library that it may map now: its path, and one of its digests.
    LibraryAdded(String, [u8; 32]),
    /// A library that it may no longer map.
    LibraryRemoved(String, [u8; 32]),
    /// The processes that it starts inherit its grants now.
    ChildrenAdded,
    /// The processes that it starts no longer inherit its grants.
    ChildrenRemoved,
}

impl Aspect {
    /// Whether the change gives more processes the program's grants.
    pub fn widens(&self) -> bool {
        matches!(
            self,
            Aspect::Unpinned
                | Aspect::PinAdded(_)
                | Aspect::LibrariesUnpinned
                | Aspect::LibraryAdded(..)
                | Aspect::ChildrenAdded
        )
    }

    /// In words, for a report.
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
            Aspect::LibrariesUnpinned => "may load any library now".to_owned(),
            Aspect::LibrariesPinned => "loads no library now but those that are listed".to_owned(),
            Aspect::LibraryAdded(path, pin) => format!("may load {path} as sha256:{} now", hex(pin)),
            Aspect::LibraryRemoved(path, pin) => format!("may not load {path} as sha256:{} any more", hex(pin)),
            Aspect::ChildrenAdded => "passes its grants on to what it starts now".to_owned(),
            Aspect::ChildrenRemoved => "no longer passes its grants on to what it starts".to_owned(),
        }
    }
}

/// Compares two policies.
///
/// # Errors
///
/// Their patterns together overlap in more ways than tables can hold.
pub fn compare(old: &Queryable, new: &Queryable) -> Result<Difference, BuildError> {
    if old.image == new.image {
        return Ok(Difference { changes: Vec::new(), identities: Vec::new() });
    }
    let plane = Plane::of(&[&old.image, &new.image]);
    let regions = plane.regions();
    let kinds = Kinds::new([&old.image, &new.image], &regions);

    let sides = [Side::of(&old.image), Side::of(&new.image)];
    let files = Files::of(&sides)?;
    let mut open = Open::new(&kinds);
    let mut moves: Vec<(Who, Moves)> = Vec::new();
    let mut verdicts: Vec<Answers> = Vec::new();
    for file in &files.0 {
        let [before, after] = file.held.each_ref().map(Held::label);
        let found = kinds.ask(kinds.own(&sides, file), |region| {
            let was = judge(&old.image, &before, region.sample()).is_allowed();
            (was, judge(&new.image, &after, region.sample()).is_allowed())
        });
        open.count(&kinds, &found);
        moves.push((Who::Program(file.text.clone()), kinds.moves(&found)));
        verdicts.push(found);
    }
    let found = kinds.ask(kinds.raw.clone(), |region| {
        let allows = |image| judge(image, &Label::UNLISTED, region.sample()).is_allowed();
        (allows(&old.image), allows(&new.image))
    });
    open.count(&kinds, &found);
    moves.push((Who::Unlisted, kinds.moves(&found)));

    for (file, verdicts) in files.0.iter().zip(&verdicts).filter(|(file, _)| file.held.iter().any(Held::hands_down)) {
        let started = file.held.each_ref().map(Held::started);
        // A kind that is closed to everything that the program starts is not open any more.
        let found = kinds.ask(kinds.own(&sides, file), |region| {
            let [before, after] = &started;
            (!is_closed(&old.image, before, region), !is_closed(&new.image, after, region))
        });
        let mut handed_down = kinds.moves(&found);
        // Reported only if the program's own verdict does not show it, and another process may make the request, so
        // that it has an effect.
        handed_down.retain(|(kind, moved)| {
            let own = kinds.answer(verdicts, *kind);
            Move::of(own) != Some(*moved) && open.by_others(&kinds, *kind, own)
        });
        moves.push((Who::StartedBy(file.text.clone()), handed_down));
    }

    // Many programs gain and lose the same.
    let mut known: HashMap<Moves, [Vec<Destination>; 2]> = HashMap::new();
    let changes = moves.into_iter().filter(|(_, moves)| !moves.is_empty()).map(|(who, moves)| {
        let [gains, loses] = known.entry(moves).or_insert_with_key(|moves| kinds.destinations(moves)).clone();
        Change { who, gains, loses }
    });
    Ok(Difference { changes: changes.collect(), identities: identities(&files) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Move {
    Gain,
    Loss,
}

impl Move {
    fn of((was, is): (bool, bool)) -> Option<Move> {
        match (was, is) {
            (false, true) => Some(Move::Gain),
            (true, false) => Some(Move::Loss),
            _ => None,
        }
    }
}

/// The numbers of the kinds of requests whose verdict changes, ascending.
type Moves = Vec<(usize, Move)>;

/// All kinds of requests, numbered.
///
/// A verdict on a program depends on the records of the program for the request's cell, and on the flags of the cell.
/// For most cells, the tables have no record of the program. Kinds whose cells have the same flags (a profile) are then
/// decided alike, and one of them is judged for all.
///
/// Raw sockets are judged for every program: there it matters whether the policy names the program at all.
struct Kinds<'a> {
    regions: &'a [Region],
    /// For each kind, its regions.
    of_kind: Vec<Vec<usize>>,
    /// For each kind, its profile.
    profile: Vec<usize>,
    /// For each profile, its kinds.
    profiles: Vec<Vec<usize>>,
    /// The kind that is raw sockets.
    raw: Vec<usize>,
    /// The kinds in each cell, of the old tables and of the new ones.
    in_cell: [HashMap<u32, Vec<usize>>; 2],
}

/// The flags of a request's cell, and of the cell behind a gateway where there is one; `None` for a cell that is not
/// found.
type Flags = (Option<u32>, Option<Option<u32>>);

/// The answers (before, after) for the kinds that concern a program, and for the rest of each profile.
struct Answers {
    /// (kind, answer), ascending by kind.
    own: Vec<(usize, (bool, bool))>,
    rest: Vec<(bool, bool)>,
}

impl<'a> Kinds<'a> {
    fn new(images: [&Image; 2], regions: &'a [Region]) -> Kinds<'a> {
        let mut by_number: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (at, region) in regions.iter().enumerate() {
            by_number.entry(region.kind).or_default().push(at);
        }
        let of_kind: Vec<Vec<usize>> = by_number.into_values().collect();
        let mut kinds = Kinds {
            regions,
            of_kind,
            profile: Vec::new(),
            profiles: Vec::new(),
            raw: Vec::new(),
            in_cell: Default::default(),
        };
        let mut known: HashMap<[Flags; 2], usize> = HashMap::new();
        for kind in 0..kinds.of_kind.len() {
            let Some(sample) = kinds.region(kind).map(Region::sample) else { continue };
            if sample == Asked::Raw {
                kinds.raw.push(kind);
            }
            let mut flags: [Flags; 2] = Default::default();
            for ((image, in_cell), flags) in images.iter().zip(&mut kinds.in_cell).zip(&mut flags) {
                let (cell, behind) = regions::places(image, sample);
                for cell in [cell, behind.flatten()].into_iter().flatten() {
                    in_cell.entry(cell).or_default().push(kind);
                }
                let of = |cell: Option<u32>| cell.and_then(|cell| Some(image.cells.get(cell as usize)?.flags));
                *flags = (of(cell), behind.map(of));
            }
            let next = known.len();
            let profile = *known.entry(flags).or_insert(next);
            kinds.profiles.resize_with(known.len(), Vec::new);
            kinds.profiles.iter_mut().skip(profile).take(1).for_each(|kinds| kinds.push(kind));
            kinds.profile.push(profile);
        }
        kinds
    }

    fn region(&self, kind: usize) -> Option<&Region> {
        self.regions.get(*self.of_kind.get(kind)?.first()?)
    }

    /// Raw sockets, and the kinds in cells for which the tables have a record of the program, ascending.
    fn own(&self, sides: &[Side<'_>; 2], file: &File<'_>) -> Vec<usize> {
        let mut own = self.raw.clone();
        for ((side, held), in_cell) in sides.iter().zip(&file.held).zip(&self.in_cell) {
            let programs = held.record.iter().flat_map(|record| record.restricted().chain([record.program]));
            let cells = programs.filter_map(|program| side.own_cells.get(&program)).flatten();
            own.extend(cells.filter_map(|cell| in_cell.get(cell)).flatten());
        }
        own.sort_unstable();
        own.dedup();
        own
    }

    /// Judges each kind in `own`, and one other kind of each profile.
    fn ask(&self, own: Vec<usize>, ask: impl Fn(&Region) -> (bool, bool)) -> Answers {
        let of = |kind: usize| self.region(kind).map_or((false, false), &ask);
        let rest = |kinds: &Vec<usize>| kinds.iter().find(|kind| own.binary_search(kind).is_err()).copied();
        let rest = self.profiles.iter().map(|kinds| rest(kinds).map_or((false, false), of)).collect();
        Answers { own: own.iter().map(|kind| (*kind, of(*kind))).collect(), rest }
    }

    fn answer(&self, answers: &Answers, kind: usize) -> (bool, bool) {
        if let Ok(at) = answers.own.binary_search_by_key(&kind, |(kind, _)| *kind) {
            return answers.own.get(at).map_or((false, false), |(_, answer)| *answer);
        }
        let profile = self.profile.get(kind).and_then(|profile| answers.rest.get(*profile));
        profile.copied().unwrap_or((false, false))
    }

    /// The kinds whose answer changes.
    fn moves(&self, answers: &Answers) -> Moves {
        let mut moves: Moves =
            answers.own.iter().filter_map(|(kind, answer)| Some((*kind, Move::of(*answer)?))).collect();
        for (kinds, answer) in self.profiles.iter().zip(&answers.rest) {
            let Some(moved) = Move::of(*answer) else { continue };
            let is_own = |kind: &usize| answers.own.binary_search_by_key(kind, |(kind, _)| *kind).is_ok();
            moves.extend(kinds.iter().filter(|kind| !is_own(kind)).map(|kind| (*kind, moved)));
        }
        moves.sort_unstable_by_key(|(kind, _)| *kind);
        moves
    }

    /// The gained destinations, and the lost ones.
    fn destinations(&self, moves: &Moves) -> [Vec<Destination>; 2] {
        [Move::Gain, Move::Loss].map(|wanted| {
            let kinds = moves.iter().filter(|(_, moved)| *moved == wanted);
            let mut regions: Vec<usize> =
                kinds.filter_map(|(kind, _)| self.of_kind.get(*kind)).flatten().copied().collect();
            regions.sort_unstable();
            let regions = regions.iter().filter_map(|region| self.regions.get(*region));
            union(&regions.map(Region::destination).collect::<Vec<_>>())
        })
    }
}

/// How many processes may make a kind of request both before and after: for these, a parent's restriction decides.
struct Open {
    /// For each profile, the number of processes.
    rest: Vec<i64>,
    /// For each kind, the difference from the number of its profile.
    own: Vec<i64>,
}

impl Open {
    fn new(kinds: &Kinds<'_>) -> Open {
        Open { rest: vec![0; kinds.profiles.len()], own: vec![0; kinds.profile.len()] }
    }

    fn count(&mut self, kinds: &Kinds<'_>, answers: &Answers) {
        let of = |answer: (bool, bool)| i64::from(answer == (true, true));
        for (count, answer) in self.rest.iter_mut().zip(&answers.rest) {
            *count += of(*answer);
        }
        for (kind, answer) in &answers.own {
            let rest = kinds.profile.get(*kind).and_then(|profile| answers.rest.get(*profile));
            let more = of(*answer) - rest.map_or(0, |rest| of(*rest));
            self.own.iter_mut().skip(*kind).take(1).for_each(|count| *count += more);
        }
    }

    /// Whether a process other than the one with this answer is among them.
    fn by_others(&self, kinds: &Kinds<'_>, kind: usize, answer: (bool, bool)) -> bool {
        let rest = kinds.profile.get(kind).and_then(|profile| self.rest.get(*profile)).copied().unwrap_or(0);
        let all = rest + self.own.get(kind).copied().unwrap_or(0);
        all > i64::from(answer == (true, true))
    }
}

/// One of the two policies, with indexes of its programs.
struct Side<'a> {
    /// The written programs: (canonical text, place in `all`).
    written: Vec<(String, usize)>,
    /// The executables by the places of the written programs that a file matches.
    executables: HashMap<Vec<usize>, &'a NamedExecutable>,
    all: &'a [NamedExecutable],
    /// The cells for which the tables have a record of a program.
    own_cells: HashMap<ProgramId, Vec<u32>>,
    records: HashMap<ProgramId, Match>,
}

impl<'a> Side<'a> {
    fn of(image: &'a Image) -> Side<'a> {
        let mut side = Side {
            written: Vec::new(),
            executables: HashMap::new(),
            all: &image.executables,
            own_cells: HashMap::new(),
            records: image.matches.iter().map(|record| (record.program, *record)).collect(),
        };
        for (place, executable) in image.executables.iter().enumerate() {
            let members: Vec<usize> = match executable.members.as_slice() {
                [] => {
                    side.written.push((program_path::canonical(&executable.path), place));
                    vec![place]
                }
                members => members.iter().map(|member| *member as usize).collect(),
            };
            side.executables.entry(members).or_insert(executable);
        }
        let ids: Vec<ProgramId> = image.programs.iter().flat_map(|bucket| bucket.ids).collect();
        for bucket in &image.pairs {
            for (cell, number) in bucket.cells.iter().zip(bucket.programs) {
                if let Some(id) = number.checked_sub(1).and_then(|at| ids.get(at as usize)) {
                    side.own_cells.entry(*id).or_default().push(*cell);
                }
            }
        }
        side
    }

    /// The program here of a file that matches these written programs.
    fn held(&self, places: &[usize]) -> Held<'a> {
        let executable = self.executables.get(places).copied();
        let record = match executable {
            Some(executable) => self.records.get(&executable.program).copied(),
            None if places.is_empty() => None,
            // From a bundle of the first format, which has no classes.
            None => {
                let members: Vec<Match> =
                    places.iter().filter_map(|place| self.all.get(*place)).map(NamedExecutable::alone).collect();
                image::together(&members)
            }
        };
        Held { executable, record }
    }
}

/// The program of a file under one of the policies.
struct Held<'a> {
    executable: Option<&'a NamedExecutable>,
    record: Option<Match>,
}

impl Held<'_> {
    fn label(&self) -> Label {
        let mut label = Label::UNLISTED;
        label.execute(self.record.as_ref(), Proof::Proven);
        label
    }

    /// The label of a process that the program starts, without inherited grants.
    fn started(&self) -> Label {
        let mut label = self.label();
        label.execute(None, Proof::Proven);
        label.inherits_from = Label::UNLISTED.inherits_from;
        label
    }

    /// Whether started processes inherit its restrictions or its grants.
    fn hands_down(&self) -> bool {
        let inherited = Match::RESTRICTED | Match::WITH_CHILDREN;
        self.record.is_some_and(|record| record.flags & inherited != 0)
    }

    fn has_heirs(&self) -> bool {
        self.record.is_some_and(|record| record.flags & Match::WITH_CHILDREN != 0)
    }
}

/// The identity of a file under both policies: the written programs of both that it matches at once.
struct File<'a> {
    /// The name for reports.
    text: String,
    /// Before and after.
    held: [Held<'a>; 2],
}

/// All such files, in the order of their texts.
struct Files<'a>(Vec<File<'a>>);

impl<'a> Files<'a> {
    fn of(sides: &[Side<'a>; 2]) -> Result<Files<'a>, BuildError> {
        let texts: BTreeSet<&str> =
            sides.iter().flat_map(|side| &side.written).map(|(text, _)| text.as_str()).collect();
        let texts: Vec<&str> = texts.into_iter().collect();
        let automaton = Automaton::of(&texts)?;
        let places: Vec<HashMap<&str, Vec<usize>>> = sides
            .iter()
            .map(|side| {
                let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
                side.written.iter().for_each(|(text, place)| places.entry(text).or_default().push(*place));
                places
            })
            .collect();
        let sets: Vec<Vec<&str>> = automaton
            .accepts()
            .iter()
            .map(|set| set.iter().filter_map(|member| texts.get(*member).copied()).collect())
            .collect();
        let names = program_text::short(&sets);
        let mut files = Vec::with_capacity(sets.len());
        for (set, text) in sets.iter().zip(names) {
            let held = |side: usize| {
                let known = places.get(side);
                let mut here: Vec<usize> = set.iter().filter_map(|text| known?.get(text)).flatten().copied().collect();
                here.sort_unstable();
                sides.get(side).map_or(Held { executable: None, record: None }, |side| side.held(&here))
            };
            files.push(File { text, held: [held(0), held(1)] });
        }
        files.sort_by(|one, other| one.text.cmp(&other.text));
        Ok(Files(files))
    }
}

/// Whether a program denies a region to the processes that it starts, which have the label `started`.
fn is_closed(image: &Image, started: &Label, region: &Region) -> bool {
    let of = |label: &Label| judge(image, label, region.sample());
    let refused = |label: &Label| matches!(of(label).reason, Reason::Denied | Reason::Confined);
    // A process that a restricted program started needs a grant for raw sockets where others need none.
    let needs_a_grant = of(started).reason == Reason::NotGranted && of(&Label::UNLISTED).is_allowed();
    needs_a_grant || is_withheld(image, started, region) || refused(started) && !refused(&Label::UNLISTED)
}

/// Whether the grants to everyone are withheld from a process with the label `started`, which needs one.
fn is_withheld(image: &Image, started: &Label, region: &Region) -> bool {
    let needs_a_grant = image.policy.flags & Policy::DEFAULT_DENY != 0;
    let Some(cell) = regions::places(image, region.sample()).0.filter(|_| needs_a_grant) else { return false };
    let is_withheld =
        |program: &ProgramId| image.pair(cell, *program).is_some_and(|held| held.flags & Pair::WITHHELD != 0);
    started.restricted_by.iter().take(started.depth as usize).any(is_withheld)
}

fn identities(files: &Files<'_>) -> Vec<IdentityChange> {
    let mut changes = Vec::new();
    for File { text, held: [before, after] } in &files.0 {
        let (was, is) = (before.executable, after.executable);
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
        if let (Some(was), Some(is)) = (was, is) {
            let listed = |executable: &NamedExecutable| -> Option<BTreeSet<(String, [u8; 32])>> {
                let each =
                    |library: &Library| library.pins.iter().map(|pin| (library.path.clone(), *pin)).collect::<Vec<_>>();
                Some(executable.libraries.as_ref()?.iter().flat_map(each).collect())
            };
            match (listed(was), listed(is)) {
                (None, None) => {}
                (Some(_), None) => aspects.push(Aspect::LibrariesUnpinned),
                (None, Some(_)) => aspects.push(Aspect::LibrariesPinned),
                (Some(was), Some(is)) => {
                    let of = |(path, pin): &(String, [u8; 32])| (path.clone(), *pin);
                    aspects.extend(is.difference(&was).map(of).map(|(path, pin)| Aspect::LibraryAdded(path, pin)));
                    aspects.extend(was.difference(&is).map(of).map(|(path, pin)| Aspect::LibraryRemoved(path, pin)));
                }
            }
        }
        match (before.has_heirs(), after.has_heirs()) {
            (false, true) => aspects.push(Aspect::ChildrenAdded),
            (true, false) => aspects.push(Aspect::ChildrenRemoved),
            _ => {}
        }
        changes.extend(aspects.into_iter().map(|aspect| IdentityChange { path: text.clone(), aspect }));
    }
    changes
}

#[cfg(test)]
mod tests;
