//! Translation validation: (checked policy, image) → an image that is proven to mean what the policy
//! means, or the request of which it does not.
//!
//! No bundle is made of an image that lowering made wrongly, whatever the reason: [`ProvenImage`] is made
//! here alone, and only that can be signed. This is no test of some policies, but a proof for the policy
//! at hand, in every build.
//!
//! **Requests.** They fall into finitely many classes, within which neither the policy nor the tables can
//! change their answer. The policy's own edges come from its destinations ([`sweep`]), the tables' from
//! their nodes ([`walk`]), and both cut. Each class is asked about at both ends of its addresses and of its
//! ports; an IPv4 class also as mapped, unspecified and NAT64 addresses.
//!
//! **Processes.** A verdict is `no(cell) ∨ ∃ u in under: no(cell, u) ∨ ¬∃ identity: grant(cell, identity)`, in
//! `decide` as in the model, and the same with `audit` in the place of `no`. Each term needs one program,
//! so programs are asked about one at a time: proven, by name alone, as what started a stranger, and as
//! what started somebody who is allowed (where a refusal of its own shows). A chain of as many
//! restricted programs as a label holds is asked about too.
//!
//! **Programs.** `decide` knows a request by its cell only. So once the way of each class to its cell is
//! known, each pair of a cell and the rules that cover it is asked about once, for the programs that these
//! rules name, and for those that the tables treat in a way of their own there. All others are treated
//! as they are elsewhere: each is asked about in one cell of each profile, a profile being what the rules say
//! of somebody whom they do not name.
//!
//! Nothing of this is shared with lowering, except the plain model of what a rule means.

mod ask;
mod meaning;
mod sweep;
#[cfg(test)]
mod tests;
mod walk;

pub use self::ask::Witness;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display};

use bfp_bundle::decide::find_cell;
use bfp_bundle::identity::Executable;
use bfp_bundle::image::Image;
use bfp_bundle::label::{ProgramId, Proof as Identity};
use bfp_bundle::record::{BUCKET, Step};
use bfp_bundle::request::{Address, LOOPBACK_V4, Protocol, Request};

use self::ask::{Asker, Asking, same};
use self::meaning::{Index, Meaning};
use self::sweep::{Class, Classes};
use crate::lower::program_id;
use crate::model::{Answer, Asked, Process};
use crate::policy::{CheckedPolicy, Effect, ProgramIndex, Subjects};

/// The tables do not mean what the policy means.
#[derive(Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ProveError {
    /// They answer otherwise.
    #[error("the tables are wrong: {0}")]
    #[diagnostic(code(prove::mismatch), help("this is a defect of the compiler: report it with the policy"))]
    Mismatch(Box<Witness>),
    /// They take a program for another one.
    #[error("the tables are wrong about the program `{path}`: {what}")]
    #[diagnostic(code(prove::identity), help("this is a defect of the compiler: report it with the policy"))]
    Identity {
        /// The program.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl From<Box<Witness>> for ProveError {
    fn from(witness: Box<Witness>) -> ProveError {
        ProveError::Mismatch(witness)
    }
}

/// How much was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Verdicts of the tables that are those of the policy: all that were compared.
    verdicts: u64,
}

impl Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.verdicts.to_string();
        let mut grouped = String::new();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                grouped.push(' ');
            }
            grouped.push(digit);
        }
        write!(f, "{grouped} of {grouped}")
    }
}

/// An image of which every verdict is its policy's: the only kind that can be signed.
#[derive(Debug)]
pub struct ProvenImage<'a> {
    // INVARIANT: made by `prove` alone.
    policy: &'a CheckedPolicy,
    image: Image,
    proof: Proof,
}

impl ProvenImage<'_> {
    /// The policy.
    pub fn policy(&self) -> &CheckedPolicy {
        self.policy
    }

    /// Its tables.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How much was asked.
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

