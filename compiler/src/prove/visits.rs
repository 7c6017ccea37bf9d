//! Which places are queried, and for which programs: every cell with every set of rules that leads to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bfp_bundle::image::Image;
use bfp_bundle::label::{ProgramId, Proof as Identity};
use bfp_bundle::record::BUCKET;
use bfp_bundle::request::{Address, Request};

use super::alike::{Alike, Inputs};
use super::ask::{Asker, Asking, Places, Searched};
use super::meaning::Index;
use super::sweep::Classes;
use super::{Area, Planes, ProveError, Sets, Translated, join, request};
use crate::policy::ProgramIndex;
use crate::policy::model::{Answer, Asked, Process, Weighed};
use crate::prove::hash::NumberSet;

/// A cell, and the set of the rules that cover it.
pub(super) type Place = (u32, u32);

/// In place of a cell's number, which has thirty bits.
const NOWHERE: u32 = u32::MAX;

/// A place and a request in it; behind a NAT64 gateway there is another place.
pub(super) struct Visit {
    pub(super) place: Place,
    pub(super) behind: Option<Place>,
    pub(super) asked: Asked,
}

impl Visit {
    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        std::iter::once(self.place).chain(self.behind)
    }
}

/// Every cell with every set of rules that leads to it, in the order in which they were found.
#[derive(Default)]
pub(super) struct Visits {
    alone: NumberSet<Place>,
    both: NumberSet<(Place, Place)>,
    /// Which planes were seen.
    planes: Vec<bool>,
    /// The pairs of planes that were seen on the two sides of a gateway.
    pairs_of_planes: NumberSet<(u32, u32)>,
    pub(super) list: Vec<Visit>,
}

impl Visits {
    fn seen_alone(&mut self, place: Place, asked: Asked) {
        if self.alone.insert(place) {
            self.list.push(Visit { place, behind: None, asked });
        }
    }

    pub(super) fn area<K>(&mut self, planes: &Planes, area: &Area<K>, address: Address) {
        self.planes.resize(planes.rows.len(), false);
        if self.planes.get_mut(area.plane as usize).is_none_or(|seen| std::mem::replace(seen, true)) {
            return;
        }
        for ports in planes.of(area) {
            if let Some(cell) = ports.cell {
                self.seen_alone((cell, ports.set), request(address, ports.first));
            }
        }
    }

    pub(super) fn nat64(&mut self, planes: &Planes, both: &Translated<'_>) {
        if !self.pairs_of_planes.insert((both.v6.plane, both.v4.plane)) {
            return;
        }
        for (first, _, v6, v4) in join(planes.of(both.v6), planes.of(both.v4)) {
            // Steps that lead nowhere are queried too: they must not pass for a denial.
            let (place, behind) = ((v6.cell.unwrap_or(NOWHERE), v6.set), (v4.cell.unwrap_or(NOWHERE), v4.set));
            if self.both.insert((place, behind)) {
                let asked = request(Address::v6(both.first), first);
                self.list.push(Visit { place, behind: Some(behind), asked });
            }
        }
    }
}

/// The profile of the rules and the flags of the cell, the same behind a gateway, and whether it is about raw sockets,
/// for which the policy's programs need grants and an unlisted program does not.
type Profile = ((u32, u32), Option<(u32, u32)>, bool);

/// A visit with the programs that are queried there.
pub(super) struct Job<'a> {
    visit: &'a Visit,
    /// The programs, ascending.
    programs: Vec<usize>,
    /// No visit before this one has the same profile.
    opens_profile: bool,
    /// No other visit reaches the place behind the gateway: it is that of 0.0.0.0, which means loopback elsewhere.
    is_hidden: bool,
}

