//! Names: which of a policy's programs the file at a path is.
//!
//! A program is written as a path, in which `*` stands for any characters of one component and `**` for any components.
//! All programs of a policy form one automaton over the components of a path, **last one first**: the kernel program
//! walks from the executed file up to the root, and for nearly every file the first component ends the walk.
//!
//! A component becomes a *symbol* ([`symbol`]): a literal name in the policy has its own; any other component has the
//! symbol of the `*` components that it matches, or [`OTHER`]. A symbol leads the automaton from one state to the next
//! ([`step`]). At the root the state determines the executable ([`accepted`]).
//!
//! `no_std`, without allocation or panic: the kernel programs call these functions over their maps, as they call
//! [`decide`](crate::decide::decide).

#[cfg(feature = "bundle")]
pub mod build;
#[cfg(feature = "bundle")]
pub mod sections;
#[cfg(all(test, feature = "bundle"))]
mod tests;
#[cfg(feature = "bundle")]
pub mod unit;

use crate::label::{ProgramId, RESTRICTED_BY_MAX};
use crate::record::{BUCKET, bucket_hashes, record};

/// The longest component, in bytes (`NAME_MAX`, include/uapi/linux/limits.h).
pub const COMPONENT_MAX: usize = 255;

/// How many words a component fills at most.
pub const COMPONENT_WORDS: u32 = COMPONENT_MAX.div_ceil(8) as u32;

/// The most components of a path that are walked, including crossed mounts. A file that lies deeper, in a subtree that
/// the policy names, cannot be identified and every request of it is denied.
pub const DEPTH_MAX: u32 = 128;

/// The symbol of a component that nothing in the policy matches.
pub const OTHER: u32 = 0;

/// The state from which no name can be reached.
pub const NOWHERE: u32 = 0;

record! {
    /// The start of the automaton.
    Names: 32 {
        /// The state before the last component of a path.
        start: u32,
        /// The number of name buckets minus one; the number is a power of two.
        bucket_mask: u32,
        /// The number of step buckets minus one; the number is a power of two.
        step_mask: u32,
        /// A set of the constants below.
        flags: u32,
        /// The state of a file that has no path on the host, before the component of its unit.
        elsewhere: u32,
        /// Reserved, zero.
        reserved: [u32; 3],
    }
}

impl Names {
    /// After the first component of a path, one more follows: the name of the cgroup of the unit in which the file was
    /// executed, of length 0 if there is none.
    pub const UNITS: u32 = 1;
}

record! {
    /// The literal names of the policy, by their [`hash`].
    NameBucket: 48 {
        /// The hashes.
        hashes: [u64; BUCKET],
        /// The index of each in the table of names plus one; 0 is an empty entry.
        names: [u32; BUCKET],
    }
}

record! {
    /// A literal name of the policy.
    Name: 16 {
        /// The index of its first word.
        first: u32,
        /// Its length in bytes.
        length: u32,
        /// Its symbol.
        symbol: u32,
        /// Reserved, zero.
        reserved: u32,
    }
}

record! {
    /// Eight bytes of a name, the first one lowest, padded with zeros.
    Word: 8 {
        /// The bytes.
        bytes: u64,
    }
}

record! {
    /// A state of the automaton over components, or of one over the bytes of a component.
    State: 16 {
        /// The next state for a symbol or byte without a step of its own.
        otherwise: u32,
        /// Over components: the index of the executable plus one, if the path ends here. Over bytes: the symbol of a
        /// component that ends here. 0 means none.
        accept: u32,
        /// A set of the constants below.
        flags: u32,
        /// The state before the first byte of a component that is matched against the `*` components which continue
        /// from here, or [`NOWHERE`] if there are none. Each state has its own: otherwise all `*` components of a
        /// policy would meet in one automaton, in every combination.
        glob_start: u32,
    }
}

impl State {
    /// It is a state over bytes.
    pub const BYTES: u32 = 1;
}

