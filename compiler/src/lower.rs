//! Lowering: checked policy → image.
//!
//! Lowering cuts the space of addresses, ports and protocols along the rules' edges. Requests that exactly the same
//! rules cover share a cell. [`cells`] works out the meaning of the rules once for each cell; [`tree`] turns the way
//! from an address and a port to its cell into search trees. Everything is numbered in the order of the source and of
//! the address space, so the same policy gives the same bytes.

mod cells;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tree;

use std::collections::{BTreeMap, HashMap};

use bfp_bundle::image::{Image, NamedExecutable};
use bfp_bundle::label::{ProgramId, RESTRICTED_BY_MAX};
use bfp_bundle::manifest::Need;
use bfp_bundle::names::Match;
use bfp_bundle::names::build::{Automaton, BuildError};
use bfp_bundle::names::sections::NameSections;
use bfp_bundle::record::{NO_RULE, Policy, Step};
use bfp_bundle::request::port_key;
use sha2::{Digest, Sha256};

use self::cells::Cells;
use self::tree::Trees;
use crate::check::CheckedPolicy;
use crate::policy::{Addresses, Default, Effect, PortRange, ProgramIndex, ResolvedPolicy, Rule};

/// Why a checked policy cannot be lowered.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LowerError {
    /// A table would have more entries than can be numbered or searched.
    #[error("the policy is too large: its {what} would need {found} entries, and {limit} is the limit")]
    #[diagnostic(code(lower::capacity), help("split the policy, or merge rules that mean the same"))]
    Capacity {
        /// The table, in words.
        what: &'static str,
        /// The number of entries that it would have.
        found: usize,
        /// The most entries that it can have.
        limit: usize,
    },
    /// The tables that match paths to programs cannot be built.
    #[error("the policy is too large: {0}")]
    #[diagnostic(code(lower::capacity), help("write fewer patterns with several `*` in one name, or fewer with `**`"))]
    Names(BuildError),
    /// Two programs have the same id.
    #[error("the paths `{first}` and `{second}` have the same program id")]
    #[diagnostic(code(lower::id_collision), help("rename one of the two programs"))]
    IdCollision {
        /// One program's path.
        first: String,
        /// The other program's path.
        second: String,
    },
}

/// The stable id of a program, derived from its text: the first eight bytes of a SHA-256, never zero.
pub fn program_id(path: &str) -> ProgramId {
    let digest = Sha256::new().chain_update(b"bfp program path\0").chain_update(path).finalize();
    let (first, _) = digest.split_at(8);
    first.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1)
}

/// The kernel features that enforcing a policy requires.
pub fn needs(checked: &CheckedPolicy) -> Vec<Need> {
    let policy = checked.policy();
    let names_raw =
        |rule: &Rule| !rule.covers_everything && rule.destinations.iter().any(|to| to.addresses == Addresses::Raw);
    let mut needs = vec![Need::BpfLsm];
    if policy.programs.iter().any(|program| !program.pins.is_empty()) {
        needs.push(Need::Verity);
    }
    if policy.rules.iter().any(names_raw) {
        needs.push(Need::RawSockets);
    }
    if policy.programs.iter().any(|program| program.libraries.is_some()) {
        needs.push(Need::Libraries);
    }
    if policy.rules.iter().any(|rule| rule.effect == Effect::AllowOthers) {
        needs.push(Need::WithheldGrants);
    }
    if policy.programs.iter().any(|program| program.unit().is_some()) {
        needs.push(Need::Units);
    }
    if policy.clients {
        needs.push(Need::Clients);
    }
    needs
}

/// The rules that cover an address, each with the ports that it covers there.
type Covering = Vec<(usize, Vec<PortRange>)>;

