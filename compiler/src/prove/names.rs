//! Whether the tables of names assign each file to the right program.
//!
//! The meaning is followed from the root, component by component, as sets of the places that each written program
//! reaches. The tables are read by the function that the kernel calls. Neither the builder nor its results are used.
//! For every kind of file that the policy knows, and for every pair of patterns that overlap, a search finds matching
//! paths; these are queried, and so are paths that differ from them in one place. No process becomes a kind for which
//! the search finds no path.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bfp_bundle::image::Image;
use bfp_bundle::names::{self, COMPONENT_MAX, unit};
use smallvec::{SmallVec, smallvec};

use super::{ProveError, in_parallel};
use crate::policy::{Program, ProgramIndex, ResolvedPolicy};
use crate::prove::hash::{NumberMap, NumberSet};

/// With more patterns than this, not every pair is searched for a path that both cover.
const PAIRS_OF: usize = 96;

/// In a path of more components than this, no component is replaced by another.
const FEW: usize = 8;

/// With more patterns than `PAIRS_OF`, each is compared with this many that sort after it.
const NEIGHBOURS: usize = 8;

/// The most sets of places that a search for a path visits.
const LONGEST_SEARCH: usize = 4096;

/// How often a search continues from the same set of places, to find another path.
const WAYS: usize = 3;

/// Queries every path that can show a difference. Returns the number of compared answers.
pub(super) fn prove(policy: &ResolvedPolicy, image: &Image) -> Result<u64, ProveError> {
    let has_units = policy.programs.iter().any(|program| program.unit().is_some());
    let texts: Vec<String> = policy.programs.iter().map(|program| text_of(program, has_units)).collect();
    let written = policy.programs.iter().zip(&texts).enumerate();
    let written: Vec<(usize, &str)> = written
        .filter(|(_, (program, _))| !program.is_class())
        .map(|(index, (_, text))| (index, text.as_str()))
        .collect();
    let spelt_out = written.iter().flat_map(|(_, text)| text.split('/').skip(1));
    let spelt_out: NumberSet<&str> = spelt_out.filter(|component| !component.contains('*')).collect();
    let mut spelt_out: Vec<&str> = spelt_out.into_iter().collect();
    spelt_out.sort_unstable();
    let some = if written.len() <= PAIRS_OF { 2 * PAIRS_OF } else { FEW };
    let names = Names {
        policy,
        image,
        texts: &texts,
        has_units,
        all: Walk::of(&written, has_units),
        kinds: Kinds::new(policy),
        filler: filler(&written),
        spelt_out: spelt_out.iter().copied().step_by(spelt_out.len().div_ceil(some).max(1)).collect(),
    };
    let mut compared = 0;

    let found: Vec<&Program> =
        policy.kinds.iter().filter_map(|ProgramIndex(index)| policy.programs.get(*index)).collect();
    compared += in_parallel(&found, |programs| super::sum(programs, |program| names.kind(program)))?;
    let patterns: Vec<(usize, &str)> = written.iter().copied().filter(|(_, text)| text.contains('*')).collect();
    let reach = if patterns.len() <= PAIRS_OF { patterns.len() } else { NEIGHBOURS };
    let pairs: Vec<[(usize, &str); 2]> = patterns
        .iter()
        .enumerate()
        .flat_map(|(at, one)| patterns.iter().skip(at + 1).take(reach).map(|other| [*one, *other]))
        .collect();
    compared += in_parallel(&pairs, |pairs| super::sum(pairs, |pair| names.pair(pair)))?;
    compared += in_parallel(&written, |written| super::sum(written, |program| names.program(*program)))?;
    for path in ["/", "/init", "/usr", "/usr/bin"] {
        let path = if has_units { format!("/{}{path}", names.filler) } else { path.to_owned() };
        compared += names.compare(&path)?;
    }
    if has_units {
        compared += names.elsewhere(&written)?;
    }
    Ok(compared)
}

