//! Translation validation: (checked policy, image) → an image that is proven to mean what the policy means, or a
//! request on which they differ.
//!
//! No bundle is made from an image that lowering got wrong, for whatever reason: only this module makes a
//! [`ProvenImage`], and only that can be signed. This does not test sample policies. It is a proof for the policy at
//! hand, in every build.
//!
//! **Requests.** They fall into finitely many classes, within which neither the policy nor the tables can change their
//! answer. The policy's edges come from its destinations ([`sweep`]), the tables' from their nodes ([`walk`]); classes
//! are cut along both. Each class is queried at both ends of its addresses and of its ports; an IPv4 class also as
//! mapped, unspecified and NAT64 addresses.
//!
//! **Processes.** A verdict is `no(cell) ∨ ∃ u in under: no(cell, u) ∨ ¬∃ identity: grant(cell, identity)`, in `decide`
//! as in the model, and the same with `audit` in the place of `no`. Each term needs one program, so programs are
//! queried one at a time: proven, by name alone, as the parent of an unlisted program, and as the parent of an allowed
//! program (where a denial of its own shows). A chain of as many restricted programs as a label holds is queried too.
//!
//! **Programs.** `decide` knows a request only by its cell. So once the way of each class to its cell is known, each
//! pair of a cell and the rules that cover it is queried once: for the programs that these rules name, and for those
//! that the tables treat differently there. All others are treated as elsewhere: each is queried in one cell of each
//! profile. A profile is the effect of the rules on a program that they do not name. Where many rules overlap, a
//! program is not queried again in a cell with the same records and the same rules for it ([`alike`]).
//!
//! Lowering shares none of this code, except the plain model of what a rule means.

mod alike;
mod ask;
mod hash;
mod meaning;
mod names;
mod records;
mod sweep;
#[cfg(test)]
mod tests;
mod visits;
mod walk;

pub use self::ask::Witness;

use std::fmt::{self, Display};

use bfp_bundle::image::Image;
use bfp_bundle::record::Step;
use bfp_bundle::request::{Address, LOOPBACK_V4, Protocol, Request};

use self::ask::{Asking, Searched, same};
use self::meaning::{Governance, Index, Meaning};
use self::sweep::{Class, Classes, Key, Rows};
use self::visits::{Buffers, Visit, Visits, jobs};
use crate::check::CheckedPolicy;
use crate::policy::model::{Answer, Asked, Process};
use crate::prove::hash::NumberMap;

/// The tables do not mean what the policy means.
#[derive(Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ProveError {
    /// The verdicts differ.
    #[error("the tables are wrong: {0}")]
    #[diagnostic(code(prove::mismatch), help("this is a defect of the compiler: report it with the policy"))]
    Mismatch(Box<Witness>),
    /// They treat a program as another one.
    #[error("the tables are wrong about the program `{path}`: {what}")]
    #[diagnostic(code(prove::identity), help("this is a defect of the compiler: report it with the policy"))]
    Identity {
        /// The program's path.
        path: String,
        /// What is wrong, in words.
        what: &'static str,
    },
    /// They assign a file to the wrong program.
    #[error("the tables are wrong about the file `{path}`: it is {meant}, and they take it for {found}")]
    #[diagnostic(code(prove::name), help("this is a defect of the compiler: report it with the policy"))]
    Name {
        /// The path of the file.
        path: String,
        /// The program that it is by the policy.
        meant: String,
        /// The program that it is by the tables.
        found: String,
    },
    /// They do not say whether the policy names `clients`.
    #[error("the tables are wrong: they do not say whether the policy names `clients`")]
    #[diagnostic(code(prove::clients), help("this is a defect of the compiler: report it with the policy"))]
    Clients,
    /// A record states that an audited rule applies, and names none.
    #[error("the tables are wrong: a record of {table} is audited by no rule")]
    #[diagnostic(code(prove::record), help("this is a defect of the compiler: report it with the policy"))]
    Record {
        /// The table that contains it.
        table: &'static str,
    },
}

