//! What root could do to BPF objects by their numbers and pins without lockdown.
//!
//! In: numbers, as the kernel counts them, and pins. Out: descriptors, or why there are none.
#![expect(unsafe_code, reason = "bpf(2) takes a raw structure")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const FD_BY_ID: [(&str, i32); 3] = [("program", 13), ("map", 14), ("link", 30)];
const MAP_UPDATE_ELEM: i32 = 2;
const PROG_LOAD: i32 = 5;
const OBJ_GET: i32 = 7;

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
    // More bytes than any key or value has.
    let zeros = vec![0u8; 1 << 16];
    let address = zeros.as_ptr().expose_provenance() as u64;
    let halves = [address as u32, (address >> 32) as u32];
    let mut attributes = [map.as_raw_fd() as u32, 0, halves[0], halves[1], halves[0], halves[1], 0, 0];
    bpf(MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Requests a program that replaces the result of a kernel function; it has no instructions, so that it is always
/// rejected.
pub(crate) fn load_in_place_of_a_function() -> io::Result<OwnedFd> {
    const TRACING: u32 = 26;
    const MODIFY_RETURN: u32 = 26;
    load(TRACING, MODIFY_RETURN)
}

/// As [`load_in_place_of_a_function`], for an LSM program.
pub(crate) fn load_security_module() -> io::Result<OwnedFd> {
    const LSM: u32 = 29;
    const LSM_MAC: u32 = 27;
    load(LSM, LSM_MAC)
}

fn load(kind: u32, attach: u32) -> io::Result<OwnedFd> {
    let mut attributes = [0; 32];
    attributes[0] = kind;
    attributes[17] = attach;
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
