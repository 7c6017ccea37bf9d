//! The directories of this host, each read once: their entries, and whether another user than root can change them.
//!
//! A policy may name ten thousand programs in a few directories, so directories are listed, and no file is looked up.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a socket or a pipe.
    Other,
}

/// A directory and its entries.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    entries: HashMap<OsString, Entry>,
    /// Only root can change its entries.
    is_roots: bool,
}

/// How directories and links are read: from this host, except in tests.
pub trait Host {
    /// A directory. `None` if it does not exist or cannot be read.
    fn folder(&self, path: &Path) -> Option<Folder>;
    /// The target of a link.
    fn target(&self, path: &Path) -> Option<PathBuf>;
}

/// This host.
pub struct ThisHost;

impl Host for ThisHost {
    fn folder(&self, path: &Path) -> Option<Folder> {
        let about = fs::metadata(path).ok()?;
        // Whoever may write to a directory can replace its entries. A sticky directory protects the entries of other
        // users, but anyone can add missing ones.
        const WRITABLE_BY_OTHERS: u32 = 0o022;
        let is_roots = about.uid() == 0 && about.mode() & WRITABLE_BY_OTHERS == 0;
        let mut entries = HashMap::new();
        for entry in fs::read_dir(path).ok()?.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let kind = match kind {
                kind if kind.is_symlink() => Entry::Link,
                kind if kind.is_dir() => Entry::Folder,
                kind if kind.is_file() => Entry::File,
                _ => Entry::Other,
            };
            entries.insert(entry.file_name(), kind);
        }
        Some(Folder { entries, is_roots })
    }

    fn target(&self, path: &Path) -> Option<PathBuf> {
        fs::read_link(path).ok()
    }
}

/// The directories that were read so far.
pub struct Folders<H> {
    host: H,
    known: HashMap<PathBuf, Option<Folder>>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To a file or directory, by these links, at this path.
    To(PathBuf, Vec<PathBuf>),
    /// To a path where nothing exists, by these links.
    Nowhere(PathBuf, Vec<PathBuf>),
    /// Through this link, which other users than root can change.
    Foreign(PathBuf),
}

/// As many links as the kernel follows (include/linux/namei.h, `MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

impl<H: Host> Folders<H> {
    /// Starts with no directory read.
    pub fn new(host: H) -> Folders<H> {
        Folders { host, known: HashMap::new() }
    }

    /// Follows an absolute path through its symbolic links, as long as only root can change them.
    pub fn follow(&mut self, path: &Path) -> Leads {
        let mut here = PathBuf::from("/");
        let mut is_roots = true;
        let mut links = Vec::new();
        let mut left: Vec<OsString> = components(path);
        while let Some(name) = left.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let at = here.join(&name);
            let nowhere = |at: PathBuf, mut left: Vec<OsString>, links| {
                left.reverse();
                Leads::Nowhere(left.into_iter().fold(at, |path, name| path.join(name)), links)
            };
            let Some(folder) = self.read(&here) else { return nowhere(at, left, links) };
            is_roots &= folder.is_roots;
            match folder.entries.get(&name) {
                None => return nowhere(at, left, links),
                Some(Entry::Link) if !is_roots => return Leads::Foreign(at),
                Some(Entry::Link) => {
                    let target = self.host.target(&at);
                    let Some(target) = target.filter(|_| links.len() < LINKS_MAX) else {
                        return nowhere(at, left, links);
                    };
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    left.extend(components(&target));
                    links.push(at);
                }
                Some(Entry::Folder | Entry::File | Entry::Other) => here = at,
            }
        }
        Leads::To(here, links)
    }

    /// The entry at a path without links. `None` if nothing exists there.
    pub fn entry(&mut self, path: &Path) -> Option<Entry> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Some(Entry::Folder) };
        self.read(folder)?.entries.get(name).copied()
    }

    fn read(&mut self, path: &Path) -> Option<&Folder> {
        let host = &self.host;
        self.known.entry(path.to_owned()).or_insert_with(|| host.folder(path)).as_ref()
    }
}

