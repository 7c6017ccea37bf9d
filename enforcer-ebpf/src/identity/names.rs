//! The name of an executed file: walked from the file up to the host's root, component by component, against the names
//! in the policy's tables.
//!
//! The host's root is that of the first process. A process in a chroot or a container has another, and a path that ends
//! there is not a path of the host. The walk follows the mounts of the file's own mount namespace: a service with a
//! namespace of its own executes the host's programs, by the host's names.
//!
//! Dentries and mounts are followed as numbers. Their memory is valid as long as the file is open, and so is that of
//! their parents (fs/dcache.c: a child holds its parent). What cannot be read is a fault.

use aya_ebpf::{Global, bindings::BPF_F_MMAPABLE, btf_maps::Array, macros::btf_map};
use bfp_bundle::names::{
    self, COMPONENT_MAX, Component, DEPTH_MAX, Match, NOWHERE, Name, NameBucket, NameTables, Names, State, StepBucket,
    Symbols, Word,
};

use crate::identity::units;
use crate::kernel::asm;
use crate::kernel::{self, place, word};
use crate::tables::{number_from_bits, number_to_bits};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// The first process, as the address of its `struct task_struct`, which never ends. Found before anything is attached.
#[btf_map]
static FIRST_PROCESS: Array<u64, 1> = Array::new();

/// Notes the first process.
#[inline(always)]
pub fn note_first_process(task: u64) {
    if let Some(place) = FIRST_PROCESS.get_ptr_mut(0) {
        // SAFETY: the map's memory; nothing reads it before it is written.
        unsafe { *place = task };
    }
}

/// The file's own name identifies the program: nothing was moved, unlinked or mounted over.
const IN_PLACE: u32 = 0;
/// The file is unlinked: it no longer has this name.
const UNLINKED: u32 = 1;
/// On the way, something was mounted elsewhere than its original place, in a namespace that is not the host's.
const MOVED: u32 = 2;
/// Something was mounted elsewhere than its original place.
const BOUND: u32 = 4;

/// The result of a walk.
#[derive(Clone, Copy)]
pub struct Walked {
    /// The index of the executable plus one. 0 if the policy does not name it.
    place: u32,
    /// [`IN_PLACE`], or what casts doubt on the name.
    doubts: u32,
}

impl Walked {
    /// The name is unknown: a table or the kernel's memory could not be read, or the path is too deep.
    const FAULT: u64 = u64::MAX;

    #[inline(always)]
    fn from_bits(bits: u64) -> Option<Walked> {
        if bits == Walked::FAULT { None } else { Some(Walked { place: bits as u32, doubts: (bits >> 32) as u32 }) }
    }

    /// The executable among the names of the policy.
    #[inline(always)]
    fn written(self) -> Option<Option<&'static Match>> {
        if self.place == 0 { Some(None) } else { Some(Some(MATCHES.get(self.place - 1)?)) }
    }

    /// The executable among the names that links lead to.
    #[inline(always)]
    fn linked(self) -> Option<Option<&'static Match>> {
        if self.place == 0 { Some(None) } else { Some(Some(ALIAS_MATCHES.get(self.place - 1)?)) }
    }
}