record! {
    /// Steps from a state, by a hash of the state and the symbol or byte.
    StepBucket: 48 {
        /// [`step_key`] of each; 0 is an empty entry.
        keys: [u64; BUCKET],
        /// The next state of each.
        next: [u32; BUCKET],
    }
}

record! {
    /// What executing a file does to a process: one record for each of the policy's executables.
    Match: 80 {
        /// The program that the process becomes.
        program: ProgramId,
        /// A set of the constants below.
        flags: u32,
        /// How many entries of `restricted` are valid.
        count: u32,
        /// The programs whose restrictions hold for the process and for all that it starts.
        restricted: [u64; RESTRICTED_BY_MAX],
    }
}

impl Match {
    /// The policy restricts it and all that it starts.
    pub const RESTRICTED: u32 = 1;
    /// The programs that it starts inherit its grants.
    pub const WITH_CHILDREN: u32 = 2;
    /// It is a protected program: other processes cannot trace it or read its memory.
    pub const GUARDED: u32 = 4;
    /// Grants require one of its pinned contents.
    pub const PINNED: u32 = 8;
    /// It may map for execution only itself and the libraries that are pinned for it.
    pub const LIBRARIES: u32 = 16;
    /// An enforced rule governs it: requests that cannot be judged are denied.
    pub const GOVERNED: u32 = 32;
    /// An audited rule that does not cover raw sockets names it.
    pub const AUDIT_GOVERNED: u32 = 64;
    /// It has an enforced restriction, so the programs that it starts are governed too.
    pub const GOVERNING: u32 = 128;
    /// It has an audited restriction that does not cover raw sockets.
    pub const AUDIT_GOVERNING: u32 = 256;

    /// The valid entries of `restricted`.
    pub fn restricted(&self) -> impl Iterator<Item = ProgramId> + '_ {
        self.restricted.iter().copied().take(self.count as usize)
    }

    /// Neither a grant nor a restriction.
    pub const NOTHING: Match = Match { program: 0, flags: 0, count: 0, restricted: [0; RESTRICTED_BY_MAX] };

    /// Adds the restrictions of another, as far as they fit. Returns whether all of them did.
    pub fn confine(&mut self, other: &Match) -> bool {
        for id in other.restricted() {
            if self.restricted().any(|known| known == id) {
                continue;
            }
            let Some(slot) = self.restricted.get_mut(self.count as usize) else { return false };
            *slot = id;
            self.count += 1;
            self.flags |= Match::RESTRICTED;
        }
        true
    }
}

/// The tables of names, as arrays that are read by index. `None` means that an index is out of range.
pub trait NameTables {
    /// The one record with the start of the automaton.
    fn names(&self) -> Option<&Names>;
    /// A bucket of names.
    fn name_bucket(&self, index: u32) -> Option<&NameBucket>;
    /// A name.
    fn name(&self, index: u32) -> Option<&Name>;
    /// Eight bytes of a name.
    fn word(&self, index: u32) -> Option<&Word>;
    /// A state.
    fn state(&self, index: u32) -> Option<&State>;
    /// A bucket of steps.
    fn step_bucket(&self, index: u32) -> Option<&StepBucket>;

    /// The next state. The kernel programs override this with a function that the verifier checks once instead of at
    /// every call.
    #[inline(always)]
    fn next(&self, state: u32, symbol: u32) -> Option<u32>
    where
        Self: Sized,
    {
        step(self, state, symbol)
    }

    /// See [`over_word`]. Overridden likewise.
    #[inline(always)]
    fn over_word(&self, state: u32, word: u64, count: u32) -> Option<u32>
    where
        Self: Sized,
    {
        over_word(self, state, word, count)
    }

    /// The same number. A BPF program has a stack of 512 bytes, which the compiler would fill by unrolling a loop whose
    /// count it can compute.
    #[inline(always)]
    fn opaque(number: u32) -> u32 {
        number
    }

    /// The highest bit, as 0 or 1. A BPF program needs an instruction here that the compiler does not turn back into a
    /// branch.
    #[inline(always)]
    fn sign_bit(word: u64) -> u64 {
        word >> 63
    }
}

