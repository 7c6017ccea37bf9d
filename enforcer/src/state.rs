//! What the host remembers on disk: a folder that only root may enter, with two copies of a record, the trust sets
//! that were adopted, and the last good bundle.
//!
//! **Invariant:** whatever happens between any two system calls, a loss of power included, the folder holds one
//! whole record, the old or the new one, and the bundle that it names. A file is written under another name,
//! synced, renamed, and the folder is synced.
//!
//! **Invariant:** a record that cannot be read is never overwritten: one of a newer release stays where it is, and one
//! that is damaged is kept under a name of its own.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bfp_bundle::verify::{MAX_BUNDLE_BYTES, MAX_DOCUMENT_BYTES, TrustSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::admission::{Memory, Seen};
use crate::fields::{self, Field};
use crate::input::{self, InputError};
use crate::syscall;
use crate::trust::AdoptedSet;

/// Where it is.
pub const STATE: &str = "/var/lib/bfp";

/// The record, and its copy. Both say the same but for the moment in which one has been replaced.
const RECORD: &str = "state";
const COPY: &str = "state.copy";

/// What a record that is damaged is kept as, with the time behind it.
const DAMAGED: &str = "state.damaged-";

/// An adopted trust set, with its version behind it.
const TRUST_SET: &str = "trust-set-";

/// The first bytes of a record, whatever its layout. Behind them: the number of its layout, and the digest of the
/// rest.
const MAGIC: [u8; 8] = *b"BFPS\r\n\x1a\n";

/// The layout of the first release: the rest is a [`Prefix`].
const FIRST_LAYOUT: u32 = 1;

/// The layout that is written: a sequence number, the length of a [`Prefix`], the prefix, and fields. A later layout
/// begins likewise, so that this release can tell what the host has seen.
const LAYOUT: u32 = 2;

/// The kinds of fields: the tokens that were used,
const USED_TOKENS: u16 = 1;
/// and the time that was taken back.
const TIME_TAKEN_BACK: u16 = 2;

const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How many tokens are remembered beyond their time.
const MAX_EXPIRED_TOKENS: usize = 256;

/// What the host remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The highest revisions, one of each policy.
    pub seen: Vec<Seen>,
    /// What was enforced last, and is to be again after a restart.
    pub current: Option<Current>,
    /// The latest time that the host has known, in seconds since 1970-01-01 UTC.
    pub last_time: u64,
    /// A revision that the signers took back, which a kernel that enforces it still tells.
    pub recovered: Option<Recovered>,
    /// The trust sets that were adopted, as signed documents.
    pub trust_sets: Vec<AdoptedSet>,
    /// The tokens that were used: none is good twice.
    pub used_tokens: Vec<UsedToken>,
    /// A time that the signers took back, which a kernel that enforces a policy from then still tells.
    pub time_taken_back: Option<u64>,
    /// What a later release wrote here, for it to find again.
    pub unknown: Vec<Field>,
}

/// What every release reads of a record, and all that the first one knew.
#[derive(Serialize, Deserialize)]
struct Prefix {
    seen: Vec<Seen>,
    current: Option<Current>,
    last_time: u64,
    recovered: Option<Recovered>,
    trust_sets: Vec<AdoptedSet>,
}

/// What was enforced last, and how it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The policy.
    pub policy: String,
    /// Its revision.
    pub revision: u64,
    /// SHA-256 of its manifest.
    pub manifest_digest: [u8; 32],
    /// When it was accepted first: it is no less good when it expires later.
    pub accepted_at: u64,
    /// By whose signatures.
    pub trust: TrustSet,
    /// On a host with which labels.
    pub labels: Vec<String>,
}

/// A revision that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Of which policy.
    pub policy: String,
    /// The highest revision until then.
    pub from: u64,
}

/// A token that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedToken {
    /// SHA-256 of what it says, whoever signed it.
    pub digest: [u8; 32],
    /// Until when it would be good.
    pub expires: u64,
}

impl Record {
    /// Whether a token was used before.
    pub fn has_used(&self, digest: &[u8; 32]) -> bool {
        self.used_tokens.iter().any(|used| used.digest == *digest)
    }

    /// Remembers that a token was used. Those that have expired are no good anyway, and stay for as long as there are
    /// few: a clock that runs ahead for a day does not make an old one good again.
    pub fn use_token(&mut self, used: UsedToken, clock: u64) {
        self.used_tokens.push(used);
        while self.used_tokens.iter().filter(|used| used.expires <= clock).count() > MAX_EXPIRED_TOKENS {
            let first = self.used_tokens.iter().enumerate().min_by_key(|(_, used)| used.expires);
            let Some((first, _)) = first else { return };
            self.used_tokens.remove(first);
        }
    }

    /// Whether another record says the same, but for the time.
    fn says_as_much_as(&self, other: &Record) -> bool {
        *self == Record { last_time: self.last_time, ..other.clone() }
    }

