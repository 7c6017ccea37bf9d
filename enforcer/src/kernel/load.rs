//! From a verified bundle to programs in the kernel: loaded, attached hook by hook, pinned.
//!
//! **Invariant:** every table is frozen before any program is attached, and a [`Programs`] that is dropped before it is
//! pinned leaves nothing attached.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::{Map, MapData, MapError};
use aya::programs::links::{CgroupAttachMode, FdLink, LinkError};
use aya::programs::{CgroupSkb, CgroupSkbAttachType, CgroupSysctl, FEntry, Iter, Lsm, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use bfp_bundle::identity::Withheld;
use bfp_bundle::image::Derived;
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::record::Record as _;
use bfp_bundle::verify::VerifiedBundle;

use crate::host::kfunc;
use crate::host::offsets::Kernel;
use crate::host::syscall;
use crate::kernel::canary::Canary;
use crate::kernel::content::Content;
use crate::kernel::links::Aliases;
use crate::kernel::object::{
    ALIAS_TABLES, DECIDING_HOOKS, DIGESTS, EGRESS, ENFORCERS, EVENTS, EXECUTED, FINDING, FIRST_PROCESS, INODES,
    ITERATORS, LABELLING_HOOKS, LABELS, LEARNING_HOOK, LOCKDOWN_HOOKS, SOCKETS, SPLICE_HOOK, SYSCTL, TABLES, UNLISTED,
    VERDICTS,
};
use crate::kernel::pins::LINK;

mod error;

pub use error::LoadError;

use error::{not_attached, refused};

/// The loaded programs of one policy.
pub struct Programs {
    ebpf: Ebpf,
    hooks: Vec<&'static str>,
    /// [`LOCKDOWN_HOOKS`], or none.
    lockdown: &'static [&'static str],
    links: Vec<(&'static str, FdLink)>,
    sysctl: Option<OwnedFd>,
}

/// The constants that the programs are specialised to.
pub struct Constants<'a> {
    /// The layout of the running kernel.
    pub kernel: &'a Kernel,
    /// The kernel's type information, BTF.
    pub types: &'a [u8],
    /// The address that is denied to every process.
    pub canary: &'a Canary,
    /// The path of the pin of the task labels, which may not exist yet.
    pub labels: &'a Path,
    /// The path of the pin of what was seen of each exec, likewise.
    pub executed: &'a Path,
    /// The path of the pin of the socket labels, likewise.
    pub sockets: &'a Path,
    /// The path of the pin of the enforcer's own processes, likewise.
    pub enforcers: &'a Path,
    /// The device of the filesystem that has the pins.
    pub pins_device: u32,
    /// How to treat processes that are already running.
    pub running: Running,
}

/// How to treat processes whose exec was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// Their name counts for restrictions only.
    Restricted,
    /// Their name counts for grants too: the operator knows what runs on this host.
    Adopted,
}

/// What the tables are filled with.
pub struct Tables<'a, 'b> {
    /// The verified bundle.
    pub bundle: &'b VerifiedBundle<'a>,
    /// The tables that a bundle of the first format lacks.
    pub derived: Option<&'b Derived>,
    /// The tables of names behind symbolic links.
    pub aliases: Option<&'b Aliases>,
    /// The pinned contents.
    pub contents: &'b [Content<'b>],
}

impl Tables<'_, '_> {
    fn table(&self, kind: SectionKind) -> Cow<'_, [u8]> {
        let derived = self.derived.and_then(|derived| derived.section(kind));
        derived.map_or(Cow::Borrowed(self.bundle.section(kind)), Cow::Owned)
    }

    /// Every table: the name of its map, its kind, and its bytes.
    fn all(&self) -> impl Iterator<Item = (&'static str, SectionKind, Cow<'_, [u8]>)> {
        let own = TABLES.into_iter().map(|(name, kind)| (name, kind, self.table(kind)));
        let aliases = ALIAS_TABLES.into_iter().map(|(name, kind)| {
            let bytes = self.aliases.map(|aliases| aliases.section(kind)).unwrap_or_default();
            (name, kind, Cow::Owned(bytes))
        });
        own.chain(aliases)
    }
}

