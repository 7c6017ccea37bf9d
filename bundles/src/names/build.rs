//! Builds the tables of names: the written programs → the automaton that distinguishes them, and its tables.
//!
//! A set of positions, one or more in each written program, becomes a state (the subset construction). The same
//! construction builds the automaton over the bytes of a component, for `*` components. Everything is numbered in the
//! order in which it is reached from the start, symbols ascending, so that the same programs give the same tables.
//!
//! The compiler builds the tables of a policy, and a host those of the symbolic links that it followed.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use super::sections::NameSections;
use super::unit;
use super::{
    COMPONENT_MAX, DEPTH_MAX, NOWHERE, Name, NameBucket, Names, OTHER, State, StepBucket, Word, hash, step_key,
};
use crate::buckets::place;
use crate::record::BUCKET;

/// The most states, of components and of bytes together.
pub const STATES_MAX: usize = 1 << 20;

/// The most steps.
pub const STEPS_MAX: usize = 1 << 21;

/// The most positions in all states together, which determine the memory and time of building.
pub const POSITIONS_MAX: usize = 1 << 23;

/// Directories that a host may have merged: `/bin` is `/usr/bin` if the two are merged.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Why the tables of written programs cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// This path is not absolute or not in its shortest form, or is longer or deeper than a path may be.
    Malformed(usize),
    /// There would be more than can be numbered or searched.
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Malformed(index) => write!(f, "program {index} is not an absolute path"),
            BuildError::TooLarge { what, limit } => write!(f, "the programs need more than {limit} {what}"),
        }
    }
}

impl core::error::Error for BuildError {}

/// The canonical form of a written path: for directories that a host may have merged, the one in `/usr`.
pub fn canonical(path: &str) -> Cow<'_, str> {
    match path.strip_prefix('/').and_then(|rest| rest.split_once('/')) {
        Some((folder, _)) if MERGED.contains(&folder) => alloc::format!("/usr{path}").into(),
        _ => path.into(),
    }
}

/// What one part of a sequence matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// One symbol.
    One(u32),
    /// A component that matches the `*` component with this number.
    Glob(u32),
    /// Any one symbol.
    Any,
    /// Any number of symbols.
    Rest,
}

/// A written program as parts, in the order in which they are matched.
struct Sequence {
    parts: Vec<Part>,
    /// A part that may be missing, which is the last one of a path.
    may_lack: Option<u32>,
}

/// A position in a sequence: the number of the sequence, and the number of its next part.
type Position = (u32, u32);

/// The automaton of all written programs.
#[derive(Debug)]
pub struct Automaton {
    literals: Vec<Vec<u8>>,
    paths: Machine,
    globs: Vec<GlobMachine>,
    /// Whether a program names a unit, so that a unit follows every path.
    has_units: bool,
}

/// A deterministic automaton. State 0 is [`NOWHERE`], state 1 the start.
#[derive(Debug, Default)]
struct Machine {
    states: Vec<Built>,
    /// The sets of sequences that can end at once.
    accepts: Vec<Vec<usize>>,
    /// The state of the positions that are given besides the start.
    elsewhere: u32,
}

#[derive(Debug, Default)]
struct Built {
    otherwise: u32,
    steps: Vec<(u32, u32)>,
    accept: Option<usize>,
    /// The index in [`Automaton::globs`] of the `*` components that continue from here.
    globs: Option<usize>,
}

/// The automaton over bytes that distinguishes some `*` components.
#[derive(Debug)]
struct GlobMachine {
    machine: Machine,
    /// The symbol of each of its sets.
    symbols: Vec<u32>,
    /// The symbols that have steps, including literal names, and the `*` components that each matches.
    matched: Vec<(u32, Vec<u32>)>,
}