/// Tables that map a component to its symbol. The kernel programs override these with functions that the verifier
/// checks once each: a loop over a name's words can end at every word, and the code after it is then not checked again
/// for each of these ends.
pub trait Symbols<C: Component>: NameTables + Sized {
    /// See [`hash`].
    #[inline(always)]
    fn hash(&self, component: &C) -> u64 {
        hash::<Self, C>(component)
    }

    /// See [`spelt_out`].
    #[inline(always)]
    fn spelt_out(&self, component: &C) -> Option<u32> {
        spelt_out(self, component)
    }

    /// See [`globbed`].
    #[inline(always)]
    fn globbed(&self, start: u32, component: &C) -> Option<u32> {
        globbed(self, start, component)
    }
}

/// A component of a path: at most [`COMPONENT_MAX`] bytes.
pub trait Component {
    /// Its length in bytes.
    fn length(&self) -> u32;
    /// Eight of its bytes, as in [`Word`].
    fn word(&self, index: u32) -> u64;
}

impl Component for &[u8] {
    fn length(&self) -> u32 {
        self.len() as u32
    }
    fn word(&self, index: u32) -> u64 {
        let rest = self.get(index as usize * 8..).unwrap_or_default();
        rest.iter().take(8).rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

/// How many words a component fills.
#[inline(always)]
pub const fn words(length: u32) -> u32 {
    length.div_ceil(8)
}

/// The hash of a component, by which its name is found. Equality is decided by its bytes.
#[inline(always)]
pub fn hash<T: NameTables, C: Component>(component: &C) -> u64 {
    let count = words(component.length());
    let mut hash = u64::from(component.length());
    let mut index = 0;
    while index < COMPONENT_WORDS {
        if index >= count {
            break;
        }
        hash = (hash.rotate_left(5) ^ component.word(index)).wrapping_mul(0x517c_c1b7_2722_0a95);
        index = T::opaque(index + 1);
    }
    hash
}

/// The key of a step. No step starts at [`NOWHERE`], so no key is 0.
#[inline(always)]
pub const fn step_key(state: u32, symbol: u32) -> u64 {
    (state as u64) << 32 | symbol as u64
}

/// The symbol of a component in a state. `None` is a fault.
#[inline(always)]
pub fn symbol<T: Symbols<C>, C: Component>(tables: &T, state: u32, component: &C) -> Option<u32> {
    let spelt = tables.spelt_out(component)?;
    if spelt != OTHER {
        return Some(spelt);
    }
    match tables.state(state)?.glob_start {
        NOWHERE => Some(OTHER),
        start => tables.globbed(start, component),
    }
}

/// The symbol of a component that is a literal name in the policy, or [`OTHER`]. `None` is a fault.
#[inline(always)]
pub fn spelt_out<T: Symbols<C>, C: Component>(tables: &T, component: &C) -> Option<u32> {
    let names = tables.names()?;
    let hash = tables.hash(component);
    let (first, second) = bucket_hashes(hash);
    let mut found = 0;
    for index in [first & names.bucket_mask, second & names.bucket_mask] {
        let bucket = tables.name_bucket(index)?;
        let mut next = 0;
        while (next as usize) < BUCKET {
            let slot = next as usize;
            next = T::opaque(next + 1);
            found |= all_ones_if_zero::<T>(entry(&bucket.hashes, slot) ^ hash) & entry(&bucket.names, slot);
        }
    }
    if found == 0 {
        return Some(OTHER);
    }
    let name = tables.name(found - 1)?;
    if name.length != component.length() {
        return Some(OTHER);
    }
    let (first, count) = (name.first, words(name.length));
    let mut different = 0;
    let mut index = 0;
    while index < COMPONENT_WORDS {
        if index >= count {
            break;
        }
        different |= tables.word(first.wrapping_add(index))?.bytes ^ component.word(index);
        index = T::opaque(index + 1);
    }
    Some(if different == 0 { name.symbol } else { OTHER })
}

/// The symbol of the `*` components that a component matches, or [`OTHER`] if it matches none. `None` is a fault.
#[inline(always)]
pub fn globbed<T: Symbols<C>, C: Component>(tables: &T, start: u32, component: &C) -> Option<u32> {
    let length = component.length();
    let mut state = start;
    let mut index = 0;
    while index < COMPONENT_WORDS {
        let left = length.saturating_sub(index * 8);
        if left == 0 || state == NOWHERE {
            break;
        }
        state = tables.over_word(state, component.word(index), left)?;
        index = T::opaque(index + 1);
    }
    Some(tables.state(state)?.accept)
}

/// The state that the first `count` bytes of a word (at most eight) lead to from a state over bytes. `None` is a fault.
#[inline(always)]
pub fn over_word<T: NameTables>(tables: &T, start: u32, word: u64, count: u32) -> Option<u32> {
    let mut state = start;
    let mut left = word;
    let mut at = 0;
    while at < 8 {
        if at >= count || state == NOWHERE {
            break;
        }
        state = tables.next(state, (left & 0xff) as u32)?;
        left >>= 8;
        at = T::opaque(at + 1);
    }
    Some(state)
}

/// The state that a symbol or byte leads to. `None` is a fault.
#[inline(always)]
pub fn step<T: NameTables>(tables: &T, state: u32, symbol: u32) -> Option<u32> {
    let key = step_key(state, symbol);
    let (first, second) = bucket_hashes(key);
    let mask = tables.names()?.step_mask;
    let mut found = 0;
    for index in [first & mask, second & mask] {
        let bucket = tables.step_bucket(index)?;
        let mut next = 0;
        while (next as usize) < BUCKET {
            let slot = next as usize;
            next = T::opaque(next + 1);
            found |= all_ones_if_zero::<T>(entry(&bucket.keys, slot) ^ key) & entry(&bucket.next, slot);
        }
    }
    // A step never leads to NOWHERE: if a symbol leads nowhere, so does every other.
    if found != NOWHERE { Some(found) } else { Some(tables.state(state)?.otherwise) }
}

/// The index of the executable whose path ends in a state, plus one, or 0. `None` is a fault.
#[inline(always)]
pub fn accepted<T: NameTables>(tables: &T, state: u32) -> Option<u32> {
    Some(tables.state(state)?.accept)
}

/// The index of the executable that the file at an absolute path is, executed in no unit.
pub fn find<T: for<'a> Symbols<&'a [u8]>>(tables: &T, path: &str) -> Option<u32> {
    find_in(tables, Some(path), "")
}

/// The index of the executable that the file at an absolute path is (`None`: a file without a path on the host),
/// executed in the unit with this cgroup (empty: in none).
pub fn find_in<T: for<'a> Symbols<&'a [u8]>>(tables: &T, path: Option<&str>, cgroup: &str) -> Option<u32> {
    let names = tables.names()?;
    let mut state = if path.is_some() { names.start } else { names.elsewhere };
    let components = path.map_or(Some(""), |path| path.strip_prefix('/'))?.rsplit('/').filter(|_| path.is_some());
    let unit = core::iter::once(cgroup).filter(|_| names.flags & Names::UNITS != 0);
    for component in components.chain(unit) {
        if state == NOWHERE {
            return None;
        }
        let symbol = symbol(tables, state, &component.as_bytes())?;
        state = tables.next(state, symbol)?;
    }
    accepted(tables, state)?.checked_sub(1)
}

/// All ones if the word is zero, otherwise zero. In arithmetic, as in `decide`.
#[inline(always)]
fn all_ones_if_zero<T: NameTables>(word: u64) -> u32 {
    // Of a nonzero word, either it or its negation has the highest bit.
    (T::sign_bit(word | word.wrapping_neg()) as u32).wrapping_sub(1)
}

#[inline(always)]
fn entry<W: Copy + Default, const N: usize>(entries: &[W; N], index: usize) -> W {
    // Never the default: every caller counts to N. Written so that no panic remains.
    entries.get(index).copied().unwrap_or_default()
}

const _: () = assert!(Match::SIZE == 16 + 8 * RESTRICTED_BY_MAX);