    fn encode(&self, sequence: u64) -> Option<Vec<u8>> {
        let Record { seen, current, last_time, recovered, trust_sets, used_tokens, time_taken_back, unknown } =
            self.clone();
        let prefix = Prefix { seen, current, last_time, recovered, trust_sets };
        let prefix = postcard::to_allocvec(&prefix).ok()?;
        let mut body = Vec::new();
        body.extend(sequence.to_le_bytes());
        body.extend(u32::try_from(prefix.len()).ok()?.to_le_bytes());
        body.extend(prefix);
        if !used_tokens.is_empty() {
            fields::write(&mut body, USED_TOKENS, &postcard::to_allocvec(&used_tokens).ok()?);
        }
        if let Some(time) = time_taken_back {
            fields::write(&mut body, TIME_TAKEN_BACK, &postcard::to_allocvec(&time).ok()?);
        }
        for Field { kind, content } in unknown {
            fields::write(&mut body, kind, &content);
        }
        Some([&MAGIC[..], &LAYOUT.to_le_bytes(), &Sha256::digest(&body), &body].concat())
    }

    fn of(prefix: Prefix) -> Record {
        let Prefix { seen, current, last_time, recovered, trust_sets } = prefix;
        Record { seen, current, last_time, recovered, trust_sets, ..Record::default() }
    }

    /// What two records say together, of which the first release wrote one while this one kept the other: nothing that
    /// either has seen is forgotten.
    fn merged(one: Record, other: Record) -> Record {
        let (mut later, earlier) = if one.last_time > other.last_time { (one, other) } else { (other, one) };
        let mut memory = Memory { seen: later.seen, current: None };
        earlier.seen.into_iter().for_each(|seen| memory.see(seen));
        later.seen = memory.seen;
        add_sets(&mut later.trust_sets, earlier.trust_sets);
        later.used_tokens.extend(earlier.used_tokens);
        later.time_taken_back = later.time_taken_back.or(earlier.time_taken_back);
        later.unknown.extend(earlier.unknown);
        later
    }
}

/// Adds the trust sets whose versions are missing.
fn add_sets(sets: &mut Vec<AdoptedSet>, others: Vec<AdoptedSet>) {
    for (version, document) in others {
        if !sets.iter().any(|(known, _)| *known == version) {
            sets.push((version, document));
        }
    }
    sets.sort_by_key(|(version, _)| *version);
}

/// How what was found on disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is nothing: a first day.
    Fresh,
    /// As it was written.
    Whole,
    /// One copy is as it was written, and this one is damaged or gone.
    OneCopy(PathBuf),
    /// Neither is; what is left are the trust sets and bundles beside it.
    Damaged(PathBuf),
    /// The record is gone, and trust sets or bundles are left.
    Gone(PathBuf),
    /// A later release wrote it. What every release reads of it is known.
    Newer(PathBuf),
}

impl Condition {
    /// Whether the host may have seen more than is known.
    pub fn has_forgotten(&self) -> bool {
        matches!(self, Condition::Damaged(_) | Condition::Gone(_))
    }

    /// What is wrong, as a sentence.
    pub fn words(&self) -> Option<String> {
        Some(match self {
            Condition::Fresh | Condition::Whole => return None,
            Condition::OneCopy(path) => format!(
                "a copy of this host's state, `{}`, is damaged or gone: the other one is taken, and the next change \
                 writes both",
                path.display()
            ),
            Condition::Damaged(path) => format!(
                "this host's state at `{}` is damaged: what is known are the trust sets and good bundles beside it",
                path.display()
            ),
            Condition::Gone(path) => format!(
                "this host's state at `{}` is gone: what is known are the trust sets and good bundles beside it",
                path.display()
            ),
            Condition::Newer(path) => {
                format!("{}: it is left as it is", StateError::Newer(path.clone()))
            }
        })
    }

    /// As one word.
    pub fn word(&self) -> &'static str {
        match self {
            Condition::Fresh => "none",
            Condition::Whole => "whole",
            Condition::OneCopy(_) => "one_copy",
            Condition::Damaged(_) => "damaged",
            Condition::Gone(_) => "gone",
            Condition::Newer(_) => "newer",
        }
    }
}

/// What was found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is remembered. Where the record is damaged or gone, that is the trust sets beside it.
    pub record: Record,
    /// How it is.
    pub condition: Condition,
    sequence: u64,
}

impl Found {
    /// Where nothing can be read: what the host has seen is not known, and whoever comes up goes on.
    pub fn nothing() -> Found {
        Found { record: Record::default(), condition: Condition::Fresh, sequence: 0 }
    }