impl Automaton {
    /// Builds the automaton. The programs are distinct and in [`canonical`] form.
    ///
    /// # Errors
    /// A path is malformed, or the automaton exceeds a limit.
    pub fn of(written: &[&str]) -> Result<Automaton, BuildError> {
        let split: Vec<Written<'_>> =
            written.iter().enumerate().map(|(index, text)| Written::of(index, text)).collect::<Result<_, _>>()?;
        let has_units = split.iter().any(|one| one.unit.is_some());
        let all = || split.iter().flat_map(|one| one.components.iter().copied().chain(one.unit.as_deref()));
        let literals: Vec<&str> = sorted(all().filter(|component| !component.contains('*')));
        let globs: Vec<&str> = sorted(all().filter(|component| is_glob(component)));
        let number = |list: &[&str], component: &str| list.binary_search(&component).unwrap_or_default() as u32;
        let part = |component: &str| match component {
            glob if is_glob(glob) => Part::Glob(number(&globs, glob)),
            literal => Part::One(number(&literals, literal) + 1),
        };
        let sequence = |one: &Written<'_>| {
            let mut parts = parts_of(&one.components, part);
            let may_lack = is_merged(one.path).then(|| parts.len() as u32 - 1);
            if has_units {
                parts.push(one.unit.as_deref().map_or(Part::Any, part));
            }
            Sequence { parts, may_lack }
        };
        let sequences: Vec<Sequence> = split.iter().map(sequence).collect();
        // A file without a path on the host is every file of its unit, and nothing else.
        let is_any_file = |(_, one): &(u32, &Written<'_>)| one.unit.is_some() && one.path == unit::EVERY_FILE;
        let any_file = (0..).zip(&split).filter(is_any_file);
        let unit_part = |sequence: u32| sequences.get(sequence as usize).map_or(0, |one| one.parts.len() as u32 - 1);
        let elsewhere: Vec<Position> = any_file.map(|(sequence, _)| (sequence, unit_part(sequence))).collect();
        let mut pending = Globs { literals: &literals, globs: &globs, ..Globs::default() };
        let paths = determinize(&sequences, elsewhere, &mut pending)?;
        let globs = pending.machines;
        let literals = literals.into_iter().map(|literal| literal.as_bytes().to_vec()).collect();
        Ok(Automaton { literals, paths, globs, has_units })
    }

    /// The sets of written programs, by their numbers, that one file can match at once.
    pub fn accepts(&self) -> &[Vec<usize>] {
        &self.paths.accepts
    }

    /// The tables, which give the number in `executables` for each of [`Automaton::accepts`].
    pub fn tables(&self, executables: &[u32]) -> Result<NameSections, BuildError> {
        // The states of bytes follow those of components; all share NOWHERE.
        let mut shifts = Vec::new();
        let mut count = self.paths.states.len();
        for globs in &self.globs {
            shifts.push(count as u32 - 1);
            count += globs.machine.states.len() - 1;
        }
        limit("states", count, STATES_MAX)?;
        let glob_start =
            |state: &Built| state.globs.and_then(|globs| shifts.get(globs)).map_or(NOWHERE, |shift| shifted(1, *shift));
        let mut states = Vec::with_capacity(count);
        let mut steps: Vec<(u64, u32)> = Vec::new();
        for (number, state) in self.paths.states.iter().enumerate() {
            let executable = state.accept.and_then(|accept| executables.get(accept));
            states.push(State {
                otherwise: state.otherwise,
                accept: executable.map_or(0, |executable| executable + 1),
                flags: 0,
                glob_start: glob_start(state),
            });
            steps.extend(state.steps.iter().map(|(symbol, next)| (step_key(number as u32, *symbol), *next)));
        }
        for (globs, shift) in self.globs.iter().zip(shifts.iter().copied()) {
            for (number, state) in globs.machine.states.iter().enumerate().skip(1) {
                let symbol = state.accept.and_then(|accept| globs.symbols.get(accept)).copied();
                states.push(State {
                    otherwise: shifted(state.otherwise, shift),
                    accept: symbol.unwrap_or(OTHER),
                    flags: State::BYTES,
                    glob_start: NOWHERE,
                });
                let key = |byte| step_key(shifted(number as u32, shift), byte);
                steps.extend(state.steps.iter().map(|(byte, next)| (key(*byte), shifted(*next, shift))));
            }
        }
        limit("steps", steps.len(), STEPS_MAX)?;
        let (buckets, names, words) = self.names();
        let steps = step_buckets(&steps);
        Ok(NameSections {
            root: Names {
                start: 1,
                bucket_mask: buckets.len() as u32 - 1,
                step_mask: steps.len() as u32 - 1,
                flags: if self.has_units { Names::UNITS } else { 0 },
                elsewhere: self.paths.elsewhere,
                reserved: [0; 3],
            },
            buckets,
            names,
            words,
            states,
            steps,
        })
    }