/// The text of a program. If the policy names units, a unit stands before every path, as if it were its first directory:
/// any, or the one that the program names, in which a template has a `*` for the instance.
fn text_of(program: &Program, has_units: bool) -> String {
    match program.unit() {
        _ if !has_units => program.path.clone(),
        None => format!("/*{}", program.path),
        Some(unit) => format!("/{}{}", unit::cgroup(unit).replacen("@.", "@*.", 1), program.file()),
    }
}

/// The program of a file, by the set of the written programs that it matches.
struct Kinds {
    /// For files that match a single program, by its number.
    of_one: Vec<Option<usize>>,
    of_several: HashMap<Vec<usize>, usize>,
}

impl Kinds {
    fn new(policy: &ResolvedPolicy) -> Kinds {
        let mut kinds = Kinds { of_one: vec![None; policy.programs.len()], of_several: HashMap::new() };
        for ProgramIndex(index) in &policy.kinds {
            let members = policy.programs.get(*index).map(|program| program.members.as_slice()).unwrap_or_default();
            match members {
                [] => kinds.note(*index, *index),
                [ProgramIndex(one)] => kinds.note(*one, *index),
                several => {
                    kinds.of_several.insert(several.iter().map(|member| member.0).collect(), *index);
                }
            }
        }
        kinds
    }

    fn note(&mut self, one: usize, kind: usize) {
        self.of_one.get_mut(one).into_iter().for_each(|known| *known = Some(kind));
    }

    fn of(&self, matched: &[usize]) -> Option<usize> {
        match matched {
            [one] => self.of_one.get(*one).copied().flatten(),
            several => self.of_several.get(several).copied(),
        }
    }
}

/// A letter that occurs in no program's text: it stands for a `*` wherever any letter will do.
fn filler(written: &[(usize, &str)]) -> char {
    let known: NumberSet<char> = written.iter().flat_map(|(_, text)| text.chars()).collect();
    ('a'..='z').rev().chain('\u{e0}'..='\u{fff}').find(|letter| !known.contains(letter)).unwrap_or('x')
}

struct Names<'a> {
    policy: &'a ResolvedPolicy,
    image: &'a Image,
    /// The text of each program.
    texts: &'a [String],
    has_units: bool,
    all: Walk<'a>,
    kinds: Kinds,
    filler: char,
    /// Some of the components that programs spell out; in a policy of few patterns, most of them.
    spelt_out: Vec<&'a str>,
}