    /// The record, where the host knows all that it has seen, or nobody knows better.
    pub fn whole(&self) -> Result<&Record, StateError> {
        match &self.condition {
            Condition::Damaged(path) => Err(StateError::Damaged(path.clone())),
            Condition::Newer(path) => Err(StateError::Newer(path.clone())),
            _ => Ok(&self.record),
        }
    }
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A path.
    #[error("this host's state at `{path}` cannot be {what}: {error}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What was wanted.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
    /// Not ours alone.
    #[error(transparent)]
    Input(#[from] InputError),
    /// It says nothing sensible.
    #[error("this host's state at `{0}` is damaged")]
    Damaged(PathBuf),
    /// A later release knows what it says.
    #[error("this host's state at `{0}` was written by a newer enforcer")]
    Newer(PathBuf),
}

impl StateError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                "make room on its filesystem, or name another folder with `--state`"
            }
            StateError::Unusable { error, .. } if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "mount its filesystem for writing, or name another folder with `--state`"
            }
            StateError::Unusable { .. } => "run it as root, or name another folder with `--state`",
            StateError::Input(error) => error.help(),
            StateError::Damaged(_) => {
                "put it back from a backup, have `bfp-enforcer boot` gather what is left beside it, or have the \
                 signers consent to a new beginning: a token `--from 0` for `bfp-enforcer recover`"
            }
            StateError::Newer(_) => "install the enforcer that wrote it, or a later one",
        }
    }
}

fn unusable(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Unusable { path, what, error }
}

/// What becomes of what cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    /// The command ends.
    Ends,
    /// It goes on, and the failure is kept to be told: a host that comes up is to be protected.
    IsTold,
}

/// The state's folder, locked.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Holds the lock, and is synced; `None` where the folder cannot be used.
    handle: Option<File>,
    failing: Failing,
    unwritten: RefCell<Option<StateError>>,
}

impl State {
    /// Makes the folder where it is missing, and locks it: enforcers that change something follow each other.
    pub fn open(folder: &Path) -> Result<State, StateError> {
        let handle = Some(open_folder(folder)?);
        Ok(State { folder: folder.to_owned(), handle, failing: Failing::Ends, unwritten: RefCell::default() })
    }

    /// The same when the host comes up: what cannot be used, or written, is told by [`State::unwritten`] and ends
    /// nothing.
    pub fn come_up(folder: &Path) -> State {
        let (handle, error) = match open_folder(folder) {
            Ok(handle) => (Some(handle), None),
            Err(error) => (None, Some(error)),
        };
        State { folder: folder.to_owned(), handle, failing: Failing::IsTold, unwritten: RefCell::new(error) }
    }

    /// Why what is to be remembered is not on disk.
    pub fn unwritten(&self) -> Option<StateError> {
        self.unwritten.take()
    }

    /// What is on disk.
    pub fn read(&self) -> Result<Found, StateError> {
        read(&self.folder)
    }