/// Proves an image.
pub fn prove(policy: &CheckedPolicy, image: Image) -> Result<ProvenImage<'_>, ProveError> {
    identities_are_right(policy, &image)?;
    let classes = sweep::classes(policy.policy());
    let meaning = Meaning::new(policy.policy(), &classes.everywhere);
    let asking = Asking { policy, image: &image, meaning: &meaning };

    let v4 = refine(&classes.v4, walk::v4(&image));
    let v6 = refine(&classes.v6, walk::v6(&image));
    let mut planes = Planes::default();
    planes.extend(&classes, &image, v4.iter().chain(&v6));
    let strangers: Vec<Answer> =
        classes.sets.iter().map(|rules| meaning.answer(&meaning.index(rules), &Process::default())).collect();
    let sets = Sets { classes: &classes, strangers: &strangers };

    let edges = Edges { asking: &asking, planes: &planes, sets: &sets };
    let mut verdicts = in_parallel(&v4, |area| edges.of_v4(area))?;
    verdicts += in_parallel(&v6, |area| edges.of_v6(area))?;
    // Who asks for the unspecified address asks for loopback.
    let of = |areas: &[Area], address: u128| areas.get(areas.partition_point(|area| area.last < address)).copied();
    if let Some(area) = of(&v4, LOOPBACK_V4.into()) {
        verdicts += edges.at(&area, Address::V4(0))? + edges.at(&area, Address::v6(MAPPED.0))?;
    }
    if let Some(area) = of(&v6, 1) {
        verdicts += edges.at(&area, Address::v6(0))?;
    }

    let mut visits = Visits::default();
    visits.seen(&[(image.policy.raw_cell, classes.raw)], Asked::Raw);
    for (area, address) in v4.iter().filter_map(|area| Some((area, askable_v4(area)?))) {
        visits.area(&planes, area, Address::V4(address.0));
    }
    for (area, (first, _)) in v6.iter().flat_map(|area| askable_v6(area).map(move |part| (area, part))) {
        visits.area(&planes, area, Address::v6(first));
    }
    let translated = translated(&v4, &v6);
    verdicts += in_parallel(&translated, |both| edges.of_nat64(both))?;
    for both in &translated {
        visits.nat64(&planes, both);
    }
    let jobs = jobs(&visits.list, &asking, &classes);
    let descendant = asking.descendant();
    verdicts += in_parallel(&jobs, |job| job.ask(&asking, &classes, &descendant))?;
    Ok(ProvenImage { policy, image, proof: Proof { verdicts } })
}

/// The first and last address of ::ffff:0:0/96, which are judged as IPv4.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// The first and last address of 64:ff9b::/96, behind which lies an IPv4 address.
const NAT64: (u128, u128) = (0x0064_ff9b << 96, 0x0064_ff9b << 96 | 0xffff_ffff);

/// The executables are the policy's programs, and the table of programs knows each once.
fn identities_are_right(policy: &CheckedPolicy, image: &Image) -> Result<(), ProveError> {
    let policy = policy.policy();
    let wrong = |path: &str, what| Err(ProveError::Identity { path: path.to_owned(), what });
    let mut restricted = BTreeSet::new();
    for rule in policy.rules.iter().filter(|rule| matches!(rule.effect, Effect::Confined | Effect::Deny)) {
        if let Subjects::Programs(programs) = &rule.subjects {
            restricted.extend(programs.iter().copied());
        }
    }
    let mut known: HashMap<ProgramId, u32> = HashMap::new();
    for id in image.programs.iter().flat_map(|bucket| bucket.ids).filter(|id| *id != 0) {
        *known.entry(id).or_default() += 1;
    }
    for (index, program) in policy.programs.iter().enumerate() {
        let Some(executable) = image.executables.get(index) else {
            return wrong(&program.path, "it is missing among the executables");
        };
        let flags = if restricted.contains(&ProgramIndex(index)) { Executable::RESTRICTED } else { 0 }
            | if program.with_children { Executable::WITH_CHILDREN } else { 0 };
        let id = program_id(&program.path);
        let checks = [
            (executable.path == program.path, "another path stands in its place"),
            (executable.program == id, "its id is not the one of its path"),
            (executable.flags == flags, "what it passes on to what it starts"),
            (executable.pins == program.pins, "its fs-verity digests"),
            (known.get(&id) == Some(&1), "it does not stand once in the table of programs"),
        ];
        if let Some((_, what)) = checks.into_iter().find(|(right, _)| !right) {
            return wrong(&program.path, what);
        }
    }
    if let Some(more) = image.executables.get(policy.programs.len()) {
        return wrong(&more.path, "the policy does not name it");
    }
    Ok(())
}