    fn names(&self) -> (Vec<NameBucket>, Vec<Name>, Vec<Word>) {
        let (mut names, mut words, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for (index, literal) in self.literals.iter().enumerate() {
            let (first, length, symbol) = (words.len() as u32, literal.len() as u32, index as u32 + 1);
            names.push(Name { first, length, symbol, reserved: 0 });
            let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            words.extend(literal.chunks(8).map(|chunk| Word { bytes: word(chunk) }));
            hashes.push(hash::<NameSections, _>(&literal.as_slice()));
        }
        let bucket = |entries: &Vec<usize>| {
            let mut bucket = NameBucket { hashes: [0; BUCKET], names: [0; BUCKET] };
            let slots = bucket.hashes.iter_mut().zip(&mut bucket.names);
            for (entry, (hash, name)) in entries.iter().zip(slots) {
                *hash = hashes.get(*entry).copied().unwrap_or_default();
                *name = *entry as u32 + 1;
            }
            bucket
        };
        (place(&hashes).iter().map(bucket).collect(), names, words)
    }
}

fn step_buckets(steps: &[(u64, u32)]) -> Vec<StepBucket> {
    let keys: Vec<u64> = steps.iter().map(|(key, _)| *key).collect();
    let bucket = |entries: &Vec<usize>| {
        let mut bucket = StepBucket { keys: [0; BUCKET], next: [0; BUCKET] };
        let slots = bucket.keys.iter_mut().zip(&mut bucket.next);
        for ((key, next), slot) in entries.iter().filter_map(|entry| steps.get(*entry)).zip(slots) {
            (*slot.0, *slot.1) = (*key, *next);
        }
        bucket
    };
    place(&keys).iter().map(bucket).collect()
}

/// A written program.
struct Written<'a> {
    path: &'a str,
    /// The components of its path, from the root.
    components: Vec<&'a str>,
    /// The component that the cgroup of its unit matches.
    unit: Option<alloc::string::String>,
}

impl Written<'_> {
    fn of(index: usize, text: &str) -> Result<Written<'_>, BuildError> {
        let (path, unit) = unit::split(text);
        let unit = unit.map(unit::component);
        let is_name = |unit: &alloc::string::String| {
            !unit.is_empty() && unit.len() <= COMPONENT_MAX && !unit.contains(['/', '\0'])
        };
        if !unit.iter().all(is_name) {
            return Err(BuildError::Malformed(index));
        }
        Ok(Written { path, components: components(index, path)?, unit })
    }
}

/// The components of a written path, from the root.
fn components(index: usize, path: &str) -> Result<Vec<&str>, BuildError> {
    let components: Vec<&str> = path.strip_prefix('/').ok_or(BuildError::Malformed(index))?.split('/').collect();
    let is_component = |component: &&str| {
        !matches!(*component, "" | "." | "..") && component.len() <= COMPONENT_MAX && !component.contains('\0')
    };
    if components.len() < DEPTH_MAX as usize && components.iter().all(is_component) {
        Ok(components)
    } else {
        Err(BuildError::Malformed(index))
    }
}

/// Whether a component has a `*` that stands for some of its characters.
fn is_glob(component: &str) -> bool {
    component.contains('*') && !matches!(component, "*" | "**")
}

/// Whether a host without a merged `/usr` has the file in the directory of the same name in the root.
fn is_merged(path: &str) -> bool {
    let folder = path.strip_prefix("/usr/").and_then(|rest| rest.split_once('/'));
    folder.is_some_and(|(folder, _)| MERGED.contains(&folder))
}

/// The parts of a path, last component first.
fn parts_of(components: &[&str], part: impl Fn(&str) -> Part) -> Vec<Part> {
    let mut parts = Vec::new();
    for (index, component) in components.iter().rev().enumerate() {
        match *component {
            "*" => parts.push(Part::Any),
            // A subtree is everything below a directory, without the directory.
            "**" if index == 0 => parts.extend([Part::Any, Part::Rest]),
            "**" => parts.push(Part::Rest),
            other => parts.push(part(other)),
        }
    }
    parts
}