    /// Writes the record, and drops the bundles that it does not name. What the disk says already need not be written,
    /// but for the time.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        self.settle(self.folder().and_then(|_| self.write_all(record)))
    }

    /// Keeps a bundle, and writes the record that names it.
    pub fn keep(&self, (manifest_digest, bundle): (&[u8; 32], &[u8]), record: &Record) -> Result<(), StateError> {
        let kept = self.folder().and_then(|_| self.keep_bundle(manifest_digest, bundle));
        self.settle(kept.and_then(|()| self.write_all(record)))
    }

    fn settle(&self, written: Result<(), StateError>) -> Result<(), StateError> {
        match (written, self.failing) {
            (Err(error), Failing::IsTold) => {
                self.unwritten.borrow_mut().get_or_insert(error);
                Ok(())
            }
            (written, _) => written,
        }
    }

    fn write_all(&self, record: &Record) -> Result<(), StateError> {
        let found = self.read()?;
        if let Condition::Newer(path) = found.condition {
            return Err(StateError::Newer(path));
        }
        match self.write_over(&found, record) {
            Err(_) if found.condition == Condition::Whole && record.says_as_much_as(&found.record) => return Ok(()),
            written => written?,
        }
        self.drop_others(record)
    }

    fn write_over(&self, found: &Found, record: &Record) -> Result<(), StateError> {
        let paths = [COPY, RECORD].map(|name| self.folder.join(name));
        let [_, path] = &paths;
        // Lists and numbers in memory can be encoded.
        let bytes = record.encode(found.sequence.saturating_add(1));
        let bytes = bytes.ok_or_else(|| StateError::Damaged(path.clone()))?;
        for (version, document) in &record.trust_sets {
            self.keep_file(&trust_set_path(&self.folder, *version), document)?;
        }
        // Both are on the disk before either takes its place: there is room for both, or nothing changes.
        let beside = paths.each_ref().map(|path| beside(path));
        let staged = beside.iter().try_for_each(|path| write_synced(path, &bytes));
        let placed = staged.and_then(|()| self.set_aside_damaged());
        let placed = placed
            .and_then(|()| beside.iter().zip(&paths).try_for_each(|(beside, path)| std::fs::rename(beside, path)));
        if placed.is_err() {
            // What is half written helps nobody; the reason why matters more.
            beside.iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
        placed.map_err(unusable(path, "written"))?;
        self.sync()
    }

    /// Moves a copy that is damaged out of the way, for people to look at. What was moved before stays.
    fn set_aside_damaged(&self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for path in [RECORD, COPY].map(|name| self.folder.join(name)) {
            if matches!(read_copy(&path), Ok(Copied::Damaged)) {
                let mut name = format!("{DAMAGED}{now}");
                while self.folder.join(&name).exists() {
                    name.push('+');
                }
                std::fs::rename(&path, self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn drop_others(&self, record: &Record) -> Result<(), StateError> {
        let kept = record.current.as_ref().map(|current| bundle_path(&self.folder, &current.manifest_digest));
        let entries = std::fs::read_dir(&self.folder).map_err(unusable(&self.folder, "read"))?;
        for entry in entries {
            let path = entry.map_err(unusable(&self.folder, "read"))?.path();
            let is_dropped = path.extension().is_some_and(|extension| extension == "bfpb" || extension == "new");
            if is_dropped && Some(&path) != kept.as_ref() {
                std::fs::remove_file(&path).map_err(unusable(&path, "removed"))?;
            }
        }
        Ok(())
    }

    fn keep_bundle(&self, manifest_digest: &[u8; 32], bytes: &[u8]) -> Result<(), StateError> {
        self.keep_file(&bundle_path(&self.folder, manifest_digest), bytes)
    }

    fn keep_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        match input::read_own(path, MAX_BUNDLE_BYTES) {
            Ok(kept) if kept == bytes => Ok(()),
            _ => self.replace(path, bytes),
        }
    }

    /// Where the bundle is that a record names.
    pub fn bundle_path(&self, current: &Current) -> PathBuf {
        bundle_path(&self.folder, &current.manifest_digest)
    }

    /// The bundle that a record names.
    pub fn kept_bundle(&self, current: &Current) -> Result<Vec<u8>, StateError> {
        kept_bundle(&self.folder, &current.manifest_digest)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let beside = beside(path);
        let renamed = write_synced(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        renamed.map_err(unusable(path, "written"))?;
        self.sync()
    }

    /// The folder; nothing is written to one that is not ours alone.
    fn folder(&self) -> Result<&File, StateError> {
        let unopened = || unusable(&self.folder, "written")(io::Error::other("its folder cannot be used"));
        self.handle.as_ref().ok_or_else(unopened)
    }

    fn sync(&self) -> Result<(), StateError> {
        self.folder()?.sync_all().map_err(unusable(&self.folder, "synced"))
    }
}

fn open_folder(folder: &Path) -> Result<File, StateError> {
    refuse_pins(folder)?;
    let is_new = !folder.exists();
    DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(unusable(folder, "made"))?;
    let handle = File::open(folder).map_err(unusable(folder, "opened"))?;
    handle.lock().map_err(unusable(folder, "locked"))?;
    // So that the folder itself is there after a loss of power.
    if let Some(parent) = folder.parent().filter(|parent| is_new && !parent.as_os_str().is_empty()) {
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(unusable(parent, "synced"))?;
    }
    input::check_owner(folder, &handle.metadata().map_err(unusable(folder, "read"))?)?;
    Ok(handle)
}

/// The name under which a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

/// A folder among the pins would be taken for a generation, and an enforcer may make one where root may not.
fn refuse_pins(folder: &Path) -> Result<(), StateError> {
    let standing = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let is_pins = File::open(standing).and_then(|file| syscall::is_on_bpf_filesystem(file.as_fd()));
    if is_pins.map_err(unusable(standing, "read"))? {
        return Err(unusable(folder, "kept")(io::Error::other("it is on a filesystem of pins")));
    }
    Ok(())
}

/// A copy of the record, as it was found.
#[derive(Debug, PartialEq, Eq)]
enum Copied {
    Missing,
    Damaged,
    /// In the first release's layout.
    First(Record),
    Whole(u64, Record),
    /// In a later layout, with what every release reads of it, where that is as agreed.
    Newer(u64, Record),
}

/// Reads what there is without a lock, to look at.
pub fn read(folder: &Path) -> Result<Found, StateError> {
    let (path, copy_path) = (folder.join(RECORD), folder.join(COPY));
    let found = |record, condition, sequence| Found { record, condition, sequence };
    let one = |damaged: &Path| Condition::OneCopy(damaged.to_owned());
    Ok(match (read_copy(&path)?, read_copy(&copy_path)?) {
        (Copied::Whole(sequence, record), Copied::Whole(other, copy)) => match other > sequence {
            true => found(copy, Condition::Whole, other),
            false => found(record, Condition::Whole, sequence),
        },
        // Where it is the number of the layout that is damaged, the rest says as much as the other copy.
        (Copied::Newer(at, newer), Copied::Whole(sequence, copy)) if at == sequence && newer.is_prefix_of(&copy) => {
            found(copy, one(&path), sequence)
        }
        (Copied::Whole(sequence, record), Copied::Newer(at, newer))
            if at == sequence && newer.is_prefix_of(&record) =>
        {
            found(record, one(&copy_path), sequence)
        }
        (Copied::Newer(sequence, record), Copied::Newer(other, copy)) => match other > sequence {
            true => found(copy, Condition::Newer(copy_path), other),
            false => found(record, Condition::Newer(path), sequence),
        },
        (Copied::Newer(sequence, record), _) => found(record, Condition::Newer(path), sequence),
        (_, Copied::Newer(sequence, record)) => found(record, Condition::Newer(copy_path), sequence),
        // The first release was here again, and has not read the copy.
        (Copied::First(record), Copied::Whole(sequence, copy))
        | (Copied::Whole(sequence, copy), Copied::First(record)) => {
            found(Record::merged(record, copy), Condition::Whole, sequence)
        }
        (Copied::First(record), _) => found(record, Condition::Whole, 0),
        (Copied::Whole(sequence, record), _) => found(record, one(&copy_path), sequence),
        (_, Copied::Whole(sequence, record)) => found(record, one(&path), sequence),
        (_, Copied::First(record)) => found(record, one(&path), 0),
        (Copied::Damaged, _) => found(left(folder), Condition::Damaged(path), 0),
        (_, Copied::Damaged) => found(left(folder), Condition::Damaged(copy_path), 0),
        (Copied::Missing, Copied::Missing) => {
            let record = left(folder);
            let is_fresh = record.trust_sets.is_empty() && kept_bundles(folder).is_empty();
            found(record, if is_fresh { Condition::Fresh } else { Condition::Gone(path) }, 0)
        }
    })
}

impl Record {
    /// Whether another record says the same as far as every release reads it.
    fn is_prefix_of(&self, other: &Record) -> bool {
        let Record { seen, current, last_time, recovered, trust_sets, .. } = other;
        (&self.seen, &self.current, self.last_time) == (seen, current, *last_time)
            && (&self.recovered, &self.trust_sets) == (recovered, trust_sets)
    }
}

fn read_copy(path: &Path) -> Result<Copied, StateError> {
    match input::read_own(path, MAX_RECORD_BYTES) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(InputError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(Copied::Missing),
        Err(InputError::Unreadable { error, path }) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(unusable(&path, "read")(error))
        }
        Err(error @ InputError::Writable { .. }) => Err(error.into()),
        // A sector that cannot be read, or something else in its place.
        Err(_) => Ok(Copied::Damaged),
    }
}

fn decode(bytes: &[u8]) -> Copied {
    decode_whole(bytes).unwrap_or(Copied::Damaged)
}

fn decode_whole(bytes: &[u8]) -> Option<Copied> {
    let (layout, rest) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let (digest, body) = rest.split_first_chunk::<32>()?;
    if <[u8; 32]>::from(Sha256::digest(body)) != *digest {
        return None;
    }
    match u32::from_le_bytes(*layout) {
        0 => None,
        FIRST_LAYOUT => match postcard::take_from_bytes(body) {
            Ok((prefix, [])) => Some(Copied::First(Record::of(prefix))),
            _ => None,
        },
        LAYOUT => {
            let (sequence, record) = decode_body(body)?;
            let must_be_known = record.unknown.iter().any(Field::is_critical);
            Some(if must_be_known { Copied::Newer(sequence, record) } else { Copied::Whole(sequence, record) })
        }
        _ => {
            let (sequence, record) = decode_body(body).unwrap_or_default();
            Some(Copied::Newer(sequence, record))
        }
    }
}

fn decode_body(body: &[u8]) -> Option<(u64, Record)> {
    let (sequence, rest) = body.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (prefix, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    // A later release may have more in it.
    let (prefix, _more) = postcard::take_from_bytes(prefix).ok()?;
    let mut record = Record::of(prefix);
    for field in fields::read(rest)? {
        match field.kind {
            USED_TOKENS => record.used_tokens = postcard::from_bytes(&field.content).ok()?,
            TIME_TAKEN_BACK => record.time_taken_back = Some(postcard::from_bytes(&field.content).ok()?),
            _ => record.unknown.push(field),
        }
    }
    Some((u64::from_le_bytes(*sequence), record))
}

/// What is left without a record: the trust sets, in their order. Each is verified before it counts.
fn left(folder: &Path) -> Record {
    let mut trust_sets: Vec<AdoptedSet> = Vec::new();
    for name in names(folder) {
        let version = name.strip_prefix(TRUST_SET).and_then(|version| version.parse().ok());
        let document = version.map(|version| (version, input::read_own(&folder.join(&name), MAX_DOCUMENT_BYTES)));
        if let Some((version, Ok(document))) = document {
            trust_sets.push((version, document));
        }
    }
    trust_sets.sort_by_key(|(version, _)| *version);
    Record { trust_sets, ..Record::default() }
}

/// The good bundles that are there, whether a record names them or not, with their paths.
pub fn kept_bundles(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut bundles = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if name.starts_with(GOOD)
            && name.ends_with(".bfpb")
            && let Ok(bytes) = input::read_own(&path, MAX_BUNDLE_BYTES)
        {
            bundles.push((path, bytes));
        }
    }
    bundles.sort();
    bundles
}

/// The bundle with a manifest's digest.
pub fn kept_bundle(folder: &Path, manifest_digest: &[u8; 32]) -> Result<Vec<u8>, StateError> {
    Ok(input::read_own(&bundle_path(folder, manifest_digest), MAX_BUNDLE_BYTES)?)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn trust_set_path(folder: &Path, version: u64) -> PathBuf {
    folder.join(format!("{TRUST_SET}{version:04}"))
}

/// How the names of good bundles begin.
const GOOD: &str = "good-";

fn bundle_path(folder: &Path, manifest_digest: &[u8; 32]) -> PathBuf {
    let name = manifest_digest.iter().fold(String::from(GOOD), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    });
    folder.join(name + ".bfpb")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::process::Command;
    use tempfile::TempDir;

    fn record(digest: u8) -> Record {
        Record {
            seen: vec![Seen { policy: "web".to_owned(), revision: 3, manifest_digest: Some([digest; 32]) }],
            current: Some(Current {
                policy: "web".to_owned(),
                revision: 3,
                manifest_digest: [digest; 32],
                accepted_at: 5,
                trust: TrustSet { version: 0, threshold: 1, keys: vec![[1; 32]], revoked: vec![] },
                labels: vec!["host".to_owned()],
            }),
            last_time: 7,
            recovered: Some(Recovered { policy: "web".to_owned(), from: 9 }),
            trust_sets: vec![(1, vec![1, 2, 3])],
            used_tokens: vec![UsedToken { digest: [8; 32], expires: 99 }],
            time_taken_back: Some(4000),
            unknown: vec![Field { kind: 500, content: b"later".to_vec() }],
        }
    }

    /// As the first release wrote it.
    fn by_the_first_release(record: &Record) -> Vec<u8> {
        let Record { seen, current, last_time, recovered, trust_sets, .. } = record;
        let body = postcard::to_allocvec(&(seen, current, last_time, recovered, trust_sets)).unwrap();
        [b"BFPS\r\n\x1a\n\x01\0\0\0".as_slice(), &Sha256::digest(&body), &body].concat()
    }

    fn written(digest: u8) -> (TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        state.write(&record(digest)).unwrap();
        (folder, state)
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names = names(folder);
        names.sort();
        names
    }

    /// Puts something in the place of a file's byte.
    fn change(path: &Path, at: usize, byte: u8) {
        let mut bytes = std::fs::read(path).unwrap();
        *bytes.get_mut(at).unwrap() ^= byte;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_was_written_is_read_and_a_fresh_host_remembers_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&folder.path().join("deep/bfp")).unwrap();
        let found = state.read().unwrap();
        assert_eq!((found.record, found.condition), (Record::default(), Condition::Fresh));
        state.write(&record(1)).unwrap();
        let found = state.read().unwrap();
        assert_eq!((found.record, found.condition), (record(1), Condition::Whole));
    }

    #[test]
    fn only_the_bundle_that_the_record_names_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap();
        for digest in [1, 2] {
            state.keep((&[digest; 32], &[digest; 10]), &record(digest)).unwrap();
        }
        let good = format!("good-{}.bfpb", "02".repeat(32));
        assert_eq!(files(folder.path()), [good.as_str(), "state", "state.copy", "trust-set-0001"]);
        assert_eq!(state.kept_bundle(&record(2).current.unwrap()).unwrap(), [2; 10]);
    }

    #[test]
    fn no_flipped_bit_and_no_truncation_is_taken_for_what_was_written() {
        let bytes = record(1).encode(1).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            // The number of the layout is not in the digest: a later one is not taken for this.
            let is_refused = matches!(decode(&flipped), Copied::Damaged | Copied::Newer(..));
            assert!(is_refused, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(bytes.get(..length).unwrap()), Copied::Damaged, "length {length}");
        }
    }

    #[test]
    fn every_flipped_bit_of_one_copy_is_no_loss() {
        let (folder, state) = written(1);
        for name in ["state", "state.copy"] {
            let path = folder.path().join(name);
            let length = std::fs::read(&path).unwrap().len();
            // Every byte, and each time another bit of it.
            for bit in (0..length * 8).step_by(7) {
                change(&path, bit / 8, 1 << (bit % 8));
                let found = state.read().unwrap();
                assert_eq!(found.record, record(1), "{name}, bit {bit}");
                assert_eq!(found.condition, Condition::OneCopy(path.clone()), "{name}, bit {bit}");
                change(&path, bit / 8, 1 << (bit % 8));
            }
        }
        assert_eq!(state.read().unwrap().condition, Condition::Whole);
    }

    #[test]
    fn a_lost_copy_is_no_loss_and_the_next_write_makes_it_anew() {
        let (folder, state) = written(1);
        for name in ["state", "state.copy"] {
            let path = folder.path().join(name);
            std::fs::remove_file(&path).unwrap();
            let found = state.read().unwrap();
            assert_eq!((found.record, found.condition), (record(1), Condition::OneCopy(path)));
            state.write(&record(1)).unwrap();
            assert_eq!(state.read().unwrap().condition, Condition::Whole);
        }
    }

    #[test]
    fn the_newer_of_two_whole_copies_is_taken() {
        let (folder, state) = written(1);
        let older = std::fs::read(folder.path().join("state")).unwrap();
        state.write(&record(2)).unwrap();
        for name in ["state", "state.copy"] {
            let newer = std::fs::read(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name), &older).unwrap();
            assert_eq!(state.read().unwrap().record, record(2), "{name}");
            std::fs::write(folder.path().join(name), newer).unwrap();
        }
    }

    #[test]
    fn with_both_copies_damaged_the_trust_sets_stay_and_the_damage_is_kept() {
        let (folder, state) = written(1);
        for _ in 0..3 {
            for name in ["state", "state.copy"] {
                change(&folder.path().join(name), 60, 1);
            }
            let found = state.read().unwrap();
            assert_eq!(found.condition, Condition::Damaged(folder.path().join("state")));
            assert_eq!(found.record, Record { trust_sets: vec![(1, vec![1, 2, 3])], ..Record::default() });
            assert!(matches!(found.whole(), Err(StateError::Damaged(_))));
            state.write(&record(2)).unwrap();
            assert_eq!(state.read().unwrap().record, record(2));
        }
        let kept = files(folder.path()).into_iter().filter(|name| name.starts_with("state.damaged-")).count();
        assert_eq!(kept, 6);
    }

    #[test]
    fn with_the_record_gone_trust_sets_and_bundles_say_that_it_is_no_first_day() {
        let (folder, state) = written(1);
        for name in ["state", "state.copy"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let found = state.read().unwrap();
        assert_eq!(found.condition, Condition::Gone(folder.path().join("state")));
        assert_eq!(found.record.trust_sets, [(1, vec![1, 2, 3])]);
        std::fs::remove_file(folder.path().join("trust-set-0001")).unwrap();
        assert_eq!(state.read().unwrap().condition, Condition::Fresh);
        std::fs::write(folder.path().join("good-1.bfpb"), "").unwrap();
        assert!(matches!(state.read().unwrap().condition, Condition::Gone(_)));
    }

    #[test]
    fn a_record_of_a_newer_release_is_read_as_agreed_and_never_written_over() {
        let (folder, state) = written(1);
        let before: Vec<_> = ["state", "state.copy"]
            .map(|name| {
                change(&folder.path().join(name), 8, 1);
                std::fs::read(folder.path().join(name)).unwrap()
            })
            .into();
        let found = state.read().unwrap();
        assert_eq!(found.condition, Condition::Newer(folder.path().join("state")));
        assert_eq!((found.record.seen.clone(), found.record.current.clone()), (record(1).seen, record(1).current));
        assert!(matches!(found.whole(), Err(StateError::Newer(_))));
        assert!(matches!(state.write(&record(2)), Err(StateError::Newer(_))));
        drop(state);
        let coming_up = State::come_up(folder.path());
        coming_up.keep((&[2; 32], &[2; 10]), &record(2)).unwrap();
        assert!(matches!(coming_up.unwritten(), Some(StateError::Newer(_))));
        let after: Vec<_> = ["state", "state.copy"].map(|name| std::fs::read(folder.path().join(name)).unwrap()).into();
        assert_eq!(before, after);
    }

    #[test]
    fn a_field_that_must_be_known_is_a_newer_release_and_another_one_is_kept() {
        let mut later = record(1);
        later.unknown.push(Field { kind: fields::CRITICAL | 7, content: vec![] });
        assert!(matches!(decode(&later.encode(1).unwrap()), Copied::Newer(1, _)));
        let (_folder, state) = written(1);
        let found = state.read().unwrap();
        state.write(&found.record).unwrap();
        assert_eq!(state.read().unwrap().record.unknown, record(1).unknown);
    }

    #[test]
    fn what_the_first_release_wrote_is_read_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let old = Record { used_tokens: vec![], time_taken_back: None, unknown: vec![], ..record(1) };
        std::fs::write(folder.path().join("state"), by_the_first_release(&old)).unwrap();
        let state = State::open(folder.path()).unwrap();
        let found = state.read().unwrap();
        assert_eq!((&found.record, found.condition), (&old, Condition::Whole));
        state.write(&old).unwrap();
        assert_eq!(state.read().unwrap().record, old);
        assert_eq!(files(folder.path()), ["state", "state.copy", "trust-set-0001"]);
    }

    #[test]
    fn what_the_first_release_did_after_a_downgrade_and_what_was_known_before_are_both_known() {
        let (folder, state) = written(1);
        // It calls this damaged, moves it away when the host comes up, and begins anew.
        std::fs::rename(folder.path().join("state"), folder.path().join("state.damaged")).unwrap();
        let seen = |policy: &str, revision| Seen { policy: policy.to_owned(), revision, manifest_digest: None };
        let meanwhile = Record { seen: vec![seen("web", 2), seen("mail", 8)], last_time: 50, ..Record::default() };
        std::fs::write(folder.path().join("state"), by_the_first_release(&meanwhile)).unwrap();
        let found = state.read().unwrap();
        assert_eq!(found.condition, Condition::Whole);
        let memory = Memory { seen: found.record.seen.clone(), current: None };
        assert_eq!(memory.of("web").unwrap().revision, 3);
        assert_eq!(memory.of("mail").unwrap().revision, 8);
        assert_eq!((found.record.last_time, &found.record.trust_sets), (50, &record(1).trust_sets));
        assert!(found.record.has_used(&[8; 32]));
    }

    /// A filesystem without room. Where this is not root, a folder that cannot be written.
    fn without_room(folder: &Path) -> impl Drop {
        struct Mounted(PathBuf, bool);
        impl Drop for Mounted {
            fn drop(&mut self) {
                use std::os::unix::fs::PermissionsExt;
                if self.1 {
                    assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
                } else {
                    std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700)).unwrap();
                }
            }
        }
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
            return Mounted(folder.to_owned(), false);
        }
        let before: Vec<_> =
            files(folder).into_iter().map(|name| (std::fs::read(folder.join(&name)).unwrap(), name)).collect();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=700", "none"]).arg(folder).status();
        assert!(mount.unwrap().success());
        for (bytes, name) in before {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let mut full = File::create(folder.join("full")).unwrap();
        while full.write_all(&[0; 512]).is_ok() {}
        Mounted(folder.to_owned(), true)
    }

    #[test]
    fn without_room_what_the_disk_says_already_is_no_failure_and_anything_else_is() {
        let (folder, state) = written(1);
        state.keep((&[1; 32], &[1; 10]), &record(1)).unwrap();
        drop(state);
        let full = without_room(folder.path());
        let state = State::open(folder.path()).unwrap();
        let before = (state.read().unwrap(), files(folder.path()));
        assert_eq!(before.0.condition, Condition::Whole);
        state.keep((&[1; 32], &[1; 10]), &Record { last_time: 500, ..record(1) }).unwrap();
        let error = state.keep((&[2; 32], &[2; 10]), &record(2)).unwrap_err();
        assert!(matches!(error, StateError::Unusable { .. }), "{error}");
        assert!(state.write(&Record { seen: vec![], ..record(1) }).is_err());
        drop(state);
        let coming_up = State::come_up(folder.path());
        coming_up.keep((&[1; 32], &[1; 10]), &Record { last_time: 500, ..record(1) }).unwrap();
        assert!(coming_up.unwritten().is_none());
        coming_up.keep((&[2; 32], &[2; 10]), &record(2)).unwrap();
        assert!(coming_up.unwritten().is_some());
        // And nothing is half done.
        assert_eq!((coming_up.read().unwrap(), files(folder.path())), before);
        assert_eq!(coming_up.kept_bundle(&record(1).current.unwrap()).unwrap(), [1; 10]);
        drop((coming_up, full));
    }

    #[test]
    fn a_folder_that_cannot_be_made_ends_nothing_when_the_host_comes_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let impossible = folder.path().join("file/bfp");
        assert!(State::open(&impossible).is_err());
        let state = State::come_up(&impossible);
        assert!(state.unwritten().is_some());
        state.write(&record(1)).unwrap();
        assert!(state.unwritten().is_some());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(State::open(folder.path()), Err(StateError::Input(_))));
        // A host that comes up writes nothing there either.
        let state = State::come_up(folder.path());
        assert!(matches!(state.unwritten(), Some(StateError::Input(_))));
        state.keep((&[1; 32], &[1; 10]), &record(1)).unwrap();
        assert!(state.unwritten().is_some());
        assert_eq!(files(folder.path()), Vec::<String>::new());
    }

    #[test]
    fn used_tokens_are_remembered_until_they_expire_and_beyond_while_they_are_few() {
        let mut record = Record::default();
        let token = |number: u16, expires| {
            let mut digest = [0; 32];
            digest[..2].copy_from_slice(&number.to_le_bytes());
            UsedToken { digest, expires }
        };
        record.use_token(token(0, 5000), 100);
        for number in 1..1000 {
            record.use_token(token(number, u64::from(number)), 4999);
        }
        assert_eq!(record.used_tokens.len(), MAX_EXPIRED_TOKENS + 1);
        assert!(record.has_used(&token(0, 0).digest) && record.has_used(&token(999, 0).digest));
        assert!(!record.has_used(&token(1, 0).digest));
    }
}