impl Names<'_> {
    /// Compares the policy's program of a path with that of the tables; if a unit stands before it, without the unit too.
    fn compare(&self, path: &str) -> Result<u64, ProveError> {
        let Some((unit, file)) = self.has_units.then(|| split(path)) else {
            let found = names::find(&self.image.names, path);
            return self.is_right(path, &self.all.matched(path), found);
        };
        let found = names::find_in(&self.image.names, Some(file), unit);
        let without = format!("/{file}");
        let found_without = names::find(&self.image.names, file);
        let compared = self.is_right(path, &self.all.matched(path), found)?;
        Ok(compared + self.is_right(&without, &self.all.matched(&without), found_without)?)
    }

    /// Compares the programs of files that have no path on the host, in every unit that the policy can tell apart.
    fn elsewhere(&self, written: &[(usize, &str)]) -> Result<u64, ProveError> {
        let any_file = written.iter().filter_map(|(index, text)| {
            let program = self.policy.programs.get(*index)?;
            let (unit, _) = split(text);
            (program.unit().is_some() && program.file() == "/**").then_some((*index, text.get(..=unit.len())?))
        });
        let units = Walk::of(&any_file.collect::<Vec<_>>(), false);
        let mut names = self.all.names(&self.all.start(), self.filler);
        names.insert(String::new());
        let mut compared = 0;
        for name in names {
            let matched = units.matched(&format!("/{name}"));
            let found = names::find_in(&self.image.names, None, &name);
            compared += self.is_right(&format!("a file without a path, in the unit {name}"), &matched, found)?;
        }
        Ok(compared)
    }

    /// Compares the programs that a file matches with what the tables found.
    fn is_right(&self, path: &str, matched: &[usize], found: Option<u32>) -> Result<u64, ProveError> {
        let meant = if matched.is_empty() { None } else { self.kinds.of(matched) };
        let found = found.map(|place| place as usize);
        if meant == found && meant.is_none() == matched.is_empty() {
            return Ok(1);
        }
        let said = |place: Option<usize>| match place {
            None => "no program".to_owned(),
            Some(place) => self.policy.programs.get(place).map_or_else(|| "an unknown one".to_owned(), Program::quoted),
        };
        let meant =
            if meant.is_none() && !matched.is_empty() { "a class that is missing".to_owned() } else { said(meant) };
        Err(ProveError::Name { path: path.to_owned(), meant, found: said(found) })
    }

    /// Queries a path whose program is exactly this one.
    fn kind(&self, program: &Program) -> Result<u64, ProveError> {
        let members: Vec<usize> = program.members.iter().map(|member| member.0).collect();
        let texts: Vec<(usize, &str)> = match members.as_slice() {
            [] => return Ok(0),
            _ => members.iter().filter_map(|at| Some((*at, self.texts.get(*at)?.as_str()))).collect(),
        };
        let mut compared = 0;
        let paths = self.shared(&texts);
        for path in &paths {
            compared += self.compare(path)? + self.parts(path)?;
        }
        if let Some(path) = paths.first() {
            compared += self.beside(path, true)?;
        }
        Ok(compared)
    }

    /// Queries the suffixes and the prefixes of a path: on the way to an answer, the tables pass through all of them.
    fn parts(&self, path: &str) -> Result<u64, ProveError> {
        let mut compared = 0;
        for (at, _) in path.match_indices('/').skip(1) {
            let (before, behind) = path.split_at(at);
            compared += self.compare(before)? + self.compare(behind)?;
        }
        Ok(compared)
    }

    /// Queries paths that both patterns cover.
    fn pair(&self, pair: &[(usize, &str); 2]) -> Result<u64, ProveError> {
        let mut compared = 0;
        for path in self.shared(pair) {
            compared += self.compare(&path)? + self.parts(&path)?;
        }
        Ok(compared)
    }

    /// Queries paths that match a written program, and paths that differ from these in one place.
    fn program(&self, (index, text): (usize, &str)) -> Result<u64, ProveError> {
        let paths = if text.contains('*') { self.shared(&[(index, text)]) } else { vec![text.to_owned()] };
        let mut compared = 0;
        for path in &paths {
            compared += self.compare(path)? + self.parts(path)?;
        }
        for path in paths.iter().take(WAYS) {
            compared += self.beside(path, text.contains('*'))?;
        }
        Ok(compared)
    }

    /// Queries paths that differ from `path` in a letter or in a component.
    fn beside(&self, path: &str, everywhere: bool) -> Result<u64, ProveError> {
        let components: Vec<&str> = path.split('/').skip(1).collect();
        let (mut compared, mut text) = (0, String::with_capacity(path.len() + COMPONENT_MAX));
        // Queries the path with the component at `at` replaced by these.
        let mut ask = |at: usize, instead: &[&str]| {
            let before = components.iter().take(at).copied();
            let behind = components.iter().skip(at + 1).copied();
            text.clear();
            for component in before.chain(instead.iter().copied()).chain(behind) {
                if component.is_empty() {
                    return Ok(());
                }
                text.push('/');
                text.push_str(component);
            }
            if !text.is_empty() {
                compared += self.compare(&text)?;
            }
            Ok::<(), ProveError>(())
        };
        let filler = self.filler.to_string();
        let last = components.len() - 1;
        let (mut before, mut behind) = (String::new(), String::new());
        for (at, component) in components.iter().enumerate().filter(|(at, _)| everywhere || *at == last || *at == 0) {
            // `parts` queries the path without its first or last component.
            if at != 0 && at != last {
                ask(at, &[])?;
            }
            ask(at, &[&filler, component])?;
            ask(at, &[component, component])?;
            // A component that has a meaning in another place, or in another program.
            let others = components.iter().filter(|_| components.len() <= FEW).chain(&self.spelt_out);
            for known in others.filter(|_| everywhere) {
                ask(at, &[known, component])?;
                ask(at, &[known])?;
            }
            let mut shorter = component.chars();
            shorter.next_back();
            before.clear();
            behind.clear();
            before.extend([&filler, *component]);
            behind.extend([*component, &filler]);
            for name in [before.as_str(), behind.as_str(), shorter.as_str()] {
                ask(at, &[name])?;
            }
        }
        Ok(compared)
    }

    /// Some paths that all of these programs cover.
    fn shared(&self, programs: &[(usize, &str)]) -> Vec<String> {
        let exact = programs.iter().find(|(_, text)| !text.contains('*'));
        if let Some((_, path)) = exact {
            return vec![(*path).to_owned()];
        }
        let walk = Walk::of(programs, self.has_units);
        let wanted: Vec<usize> = programs.iter().map(|(index, _)| *index).collect();
        let mut found = Vec::new();
        let mut ways: HashMap<Places, usize> = HashMap::new();
        let mut next: VecDeque<(Places, String)> = VecDeque::from([(walk.start(), String::new())]);
        while let Some((places, path)) = next.pop_front() {
            if walk.ends(&places).as_slice() == wanted {
                found.push(path.clone());
            }
            if found.len() >= 2 * WAYS || ways.len() > LONGEST_SEARCH {
                break;
            }
            for name in walk.names(&places, self.filler) {
                let after = walk.step(&places, &name);
                // Once one of the programs does not cover the path, all together cannot.
                if !walk.lives(&after, programs.len()) {
                    continue;
                }
                let seen = ways.entry(after.clone()).or_default();
                *seen += 1;
                if *seen <= WAYS {
                    next.push_back((after, format!("{path}/{name}")));
                }
            }
        }
        found
    }
}