impl From<Box<Witness>> for ProveError {
    fn from(witness: Box<Witness>) -> ProveError {
        ProveError::Mismatch(witness)
    }
}

/// The size of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Verdicts of the tables that were compared with the policy's, all of them equal.
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

/// An image whose every verdict is its policy's: the only kind that can be signed.
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

    /// The size of its proof.
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

/// Proves an image.
///
/// # Errors
///
/// The first difference that was found, with a request or a path that shows it.
pub fn prove(policy: &CheckedPolicy, image: Image) -> Result<ProvenImage<'_>, ProveError> {
    let governance = Governance::of(policy.policy());
    records::identities_are_right(policy, &image, &governance)?;
    records::audit_names_its_rules(&image)?;
    records::answers_are_distinguished(policy.policy(), &image)?;
    names::prove(policy.policy(), &image)?;
    let classes = sweep::classes(policy.policy());
    let meaning = Meaning::new(policy.policy(), &classes.everywhere, governance);
    let asking = Asking { policy, image: &image, meaning: &meaning };

    let mut planes = Planes { last_port_key: policy.policy().last_port_key(), ..Planes::default() };
    let mut v4 = planes.areas(&classes.v4, &walk::v4(&image), &classes, &image);
    let mut v6 = planes.areas(&classes.v6, &walk::v6(&image), &classes, &image);
    planes.find_first(&mut v4, |area| askable_v4(area).is_some());
    planes.find_first(&mut v6, |area| askable_v6(area).next().is_some());
    let sets = Sets::new(&classes, &meaning);
    let edges = Edges { asking: &asking, planes: &planes, sets: &sets };
    let mut verdicts = in_parallel(&v4, |areas| sum(areas, |area| edges.of_v4(area)))?;
    verdicts += in_parallel(&v6, |areas| sum(areas, |area| edges.of_v6(area)))?;
    // A request for the unspecified address goes to loopback.
    if let Some(area) = v4.get(v4.partition_point(|area| area.last < LOOPBACK_V4)) {
        verdicts += edges.at(area, Address::V4(0))? + edges.at(area, Address::v6(MAPPED.0))?;
    }
    if let Some(area) = v6.get(v6.partition_point(|area| area.last < 1)) {
        verdicts += edges.at(area, Address::v6(0))?;
    }

    let mut visits = Visits::default();
    // Raw sockets may lead to the same cell as an address, but differ: the policy's programs need grants for them.
    visits.list.push(Visit { place: (image.policy.raw_cell, classes.raw), behind: None, asked: Asked::Raw });
    for area in &v4 {
        askable_v4(area).into_iter().for_each(|(first, _)| visits.area(&planes, area, Address::V4(first)));
    }
    for area in &v6 {
        // Behind a gateway, the IPv4 address counts too: no answer there depends on this area alone.
        let mut alone = askable_v6(area).filter(|(first, _)| !(NAT64.0..=NAT64.1).contains(first));
        alone.next().into_iter().for_each(|(first, _)| visits.area(&planes, area, Address::v6(first)));
    }
    let translated = translated(&v4, &v6);
    verdicts += in_parallel(&translated, |ranges| sum(ranges, |both| edges.of_nat64(both)))?;
    for both in &translated {
        visits.nat64(&planes, both);
    }
    let jobs = jobs(&visits, &asking, &classes, &sets);
    let descendant = asking.descendant();
    verdicts += in_parallel(&jobs, |jobs| {
        let mut buffers = Buffers::default();
        sum(jobs, |job| job.ask(&asking, &classes, &descendant, &mut buffers))
    })?;
    Ok(ProvenImage { policy, image, proof: Proof { verdicts } })
}