/// A file's identity under the policy.
#[derive(Clone, Copy)]
pub struct Identity {
    /// Its executable, by its name or by a symbolic link that leads to it.
    pub own: Option<&'static Match>,
    /// Other executables whose restrictions hold: by a link as well, by the file's original place, or by a link to
    /// that.
    pub also: [Option<&'static Match>; 3],
    /// The file is in its place, so that its name may be trusted for a grant.
    pub is_in_place: bool,
}

/// The identity of a file by its mount (a `struct vfsmount`) and its dentry, as `task` (an address) executes it. `None`
/// is a fault.
#[inline(always)]
pub fn identify(mount: u64, dentry: u64, task: u64) -> Option<Identity> {
    let (written, linked) = named(mount, dentry, task)?;
    // A walk ends when no name can match any more, so either may have gone further than the other.
    let doubts = written.doubts | linked.doubts;
    let (own, link) = (written.written()?, linked.linked()?);
    let mut identity = Identity { own, also: [link, None, None], is_in_place: doubts & (UNLINKED | MOVED) == IN_PLACE };
    if own.is_none() {
        identity.own = link;
        identity.also[0] = None;
    }
    if doubts & BOUND != 0 {
        let (written, linked) = named(0, dentry, task)?;
        identity.also[1] = written.written()?;
        identity.also[2] = linked.linked()?;
    }
    Some(identity)
}

/// The results of the walks from a file, for the names in the policy and for those that links lead to.
#[inline(always)]
fn named(mount: u64, dentry: u64, task: u64) -> Option<(Walked, Walked)> {
    let written = Walked::from_bits(walk_names(mount, dentry, task))?;
    let linked = match ALIASED.load() {
        0 => Walked { place: 0, doubts: IN_PLACE },
        _ => Walked::from_bits(walk_aliases(mount, dentry, task))?,
    };
    Some((written, linked))
}

/// Whether the root of a task, given by its address, is the host's root: the loader of its program is looked up there.
#[inline(always)]
pub fn has_hosts_root(task: u64) -> bool {
    let (own, hosts) = (root_of(task), first_process().and_then(root_of));
    own.is_some() && own == hosts
}

#[inline(always)]
fn first_process() -> Option<u64> {
    FIRST_PROCESS.get(0).copied().filter(|task| *task != 0)
}

/// The dentry of a task's root.
#[inline(always)]
fn root_of(task: u64) -> Option<u64> {
    let fs = word(place(task, &kernel::task_struct__fs)).filter(|fs| *fs != 0)?;
    let root = place(fs, &kernel::fs_struct__root);
    word(place(root, &kernel::path__dentry))
}

/// The mount namespace of the host.
#[inline(always)]
fn hosts_namespace() -> Option<u64> {
    let proxy = word(place(first_process()?, &kernel::task_struct__nsproxy)).filter(|proxy| *proxy != 0)?;
    word(place(proxy, &kernel::nsproxy__mnt_ns))
}

/// The state of a walk.
#[repr(C)]
struct Climb {
    /// The mount, as the address of a `struct vfsmount`. 0 if mounts are not followed, up to the root of the
    /// filesystem.
    mount: u64,
    /// The next dentry.
    dentry: u64,
    /// The dentry of the host's root. 0 before the first component, which cannot be a root.
    root: u64,
    /// The state of the automaton.
    state: u32,
    /// What casts doubt on the name.
    doubts: u32,
}

/// The result of one step of a walk.
const GOES_ON: u32 = 0;
const IS_NAMED_NOWHERE: u32 = 1;
const IS_AT_THE_ROOT: u32 = 2;
const IS_A_FAULT: u32 = 3;
/// The file has no path on the host.
const IS_ELSEWHERE: u32 = 4;

/// Walks up, at most as many steps as a path may have. Each step is a separate function, which the verifier checks
/// once.
#[inline(always)]
fn walk<T: Walkable>(tables: &T, mount: u64, dentry: u64, task: u64) -> Option<u64> {
    let start = tables.names()?.start;
    let doubts = if is_unlinked(dentry)? { UNLINKED } else { IN_PLACE };
    let mut climb = Climb { mount, dentry, root: 0, state: start, doubts };
    let mut left = DEPTH_MAX;
    while left != 0 {
        left = asm::opaque(left - 1);
        match tables.climb(&mut climb) {
            GOES_ON => {}
            // A file that was mounted elsewhere may be one of the policy's programs by its original place.
            IS_NAMED_NOWHERE => return Some(u64::from(climb.doubts) << 32),
            IS_AT_THE_ROOT => return ended(tables, climb.doubts, climb.state, task),
            IS_ELSEWHERE => {
                let state = tables.names()?.elsewhere;
                return ended(tables, climb.doubts, state, task);
            }
            _ => return None,
        }
    }
    None
}

/// The result of a walk that ended in a state: after the components of the path, the unit follows.
#[inline(always)]
fn ended<T: Walkable>(tables: &T, doubts: u32, state: u32, task: u64) -> Option<u64> {
    let mut state = state;
    if tables.names()?.flags & Names::UNITS != 0 && state != NOWHERE {
        state = tables.enter(task, state)?;
    }
    Some(u64::from(doubts) << 32 | u64::from(names::accepted(tables, state)?))
}

/// One step: over a component, or from the root of a mount to its mount point. `None` is a fault.
#[inline(always)]
fn step<T: Walkable>(tables: &T, climb: &mut Climb) -> Option<u32> {
    let (mount, dentry) = (climb.mount, climb.dentry);
    if climb.root != 0 && dentry == climb.root {
        return Some(IS_AT_THE_ROOT);
    }
    if mount != 0 {
        let mounted = word(place(mount, &kernel::vfsmount__mnt_root))?;
        if mounted == dentry {
            let real = mount.wrapping_sub(u64::from(kernel::mount__mnt.load()));
            let parent = word(place(real, &kernel::mount__mnt_parent))?;
            if parent == real {
                return Some(IS_ELSEWHERE); // The top of a tree that is not the host's.
            }
            let mountpoint = word(place(real, &kernel::mount__mnt_mountpoint))?;
            if mountpoint != mounted {
                climb.doubts |= relocation(mount, real, mounted)?;
            }
            climb.dentry = mountpoint;
            climb.mount = place(parent, &kernel::mount__mnt);
            return Some(GOES_ON);
        }
    }
    let parent = word(place(dentry, &kernel::dentry__d_parent))?;
    if parent == dentry {
        return Some(IS_ELSEWHERE); // The root of a filesystem that is mounted nowhere.
    }
    climb.state = tables.advance(dentry, climb.state)?;
    if climb.state == NOWHERE {
        return Some(IS_NAMED_NOWHERE);
    }
    climb.dentry = parent;
    if climb.root == 0 {
        climb.root = root_of(first_process()?)?;
    }
    Some(GOES_ON)
}

/// How a mount affects the names below it: not at all if a whole filesystem is mounted, because it has no other place.
/// A part of a filesystem also has another name, by its original place.
#[inline(always)]
fn relocation(mount: u64, real: u64, mounted: u64) -> Option<u32> {
    let filesystem = word(place(mount, &kernel::vfsmount__mnt_sb))?;
    if word(place(filesystem, &kernel::super_block__s_root))? == mounted {
        return Some(IN_PLACE);
    }
    // In the host's own namespace, the host's administrator decides where things are.
    let namespace = word(place(real, &kernel::mount__mnt_ns))?;
    Some(if namespace == hosts_namespace()? { BOUND } else { BOUND | MOVED })
}

/// Whether a dentry was removed from its directory: it is in no hash any more (include/linux/dcache.h, `d_unhashed`).
#[inline(always)]
fn is_unlinked(dentry: u64) -> Option<bool> {
    // `struct hlist_bl_node` has `next` and then `pprev`.
    Some(word(place(dentry, &kernel::dentry__d_hash).wrapping_add(8))? == 0)
}

/// The name of a dentry, read word by word: the stack has no room for all of it.
struct DentryName {
    bytes: u64,
    length: u32,
}

impl DentryName {
    #[inline(always)]
    fn of(dentry: u64) -> Option<DentryName> {
        let name = place(dentry, &kernel::dentry__d_name);
        let length = word(place(name, &kernel::qstr__len))? as u32;
        let bytes = word(place(name, &kernel::qstr__name))?;
        if length == 0 || length > COMPONENT_MAX as u32 { None } else { Some(DentryName { bytes, length }) }
    }
}

impl Component for DentryName {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    /// The kernel compares names by words too (fs/dcache.c, `dentry_string_cmp`), and reads as far beyond their ends.
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let bytes = word(self.bytes.wrapping_add(u64::from(index) * 8)).unwrap_or(0);
        let left = self.length.wrapping_sub(index * 8);
        if left >= 8 { bytes } else { bytes & ((1u64 << (left * 8 & 63)) - 1) }
    }
}

