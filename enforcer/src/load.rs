//! From a verified bundle to programs in the kernel: loaded, attached hook by hook, pinned.
//!
//! **Invariant:** every table is frozen before any program is attached, and a [`Programs`] that is
//! dropped before it is pinned leaves nothing attached.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError};
use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::lsm::LsmLinkId;
use aya::programs::{Iter, Lsm, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfError, EbpfLoader};
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::verify::VerifiedBundle;

use crate::canary::Canary;
use crate::syscall;

/// The hook that tells an enforcer the identity of directories. Attached while it asks.
pub const LEARNING_HOOK: &str = "inode_getattr";

/// The hooks that keep labels: attached before anything decides by labels.
pub const LABELLING_HOOKS: [&str; 2] = ["task_alloc", "bprm_committed_creds"];

/// The hooks that decide.
pub const DECIDING_HOOKS: [&str; 2] = ["socket_connect", "socket_sendmsg"];

/// The program that labels what runs already.
const ITERATOR: &str = "iter_task";

/// The labels' map, which outlives the programs.
pub const LABELS: &str = "LABELS";

/// The executables' map.
pub const EXECUTABLES: &str = "EXECUTABLES";

/// The map that counts verdicts.
pub const VERDICTS: &str = "VERDICTS";

/// The label of those that the policy does not name.
const STRANGER: &str = "STRANGER";

/// The tables, and the sections that they hold.
const TABLES: [(&str, SectionKind); 6] = [
    ("POLICY", SectionKind::Policy),
    ("NODES32", SectionKind::Nodes32),
    ("NODES128", SectionKind::Nodes128),
    ("CELLS", SectionKind::Cells),
    ("PROGRAMS", SectionKind::Programs),
    ("PAIRS", SectionKind::Pairs),
];

/// Why the kernel does not take the programs.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object or its maps.
    #[error("the kernel refuses the programs' maps: {0}")]
    Maps(#[from] EbpfError),
    /// Its own type information.
    #[error("the kernel's type information cannot be used: {0}")]
    Btf(#[from] BtfError),
    /// The verifier, for the most part.
    #[error("the kernel refuses to load the program `{program}`: {error}")]
    Refused {
        /// Which program.
        program: &'static str,
        /// Why.
        error: io::Error,
        /// What the verifier said.
        log: String,
    },
    /// Attaching or running.
    #[error("the kernel refuses to attach the program `{program}`: {error}")]
    Attach {
        /// Which program.
        program: &'static str,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A section that does not get into its map.
    #[error("the table `{table}` cannot be filled: {error}")]
    Table {
        /// Which table.
        table: &'static str,
        /// Why.
        error: io::Error,
    },
    /// A section that is larger than a map can be.
    #[error("the table `{0}` is larger than a map of the kernel can be")]
    TooLarge(&'static str),
    /// This program and its embedded programs do not fit together.
    #[error("the embedded programs have no `{0}`")]
    Incomplete(&'static str),
    /// Labelling what runs.
    #[error("the processes that already run cannot be labelled: {0}")]
    Labelling(io::Error),
    /// Pinning.
    #[error("`{path}` cannot be pinned: {error}")]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        error: PinError,
    },
}

impl LoadError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            LoadError::Refused { .. } => "check that the kernel is 6.1 or newer; the verifier's last lines follow",
            LoadError::Incomplete(_) => "build the enforcer again: its parts are of different versions",
            LoadError::TooLarge(_) => "split the policy",
            _ => "check that the kernel is 6.1 or newer and that this process runs as root",
        }
    }

    /// The verifier's last lines, where it said something.
    pub fn log(&self) -> Option<&str> {
        match self {
            LoadError::Refused { log, .. } => Some(log),
            _ => None,
        }
    }
}

/// The programs of one policy, in the kernel.
pub struct Programs {
    ebpf: Ebpf,
    links: Vec<(&'static str, LsmLinkId)>,
}

/// What the programs are specialised to.
pub struct Constants<'a> {
    /// The offsets of the running kernel.
    pub offsets: &'a [(&'static str, u32)],
    /// The address that is refused to everyone.
    pub canary: &'a Canary,
    /// Where the labels' map is pinned, or is going to be.
    pub labels: &'a Path,
}

/// Loads the programs and fills their tables from the bundle; attaches nothing.
pub fn load(object: &[u8], bundle: &VerifiedBundle<'_>, constants: &Constants<'_>) -> Result<Programs, LoadError> {
    let btf = Btf::from_sys_fs()?;
    let mut loader = loader(&btf, constants.offsets, constants.canary);
    loader.map_pin_path(LABELS, constants.labels);
    for (table, kind) in TABLES {
        let count = bundle.section(kind).len() / kind.record_size().unwrap_or(1).max(1);
        loader.map_max_entries(table, entries(table, count)?);
    }
    loader.map_max_entries(EXECUTABLES, entries(EXECUTABLES, bundle.executables().len())?);

    let mut programs = Programs { ebpf: loader.load(object)?, links: Vec::new() };
    for (table, kind) in TABLES {
        let map = programs.map(table)?;
        let filled = syscall::fill(map, bundle.section(kind)).and_then(|()| syscall::freeze(map));
        filled.map_err(|error| LoadError::Table { table, error })?;
    }
    let frozen = syscall::freeze(programs.map(STRANGER)?);
    frozen.map_err(|error| LoadError::Table { table: STRANGER, error })?;
    programs.load_all(&btf)?;
    Ok(programs)
}