/// The first and last address of ::ffff:0:0/96, which are judged as IPv4.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// The first and last address of 64:ff9b::/96, which embeds the IPv4 addresses behind a gateway.
const NAT64: (u128, u128) = (0x0064_ff9b << 96, 0x0064_ff9b << 96 | 0xffff_ffff);

/// Addresses that the same rules cover, and from which a search in the tables continues in the same way.
#[derive(Clone, Copy)]
struct Area<K> {
    first: K,
    last: K,
    /// The number of the plane at each of these addresses.
    plane: u32,
    /// This is the first area with this plane that can be queried.
    is_first: bool,
}

/// A range that ends at a key, and begins after the end of the one before it.
trait Ends<K> {
    fn last(&self) -> K;
}

impl<K: Key, V> Ends<K> for Class<K, V> {
    fn last(&self) -> K {
        self.last
    }
}

/// Two partitions of the same keys, each cut by the other: (first, last, one, other).
fn join<'a, K: Key + Default, A: Ends<K>, B: Ends<K>>(
    a: &'a [A],
    b: &'a [B],
) -> impl Iterator<Item = (K, K, &'a A, &'a B)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut first = K::default();
    std::iter::from_fn(move || {
        let (one, other) = (*a.peek()?, *b.peek()?);
        let last = one.last().min(other.last());
        let found = (first, last, one, other);
        a.next_if(|one| one.last() == last);
        b.next_if(|other| other.last() == last);
        first = last.after();
        Some(found)
    })
}

/// The ends of an area without the unspecified address, which is judged as another one.
fn askable_v4(area: &Area<u32>) -> Option<(u32, u32)> {
    let (first, last) = (area.first.max(1), area.last);
    (first <= last).then_some((first, last))
}

/// As [`askable_v4`]: the parts before, between and after the mapped and the NAT64 addresses, and the latter.
fn askable_v6(area: &Area<u128>) -> impl Iterator<Item = (u128, u128)> + use<> {
    let parts = [(1, MAPPED.0 - 1), (MAPPED.1 + 1, NAT64.0 - 1), NAT64, (NAT64.1 + 1, u128::MAX)];
    let (first, last) = (area.first, area.last);
    parts.into_iter().map(move |part| (first.max(part.0), last.min(part.1))).filter(|(first, last)| first <= last)
}

/// Ports that the same rules cover, and that lead to the same cell.
#[derive(Clone, Copy)]
struct Ports {
    first: u32,
    last: u32,
    set: u32,
    cell: Option<u32>,
}

impl Ends<u32> for Ports {
    fn last(&self) -> u32 {
        self.last
    }
}

/// The port ranges for each pair of a covering and a step of the tables.
#[derive(Default)]
struct Planes {
    numbers: NumberMap<(u32, Option<Step>), u32>,
    rows: Rows<Ports>,
    /// For each plane, by number: whether an area with it was found.
    found: Vec<bool>,
    /// The last key of the ports that the policy distinguishes.
    last_port_key: u32,
}

impl Planes {
    /// Cuts the policy's classes along those of the tables.
    fn areas<K: Key + Default>(
        &mut self,
        by_policy: &[Class<K, u32>],
        by_tables: &[Class<K, Option<Step>>],
        classes: &Classes,
        image: &Image,
    ) -> Vec<Area<K>> {
        let (mut walk, mut by_port) = (walk::Walk::default(), Vec::new());
        let mut areas = Vec::with_capacity(by_policy.len().max(by_tables.len()));
        for (first, last, covering, step) in join(by_policy, by_tables) {
            let next = self.rows.len() as u32;
            let plane = *self.numbers.entry((covering.value, step.value)).or_insert(next);
            if plane == next {
                walk::ports(image, (step.value, self.last_port_key), &mut walk, &mut by_port);
                let ports = join(classes.ports.row(covering.value), &by_port);
                self.rows.push(ports.map(|(first, last, set, step)| Ports {
                    first,
                    last,
                    set: set.value,
                    cell: step.value.map(Step::index),
                }));
            }
            areas.push(Area { first, last, plane, is_first: false });
        }
        areas
    }

