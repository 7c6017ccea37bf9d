//! What BPF holds in the kernel: programs, maps and links by their numbers, and pins. What leaves is a list
//! that can be compared with a later one.
#![expect(unsafe_code, reason = "bpf(2) takes a raw structure")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const NEXT_ID: [(&str, i32); 3] = [("program", 11), ("map", 12), ("link", 31)];
const FD_BY_ID: [(&str, i32); 3] = [("program", 13), ("map", 14), ("link", 30)];
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_GET: i32 = 7;

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

impl Objects {
    /// The programs, maps and links that came to be since, by their kinds and numbers.
    pub(crate) fn since(&self) -> Result<Vec<(String, u32)>, String> {
        let now = Objects::read()?;
        let new = now.0.difference(&self.0).filter_map(|name| name.split_once(' '));
        Ok(new.filter_map(|(kind, id)| Some((kind.to_owned(), id.parse().ok()?))).collect())
    }
}

/// A descriptor of an object, by its kind and its number.
pub(crate) fn open(kind: &str, id: u32) -> io::Result<OwnedFd> {
    let (_, command) = FD_BY_ID.into_iter().find(|(known, _)| *known == kind).ok_or(io::ErrorKind::InvalidInput)?;
    descriptor(command, &mut [id, 0, 0, 0])
}

/// A descriptor of what is pinned.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let address = path.as_ptr().expose_provenance() as u64;
    descriptor(OBJ_GET, &mut [address as u32, (address >> 32) as u32, 0, 0])
}

/// Writes zeros to the first element of a map.
pub(crate) fn overwrite(map: &OwnedFd) -> io::Result<()> {
    // More than any key or value has.
    let zeros = vec![0u8; 1 << 16];
    let address = zeros.as_ptr().expose_provenance() as u64;
    let halves = [address as u32, (address >> 32) as u32];
    let mut attributes = [map.as_raw_fd() as u32, 0, halves[0], halves[1], halves[0], halves[1], 0, 0];
    bpf(MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Asks for a program that answers in the place of a kernel function; there are no instructions in it, so that it
/// is always refused.
pub(crate) fn load_in_place_of_a_function() -> io::Result<OwnedFd> {
    const TRACING: u32 = 26;
    const MODIFY_RETURN: u32 = 26;
    let mut attributes = [0; 32];
    attributes[0] = TRACING;
    attributes[17] = MODIFY_RETURN;
    descriptor(PROG_LOAD, &mut attributes)
}

fn descriptor(command: i32, attributes: &mut [u32]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: a descriptor that the kernel has just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn bpf(command: i32, attributes: &mut [u32]) -> io::Result<i64> {
    // SAFETY: the attributes are alive and as long as is said; what they point to lives with the callers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn next_id(command: i32, after: u32) -> Result<Option<u32>, String> {
    // `start_id` and `next_id` of `union bpf_attr`; the rest is zero.
    let mut attributes = [after, 0, 0, 0];
    match bpf(command, &mut attributes) {
        Ok(_) => Ok(Some(attributes[1])),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(format!("the kernel does not list its BPF objects: {error}")),
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
