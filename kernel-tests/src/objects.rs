//! The BPF objects in the kernel: programs, maps and links by their numbers, and pins. What leaves is a list that can
//! be compared with a later one, or a count of each kind.
#![expect(unsafe_code, reason = "bpf(2) takes a raw structure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const NEXT_ID: [(&str, i32); 3] = [("program", 11), ("map", 12), ("link", 31)];

/// The kernel frees objects in the background.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than a grace period under emulation.
const REST: Duration = Duration::from_secs(2);

/// Names such as `link 7`, and the paths of pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects(BTreeSet<String>);

impl Objects {
    /// The objects that exist now.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn read() -> Result<Objects, String> {
        let mut names = BTreeSet::new();
        for (kind, command) in NEXT_ID {
            let mut id = 0;
            while let Some(next) = next_id(command, id)? {
                names.insert(format!("{kind} {next}"));
                id = next;
            }
        }
        pins(Path::new("/sys/fs/bpf"), &mut names);
        Ok(Objects(names))
    }

    /// Checks that no object was added since, except those that are about to be freed.
    ///
    /// # Errors
    /// The added objects, by name.
    pub fn are_all(&self) -> Result<(), String> {
        self.are_all_of(&[""])
    }

    /// Checks that no object was added that could decide anything.
    ///
    /// # Errors
    /// As [`Objects::are_all`].
    pub fn are_all_that_decide(&self) -> Result<(), String> {
        self.are_all_of(&["program", "link"])
    }

    /// As [`Objects::are_all`], for names with these prefixes.
    fn are_all_of(&self, kinds: &[&str]) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let now = Objects::read()?;
            let new = now.0.difference(&self.0).map(String::as_str);
            let left: Vec<&str> = new.filter(|name| kinds.iter().any(|kind| name.starts_with(kind))).collect();
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() > LIMIT {
                return Err(format!("expected nothing left in the kernel, seen {}", left.join(", ")));
            }
            sleep(PAUSE);
        }
    }
}

impl Objects {
    /// The programs, maps and links that were added since, by their kinds and numbers.
    ///
    /// # Errors
    /// The kernel does not list them.
    pub fn since(&self) -> Result<Vec<(String, u32)>, String> {
        let now = Objects::read()?;
        let new = now.0.difference(&self.0).filter_map(|name| name.split_once(' '));
        Ok(new.filter_map(|(kind, id)| Some((kind.to_owned(), id.parse().ok()?))).collect())
    }
}

/// The number of objects of each kind, and the pins without the numbers of their generations: the part that two
/// generations of one policy have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory(BTreeMap<String, usize>);

impl Inventory {
    /// The inventory now.
    ///
    /// # Errors
    /// The kernel does not list the objects.
    pub fn read() -> Result<Inventory, String> {
        let mut counts = BTreeMap::new();
        for name in Objects::read()?.0 {
            *counts.entry(kind(&name)).or_default() += 1;
        }
        Ok(Inventory(counts))
    }

    /// The inventory once no more objects are freed.
    ///
    /// # Errors
    /// As [`Inventory::read`], and if the number of objects does not settle.
    pub fn at_rest() -> Result<Inventory, String> {
        let started = Instant::now();
        let mut before = Inventory::read()?;
        while started.elapsed() <= LIMIT {
            sleep(REST);
            let now = Inventory::read()?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        Err("the objects of BPF do not come to rest".to_owned())
    }

    /// Checks that the inventory is the same again, once pending objects are freed.
    ///
    /// # Errors
    /// The difference: the kind, the expected number, and the actual one.
    pub fn is_all(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let now = Inventory::read()?;
            if now == *self {
                return Ok(());
            }
            if started.elapsed() > LIMIT {
                let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
                let count = |inventory: &Inventory, name: &String| inventory.0.get(name).copied().unwrap_or_default();
                let counts = names.into_iter().map(|name| (name, count(self, name), count(&now, name)));
                let other = counts.filter(|(_, wanted, seen)| wanted != seen);
                let other = other.map(|(name, wanted, seen)| format!("{name}: {wanted} expected, {seen} seen"));
                return Err(other.collect::<Vec<_>>().join(", "));
            }
            sleep(PAUSE);
        }
    }

    /// The number of objects of a kind.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        self.0.get(kind).copied().unwrap_or_default()
    }
}

/// `program` for `program 7`; a pin's path with `N` for each number.
fn kind(name: &str) -> String {
    match name.split_once(' ') {
        Some((kind, _)) => kind.to_owned(),
        None => {
            let parts = name.split('/').map(|part| match part.rsplit_once('-') {
                Some((word, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{word}-N"),
                _ => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join("/")
        }
    }
}

fn next_id(command: i32, after: u32) -> Result<Option<u32>, String> {
    // `start_id` and `next_id` of `union bpf_attr`; the rest is zero.
    let mut attributes = [after, 0, 0, 0];
    // SAFETY: the attributes are alive and as long as is said.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    let error = std::io::Error::last_os_error();
    match (result, error.raw_os_error()) {
        (0.., _) => Ok(Some(attributes[1])),
        (_, Some(libc::ENOENT)) => Ok(None),
        _ => Err(format!("the kernel does not list its BPF objects: {error}")),
    }
}

fn pins(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        names.insert(entry.path().display().to_string());
        if entry.path().is_dir() {
            pins(&entry.path(), names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn generations_differ_by_their_numbers_alone() {
        assert_eq!(kind("link 7"), "link");
        assert_eq!(kind("/sys/fs/bpf/bfp/generation-12/link_egress"), "/sys/fs/bpf/bfp/generation-N/link_egress");
        assert_eq!(kind("/sys/fs/bpf/bfp/new-1"), "/sys/fs/bpf/bfp/new-N");
        assert_eq!(kind("/sys/fs/bpf/bfp/labels"), "/sys/fs/bpf/bfp/labels");
    }
}