    fn find_first<K>(&mut self, areas: &mut [Area<K>], is_askable: impl Fn(&Area<K>) -> bool) {
        self.found.resize(self.rows.len(), false);
        for area in areas.iter_mut().filter(|area| is_askable(area)) {
            if let Some(found) = self.found.get_mut(area.plane as usize) {
                area.is_first = !std::mem::replace(found, true);
            }
        }
    }

    fn of<K>(&self, area: &Area<K>) -> &[Ports] {
        self.rows.row(area.plane)
    }
}

/// The request for an address and a port key.
fn request(address: Address, key: u32) -> Asked {
    let protocol = Protocol::from_number(key >> 16);
    Asked::Request(Request { address, port: key as u16, protocol })
}

/// The first and the last port of a plane, each as a range of one port.
fn ends(ports: &[Ports]) -> impl Iterator<Item = Ports> + use<> {
    let first = ports.first().map(|ports| Ports { last: ports.first, ..*ports });
    let last = ports.last().map(|ports| Ports { first: ports.last, ..*ports });
    first.into_iter().chain(last)
}

/// Facts about each set of rules.
struct Sets {
    facts: Vec<Facts>,
}

#[derive(Clone, Copy)]
struct Facts {
    /// The answer to an unlisted program where exactly these rules cover.
    unlisted: Answer,
    /// The same, but only what these rules deny themselves: this counts behind a gateway.
    unlisted_behind: Answer,
    /// See [`Meaning::profile`].
    profile: u32,
}

impl Sets {
    fn new(classes: &Classes, meaning: &Meaning<'_>) -> Sets {
        let (mut index, mut scale, unlisted) = (Index::default(), Vec::new(), Process::default());
        let facts = classes.sets.iter().map(|rules| {
            meaning.index(rules, &mut index);
            let unlisted_behind = meaning.answer_covered(&index, &unlisted, &mut scale);
            let unlisted = meaning.answer(&index, &unlisted, &mut scale);
            Facts { unlisted, unlisted_behind, profile: meaning.profile(&index) }
        });
        Sets { facts: facts.collect() }
    }

    fn of(&self, set: u32) -> Facts {
        let refused = Answer { allowed: false, audited: false };
        let none = Facts { unlisted: refused, unlisted_behind: refused, profile: 0 };
        self.facts.get(set as usize).copied().unwrap_or(none)
    }
}

/// Queries for an unlisted program at the edges of every class: they show whether the class leads to its cell.
struct Edges<'a> {
    asking: &'a Asking<'a>,
    planes: &'a Planes,
    sets: &'a Sets,
}