/// The bytes of a `*` component.
fn bytes_of(glob: &str) -> Sequence {
    let part = |byte| if byte == b'*' { Part::Rest } else { Part::One(u32::from(byte)) };
    Sequence { parts: glob.bytes().map(part).collect(), may_lack: None }
}

fn sorted<'a>(components: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    components.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The number of a state, after the states of the automata before its own.
fn shifted(state: u32, shift: u32) -> u32 {
    if state == NOWHERE { NOWHERE } else { state + shift }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), BuildError> {
    if found > limit { Err(BuildError::TooLarge { what, limit }) } else { Ok(()) }
}

/// The automata over bytes that were built so far, one for each set of `*` components that are pending in a state.
#[derive(Default)]
struct Globs<'a> {
    literals: &'a [&'a str],
    globs: &'a [&'a str],
    places: BTreeMap<Vec<u32>, usize>,
    machines: Vec<GlobMachine>,
    /// The symbols of components without a literal name, by what they match.
    symbols: BTreeMap<Vec<u32>, u32>,
    states: usize,
}

impl Globs<'_> {
    /// The index of the automaton for these `*` components, ascending.
    fn place(&mut self, pending: Vec<u32>) -> Result<usize, BuildError> {
        if let Some(place) = self.places.get(&pending) {
            return Ok(*place);
        }
        let texts: Vec<&str> = pending.iter().filter_map(|glob| self.globs.get(*glob as usize)).copied().collect();
        let sequences: Vec<Sequence> = texts.iter().map(|text| bytes_of(text)).collect();
        let machine = determinize(&sequences, Vec::new(), &mut Globs::default())?;
        self.states += machine.states.len();
        limit("states", self.states, STATES_MAX)?;
        let of = |accept: &Vec<usize>| accept.iter().filter_map(|index| pending.get(*index)).copied().collect();
        let sets: Vec<Vec<u32>> = machine.accepts.iter().map(of).collect();
        let mut matched = Vec::new();
        for (index, literal) in self.literals.iter().enumerate() {
            if let Some(set) = machine.run(literal.bytes().map(u32::from)).and_then(|accept| sets.get(accept)) {
                matched.push((index as u32 + 1, set.clone()));
            }
        }
        let mut symbols = Vec::new();
        for set in sets {
            let next = (self.literals.len() + 1 + self.symbols.len()) as u32;
            let symbol = *self.symbols.entry(set.clone()).or_insert(next);
            symbols.push(symbol);
            matched.push((symbol, set));
        }
        let place = self.machines.len();
        self.machines.push(GlobMachine { machine, symbols, matched });
        self.places.insert(pending, place);
        Ok(place)
    }
}

impl Machine {
    /// The set that ends with a sequence of symbols.
    fn run(&self, symbols: impl Iterator<Item = u32>) -> Option<usize> {
        let mut state = self.states.get(1)?;
        for symbol in symbols {
            let next = match state.steps.binary_search_by_key(&symbol, |(symbol, _)| *symbol) {
                Ok(index) => state.steps.get(index)?.1,
                Err(_) => state.otherwise,
            };
            state = self.states.get(next as usize)?;
        }
        state.accept
    }
}

/// Builds the automaton that follows all sequences at once, from their starts and from some positions `elsewhere`.
fn determinize(
    sequences: &[Sequence],
    elsewhere: Vec<Position>,
    pending: &mut Globs<'_>,
) -> Result<Machine, BuildError> {
    let mut machine = Machine { states: alloc::vec![Built::default()], ..Machine::default() };
    let mut numbers = Numbers { known: BTreeMap::new(), sets: alloc::vec![Vec::new()], positions: 0 };
    let mut accepts: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
    numbers.number(closed(sequences, (0..sequences.len()).map(|sequence| (sequence as u32, 0)).collect()))?;
    machine.elsewhere = numbers.number(closed(sequences, elsewhere))?;
    let mut at = 1;
    while let Some(set) = numbers.sets.get(at).cloned() {
        at += 1;
        let mut state = Built::default();
        let ended = ended(sequences, &set);
        if !ended.is_empty() {
            let next = accepts.len();
            let accept = *accepts.entry(ended.clone()).or_insert(next);
            if accept == next {
                machine.accepts.push(ended);
            }
            state.accept = Some(accept);
        }
        let Moves { always, mut steps, globs } = Moves::of(sequences, &set);
        if !globs.is_empty() {
            let place = pending.place(globs.keys().copied().collect())?;
            let matched = pending.machines.get(place).map(|globs| globs.matched.as_slice()).unwrap_or_default();
            for (symbol, set) in matched {
                for positions in set.iter().filter_map(|glob| globs.get(glob)) {
                    steps.entry(*symbol).or_default().extend(positions);
                }
            }
            state.globs = Some(place);
        }
        state.otherwise = numbers.number(closed(sequences, always.clone()))?;
        for (symbol, mut positions) in steps {
            positions.extend(&always);
            state.steps.push((symbol, numbers.number(closed(sequences, positions))?));
        }
        machine.states.push(state);
    }
    // The start state exists even if no sequence starts in it.
    machine.states.resize_with(machine.states.len().max(2), Built::default);
    Ok(machine)
}

