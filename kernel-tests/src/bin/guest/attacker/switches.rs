//! Root against the enforcement: pins, links, maps, mounts, processes. What leaves is whether the forbidden address is
//! reached afterwards.
#![expect(unsafe_code, reason = "bpf(2) takes raw structures")]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Technique;
use crate::aim::Aim;
use crate::named;
use crate::other::unmount;
use crate::rerouted;
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("remove-the-pins", remove_pins),
    ("unmount-the-pins", unmount_pins),
    ("unmount-the-cgroups", unmount_cgroups),
    ("run-remove", run_remove),
    ("kill-the-enforcer", kill_enforcer),
    ("write-a-table", write_table),
    ("map-a-table", map_table),
    ("detach-the-hooks", detach_hooks),
    ("detach-the-backstop", detach_backstop),
    ("copy-the-signers-label", copy_label),
];

const PINS: &str = "/sys/fs/bpf/bfp";

/// The kernel detaches links without a pin in the background.
fn once_detached(attack: fn(&Aim) -> Result<(), Refused>, aim: &Aim) -> Result<(), Refused> {
    const LIMIT: Duration = Duration::from_secs(3);
    let started = Instant::now();
    loop {
        match attack(aim) {
            Err(refused) if refused.is(libc::EPERM) && started.elapsed() < LIMIT => {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn remove_pins(aim: &Aim) -> Result<(), Refused> {
    if Path::new(PINS).exists() {
        fs::remove_dir_all(PINS).map_err(Refused::io("unlink"))?;
    }
    once_detached(named::connect, aim)
}

fn unmount_pins(aim: &Aim) -> Result<(), Refused> {
    unmount("/sys/fs/bpf")?;
    once_detached(named::connect, aim)
}

fn unmount_cgroups(aim: &Aim) -> Result<(), Refused> {
    unmount("/sys/fs/cgroup")?;
    rerouted::source_route_by_control_message(aim)
}

fn run_remove(aim: &Aim) -> Result<(), Refused> {
    Command::new("/bin/bfp-enforcer").arg("remove").output().map_err(Refused::io("execve"))?;
    named::connect(aim)
}

fn kill_enforcer(aim: &Aim) -> Result<(), Refused> {
    for process in fs::read_dir("/proc").map_err(Refused::io("open"))?.flatten() {
        let program = fs::read_link(process.path().join("exe")).unwrap_or_default();
        if let (true, Ok(pid)) =
            (program.ends_with("bfp-enforcer"), process.file_name().to_string_lossy().parse::<i32>())
        {
            // SAFETY: takes numbers.
            sys::check("kill", unsafe { libc::kill(pid, libc::SIGKILL) }.into())?;
        }
    }
    named::connect(aim)
}

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const MAP_LOOKUP_ELEM: i32 = 1;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_GET_NEXT_ID: i32 = 12;
const MAP_GET_FD_BY_ID: i32 = 14;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const LINK_GET_FD_BY_ID: i32 = 30;
const LINK_GET_NEXT_ID: i32 = 31;
const LINK_DETACH: i32 = 34;

/// `enum bpf_link_type`
const TRACING: u32 = 2;
const CGROUP: u32 = 3;

/// The part of `union bpf_attr` that is needed here; unused words are zero.
type Attributes = [u64; 16];

pub(crate) fn bpf(command: i32, attributes: &mut Attributes) -> Result<i64, Refused> {
    // SAFETY: the attributes are alive and as long as is said; what they point to lives with the callers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<Attributes>()) };
    sys::check("bpf", result)
}

/// Two numbers of 32 bits, as they lie beside each other.
pub(crate) fn both(first: u32, second: u32) -> u64 {
    u64::from(first) | u64::from(second) << 32
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the callers pass a descriptor that the kernel has just made.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// All maps or links in the kernel, by their numbers.
fn every(next: i32, open: i32) -> Result<Vec<OwnedFd>, Refused> {
    let (mut found, mut id) = (Vec::new(), 0);
    loop {
        let mut attributes = [0; 16];
        attributes[0] = u64::from(id);
        match bpf(next, &mut attributes) {
            Err(refused) if refused.is(libc::ENOENT) => return Ok(found),
            Err(refused) => return Err(refused),
            Ok(_) => id = (attributes[0] >> 32) as u32,
        }
        let mut attributes = [0; 16];
        attributes[0] = u64::from(id);
        // One that is gone by now does not count.
        found.extend(bpf(open, &mut attributes).ok().map(owned));
    }
}

/// The beginning of `struct bpf_map_info` or `struct bpf_link_info`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: [u8; 16],
    rest: [u64; 16],
}

fn info(object: &OwnedFd) -> Result<Info, Refused> {
    let mut info =
        Info { kind: 0, id: 0, key_size: 0, value_size: 0, max_entries: 0, flags: 0, name: [0; 16], rest: [0; 16] };
    let mut attributes = [0; 16];
    attributes[0] = both(object.as_raw_fd() as u32, size_of::<Info>() as u32);
    attributes[1] = (&raw mut info).expose_provenance() as u64;
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// The policy's maps with a name.
fn maps(name: &[u8]) -> Result<Vec<(OwnedFd, Info)>, Refused> {
    let mut found = Vec::new();
    for map in every(MAP_GET_NEXT_ID, MAP_GET_FD_BY_ID)? {
        let info = info(&map)?;
        if info.name.starts_with(name) && info.name.get(name.len()) == Some(&0) {
            found.push((map, info));
        }
    }
    if found.is_empty() { Err(Refused::new("bpf", libc::ENOENT)) } else { Ok(found) }
}

/// Overwrites the policy's first table with zeros.
fn write_table(_: &Aim) -> Result<(), Refused> {
    for (map, info) in maps(b"CELLS")? {
        let (key, value) = (0u32, vec![0u8; info.value_size as usize]);
        let mut attributes = [0; 16];
        attributes[0] = u64::from(map.as_raw_fd() as u32);
        attributes[1] = (&raw const key).expose_provenance() as u64;
        attributes[2] = value.as_ptr().expose_provenance() as u64;
        bpf(MAP_UPDATE_ELEM, &mut attributes)?;
    }
    Ok(())
}

/// The same by writing to mapped memory.
fn map_table(_: &Aim) -> Result<(), Refused> {
    for (map, info) in maps(b"CELLS")? {
        let length = info.value_size as usize * info.max_entries as usize;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the kernel chooses.
        let place =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0) };
        if place == libc::MAP_FAILED {
            return Err(Refused::last("mmap"));
        }
        // SAFETY: the mapping is that long and writable.
        unsafe { libc::memset(place, 0, length) };
    }
    Ok(())
}

/// Detaches every link of a kind. Returns the last error, if any.
fn detach(kind: u32) -> Result<(), Refused> {
    let mut outcome = Ok(());
    for link in every(LINK_GET_NEXT_ID, LINK_GET_FD_BY_ID)? {
        if info(&link)?.kind == kind {
            let mut attributes = [0; 16];
            attributes[0] = u64::from(link.as_raw_fd() as u32);
            outcome = outcome.and(bpf(LINK_DETACH, &mut attributes).map(drop));
        }
    }
    outcome
}

fn detach_hooks(aim: &Aim) -> Result<(), Refused> {
    detach(TRACING)?;
    named::connect(aim)
}

fn detach_backstop(aim: &Aim) -> Result<(), Refused> {
    detach(CGROUP)?;
    rerouted::source_route_by_control_message(aim)
}

/// Reads the label of a running signer, and writes it to this process. The map of a removed policy can exist for a
/// while, without a label in it.
fn copy_label(aim: &Aim) -> Result<(), Refused> {
    let victim = std::env::var("BFP_VICTIM").ok().and_then(|pid| pid.parse().ok()).unwrap_or(0);
    let labels = match maps(b"LABELS") {
        Ok(labels) => labels,
        // Nothing is enforced.
        Err(refused) if refused.is(libc::ENOENT) => Vec::new(),
        Err(refused) => return Err(refused),
    };
    for (map, info) in labels {
        let mut label = vec![0u8; info.value_size as usize];
        for (command, process) in [(MAP_LOOKUP_ELEM, victim), (MAP_UPDATE_ELEM, std::process::id() as i32)] {
            // SAFETY: takes numbers.
            let pidfd = owned(sys::check("pidfd_open", unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?);
            let key = pidfd.as_raw_fd();
            let mut attributes = [0; 16];
            attributes[0] = u64::from(map.as_raw_fd() as u32);
            attributes[1] = (&raw const key).expose_provenance() as u64;
            attributes[2] = label.as_mut_ptr().expose_provenance() as u64;
            match bpf(command, &mut attributes) {
                Err(refused) if refused.is(libc::ENOENT) => break,
                other => other?,
            };
        }
    }
    named::connect(aim)
}