/// A path behind a unit → the unit, and the path, which is empty if nothing follows the unit.
fn split(path: &str) -> (&str, &str) {
    let behind = path.strip_prefix('/').unwrap_or(path);
    behind.split_at(behind.find('/').unwrap_or(behind.len()))
}

/// Places of a walk, or programs: ascending, without duplicates. Inline where few patterns meet.
type Places = SmallVec<[usize; 4]>;

fn ascending(mut places: Places) -> Places {
    if places.len() > 1 {
        places.sort_unstable();
        places.dedup();
    }
    places
}

/// The written programs as a tree of components from the root, which is followed at all its places at once.
struct Walk<'a> {
    nodes: Vec<Node<'a>>,
    /// The components that are spelt out: (the place before it, component) → the place after it.
    spelt: NumberMap<(usize, &'a str), usize>,
}

#[derive(Default)]
struct Node<'a> {
    /// The components that are spelt out and lead on from here.
    names: Vec<&'a str>,
    /// Components with a `*`, by the text before the first one.
    stars: BTreeMap<&'a str, Vec<(&'a str, usize)>>,
    /// The place after any number of components.
    subtree: Option<usize>,
    /// Any number of components stay at this place.
    stays: bool,
    ends: Vec<usize>,
    /// The programs that pass through this place.
    through: Vec<usize>,
}

/// The directories that exist below the root or below /usr.
const IN_USR: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