/// Addresses that the same rules cover, and from which a search in the tables goes on in the same way.
#[derive(Clone, Copy)]
struct Area {
    first: u128,
    last: u128,
    covering: u32,
    step: Option<Step>,
}

/// Cuts the policy's classes by those of the tables.
fn refine(policy: &[Class<u32>], tables: Vec<Class<Option<Step>>>) -> Vec<Area> {
    let joined = join(policy, &tables);
    let area = |(first, last, covering, step): (u128, u128, &u32, &Option<Step>)| Area {
        first,
        last,
        covering: *covering,
        step: *step,
    };
    joined.map(area).collect()
}

/// Two divisions of the same keys, each cut by the other: (first, last, one value, other value).
fn join<'a, A, B>(a: &'a [Class<A>], b: &'a [Class<B>]) -> impl Iterator<Item = (u128, u128, &'a A, &'a B)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut first = 0;
    std::iter::from_fn(move || {
        let (one, other) = (a.peek()?, b.peek()?);
        let last = one.last.min(other.last);
        let found = (first, last, &one.value, &other.value);
        a.next_if(|one| one.last == last);
        b.next_if(|other| other.last == last);
        first = last.wrapping_add(1);
        Some(found)
    })
}

/// The ends of an area that are judged as what they are: the unspecified address is not.
fn askable_v4(area: &Area) -> Option<(u32, u32)> {
    let (first, last) = (u32::try_from(area.first.max(1)).ok()?, u32::try_from(area.last).ok()?);
    (first <= last).then_some((first, last))
}

/// As [`askable_v4`]: what lies before the mapped addresses, and what lies behind them.
fn askable_v6(area: &Area) -> impl Iterator<Item = (u128, u128)> + use<> {
    let before = (area.first.max(1), area.last.min(MAPPED.0 - 1));
    let behind = (area.first.max(MAPPED.1 + 1), area.last);
    [before, behind].into_iter().filter(|(first, last)| first <= last)
}

/// Ports that the same rules cover, and that lead to the same cell.
#[derive(Clone, Copy)]
struct Ports {
    first: u32,
    last: u32,
    set: u32,
    cell: Option<u32>,
}

/// For each covering and way into the tables, the ports.
#[derive(Default)]
struct Planes {
    of: HashMap<(u32, Option<Step>), Vec<Ports>>,
}

impl Planes {
    fn extend<'a>(&mut self, classes: &Classes, image: &Image, areas: impl Iterator<Item = &'a Area>) {
        for area in areas {
            self.of.entry((area.covering, area.step)).or_insert_with(|| {
                let by_policy = classes.ports.get(area.covering as usize).map_or(&[][..], Vec::as_slice);
                let by_tables = walk::ports(image, area.step);
                let joined = join(by_policy, &by_tables);
                joined
                    .map(|(first, last, set, cell)| Ports { first: first as u32, last: last as u32, set: *set, cell: *cell })
                    .collect()
            });
        }
    }

    fn of(&self, area: &Area) -> &[Ports] {
        self.of.get(&(area.covering, area.step)).map_or(&[], Vec::as_slice)
    }
}

/// The request at an address for what a port key stands for.
fn request(address: Address, key: u32) -> Asked {
    let protocol = match key >> 16 {
        0 => Protocol::Tcp,
        1 => Protocol::Udp,
        2 => Protocol::Icmp,
        _ => Protocol::Other,
    };
    Asked::Request(Request { address, port: key as u16, protocol })
}