pub(super) fn jobs<'a>(visits: &'a Visits, asking: &Asking<'_>, classes: &Classes, sets: &Sets) -> Vec<Job<'a>> {
    let all: BTreeSet<usize> = (0..asking.policy.policy().programs.len()).collect();
    let own = treated_alone(asking.image);
    // The programs that still have to be queried in a cell of each profile.
    let mut waiting: BTreeMap<Profile, BTreeSet<usize>> = BTreeMap::new();
    let mut jobs = Vec::with_capacity(visits.list.len());
    for visit in &visits.list {
        let flags = |cell: u32| asking.image.cells.get(cell as usize).map_or(0, |cell| cell.flags);
        let profile = |(cell, set): Place| (sets.of(set).profile, flags(cell));
        let profile = (profile(visit.place), visit.behind.map(profile), visit.asked == Asked::Raw);
        let opens_profile = !waiting.contains_key(&profile);
        // Where both places are also queried alone, only their combination is left: once for each profile.
        let alone = |place: Place| visits.alone.contains(&place);
        let meets = visit.behind.is_some() && visit.places().all(alone);
        if meets && !opens_profile {
            continue;
        }
        let mut programs = Vec::new();
        for (cell, set) in visit.places() {
            asking.meaning.named(classes.sets.list(set), &mut programs);
            let begin = own.partition_point(|(of, _)| *of < cell);
            programs.extend(own.iter().skip(begin).take_while(|(of, _)| *of == cell).map(|(_, program)| *program));
        }
        programs.sort_unstable();
        programs.dedup();
        let waiting = waiting.entry(profile).or_insert_with(|| all.clone());
        if !waiting.is_empty() {
            // Programs that are named here wait for another cell of this profile.
            let named = programs.iter().filter(|program| waiting.contains(program)).copied().collect();
            programs.extend(std::mem::replace(waiting, named));
            programs.sort_unstable();
            programs.dedup();
        }
        programs.shrink_to_fit();
        let is_hidden = visit.behind.is_some_and(|behind| !alone(behind));
        jobs.push(Job { visit, programs, opens_profile, is_hidden });
    }
    jobs
}

/// The programs with records of their own in the tables: (cell, program), sorted.
fn treated_alone(image: &Image) -> Vec<(u32, usize)> {
    let by_id: HashMap<ProgramId, usize> =
        image.executables.iter().enumerate().map(|(index, executable)| (executable.program, index)).collect();
    let ids = image.programs.iter().flat_map(|bucket| bucket.ids);
    let programs: Vec<Option<usize>> = ids.map(|id| by_id.get(&id).copied()).collect();
    let mut found = Vec::with_capacity(image.pairs.len() * BUCKET);
    for bucket in &image.pairs {
        for (cell, number) in bucket.cells.iter().zip(bucket.programs) {
            let program = number.checked_sub(1).and_then(|at| programs.get(at as usize).copied().flatten());
            found.extend(program.map(|program| (*cell, program)));
        }
    }
    found.sort_unstable();
    found
}

/// Buffers that each query overwrites, instead of allocating them anew.
#[derive(Default)]
pub(super) struct Buffers<'a> {
    place: Index,
    behind: Index,
    searched: Searched,
    scale: Vec<Weighed<'a>>,
    answers: Vec<(Option<usize>, Answer)>,
    alike: Alike,
    /// The programs that were queried, and not answered elsewhere from the same inputs.
    anew: Vec<(usize, Option<Inputs>, Answer)>,
}