/// A program, and how many instructions the verifier followed to accept it.
pub type Verified = (&'static str, u32);

/// Loads the programs over empty tables and lets go of them again: whether the kernel would take them.
pub fn probe(object: &[u8], offsets: &[(&'static str, u32)]) -> Result<Vec<Verified>, LoadError> {
    let btf = Btf::from_sys_fs()?;
    let ebpf = loader(&btf, offsets, &Canary { high: 0, low: 0 }).load(object)?;
    let mut programs = Programs { ebpf, links: Vec::new() };
    programs.load_all(&btf)?;
    programs.verified()
}

fn loader<'a>(btf: &'a Btf, offsets: &'a [(&'static str, u32)], canary: &'a Canary) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).allow_unsupported_maps();
    for (name, offset) in offsets {
        loader.override_global(name, offset, true);
    }
    loader.override_global("CANARY_HIGH", &canary.high, true);
    loader.override_global("CANARY_LOW", &canary.low, true);
    loader
}

/// A map has at least one entry.
fn entries(table: &'static str, count: usize) -> Result<u32, LoadError> {
    u32::try_from(count.max(1)).map_err(|_| LoadError::TooLarge(table))
}

fn refused(program: &'static str, error: ProgramError) -> LoadError {
    const LINES: usize = 20;
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let skip = log.lines().count().saturating_sub(LINES);
            let log = log.lines().skip(skip).collect::<Vec<_>>().join("\n");
            LoadError::Refused { program, error: io_error, log }
        }
        other => LoadError::Attach { program, error: other.into() },
    }
}

impl Programs {
    /// Has the verifier check every program.
    fn load_all(&mut self, btf: &Btf) -> Result<(), LoadError> {
        for hook in [LEARNING_HOOK].into_iter().chain(LABELLING_HOOKS).chain(DECIDING_HOOKS) {
            self.hook(hook)?.load(hook, btf).map_err(|error| refused(hook, error))?;
        }
        self.iterator()?.load("task", btf).map_err(|error| refused(ITERATOR, error))
    }

    /// What the verifier's work on each program was.
    fn verified(&mut self) -> Result<Vec<Verified>, LoadError> {
        let names = [LEARNING_HOOK].into_iter().chain(LABELLING_HOOKS).chain(DECIDING_HOOKS).chain([ITERATOR]);
        let count = |name| {
            let info = self.program(name)?.info().map_err(|error| refused(name, error))?;
            Ok((name, info.verified_instruction_count().unwrap_or(0)))
        };
        names.map(count).collect()
    }

    /// A map of the programs.
    pub fn map(&self, name: &'static str) -> Result<&MapData, LoadError> {
        match self.ebpf.map(name) {
            Some(Map::Array(map) | Map::HashMap(map) | Map::PerCpuArray(map) | Map::Unsupported(map)) => Ok(map),
            _ => Err(LoadError::Incomplete(name)),
        }
    }

    /// A map of the programs, as the type that aya has for it.
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

    fn hook(&mut self, name: &'static str) -> Result<&mut Lsm, LoadError> {
        self.program(name)?.try_into().map_err(|_: ProgramError| LoadError::Incomplete(name))
    }

    fn iterator(&mut self) -> Result<&mut Iter, LoadError> {
        self.program(ITERATOR)?.try_into().map_err(|_: ProgramError| LoadError::Incomplete(ITERATOR))
    }

    /// Attaches a hook's program.
    pub fn attach(&mut self, hook: &'static str) -> Result<(), LoadError> {
        let link =
            self.hook(hook)?.attach().map_err(|error| LoadError::Attach { program: hook, error: error.into() })?;
        self.links.push((hook, link));
        Ok(())
    }

    /// Detaches the program that was attached last.
    pub fn detach_last(&mut self) -> Result<(), LoadError> {
        match self.links.pop() {
            Some((hook, link)) => {
                let detached = self.hook(hook)?.detach(link);
                detached.map_err(|error| LoadError::Attach { program: hook, error: error.into() })
            }
            None => Ok(()),
        }
    }

    /// Labels every task that runs.
    pub fn label_running(&mut self) -> Result<(), LoadError> {
        let program = self.iterator()?;
        let link = program.attach().and_then(|id| program.take_link(id));
        let link = link.map_err(|error| LoadError::Attach { program: ITERATOR, error: error.into() })?;
        let mut tasks = link.into_file().map_err(|error: LinkError| LoadError::Labelling(io::Error::other(error)))?;
        // The kernel walks the tasks while the file is read. Nothing is written to it.
        io::copy(&mut tasks, &mut io::sink()).map_err(LoadError::Labelling)?;
        Ok(())
    }

    /// Pins what is attached, and the verdicts, in a folder of the BPF filesystem.
    pub fn pin(&mut self, folder: &Path) -> Result<(), LoadError> {
        for (hook, id) in std::mem::take(&mut self.links) {
            let link = self.hook(hook)?.take_link(id).map(FdLink::from);
            let link = link.map_err(|error| LoadError::Attach { program: hook, error: error.into() })?;
            let path = folder.join(format!("link_{hook}"));
            link.pin(&path).map_err(|error| LoadError::Pin { path, error })?;
        }
        let path = folder.join("verdicts");
        self.map(VERDICTS)?.pin(&path).map_err(|error| LoadError::Pin { path, error })
    }
}