struct Sets<'a> {
    classes: &'a Classes,
    /// What a stranger is answered where exactly these rules cover.
    strangers: &'a [Answer],
}

impl Sets<'_> {
    fn stranger(&self, set: u32) -> Answer {
        self.strangers.get(set as usize).copied().unwrap_or(Answer { allowed: false, audited: false })
    }
}

/// The questions of a stranger at the edges of every class: whether it leads to its cell.
struct Edges<'a> {
    asking: &'a Asking<'a>,
    planes: &'a Planes,
    sets: &'a Sets<'a>,
}

impl Edges<'_> {
    fn of_v4(&self, area: &Area) -> Result<u64, ProveError> {
        let Some((first, last)) = askable_v4(area) else { return Ok(0) };
        let mut asked = self.at(area, Address::V4(first))?;
        if first != last {
            asked += self.at(area, Address::V4(last))?;
        }
        for end in [first, last] {
            let mapped = Address::v6(MAPPED.0 | u128::from(end));
            asked += self.once(self.planes.of(area).iter().take(1), mapped)?;
        }
        Ok(asked)
    }

    fn of_v6(&self, area: &Area) -> Result<u64, ProveError> {
        let mut asked = 0;
        for (first, last) in askable_v6(area) {
            asked += self.at(area, Address::v6(first))?;
            if first != last {
                asked += self.at(area, Address::v6(last))?;
            }
        }
        Ok(asked)
    }

    /// At both ends of all ports.
    fn at(&self, area: &Area, address: Address) -> Result<u64, ProveError> {
        self.once(self.planes.of(area).iter(), address)
    }

    fn once<'p>(&self, ports: impl Iterator<Item = &'p Ports>, address: Address) -> Result<u64, ProveError> {
        let stranger = self.asking.stranger();
        // What lies behind a NAT64 gateway adds to the answer: there, the cell alone is compared.
        let translated = address.judged().behind_nat64().is_some();
        let mut asked = 0;
        for ports in ports {
            let keys = [ports.first, ports.last];
            for key in keys.into_iter().take(if ports.first == ports.last { 1 } else { 2 }) {
                let request = request(address, key);
                let model = self.sets.stranger(ports.set);
                let image = self.asking.verdict(&stranger, request);
                let found = match request {
                    Asked::Request(request) => find_cell(self.asking.image, &request),
                    Asked::Raw => None,
                };
                let leads = found.is_some() && found == ports.cell;
                if !leads || !(translated || same(model, image)) {
                    return Err(self.asking.witness(&stranger.process, request, model, image).into());
                }
                asked += 1;
            }
        }
        Ok(asked)
    }

    /// At both ends of a translated range, at the first and the last port.
    fn of_nat64(&self, both: &Translated) -> Result<u64, ProveError> {
        let stranger = self.asking.stranger();
        let (v4, v6) = (self.planes.of(&both.v4), self.planes.of(&both.v6));
        let mut asked = 0;
        for (v4, v6, last) in [(v4.first(), v6.first(), false), (v4.last(), v6.last(), true)] {
            let (Some(v4), Some(v6)) = (v4, v6) else { continue };
            let mut model = self.sets.stranger(v6.set);
            // No rule, or only such as cover everything, name nothing.
            if self.names(v4.set) {
                model = model.and(self.sets.stranger(v4.set));
            }
            for address in [both.first, both.last] {
                let request = request(Address::v6(address), if last { v4.last } else { v4.first });
                let image = self.asking.verdict(&stranger, request);
                if !same(model, image) {
                    return Err(self.asking.witness(&stranger.process, request, model, image).into());
                }
                asked += 1;
            }
        }
        Ok(asked)
    }

    fn names(&self, set: u32) -> bool {
        let mut rules = self.sets.classes.sets.list(set).iter().filter_map(|rule| self.asking.meaning.rule(*rule));
        rules.any(|rule| !rule.covers_everything)
    }
}