impl Edges<'_> {
    fn of_v4(&self, area: &Area<u32>) -> Result<u64, ProveError> {
        let Some((first, last)) = askable_v4(area) else { return Ok(0) };
        let mut asked = self.at(area, Address::V4(first))?;
        if first != last {
            asked += self.at(area, Address::V4(last))?;
        }
        for (end, ports) in [first, last].into_iter().zip(ends(self.planes.of(area))) {
            asked += self.about([ports], Address::v6(MAPPED.0 | u128::from(end)))?;
        }
        Ok(asked)
    }

    fn of_v6(&self, area: &Area<u128>) -> Result<u64, ProveError> {
        let mut asked = 0;
        for (first, last) in askable_v6(area) {
            asked += self.at(area, Address::v6(first))?;
            if first != last {
                asked += self.at(area, Address::v6(last))?;
            }
        }
        Ok(asked)
    }

    /// Queries both ends of each range of ports; where the same ranges were queried elsewhere, only those of the first
    /// and the last one.
    fn at<K>(&self, area: &Area<K>, address: Address) -> Result<u64, ProveError> {
        let ports = self.planes.of(area);
        if area.is_first { self.about(ports.iter().copied(), address) } else { self.about(ends(ports), address) }
    }

    fn about(&self, ports: impl IntoIterator<Item = Ports>, address: Address) -> Result<u64, ProveError> {
        let unlisted = self.asking.unlisted();
        // The address behind a NAT64 gateway adds to the answer: there, only the cell is compared.
        let translated = address.judged().behind_nat64().is_some();
        let mut asked = 0;
        for ports in ports {
            let model = self.sets.of(ports.set).unlisted;
            let keys = [ports.first, ports.last];
            for key in keys.into_iter().take(if ports.first == ports.last { 1 } else { 2 }) {
                let request = request(address, key);
                let (image, found) = self.asking.verdict_and_cell(&unlisted, request, &Searched::default());
                let leads = found.is_some() && found == ports.cell;
                if !leads || !(translated || same(model, image)) {
                    return Err(self.asking.witness(&unlisted.process, request, model, image).into());
                }
                asked += 1;
            }
        }
        Ok(asked)
    }

    /// Queries both ends of a translated range.
    fn of_nat64(&self, both: &Translated<'_>) -> Result<u64, ProveError> {
        let unlisted = self.asking.unlisted();
        let (v4, v6) = (self.planes.of(both.v4), self.planes.of(both.v6));
        let mut asked = 0;
        let corners =
            [(both.first, v4.first(), v6.first(), 0), (both.last, v4.last(), v6.last(), self.planes.last_port_key)];
        for (address, v4, v6, key) in corners {
            let (Some(v4), Some(v6)) = (v4, v6) else { continue };
            let (v4, v6) = (self.sets.of(v4.set), self.sets.of(v6.set));
            let model = v6.unlisted.and(v4.unlisted_behind);
            let request = request(Address::v6(address), key);
            let image = self.asking.verdict(&unlisted, request);
            if !same(model, image) {
                return Err(self.asking.witness(&unlisted.process, request, model, image).into());
            }
            asked += 1;
        }
        Ok(asked)
    }
}

/// A range within 64:ff9b::/96, with the area that contains it and the area behind the gateway.
struct Translated<'a> {
    first: u128,
    last: u128,
    v4: &'a Area<u32>,
    v6: &'a Area<u128>,
}

fn translated<'a>(v4: &'a [Area<u32>], v6: &'a [Area<u128>]) -> Vec<Translated<'a>> {
    let mut found = Vec::new();
    let mut behind = v4.iter().peekable();
    let within = v6.iter().skip(v6.partition_point(|area| area.last < NAT64.0));
    for area in within.take_while(|area| area.first <= NAT64.1) {
        let mut first = area.first.max(NAT64.0);
        let end = area.last.min(NAT64.1);
        while let Some(carried) = behind.peek() {
            let carried_last = NAT64.0 | u128::from(carried.last);
            let last = carried_last.min(end);
            found.push(Translated { first, last, v4: carried, v6: area });
            behind.next_if(|_| carried_last == last);
            first = last + 1;
            if last == end {
                break;
            }
        }
    }
    found
}

fn sum<T>(items: &[T], mut work: impl FnMut(&T) -> Result<u64, ProveError>) -> Result<u64, ProveError> {
    items.iter().try_fold(0, |sum, item| work(item).map(|verdicts| sum + verdicts))
}

/// Divides the work among as many threads as the machine runs at once; of several errors, returns the first.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&[T]) -> Result<u64, ProveError> + Sync) -> Result<u64, ProveError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let chunks = items.chunks(items.len().div_ceil(threads).max(1));
        let running: Vec<_> = chunks.map(|part| scope.spawn(|| work(part))).collect();
        running.into_iter().try_fold(0, |sum, thread| match thread.join() {
            Ok(verdicts) => verdicts.map(|verdicts| sum + verdicts),
            Err(panicked) => std::panic::resume_unwind(panicked),
        })
    })
}
