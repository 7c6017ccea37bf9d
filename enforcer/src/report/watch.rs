//! Watches the symbolic links that were followed when the policy was applied, until one leads elsewhere.
//!
//! The record in the kernel has these links and their targets. The directories on their paths are watched, and the
//! paths are also resolved again periodically: a directory further up may be moved, or something mounted over it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crate::failure::{Actionable, Failure};
use crate::host::followed;
use crate::host::followed::FollowedLink;
use crate::host::syscall;
use crate::kernel::about::{About, AboutError};
use crate::kernel::pins::Pins;

/// The longest time between two checks.
const LOOK: Duration = Duration::from_secs(10);

/// After this time a rename is complete, and so is the next one of the same release.
const SETTLE: Duration = Duration::from_millis(200);

/// Why links cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("the directories of the links cannot be watched: {0}")]
pub struct WatchError(io::Error);

impl Actionable for WatchError {
    fn help(&self) -> &'static str {
        "check that this process runs as root"
    }
}

/// Waits until a link leads elsewhere than the record of the policy says, and reports it. If nothing is enforced or no
/// link was followed, it waits for that to change.
pub fn watch() -> Result<Vec<String>, Failure> {
    // A difference that an apply has just left in place, the next apply leaves too: start them slowly.
    if !changed(&followed()?).is_empty() {
        std::thread::sleep(LOOK);
    }
    loop {
        let followed = followed()?;
        // The links are watched first and resolved then, so that no change in between is missed.
        let watch = watch_folders(&followed).map_err(WatchError)?;
        let changed = changed(&followed);
        if !changed.is_empty() {
            return Ok(changed);
        }
        syscall::wait_readable(watch.as_fd(), LOOK).map_err(WatchError)?;
        std::thread::sleep(SETTLE);
    }
}

/// The links that were followed when the enforced policy was applied. No lock is held while waiting.
fn followed() -> Result<Vec<FollowedLink>, Failure> {
    let Some(pins) = Pins::find()? else { return Ok(Vec::new()) };
    let Some(folder) = pins.newest()? else { return Ok(Vec::new()) };
    match About::read(&folder.join("about")) {
        // The release that applied it watches it.
        Err(AboutError::Newer(_)) => Ok(Vec::new()),
        read => Ok(read?.links),
    }
}

fn watch_folders(links: &[FollowedLink]) -> io::Result<OwnedFd> {
    let watch = syscall::new_watch()?;
    let ways = links.iter().filter_map(|link| followed::follow(Path::new(&link.link)));
    for folder in ways.flat_map(|way| way.folders) {
        // If the directory does not exist, its creation is noticed in the directory above it.
        let _ = syscall::watch_names(watch.as_fd(), &folder);
    }
    Ok(watch)
}

fn changed(links: &[FollowedLink]) -> Vec<String> {
    let changed = followed::changed(links).into_iter();
    changed
        .map(|(FollowedLink { link, target }, now)| match now {
            Some(now) => format!("`{link}` leads to `{}` now, and not to `{target}`", now.display()),
            None => format!("`{link}` leads in a circle now, and not to `{target}`"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    #[test]
    fn a_link_that_is_switched_wakes_whoever_watches() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        symlink("r1", root.join("current")).unwrap();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let link = FollowedLink { link: text(&root.join("current/bin")), target: text(&root.join("r1/bin")) };
        let watch = watch_folders(std::slice::from_ref(&link)).unwrap();
        assert_eq!(changed(std::slice::from_ref(&link)), Vec::<String>::new());
        symlink("r2", root.join("next")).unwrap();
        std::fs::rename(root.join("next"), root.join("current")).unwrap();
        let began = Instant::now();
        syscall::wait_readable(watch.as_fd(), Duration::from_secs(30)).unwrap();
        assert!(began.elapsed() < Duration::from_secs(20));
        let found = changed(&[link]);
        assert!(found.first().unwrap().contains("r2/bin` now"), "{found:?}");
    }
}
