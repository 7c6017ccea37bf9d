//! What BPF holds in the kernel: programs, maps and links by their numbers, and pins. What leaves is a list
//! that can be compared with a later one.
#![expect(unsafe_code, reason = "bpf(2) takes a raw structure")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const NEXT_ID: [(&str, i32); 3] = [("program", 11), ("map", 12), ("link", 31)];

/// The kernel frees in the background.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Names such as `link 7`, and the paths of pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Objects(BTreeSet<String>);

impl Objects {
    /// What is there now.
    pub(crate) fn read() -> Result<Objects, String> {
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

    /// Whether nothing came to be since, but for what is about to go.
    pub(crate) fn are_all(&self) -> Result<(), String> {
        self.are_all_of(&[""])
    }

    /// Whether nothing came to be that could decide anything.
    pub(crate) fn are_all_that_decide(&self) -> Result<(), String> {
        self.are_all_of(&["program", "link"])
    }

    /// Of those whose names begin so.
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