/// Where the positions of a state lead.
#[derive(Default)]
struct Moves {
    /// For every symbol.
    always: Vec<Position>,
    /// For one symbol.
    steps: BTreeMap<u32, Vec<Position>>,
    /// For symbols that match a `*` component.
    globs: BTreeMap<u32, Vec<Position>>,
}

impl Moves {
    fn of(sequences: &[Sequence], set: &[Position]) -> Moves {
        let mut moves = Moves::default();
        for &(sequence, at) in set {
            match part(sequences, (sequence, at)) {
                Some(Part::One(symbol)) => moves.steps.entry(symbol).or_default().push((sequence, at + 1)),
                Some(Part::Glob(glob)) => moves.globs.entry(glob).or_default().push((sequence, at + 1)),
                Some(Part::Any) => moves.always.push((sequence, at + 1)),
                Some(Part::Rest) => moves.always.push((sequence, at)),
                None => {}
            }
        }
        moves
    }
}

/// The sets of positions that became states, with their numbers.
struct Numbers {
    known: BTreeMap<Vec<Position>, u32>,
    sets: Vec<Vec<Position>>,
    positions: usize,
}

impl Numbers {
    fn number(&mut self, set: Vec<Position>) -> Result<u32, BuildError> {
        if set.is_empty() {
            return Ok(NOWHERE);
        }
        if let Some(known) = self.known.get(&set) {
            return Ok(*known);
        }
        let number = self.sets.len();
        limit("states", number, STATES_MAX)?;
        self.positions += set.len();
        limit("positions in their states", self.positions, POSITIONS_MAX)?;
        self.known.insert(set.clone(), number as u32);
        self.sets.push(set);
        Ok(number as u32)
    }
}

fn part(sequences: &[Sequence], (sequence, at): Position) -> Option<Part> {
    sequences.get(sequence as usize)?.parts.get(at as usize).copied()
}

/// A set with the positions that are reached from it without a symbol.
fn closed(sequences: &[Sequence], mut set: Vec<Position>) -> Vec<Position> {
    let mut next = 0;
    while let Some((sequence, at)) = set.get(next).copied() {
        next += 1;
        let may_skip = part(sequences, (sequence, at)) == Some(Part::Rest) || may_lack(sequences, (sequence, at));
        if may_skip {
            set.push((sequence, at + 1));
        }
    }
    set.sort_unstable();
    set.dedup();
    set
}

/// Whether the part at a position may be missing, and is not the last one.
fn may_lack(sequences: &[Sequence], (sequence, at): Position) -> bool {
    sequences
        .get(sequence as usize)
        .is_some_and(|sequence| sequence.may_lack == Some(at) && at as usize + 1 < sequence.parts.len())
}

/// The sequences that end at one of these positions.
fn ended(sequences: &[Sequence], set: &[Position]) -> Vec<usize> {
    let is_end = |(sequence, at): &&Position| {
        sequences.get(*sequence as usize).is_some_and(|sequence| {
            let left = sequence.parts.len().saturating_sub(*at as usize);
            left == 0 || left == 1 && sequence.may_lack == Some(*at)
        })
    };
    let mut ended: Vec<usize> = set.iter().filter(is_end).map(|(sequence, _)| *sequence as usize).collect();
    ended.dedup();
    ended
}