/// A range within 64:ff9b::/96, with the area that it lies in and the one behind the gateway.
struct Translated {
    first: u128,
    last: u128,
    v4: Area,
    v6: Area,
}

fn translated(v4: &[Area], v6: &[Area]) -> Vec<Translated> {
    let mut found = Vec::new();
    let mut behind = v4.iter().peekable();
    let within = v6.iter().skip(v6.partition_point(|area| area.last < NAT64.0));
    for area in within.take_while(|area| area.first <= NAT64.1) {
        let mut first = area.first.max(NAT64.0);
        let end = area.last.min(NAT64.1);
        while let Some(carried) = behind.peek() {
            let last = (NAT64.0 | carried.last).min(end);
            found.push(Translated { first, last, v4: **carried, v6: *area });
            behind.next_if(|carried| NAT64.0 | carried.last == last);
            first = last + 1;
            if last == end {
                break;
            }
        }
    }
    found
}

/// A cell, the rules that cover it, and a request that lies in it; two of each behind a NAT64 gateway.
struct Visit {
    places: Vec<(u32, u32)>,
    asked: Asked,
}

/// Every cell with every set of rules that leads to it, in the order in which they were found.
#[derive(Default)]
struct Visits {
    known: BTreeSet<Vec<(u32, u32)>>,
    planes: BTreeSet<Vec<(u32, Option<u32>)>>,
    list: Vec<Visit>,
}

impl Visits {
    fn seen(&mut self, places: &[(u32, u32)], asked: Asked) {
        if !self.known.contains(places) {
            self.known.insert(places.to_vec());
            self.list.push(Visit { places: places.to_vec(), asked });
        }
    }

    fn is_new(&mut self, areas: &[&Area]) -> bool {
        self.planes.insert(areas.iter().map(|area| (area.covering, area.step.map(|step| step.0))).collect())
    }

    fn area(&mut self, planes: &Planes, area: &Area, address: Address) {
        if self.is_new(&[area]) {
            for ports in planes.of(area) {
                if let Some(cell) = ports.cell {
                    self.seen(&[(cell, ports.set)], request(address, ports.first));
                }
            }
        }
    }

    fn nat64(&mut self, planes: &Planes, both: &Translated) {
        if !self.is_new(&[&both.v6, &both.v4]) {
            return;
        }
        let ends = |ports: &[Ports]| -> Vec<Class<Ports>> {
            ports.iter().map(|ports| Class { last: ports.last.into(), value: *ports }).collect()
        };
        for (first, _, v6, v4) in join(&ends(planes.of(&both.v6)), &ends(planes.of(&both.v4))) {
            if let (Some(cell6), Some(cell4)) = (v6.cell, v4.cell) {
                let asked = request(Address::v6(both.first), first as u32);
                self.seen(&[(cell6, v6.set), (cell4, v4.set)], asked);
            }
        }
    }
}

/// A visit with the programs that are asked about there.
struct Job<'a> {
    visit: &'a Visit,
    programs: BTreeSet<usize>,
    /// No visit before this one had its profile.
    opens_profile: bool,
}