impl<'a> Walk<'a> {
    /// `has_units`: a unit stands before each path.
    fn of(programs: &[(usize, &'a str)], has_units: bool) -> Walk<'a> {
        let mut walk = Walk { nodes: vec![Node::default()], spelt: NumberMap::default() };
        for (index, text) in programs {
            let components: Vec<&str> = text.split('/').skip(1).collect();
            walk.add(*index, &components);
            let (unit, path) = components.split_at(usize::from(has_units));
            if let ["usr", rest @ ..] = path
                && let [folder, _, ..] = rest
                && IN_USR.contains(folder)
            {
                walk.add(*index, &[unit, rest].concat());
            }
        }
        walk
    }

    fn add(&mut self, index: usize, components: &[&'a str]) {
        let mut at = 0;
        for (place, component) in components.iter().enumerate() {
            if *component == "**" {
                // After a directory, at least one component follows.
                if place + 1 == components.len() {
                    at = self.child(at, "*", index);
                }
                at = self.child(at, "**", index);
            } else {
                at = self.child(at, component, index);
            }
        }
        if let Some(node) = self.nodes.get_mut(at)
            && !node.ends.contains(&index)
        {
            node.ends.push(index);
        }
    }

    fn child(&mut self, at: usize, component: &'a str, index: usize) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let child = if component == "**" {
            *node.subtree.get_or_insert(next)
        } else if component.contains('*') {
            let begins = component.split('*').next().unwrap_or_default();
            let known = node.stars.entry(begins).or_default();
            match known.iter().find(|(star, _)| *star == component) {
                Some((_, child)) => *child,
                None => {
                    known.push((component, next));
                    next
                }
            }
        } else {
            let child = *self.spelt.entry((at, component)).or_insert(next);
            if child == next {
                node.names.push(component);
            }
            child
        };
        if child == next {
            self.nodes.push(Node { stays: component == "**", ..Node::default() });
        }
        if let Some(child) = self.nodes.get_mut(child)
            && child.through.last() != Some(&index)
        {
            child.through.push(index);
        }
        child
    }

    fn start(&self) -> Places {
        self.closed(smallvec![0])
    }

    /// Adds the places that can be reached without a component; ascending.
    fn closed(&self, mut places: Places) -> Places {
        let subtree = |at: &usize| self.nodes.get(*at).and_then(|node| node.subtree);
        if places.iter().all(|place| subtree(place).is_none()) {
            return ascending(places);
        }
        let mut at = 0;
        while let Some(place) = places.get(at) {
            if let Some(subtree) = subtree(place)
                && !places.contains(&subtree)
            {
                places.push(subtree);
            }
            at += 1;
        }
        ascending(places)
    }

    fn step(&self, places: &[usize], name: &str) -> Places {
        let mut after = Places::new();
        for at in places {
            let Some(node) = self.nodes.get(*at) else { continue };
            if node.stays {
                after.push(*at);
            }
            after.extend(self.spelt.get(&(*at, name)).copied());
            if node.stars.is_empty() {
                continue;
            }
            let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            for begins in ends.filter_map(|end| node.stars.get(name.get(..end)?)) {
                after.extend(begins.iter().filter(|(star, _)| is_covered(star, name)).map(|(_, child)| *child));
            }
        }
        self.closed(after)
    }

    /// The programs that end at one of these places, ascending.
    fn ends(&self, places: &[usize]) -> Places {
        ascending(places.iter().filter_map(|at| self.nodes.get(*at)).flat_map(|node| &node.ends).copied().collect())
    }

    /// Whether this many programs continue from these places, or end there.
    fn lives(&self, places: &[usize], wanted: usize) -> bool {
        let through = places.iter().filter_map(|at| self.nodes.get(*at)).flat_map(|node| &node.through);
        ascending(through.copied().collect()).len() == wanted
    }

    /// The programs that a path matches, ascending.
    fn matched(&self, path: &str) -> Places {
        let mut places = self.start();
        for name in path.split('/').skip(1) {
            if places.is_empty() {
                break;
            }
            places = self.step(&places, name);
        }
        self.ends(&places)
    }

    /// Names that lead on from these places, in every way in which their components can overlap.
    fn names(&self, places: &[usize], filler: char) -> BTreeSet<String> {
        let nodes = || places.iter().filter_map(|at| self.nodes.get(*at));
        let mut names: BTreeSet<String> = [filler.to_string()].into();
        names.extend(nodes().flat_map(|node| &node.names).map(|name| (*name).to_owned()));
        let stars: BTreeSet<&str> =
            nodes().flat_map(|node| node.stars.values()).flatten().map(|(star, _)| *star).collect();
        names.extend(merged(&stars.into_iter().collect::<Vec<_>>(), filler));
        names
    }
}

/// Names for every set of these components that one name can match.
fn merged(stars: &[&str], filler: char) -> Vec<String> {
    let letters: Vec<Vec<char>> = stars.iter().map(|star| star.chars().collect()).collect();
    // The filler comes first: it stands for a `*` wherever any letter will do.
    let mut alphabet: Vec<char> = letters.iter().flatten().copied().filter(|letter| *letter != '*').collect();
    alphabet.sort_unstable();
    alphabet.dedup();
    alphabet.insert(0, filler);
    let closed = |mut places: BTreeSet<(usize, usize)>| {
        let mut open: Vec<(usize, usize)> = places.iter().copied().collect();
        while let Some((star, at)) = open.pop() {
            if letters.get(star).and_then(|star| star.get(at)) == Some(&'*') && places.insert((star, at + 1)) {
                open.push((star, at + 1));
            }
        }
        places
    };
    let start = closed((0..letters.len()).map(|star| (star, 0)).collect());
    let mut found: HashMap<Vec<usize>, Vec<String>> = HashMap::new();
    let mut ways: HashMap<BTreeSet<(usize, usize)>, usize> = HashMap::new();
    let mut next = VecDeque::from([(start, String::new())]);
    while let Some((places, name)) = next.pop_front() {
        let is_end = |(star, at): &&(usize, usize)| letters.get(*star).is_some_and(|star| star.len() == *at);
        let ended: Vec<usize> = places.iter().filter(is_end).map(|(star, _)| *star).collect();
        if !ended.is_empty() && !name.is_empty() {
            let known = found.entry(ended).or_default();
            if known.len() < WAYS {
                known.push(name.clone());
            }
        }
        if ways.len() > LONGEST_SEARCH || name.len() >= 255 {
            continue;
        }
        for letter in &alphabet {
            let stays = |(star, at): &(usize, usize)| match letters.get(*star).and_then(|star| star.get(*at)) {
                Some('*') => Some((*star, *at)),
                Some(meant) if meant == letter => Some((*star, *at + 1)),
                _ => None,
            };
            let after = closed(places.iter().filter_map(stays).collect());
            if after.is_empty() {
                continue;
            }
            let seen = ways.entry(after.clone()).or_default();
            *seen += 1;
            if *seen <= WAYS {
                next.push_back((after, format!("{name}{letter}")));
            }
        }
    }
    found.into_values().flatten().collect()
}

/// Whether a component with `*` covers a name: the parts between the stars occur in order, the first at the beginning
/// and the last at the end.
fn is_covered(star: &str, name: &str) -> bool {
    let mut parts = star.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return star == name };
    let Some(rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    let mut rest = Some(rest);
    for part in parts {
        rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, behind)| behind);
    }
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_through_every_pattern() {
        let programs = [(0, "/usr/bin/*"), (1, "/**/sh"), (2, "/opt/**"), (3, "/opt/a*b*/x"), (4, "/usr/lib/**/run")];
        let walk = Walk::of(&programs, false);
        for (path, matched) in [
            ("/usr/bin/sh", &[0, 1][..]),
            ("/bin/sh", &[0, 1]),
            ("/sh", &[1]),
            ("/opt", &[]),
            ("/opt/x", &[2]),
            ("/opt/aab/x", &[2, 3]),
            ("/opt/aa/x", &[2]),
            ("/usr/lib/run", &[4]),
            ("/lib/a/b/run", &[4]),
            ("/usr/bin/a/sh", &[1]),
        ] {
            assert_eq!(walk.matched(path).as_slice(), matched, "{path}");
        }
    }

    #[test]
    fn names_are_found_for_every_way_in_which_components_meet() {
        let names = merged(&["a*b*", "*c"], 'z');
        let both = |name: &&String| is_covered("a*b*", name) && is_covered("*c", name);
        assert!(names.iter().any(|name| both(&name)), "{names:?}");
        assert!(names.iter().any(|name| is_covered("a*b*", name) && !is_covered("*c", name)));
        assert!(names.iter().any(|name| !is_covered("a*b*", name) && is_covered("*c", name)));
    }

    #[test]
    fn a_filler_is_in_no_program() {
        assert_eq!(filler(&[(0, "/usr/z*y")]), 'x');
        let all: String = ('a'..='z').collect();
        assert_eq!(filler(&[(0, &all)]), '\u{e0}');
        assert!(is_covered("*", "x") && is_covered("a*a", "aa") && !is_covered("a*a", "a"));
    }
}