impl Job<'_> {
    pub(super) fn ask<'a>(
        &self,
        asking: &Asking<'a>,
        classes: &Classes,
        descendant: &Asker,
        buffers: &mut Buffers<'a>,
    ) -> Result<u64, ProveError> {
        let Buffers { place, behind, searched, scale, answers, alike, anew } = buffers;
        asking.meaning.index(classes.sets.list(self.visit.place.1), place);
        if let Some((_, set)) = self.visit.behind {
            asking.meaning.index(classes.sets.list(set), behind);
        }
        let places = Places { place, behind: self.visit.behind.map(|_| &*behind) };
        let mut verdicts = 0;
        // An IPv4 address is also a place behind a gateway, where less counts: its own denials are queried alone,
        // wherever something else may deny the request here, or an audited rule report it.
        // So is each place of a policy with `clients`, which judges an answer in two ways.
        let is_v4 = matches!(self.visit.asked, Asked::Request(Request { address: Address::V4(_), .. }));
        let is_covered = is_v4 || asking.policy.policy().clients && self.visit.asked != Asked::Raw;
        let mut ask = |asker: &Asker| -> Result<Answer, ProveError> {
            verdicts += 1;
            let answer = asking.ask(places, asker, self.visit.asked, searched, scale)?;
            if is_covered && (!answer.allowed || answer.audited) {
                verdicts += 1;
                asking.ask_covered(place, self.visit.place.0, asker, self.visit.asked, scale)?;
            }
            Ok(answer)
        };
        let unlisted = asking.unlisted();
        answers.clear();
        anew.clear();
        let of_unlisted = ask(&unlisted)?;
        answers.push((None, of_unlisted));
        let cell = self.visit.place.0;
        // Behind a gateway and for raw sockets, more than this place counts.
        let is_alone = self.visit.behind.is_none() && self.visit.asked != Asked::Raw;
        let surroundings = is_alone.then(|| alike.surroundings(asking, (cell, is_covered), place, self.programs.len()));
        for program in &self.programs {
            let inputs = surroundings.flatten().and_then(|around| Alike::inputs(asking, cell, place, around, *program));
            if let Some(answer) = inputs.as_ref().and_then(|inputs| alike.answer(inputs)) {
                answers.push((Some(*program), answer));
                continue;
            }
            let proven = asking.execute(&unlisted, Some(*program), Identity::Proven);
            let answer = ask(&proven)?;
            answers.push((Some(*program), answer));
            ask(&asking.execute(&proven, None, Identity::Proven))?;
            ask(&asking.execute(&unlisted, Some(*program), Identity::NameOnly))?;
            anew.push((*program, inputs, answer));
        }
        // A program that is allowed shows what its parents are denied, best if no audited rule applies to it. For raw
        // sockets, it must have a grant: an ungoverned process may open them without one, but not if a restricted
        // program started it.
        let counts = |program: Option<usize>| {
            self.visit.asked != Asked::Raw || asking.meaning.grants(place, &Process::of(program.map(ProgramIndex)))
        };
        let is = |answers: &[(Option<usize>, Answer)], audited| {
            let allowed = |(program, answer): &(Option<usize>, Answer)| {
                counts(*program) && answer.allowed && answer.audited == audited
            };
            answers.iter().copied().find(allowed)
        };
        let mut allowed = is(answers, false);
        if allowed.is_none() && !self.programs.is_empty() {
            // None of the programs named here, but one that a rule grants everything.
            for program in &asking.meaning.all_granted_everywhere {
                let asker = asking.execute(&unlisted, Some(*program), Identity::Proven);
                let answer = ask(&asker)?;
                answers.push((Some(*program), answer));
                if answer.allowed && !answer.audited {
                    break;
                }
            }
            allowed = is(answers, false).or_else(|| is(answers, true));
        }
        if let Some((allowed, Answer { audited: is_audited, .. })) = allowed {
            for (program, inputs, answer) in anew.drain(..) {
                let parent = asking.execute(&unlisted, Some(program), Identity::NameOnly);
                ask(&asking.execute(&parent, allowed, Identity::Proven))?;
                // Only now has all been asked that could be asked of it elsewhere.
                if let Some(inputs) = inputs.filter(|_| !is_audited) {
                    alike.keep(inputs, answer);
                }
            }
        }
        if self.opens_profile {
            ask(descendant)?;
        }
        if self.is_hidden {
            // A program that is denied at the first place shows nothing of the second, unless it inherits from one that
            // is allowed there.
            for heir in self.heirs(asking, place, &mut Vec::new()) {
                let parent = asking.execute(&unlisted, Some(heir), Identity::Proven);
                for program in &self.programs {
                    ask(&asking.execute(&parent, Some(*program), Identity::Proven))?;
                }
            }
        }
        Ok(verdicts)
    }
}

impl Job<'_> {
    /// Programs whose heirs are allowed at the first place: one without an audited rule, and another one.
    fn heirs<'a>(&self, asking: &Asking<'a>, place: &Index, scale: &mut Vec<Weighed<'a>>) -> Vec<usize> {
        let programs = asking.policy.policy().programs.iter().enumerate();
        let passing = programs.filter(|(_, program)| program.with_children).map(|(index, _)| index);
        let mut answers = passing.map(|index| {
            let process = Process::of(Some(ProgramIndex(index)));
            (index, asking.meaning.answer(place, &process, scale))
        });
        let mut heirs = Vec::new();
        let mut audited = None;
        for (index, answer) in answers.by_ref().filter(|(_, answer)| answer.allowed) {
            if !answer.audited {
                heirs.push(index);
                break;
            }
            audited = audited.or(Some(index));
        }
        heirs.extend(audited);
        heirs
    }
}