/// Lowers a policy.
///
/// # Errors
///
/// A table would exceed its capacity, the tables of names cannot be built, or two programs have the same id.
pub fn lower(checked: &CheckedPolicy) -> Result<Image, LowerError> {
    let policy = checked.policy();
    let mut cells = Cells::new(policy);
    let mut trees = Trees::default();
    let mut steps: HashMap<Covering, Step> = HashMap::new();

    let mut edges_v4: Vec<Edge<u32>> = Vec::new();
    let mut edges_v6: Vec<Edge<u128>> = Vec::new();
    let mut raw: Vec<usize> = Vec::new();
    for (rule, written) in policy.rules.iter().enumerate() {
        for destination in &written.destinations {
            let ports = &destination.ports;
            match destination.addresses {
                Addresses::V4(first, last) => edges_v4.push(Edge { first, last, rule, ports }),
                Addresses::V6(first, last) => edges_v6.push(Edge { first, last, rule, ports }),
                Addresses::Raw => raw.push(rule),
            }
        }
    }
    let mut by_port = |covering: Covering, trees: &mut Trees| -> Result<Step, LowerError> {
        if let Some(step) = steps.get(&covering) {
            return Ok(*step);
        }
        let ranges = cut_ports(&covering, policy.last_port_key(), &mut cells)?;
        let step = trees.ports(&ranges)?;
        steps.insert(covering, step);
        Ok(step)
    };
    let mut ranges_v4 = Vec::new();
    for (last, covering) in sweep(edges_v4, u32::MAX) {
        tree::push(&mut ranges_v4, last, by_port(covering, &mut trees)?);
    }
    let mut ranges_v6 = Vec::new();
    for (last, covering) in sweep(edges_v6, u128::MAX) {
        tree::push(&mut ranges_v6, last, by_port(covering, &mut trees)?);
    }
    let raw_cell = cells.number(raw)?;
    let root_v4 = trees.addresses_v4(&ranges_v4)?;
    let root_v6 = trees.addresses_v6(&ranges_v6)?;

    let ids: Vec<ProgramId> = policy.programs.iter().map(|program| program_id(&program.path)).collect();
    let mut paths: BTreeMap<ProgramId, &str> = BTreeMap::new();
    for (program, id) in policy.programs.iter().zip(&ids) {
        if let Some(first) = paths.insert(*id, &program.path) {
            return Err(LowerError::IdCollision { first: first.to_owned(), second: program.path.clone() });
        }
    }
    let (mut programs, numbers) = table::programs(&ids, &cells);
    let pairs = table::pairs(&numbers, &cells);
    let executables = policy.programs.iter().zip(&ids).enumerate().map(|(index, (program, &id))| NamedExecutable {
        path: program.path.clone(),
        program: id,
        flags: cells.executable_flags(index),
        pins: program.pins.clone(),
        libraries: program.libraries.clone(),
        members: program.members.iter().map(|member| member.0 as u32).collect(),
    });
    let executables: Vec<NamedExecutable> = executables.collect();
    let names = names(policy)?;
    let matches: Vec<Match> = executables.iter().map(|executable| matched(executable, &executables)).collect();
    table::mark(&mut programs, &matches);

    Ok(Image {
        policy: Policy {
            root_v4: root_v4.0,
            root_v6: root_v6.0,
            flags: if policy.default == Default::Allow { 0 } else { Policy::DEFAULT_DENY }
                | if policy.clients { Policy::CLIENTS } else { 0 },
            program_mask: programs.len() as u32 - 1,
            pair_mask: pairs.len() as u32 - 1,
            default_rule: NO_RULE,
            raw_cell,
            reserved: 0,
        },
        executables,
        names,
        matches,
        nodes32: trees.nodes32,
        nodes128: trees.nodes128,
        cells: cells.records(),
        programs,
        pairs,
    })
}

/// The tables that map a file's path to its program or class.
fn names(policy: &ResolvedPolicy) -> Result<NameSections, LowerError> {
    let written: Vec<&str> =
        policy.programs.iter().filter(|program| !program.is_class()).map(|program| program.path.as_str()).collect();
    let automaton = Automaton::of(&written).map_err(LowerError::Names)?;
    let classes: HashMap<&[ProgramIndex], u32> =
        policy.programs.iter().zip(0..).map(|(program, index)| (program.members.as_slice(), index)).collect();
    let place = |set: &Vec<usize>| match set.as_slice() {
        [only] => *only as u32,
        several => {
            let members: Vec<ProgramIndex> = several.iter().copied().map(ProgramIndex).collect();
            // Resolving creates a class for each set. If one were missing, `prove` would find the wrong program here.
            classes.get(members.as_slice()).copied().unwrap_or_default()
        }
    };
    let places: Vec<u32> = automaton.accepts().iter().map(place).collect();
    automaton.tables(&places).map_err(LowerError::Names)
}