/// The components of a path, in reverse order.
fn components(path: &Path) -> Vec<OsString> {
    use std::path::Component;
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<OsString> = parts.map(OsStr::to_owned).collect();
    parts.reverse();
    parts
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host for tests: its entries, and the directories that other users can write to.
    #[derive(Default)]
    pub(crate) struct MadeUp {
        pub(crate) files: Vec<&'static str>,
        pub(crate) links: Vec<(&'static str, &'static str)>,
        pub(crate) writable: Vec<&'static str>,
    }

    impl Host for MadeUp {
        fn folder(&self, path: &Path) -> Option<Folder> {
            let mut folder =
                Folder { is_roots: !self.writable.iter().any(|one| Path::new(one) == path), ..Folder::default() };
            let all = self.files.iter().map(|file| (file, Entry::File));
            for (entry, kind) in all.chain(self.links.iter().map(|(link, _)| (link, Entry::Link))) {
                let Ok(below) = Path::new(entry).strip_prefix(path) else { continue };
                let mut parts = below.components();
                let first = parts.next()?;
                let kind = if parts.next().is_some() { Entry::Folder } else { kind };
                folder.entries.insert(first.as_os_str().to_owned(), kind);
            }
            (!folder.entries.is_empty()).then_some(folder)
        }

        fn target(&self, path: &Path) -> Option<PathBuf> {
            self.links.iter().find(|(link, _)| Path::new(link) == path).map(|(_, target)| PathBuf::from(target))
        }
    }

    fn host() -> Folders<MadeUp> {
        Folders::new(MadeUp {
            files: vec!["/opt/app/r1/bin/app", "/opt/app/r2/bin/app", "/usr/bin/busybox", "/home/eve/thief"],
            links: vec![
                ("/opt/app/current", "r2"),
                ("/usr/bin/wget", "busybox"),
                ("/etc/alternatives/editor", "/usr/bin/busybox"),
                ("/usr/bin/editor", "../../etc/alternatives/editor"),
                ("/home/eve/agent", "/usr/bin/busybox"),
                ("/usr/bin/loop", "loop"),
                ("/usr/bin/gone", "nothing"),
            ],
            writable: vec!["/home/eve"],
        })
    }

    #[test]
    fn links_that_only_root_can_change_are_followed() {
        let leads = |path| host().follow(Path::new(path));
        let to = |path: &str, links: &[&str]| Leads::To(path.into(), links.iter().map(PathBuf::from).collect());
        assert_eq!(leads("/opt/app/r1/bin/app"), to("/opt/app/r1/bin/app", &[]));
        assert_eq!(leads("/opt/app/current/bin/app"), to("/opt/app/r2/bin/app", &["/opt/app/current"]));
        assert_eq!(leads("/usr/bin/editor"), to("/usr/bin/busybox", &["/usr/bin/editor", "/etc/alternatives/editor"]));
    }

    #[test]
    fn a_link_that_others_can_change_is_not_followed() {
        assert_eq!(host().follow(Path::new("/home/eve/agent")), Leads::Foreign("/home/eve/agent".into()));
        assert_eq!(host().follow(Path::new("/home/eve/thief")), Leads::To("/home/eve/thief".into(), Vec::new()));
    }

    #[test]
    fn what_is_not_there_is_reported_by_its_place() {
        let nowhere = |path| match host().follow(Path::new(path)) {
            Leads::Nowhere(to, links) => (to.to_string_lossy().into_owned(), links.len()),
            _ => (String::new(), 0),
        };
        assert_eq!(nowhere("/usr/bin/gone"), ("/usr/bin/nothing".to_owned(), 1));
        assert_eq!(nowhere("/usr/bin/loop"), ("/usr/bin/loop".to_owned(), LINKS_MAX));
        assert_eq!(nowhere("/opt/app/current/lib/x"), ("/opt/app/r2/lib/x".to_owned(), 1));
        assert_eq!(nowhere("/opt/other/bin/x"), ("/opt/other/bin/x".to_owned(), 0));
    }

    #[test]
    fn this_host_is_read_as_it_is() {
        let mut folders = Folders::new(ThisHost);
        assert_eq!(folders.entry(Path::new("/proc/self")), Some(Entry::Link));
        assert_eq!(folders.entry(Path::new("/dev/null")), Some(Entry::Other));
        assert_eq!(folders.entry(Path::new("/nonexistent/file")), None);
    }
}