/// Loads the programs and fills their tables. Attaches nothing.
///
/// # Errors
/// The verifier rejects a program, a table does not fit its map, or the object lacks a program or a map.
pub fn load(object: &[u8], tables: &Tables<'_, '_>, constants: &Constants<'_>) -> Result<Programs, LoadError> {
    let btf = Btf::parse(constants.types, Endianness::default())?;
    let mut globals = Globals::of(constants.kernel, constants.pins_device);
    globals.set("ALIASED", tables.aliases.is_some().into());
    globals.set("ADOPTING", (constants.running == Running::Adopted).into());
    let mut loader = loader(&btf, &constants.kernel.offsets, constants.canary, &globals)?;
    loader.map_pin_path(LABELS, constants.labels);
    loader.map_pin_path(EXECUTED, constants.executed);
    loader.map_pin_path(SOCKETS, constants.sockets);
    loader.map_pin_path(ENFORCERS, constants.enforcers);
    for (table, kind, bytes) in tables.all() {
        let count = bytes.len() / kind.record_size().unwrap_or(1).max(1);
        loader.map_max_entries(table, entries(table, count)?);
    }
    loader.map_max_entries(INODES, entries(INODES, tables.contents.len())?);
    loader.map_max_entries(DIGESTS, entries(DIGESTS, tables.contents.iter().map(|content| content.pins.len()).sum())?);

    let lockdown = if tables.bundle.manifest().lockdown { LOCKDOWN_HOOKS.as_slice() } else { &[] };
    let mut programs = Programs::new(loader.load(&directed(object, constants.kernel)?)?, constants.kernel, lockdown);
    for (table, _, bytes) in tables.all() {
        if !bytes.is_empty() {
            let filled = syscall::fill(programs.map(table)?, &bytes);
            filled.map_err(|error| LoadError::Table { table, error })?;
        }
        programs.freeze(table)?;
    }
    // Programs write the map of the first process, and nothing else does.
    for table in [UNLISTED, FIRST_PROCESS] {
        programs.freeze(table)?;
    }
    programs.load_all(&btf)?;
    Ok(programs)
}

/// A program, and how many instructions the verifier processed to accept it.
pub type Verified = (&'static str, u32);

fn directed(object: &[u8], kernel: &Kernel) -> Result<Vec<u8>, LoadError> {
    kfunc::direct(object, kernel.fsverity_digest).ok_or(LoadError::Incomplete("call of bpf_get_fsverity_digest"))
}

/// Loads the programs over empty tables and unloads them again, to test whether the kernel accepts them.
pub fn probe(object: &[u8], types: &[u8], kernel: &Kernel) -> Result<Vec<Verified>, LoadError> {
    let btf = Btf::parse(types, Endianness::default())?;
    let (canary, globals) = (Canary { high: 0, low: 0 }, Globals::of(kernel, 0));
    let ebpf = loader(&btf, &kernel.offsets, &canary, &globals)?.load(&directed(object, kernel)?)?;
    let mut programs = Programs::new(ebpf, kernel, &LOCKDOWN_HOOKS);
    programs.load_all(&btf)?;
    programs.verified()
}

/// The programs' other constants, by the names of their globals.
struct Globals([(&'static str, u32); 10]);

impl Globals {
    fn of(kernel: &Kernel, pins_device: u32) -> Globals {
        Globals([
            ("PINS_DEVICE", pins_device),
            ("FIRST_MOUNT", kernel.mounts.first),
            ("MOUNT_NODE", kernel.mounts.node),
            ("MOUNT_NEXT", kernel.mounts.next),
            ("MOUNTS_ARE_A_RING", kernel.mounts.are_a_ring.into()),
            ("SECURE_EXEC_BYTE", kernel.secure_exec / 8),
            ("SECURE_EXEC_BIT", kernel.secure_exec % 8),
            ("LSM_MAY_CONSENT", kernel.lsm_may_consent.into()),
            ("ALIASED", 0),
            ("ADOPTING", 0),
        ])
    }

    fn set(&mut self, name: &'static str, value: u32) {
        for (_, place) in self.0.iter_mut().filter(|(global, _)| *global == name) {
            *place = value;
        }
    }
}

fn loader<'a>(
    btf: &'a Btf,
    offsets: &'a [(&'static str, u32)],
    canary: &'a Canary,
    globals: &'a Globals,
) -> Result<EbpfLoader<'a>, LoadError> {
    try_types()?;
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).allow_unsupported_maps();
    for (name, offset) in offsets.iter().chain(&globals.0) {
        loader.override_global(name, offset, true);
    }
    loader.override_global("CANARY_HIGH", &canary.high, true);
    loader.override_global("CANARY_LOW", &canary.low, true);
    Ok(loader)
}

/// Tests directly for features that aya finds by trial loads, which also fail if memory is short. aya would then leave
/// out what the kernel rejected. Without the types of functions, the verifier follows a global function at each call,
/// and takes minutes to reject a program that it otherwise decides on in a second.
fn try_types() -> Result<(), LoadError> {
    let features = aya::features();
    let types = features.btf().is_some_and(|btf| btf.btf_func() && btf.btf_func_global() && btf.btf_datasec());
    if types && features.bpf_global_data() { Ok(()) } else { Err(LoadError::Trial) }
}