/// What a process of a program or a class becomes: the restrictions of all its members hold.
fn matched(executable: &NamedExecutable, all: &[NamedExecutable]) -> Match {
    let mut record = executable.alone();
    if executable.is_written() {
        return record;
    }
    record.restricted = [0; RESTRICTED_BY_MAX];
    record.count = 0;
    let members = executable.members.iter().filter_map(|member| all.get(*member as usize));
    let restricted = members.filter(|member| member.flags & Match::RESTRICTED != 0);
    // Resolving rejects a class with more restricted members than fit.
    for (member, place) in restricted.zip(&mut record.restricted) {
        *place = member.program;
        record.count += 1;
    }
    record
}

/// A range of addresses that a rule covers for some ports.
struct Edge<'a, A> {
    first: A,
    last: A,
    rule: usize,
    ports: &'a Vec<PortRange>,
}

/// An address with a predecessor and a successor.
trait Key: Copy + Ord {
    fn before(self) -> Option<Self>;
    fn after(self) -> Option<Self>;
}
macro_rules! key {
    ($($type:ty),*) => { $(impl Key for $type {
        fn before(self) -> Option<Self> { self.checked_sub(1) }
        fn after(self) -> Option<Self> { self.checked_add(1) }
    })* };
}
key!(u32, u128);

/// Cuts the address space into ranges that the same rules cover: (last address, covering rules), ascending.
fn sweep<A: Key>(edges: Vec<Edge<'_, A>>, maximum: A) -> Vec<(A, Covering)> {
    let mut starts: BTreeMap<A, Vec<usize>> = BTreeMap::new();
    let mut ends: BTreeMap<A, Vec<usize>> = BTreeMap::new();
    let mut cuts: std::collections::BTreeSet<A> = std::collections::BTreeSet::from([maximum]);
    for (index, edge) in edges.iter().enumerate() {
        starts.entry(edge.first).or_default().push(index);
        cuts.extend(edge.first.before());
        cuts.insert(edge.last);
        if let Some(after) = edge.last.after() {
            ends.entry(after).or_default().push(index);
        }
    }
    // Ranges that are open at this address, by rule and position, so that a covering lists rules in their order.
    let mut open: BTreeMap<(usize, usize), &Vec<PortRange>> = BTreeMap::new();
    let mut starts = starts.into_iter().peekable();
    let mut ends = ends.into_iter().peekable();
    let mut ranges = Vec::new();
    for last in cuts {
        while let Some((_, closed)) = ends.next_if(|(at, _)| *at <= last) {
            for index in closed {
                if let Some(edge) = edges.get(index) {
                    open.remove(&(edge.rule, index));
                }
            }
        }
        while let Some((_, opened)) = starts.next_if(|(at, _)| *at <= last) {
            for index in opened {
                if let Some(edge) = edges.get(index) {
                    open.insert((edge.rule, index), edge.ports);
                }
            }
        }
        let mut covering: Covering = Vec::new();
        for ((rule, _), ports) in &open {
            match covering.last_mut() {
                Some((same, merged)) if same == rule => {
                    merged.extend(ports.iter());
                    merged.sort();
                    merged.dedup();
                }
                _ => covering.push((*rule, (*ports).clone())),
            }
        }
        ranges.push((last, covering));
    }
    ranges
}

/// Cuts the ports at one address into ranges that the same rules cover: (last key, cell), ascending.
fn cut_ports(covering: &Covering, last_key: u32, cells: &mut Cells<'_>) -> Result<Vec<(u32, u32)>, LowerError> {
    let key = |range: &PortRange| (port_key(range.protocol, range.first), port_key(range.protocol, range.last));
    let mut cuts = std::collections::BTreeSet::from([last_key]);
    for (first, last) in covering.iter().flat_map(|(_, ports)| ports.iter().map(key)) {
        cuts.extend(first.checked_sub(1));
        cuts.insert(last);
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for last in cuts {
        let covers = |ports: &Vec<PortRange>| ports.iter().map(key).any(|(first, end)| (first..=end).contains(&last));
        let rules: Vec<usize> = covering.iter().filter(|(_, ports)| covers(ports)).map(|(rule, _)| *rule).collect();
        tree::push(&mut ranges, last, cells.number(rules)?);
    }
    Ok(ranges)
}