/// Tables whose steps are separate functions, which the verifier checks once.
trait Walkable: NameTables {
    /// The state after the component that is a dentry's name.
    fn advance(&self, dentry: u64, state: u32) -> Option<u32>;
    /// The state after the component that is the name of a task's unit.
    fn enter(&self, task: u64, state: u32) -> Option<u32>;
    /// One step of a walk.
    fn climb(&self, climb: &mut Climb) -> u32;
}

/// See [`names::hash`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hash_name(bytes: u64, length: u32) -> u64 {
    names::hash::<Written, _>(&DentryName { bytes, length })
}

macro_rules! tables {
    ($tables:ident, $names:ident, $buckets:ident, $table:ident, $words:ident, $states:ident, $steps:ident,
     $matches:ident, $walk:ident, $climb:ident, $advance:ident, $enter:ident, $spelt_out:ident, $globbed:ident, $over_word:ident,
     $next:ident) => {
        #[btf_map]
        static $names: Array<Names, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $buckets: Array<NameBucket, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $table: Array<Name, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $words: Array<Word, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $states: Array<State, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $steps: Array<StepBucket, 1, MMAPABLE> = Array::new();
        #[btf_map]
        static $matches: Array<Match, 1, MMAPABLE> = Array::new();

        struct $tables;

        impl NameTables for $tables {
            #[inline(always)]
            fn names(&self) -> Option<&Names> {
                $names.get(0)
            }
            #[inline(always)]
            fn name_bucket(&self, index: u32) -> Option<&NameBucket> {
                $buckets.get(index)
            }
            #[inline(always)]
            fn name(&self, index: u32) -> Option<&Name> {
                $table.get(index)
            }
            #[inline(always)]
            fn word(&self, index: u32) -> Option<&Word> {
                $words.get(index)
            }
            #[inline(always)]
            fn state(&self, index: u32) -> Option<&State> {
                $states.get(index)
            }
            #[inline(always)]
            fn step_bucket(&self, index: u32) -> Option<&StepBucket> {
                $steps.get(index)
            }
            #[inline(always)]
            fn next(&self, state: u32, symbol: u32) -> Option<u32> {
                number_from_bits($next(state, symbol))
            }
            #[inline(always)]
            fn over_word(&self, state: u32, word: u64, count: u32) -> Option<u32> {
                number_from_bits($over_word(state, word, count))
            }
            #[inline(always)]
            fn opaque(number: u32) -> u32 {
                asm::opaque(number)
            }
            #[inline(always)]
            fn sign_bit(word: u64) -> u64 {
                asm::sign_bit(word)
            }
        }

        impl Symbols<DentryName> for $tables {
            #[inline(always)]
            fn hash(&self, name: &DentryName) -> u64 {
                hash_name(name.bytes, name.length)
            }
            #[inline(always)]
            fn spelt_out(&self, name: &DentryName) -> Option<u32> {
                number_from_bits($spelt_out(name.bytes, name.length))
            }
            #[inline(always)]
            fn globbed(&self, start: u32, name: &DentryName) -> Option<u32> {
                number_from_bits($globbed(start, name.bytes, name.length))
            }
        }

        impl Walkable for $tables {
            #[inline(always)]
            fn advance(&self, dentry: u64, state: u32) -> Option<u32> {
                number_from_bits($advance(dentry, state))
            }
            #[inline(always)]
            fn enter(&self, task: u64, state: u32) -> Option<u32> {
                number_from_bits($enter(task, state))
            }
            #[inline(always)]
            fn climb(&self, climb: &mut Climb) -> u32 {
                $climb(climb)
            }
        }

        /// The state that a symbol or byte leads to.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $next(state: u32, symbol: u32) -> u64 {
            number_to_bits(names::step(&$tables, state, symbol))
        }

        /// See [`names::spelt_out`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $spelt_out(bytes: u64, length: u32) -> u64 {
            number_to_bits(names::spelt_out(&$tables, &DentryName { bytes, length }))
        }

        /// See [`names::globbed`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $globbed(start: u32, bytes: u64, length: u32) -> u64 {
            number_to_bits(names::globbed(&$tables, start, &DentryName { bytes, length }))
        }

        /// See [`names::over_word`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $over_word(state: u32, word: u64, count: u32) -> u64 {
            number_to_bits(names::over_word(&$tables, state, word, count))
        }

        /// The state that a dentry's name leads to.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $advance(dentry: u64, state: u32) -> u64 {
            let Some(name) = DentryName::of(dentry) else { return u64::MAX };
            let Some(symbol) = names::symbol(&$tables, state, &name) else { return u64::MAX };
            if symbol != names::OTHER {
                return $next(state, symbol);
            }
            number_to_bits($tables.state(state).map(|state| state.otherwise))
        }

        /// The state that the name of a task's unit leads to.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $enter(task: u64, state: u32) -> u64 {
            let mut name = DentryName { bytes: units::name_of(task), length: 0 };
            if name.bytes == units::FAULT {
                return u64::MAX;
            }
            let mut symbol = names::OTHER;
            if name.bytes != units::NONE {
                match units::length_of(name.bytes) {
                    Some(length) if length <= COMPONENT_MAX as u32 => name.length = length,
                    _ => return u64::MAX,
                }
                match names::symbol(&$tables, state, &name) {
                    Some(found) => symbol = found,
                    None => return u64::MAX,
                }
            }
            if symbol != names::OTHER {
                return $next(state, symbol);
            }
            number_to_bits($tables.state(state).map(|state| state.otherwise))
        }

        /// One step of a walk. Anything unexpected is a fault.
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $climb(climb: *mut Climb) -> u32 {
            // SAFETY: on the stack of the walk, as the verifier checks at every call.
            match unsafe { climb.as_mut() } {
                Some(climb) => step(&$tables, climb).unwrap_or(IS_A_FAULT),
                None => IS_A_FAULT,
            }
        }

        /// Walks up from a dentry, as [`Walked`].
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $walk(mount: u64, dentry: u64, task: u64) -> u64 {
            match walk(&$tables, mount, dentry, task) {
                Some(walked) => walked,
                None => Walked::FAULT,
            }
        }
    };
}