/// A map has at least one entry.
fn entries(table: &'static str, count: usize) -> Result<u32, LoadError> {
    u32::try_from(count.max(1)).map_err(|_| LoadError::TooLarge(table))
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::PerCpuArray(map)
        | Map::RingBuf(map)
        | Map::SkStorage(map)
        | Map::Unsupported(map) => Some(map),
        _ => None,
    }
}

impl Programs {
    fn new(ebpf: Ebpf, kernel: &Kernel, lockdown: &'static [&'static str]) -> Programs {
        let mut hooks = Vec::from(DECIDING_HOOKS);
        hooks.extend(kernel.splice_is_no_send.then_some(SPLICE_HOOK));
        Programs { ebpf, hooks, lockdown, links: Vec::new(), sysctl: None }
    }

    /// The hooks, in the order in which they are attached.
    fn all_hooks(&self) -> Vec<&'static str> {
        let deciding = self.hooks.iter().copied();
        [LEARNING_HOOK]
            .into_iter()
            .chain(LABELLING_HOOKS)
            .chain(deciding)
            .chain(self.lockdown.iter().copied())
            .collect()
    }

    /// Has the verifier check every program.
    fn load_all(&mut self, btf: &Btf) -> Result<(), LoadError> {
        for hook in self.all_hooks() {
            let loaded = match hook {
                SPLICE_HOOK => self.typed::<FEntry>(hook)?.load(hook, btf),
                _ => self.typed::<Lsm>(hook)?.load(hook, btf),
            };
            loaded.map_err(|error| refused(hook, error))?;
        }
        for (program, walked) in [FINDING].into_iter().chain(ITERATORS) {
            self.typed::<Iter>(program)?.load(walked, btf).map_err(|error| refused(program, error))?;
        }
        self.typed::<CgroupSkb>(EGRESS)?.load().map_err(|error| refused(EGRESS, error))?;
        self.typed::<CgroupSysctl>(SYSCTL)?.load().map_err(|error| refused(SYSCTL, error))
    }

    /// The verifier's work on each program.
    fn verified(&mut self) -> Result<Vec<Verified>, LoadError> {
        let hooks = self.all_hooks().into_iter();
        let others = [FINDING].into_iter().chain(ITERATORS).map(|(name, _)| name).chain([EGRESS, SYSCTL]);
        let count = |name| {
            let info = self.program(name)?.info().map_err(|error| refused(name, error))?;
            Ok((name, info.verified_instruction_count().unwrap_or(0)))
        };
        hooks.chain(others).map(count).collect()
    }

    /// A map of the programs.
    pub fn map(&self, name: &'static str) -> Result<&MapData, LoadError> {
        self.ebpf.map(name).and_then(data).ok_or(LoadError::Incomplete(name))
    }

    /// Every map of the programs.
    pub fn maps(&self) -> impl Iterator<Item = Result<&MapData, LoadError>> {
        self.ebpf.maps().map(|(_, map)| data(map).ok_or(LoadError::Incomplete("map of this kind")))
    }

    /// The kernel's number of every program.
    pub fn program_numbers(&self) -> io::Result<Vec<u32>> {
        let loaded = self.ebpf.programs().filter_map(|(_, program)| program.fd().ok());
        loaded.map(|fd| syscall::object_number(fd.as_fd())).collect()
    }

    /// A map of the programs, as its type in aya.
    pub fn typed_map<'a, T>(&'a mut self, name: &'static str) -> Result<T, LoadError>
    where
        T: TryFrom<&'a mut Map, Error = MapError>,
    {
        let map = self.ebpf.map_mut(name).ok_or(LoadError::Incomplete(name))?;
        T::try_from(map).map_err(|_| LoadError::Incomplete(name))
    }

    fn program(&mut self, name: &'static str) -> Result<&mut Program, LoadError> {
        self.ebpf.program_mut(name).ok_or(LoadError::Incomplete(name))
    }

    fn typed<'a, T>(&'a mut self, name: &'static str) -> Result<&'a mut T, LoadError>
    where
        &'a mut T: TryFrom<&'a mut Program>,
    {
        self.program(name)?.try_into().map_err(|_| LoadError::Incomplete(name))
    }

    /// Attaches the program of a hook.
    pub fn attach(&mut self, hook: &'static str) -> Result<(), LoadError> {
        let link: Result<FdLink, ProgramError> = if hook == SPLICE_HOOK {
            let program = self.typed::<FEntry>(hook)?;
            program.attach().and_then(|id| program.take_link(id)).map(Into::into)
        } else {
            let program = self.typed::<Lsm>(hook)?;
            program.attach().and_then(|id| program.take_link(id)).map(Into::into)
        };
        self.links.push((hook, link.map_err(not_attached(hook))?));
        Ok(())
    }

    /// Attaches everything that decides: the hooks, and the packet and sysctl programs on the root cgroup.
    pub fn attach_deciding(&mut self, root: &File) -> Result<(), LoadError> {
        for hook in self.hooks.clone() {
            self.attach(hook)?;
        }
        // The kernel lets programs of other links run beside these (kernel/bpf/cgroup.c, `cgroup_bpf_link_attach`).
        let mode = CgroupAttachMode::Single;
        let egress = self.typed::<CgroupSkb>(EGRESS)?;
        let link = egress.attach(root, CgroupSkbAttachType::Egress, mode).and_then(|id| egress.take_link(id));
        let link = link.map_err(not_attached(EGRESS))?;
        self.links.push((EGRESS, link.try_into().map_err(not_attached(EGRESS))?));
        let sysctl = self.typed::<CgroupSysctl>(SYSCTL)?.fd().map_err(not_attached(SYSCTL))?.try_clone();
        let sysctl = sysctl.map_err(not_attached(SYSCTL))?;
        self.sysctl = Some(syscall::attach_sysctl(sysctl.as_fd(), root.as_fd()).map_err(not_attached(SYSCTL))?);
        Ok(())
    }

    /// Detaches the program that was attached last.
    pub fn detach_last(&mut self) {
        // The kernel detaches once nothing holds the link.
        drop(self.links.pop());
    }

    /// Finds the first process of the host. Must run before anything that needs its root is attached.
    pub fn find_first_process(&mut self) -> Result<(), LoadError> {
        self.walk(FINDING.0).map(drop)
    }

    /// Labels every running task, and every socket that a task has open. Returns the tasks whose grants are withheld.
    pub fn label_running(&mut self) -> Result<Vec<Withheld>, LoadError> {
        let mut withheld = Vec::new();
        for (name, _) in ITERATORS {
            let records = self.walk(name)?;
            withheld.extend(records.chunks_exact(Withheld::SIZE).filter_map(Withheld::read_from));
        }
        if withheld.iter().any(|one| one.why == Withheld::UNLABELLED) {
            return Err(LoadError::Labelling(io::ErrorKind::OutOfMemory.into()));
        }
        Ok(withheld)
    }

    /// Runs an iterator, which the kernel does while its file is read, and returns what the program wrote.
    fn walk(&mut self, name: &'static str) -> Result<Vec<u8>, LoadError> {
        let program = self.typed::<Iter>(name)?;
        let link = program.attach().and_then(|id| program.take_link(id)).map_err(not_attached(name))?;
        let mut walk = link.into_file().map_err(|error: LinkError| LoadError::Labelling(io::Error::other(error)))?;
        let mut written = Vec::new();
        walk.read_to_end(&mut written).map_err(LoadError::Labelling)?;
        Ok(written)
    }

    /// Inserts keys into a hash map, each with the value 1, in one call.
    pub(crate) fn insert_all<const SIZE: usize>(
        &self,
        table: &'static str,
        keys: &[[u8; SIZE]],
    ) -> Result<(), LoadError> {
        syscall::insert_all(self.map(table)?, keys).map_err(|error| LoadError::Table { table, error })
    }

    /// Freezes a map: only programs can write it from now on.
    pub(crate) fn freeze(&self, table: &'static str) -> Result<(), LoadError> {
        syscall::freeze(self.map(table)?).map_err(|error| LoadError::Table { table, error })
    }

    /// Pins the links that were attached since the last call.
    pub fn pin_links(&mut self, folder: &Path, prefix: &str) -> Result<(), LoadError> {
        for (hook, link) in std::mem::take(&mut self.links) {
            let path = folder.join(format!("{prefix}{hook}"));
            link.pin(&path).map_err(|error| LoadError::Pin { path, error: error.into() })?;
        }
        Ok(())
    }

    /// The links that are attached and not yet pinned, by the names of their future pins.
    pub fn attached(&self) -> Vec<String> {
        let sysctl = self.sysctl.iter().map(|_| SYSCTL);
        self.links.iter().map(|(hook, _)| *hook).chain(sysctl).map(|hook| format!("{LINK}{hook}")).collect()
    }

    /// Pins the links, the verdict counters and the events in a directory of the BPF filesystem.
    pub fn pin(&mut self, folder: &Path) -> Result<(), LoadError> {
        self.pin_links(folder, LINK)?;
        if let Some(link) = self.sysctl.take() {
            let path = folder.join(format!("{LINK}{SYSCTL}"));
            syscall::pin(link.as_fd(), &path).map_err(|error| LoadError::Pin { path, error: error.into() })?;
        }
        for (map, name) in [(VERDICTS, "verdicts"), (EVENTS, "events")] {
            self.pin_map(map, &folder.join(name))?;
        }
        Ok(())
    }

    /// Pins a map.
    pub fn pin_map(&self, map: &'static str, path: &Path) -> Result<(), LoadError> {
        self.map(map)?.pin(path).map_err(|error| LoadError::Pin { path: path.to_owned(), error: error.into() })
    }
}