fn jobs<'a>(visits: &'a [Visit], asking: &Asking<'_>, classes: &Classes) -> Vec<Job<'a>> {
    let all: BTreeSet<usize> = (0..asking.policy.policy().programs.len()).collect();
    let own = treated_alone(asking.image);
    // Which programs have still to be asked about in a cell of each profile: (profile, flags of the cell).
    let mut waiting: BTreeMap<Vec<(u32, u32)>, BTreeSet<usize>> = BTreeMap::new();
    let mut jobs = Vec::with_capacity(visits.len());
    for visit in visits {
        let mut programs = BTreeSet::new();
        let mut profile = Vec::with_capacity(visit.places.len());
        for (cell, set) in &visit.places {
            let rules = asking.meaning.index(classes.sets.list(*set));
            programs.extend(asking.meaning.named(&rules));
            programs.extend(own.get(cell).into_iter().flatten());
            let flags = asking.image.cells.get(*cell as usize).map_or(0, |cell| cell.flags);
            profile.push((asking.meaning.profile(&rules), flags));
        }
        let opens_profile = !waiting.contains_key(&profile);
        let waiting = waiting.entry(profile).or_insert_with(|| all.clone());
        // Those that are named here wait for another cell of this profile.
        let named: BTreeSet<usize> = waiting.intersection(&programs).copied().collect();
        programs.append(waiting);
        *waiting = named;
        jobs.push(Job { visit, programs, opens_profile });
    }
    jobs
}

/// The programs of which the tables hold something of their own, by cell.
fn treated_alone(image: &Image) -> HashMap<u32, Vec<usize>> {
    let by_id: HashMap<ProgramId, usize> =
        image.executables.iter().enumerate().map(|(index, executable)| (executable.program, index)).collect();
    let ids: Vec<ProgramId> = image.programs.iter().flat_map(|bucket| bucket.ids).collect();
    let mut found: HashMap<u32, Vec<usize>> = HashMap::new();
    for bucket in &image.pairs {
        for (cell, number) in bucket.cells.iter().zip(bucket.programs).take(BUCKET) {
            let id = number.checked_sub(1).and_then(|at| ids.get(at as usize));
            if let Some(program) = id.and_then(|id| by_id.get(id)) {
                found.entry(*cell).or_default().push(*program);
            }
        }
    }
    found
}

impl Job<'_> {
    fn ask(&self, asking: &Asking<'_>, classes: &Classes, descendant: &Asker) -> Result<u64, ProveError> {
        let indexes: Vec<Index> =
            self.visit.places.iter().map(|(_, set)| asking.meaning.index(classes.sets.list(*set))).collect();
        let places: Vec<&Index> = indexes.iter().collect();
        let mut verdicts = 0;
        let mut ask = |asker: &Asker| -> Result<Answer, ProveError> {
            verdicts += 1;
            Ok(asking.ask(&places, asker, self.visit.asked)?)
        };
        let stranger = asking.stranger();
        let mut answers = vec![(None, ask(&stranger)?)];
        for program in &self.programs {
            let proven = asking.execute(&stranger, Some(*program), Identity::Proven);
            answers.push((Some(*program), ask(&proven)?));
            ask(&asking.execute(&proven, None, Identity::Proven))?;
            ask(&asking.execute(&stranger, Some(*program), Identity::NameOnly))?;
        }
        // Whoever is allowed shows what refuses those who started it, best if audit has nothing to say of it.
        let is = |audited| answers.iter().find(move |(_, answer)| answer.allowed && answer.audited == audited);
        if let Some((allowed, _)) = is(false).or_else(|| is(true)) {
            for program in &self.programs {
                let parent = asking.execute(&stranger, Some(*program), Identity::NameOnly);
                ask(&asking.execute(&parent, *allowed, Identity::Proven))?;
            }
        }
        if self.opens_profile {
            ask(descendant)?;
        }
        Ok(verdicts)
    }
}

/// Does the work on as many threads as the machine runs at once; of several errors, the first one counts.
fn in_parallel<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<u64, ProveError> + Sync,
) -> Result<u64, ProveError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = |part: &[T]| part.iter().try_fold(0, |sum, item| work(item).map(|verdicts| sum + verdicts));
    std::thread::scope(|scope| {
        let chunks = items.chunks(items.len().div_ceil(threads).max(1));
        let running: Vec<_> = chunks.map(|part| scope.spawn(move || all(part))).collect();
        running.into_iter().try_fold(0, |sum, thread| match thread.join() {
            Ok(verdicts) => verdicts.map(|verdicts| sum + verdicts),
            Err(panicked) => std::panic::resume_unwind(panicked),
        })
    })
}