tables!(
    Written,
    NAMES,
    NAME_BUCKETS,
    NAME_TABLE,
    NAME_WORDS,
    NAME_STATES,
    NAME_STEPS,
    MATCHES,
    walk_names,
    climb_names,
    advance_names,
    enter_unit_of_names,
    spelt_out_in_names,
    globbed_in_names,
    over_word_in_names,
    next_name
);
// The names that symbolic links of the host lead to.
tables!(
    Aliases,
    ALIASES,
    ALIAS_BUCKETS,
    ALIAS_TABLE,
    ALIAS_WORDS,
    ALIAS_STATES,
    ALIAS_STEPS,
    ALIAS_MATCHES,
    walk_aliases,
    climb_aliases,
    advance_aliases,
    enter_unit_of_aliases,
    spelt_out_in_aliases,
    globbed_in_aliases,
    over_word_in_aliases,
    next_alias
);

/// Whether there are any aliases.
#[unsafe(no_mangle)]
static ALIASED: Global<u32> = Global::new(0);

/// The mount and the dentry of a file.
#[inline(always)]
pub fn place_of(file: u64) -> Option<(u64, u64)> {
    let path = place(file, &kernel::file__f_path);
    Some((word(place(path, &kernel::path__mnt))?, word(place(path, &kernel::path__dentry))?))
}

/// A pointer in a structure, as a number.
#[inline(always)]
pub fn number_at(structure: u64, offset: &Global<u32>) -> Option<u64> {
    word(place(structure, offset))
}
