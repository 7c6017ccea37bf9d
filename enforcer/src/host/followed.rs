//! Where a path leads by name: symbolic links are followed, and nothing else is read from the host.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// A path with symbolic links, and where it led when the policy was applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FollowedLink {
    /// A path with at least one symbolic link among its components.
    pub link: String,
    /// The path that it leads to, by name, without links: see [`leads_to`].
    pub target: String,
}

/// As many links as the kernel follows (include/linux/namei.h, `MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// How a path was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The resolved path, without links. From the first missing component on, it is as written.
    pub end: PathBuf,
    /// The directories on the way, each once. A change of a name in one of them can change the way.
    pub folders: Vec<PathBuf>,
    /// The links that were followed, in order.
    pub links: Vec<PathBuf>,
}

/// Follows an absolute path. `None` if its links form a cycle.
pub fn follow(path: &Path) -> Option<Way> {
    let mut way = Way { end: PathBuf::from("/"), folders: Vec::new(), links: Vec::new() };
    let mut ahead: Vec<OsString> = reversed(path);
    while let Some(name) = ahead.pop() {
        if name == ".." {
            way.end.pop();
            continue;
        }
        if !way.folders.contains(&way.end) {
            way.folders.push(way.end.clone());
        }
        let next = way.end.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) => {
                if way.links.len() == MOST_LINKS {
                    return None;
                }
                way.links.push(next);
                if target.is_absolute() {
                    way.end = PathBuf::from("/");
                }
                ahead.extend(reversed(&target));
            }
            // Not a link, or missing.
            Err(_) => way.end = next,
        }
    }
    Some(way)
}

/// The end of [`follow`].
pub fn leads_to(path: &Path) -> Option<PathBuf> {
    follow(path).map(|way| way.end)
}

/// The links that lead elsewhere than when they were followed, with their current target.
pub fn changed(links: &[FollowedLink]) -> Vec<(&FollowedLink, Option<PathBuf>)> {
    let now = links.iter().map(|link| (link, leads_to(Path::new(&link.link))));
    now.filter(|(link, end)| end.as_deref() != Some(Path::new(&link.target))).collect()
}

/// The components, in reverse order.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_by_names_and_what_is_missing_stays_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("app/r1/bin")).unwrap();
        symlink("r1", root.join("app/current")).unwrap();
        symlink(root.join("app/current"), root.join("app/stable")).unwrap();
        symlink("../app/../app/r1", root.join("app/dotted")).unwrap();
        let end = root.join("app/r1/bin/x");
        for name in ["r1", "current", "stable", "dotted"] {
            let way = follow(&root.join("app").join(name).join("bin/x")).unwrap();
            let links =
                if name == "stable" { vec!["stable", "current"] } else { vec![name; usize::from(name != "r1")] };
            assert_eq!(way.links, links.iter().map(|link| root.join("app").join(link)).collect::<Vec<_>>(), "{name}");
            assert_eq!(way.end, end, "{name}");
            assert!(way.folders.contains(&root.join("app")), "{name}");
        }
        assert_eq!(leads_to(&root.join("none/at/all")).unwrap(), root.join("none/at/all"));
        symlink("round", root.join("round")).unwrap();
        assert_eq!(follow(&root.join("round/x")), None);
    }

    #[test]
    fn a_link_that_was_switched_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        symlink("r1", root.join("current")).unwrap();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let link = FollowedLink { link: text(root.join("current/bin")), target: text(root.join("r1/bin")) };
        let links = [link];
        assert_eq!(changed(&links), []);
        fs::remove_file(root.join("current")).unwrap();
        assert_eq!(changed(&links).len(), 1);
        symlink("r2", root.join("current")).unwrap();
        assert_eq!(changed(&links), [(&links[0], Some(root.join("r2/bin")))]);
    }
}
