//! System calls that neither std nor aya provides.
//!
//! Each function is safe for every argument: sizes are compared with the map's own before the kernel gets a pointer.
#![expect(unsafe_code, reason = "bpf(2), mmap(2), poll(2) and the like take raw pointers; every use is in this file")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use aya::maps::MapData;

/// `enum bpf_cmd`, include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const OBJECT_PIN: libc::c_long = 6;
const OBJECT_GET: libc::c_long = 7;
const OBJECT_INFO: libc::c_long = 15;
const PROGRAM_FD_BY_ID: libc::c_long = 13;
const MAP_FD_BY_ID: libc::c_long = 14;
const TYPES_FD_BY_ID: libc::c_long = 19;
const MAP_FREEZE: libc::c_long = 22;
const TYPES_NEXT_ID: libc::c_long = 23;
const MAP_UPDATE_BATCH: libc::c_long = 26;
const LINK_FD_BY_ID: libc::c_long = 30;
const LINK_NEXT_ID: libc::c_long = 31;
const LINK_CREATE: libc::c_long = 28;

/// `enum bpf_map_type`, likewise.
const ARRAY: u32 = 2;

/// `enum bpf_attach_type`, likewise.
const CGROUP_SYSCTL: u32 = 18;

/// The part of `union bpf_attr` for map elements.
#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn bpf(command: libc::c_long, attributes: &Element) -> io::Result<()> {
    // SAFETY: the attributes are alive, of the size that is passed, and zero where they are not used; what
    // `key` and `value` point to is as large as the map's keys and values, which the callers check.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<Element>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until a descriptor is readable, or until the time is over.
pub(crate) fn wait_readable(file: BorrowedFd<'_>, at_most: Duration) -> io::Result<()> {
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one descriptor is announced, and `wanted` is one.
    match unsafe { libc::poll(&raw mut wanted, 1, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// An inotify descriptor, which becomes readable when a name changes in a watched directory.
pub(crate) fn new_watch() -> io::Result<OwnedFd> {
    // SAFETY: takes a number only.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
    // SAFETY: a new descriptor that nothing else owns, since it is not an error.
    if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

/// Watches the names in a directory, and the removal of the directory itself.
pub(crate) fn watch_names(watch: BorrowedFd<'_>, folder: &Path) -> io::Result<()> {
    const NAMES: u32 = libc::IN_CREATE | libc::IN_DELETE | libc::IN_MOVED_FROM | libc::IN_MOVED_TO;
    const ITSELF: u32 = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_UNMOUNT | libc::IN_ONLYDIR;
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a zero, and is alive.
    let added = unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), NAMES | ITSELF) };
    if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The nanoseconds since boot, as `bpf_ktime_get_boot_ns` counts them.
pub(crate) fn since_boot() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is where the answer goes.
    if unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64))
}

/// The part of `union bpf_attr` for new links.
#[repr(C)]
struct NewLink {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The part of `union bpf_attr` for pins.
#[repr(C)]
struct Pin {
    path: u64,
    object: u32,
    flags: u32,
}

/// Attaches a program to a cgroup. aya does not expose a link of this kind.
pub(crate) fn attach_sysctl(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let link = NewLink { program: number(program), target: number(cgroup), attach_type: CGROUP_SYSCTL, flags: 0 };
    // SAFETY: the attributes are alive, and of the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LINK_CREATE, &link, size_of::<NewLink>()) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pins a link.
pub(crate) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let pin = Pin { path: path.as_ptr().expose_provenance() as u64, object: number(link), flags: 0 };
    // SAFETY: the attributes are alive, and of the size that is passed; the path ends with a zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_PIN, &pin, size_of::<Pin>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens a pinned object.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let pin = Pin { path: path.as_ptr().expose_provenance() as u64, object: 0, flags: 0 };
    // SAFETY: the attributes are alive, and of the size that is passed; the path ends with a zero.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_GET, &pin, size_of::<Pin>()) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The part of `union bpf_attr` for information on an object.
#[repr(C)]
struct About {
    object: u32,
    length: u32,
    info: u64,
}

/// The kernel's information on an object, as far as it fits.
fn object_info(object: BorrowedFd<'_>, info: &mut [u64]) -> io::Result<()> {
    let length = size_of_val(info) as u32;
    let about = About { object: number(object), length, info: info.as_mut_ptr().expose_provenance() as u64 };
    // SAFETY: the attributes are alive, and of the size that is passed; the kernel writes no more than `length`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_INFO, &about, size_of::<About>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel's information on a link (`struct bpf_link_info`).
pub(crate) struct LinkInfo {
    /// The kernel's number of the link.
    pub(crate) number: u32,
    /// The kernel's number of its program.
    pub(crate) program: u32,
    /// Whether it has a program and, if it was attached to a cgroup, still has that cgroup.
    pub(crate) is_attached: bool,
}

pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    /// `BPF_LINK_TYPE_CGROUP`
    const CGROUP: u32 = 3;
    let mut info = [0u64; 4];
    object_info(link, &mut info)?;
    let [first, second, cgroup, _] = info;
    // Two words in each, as they lie in memory.
    let ([kind, number], [program, _]) = (words(first), words(second));
    let is_attached = program != 0 && (kind != CGROUP || cgroup != 0);
    Ok(LinkInfo { number, program, is_attached })
}

fn words(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// The kernel's information on a program (`struct bpf_prog_info`).
pub(crate) struct ProgramInfo {
    pub(crate) name: String,
    /// The numbers of the maps that it uses.
    pub(crate) maps: Vec<u32>,
}

pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    const MOST_MAPS: usize = 64;
    const COUNT_AT: usize = 6;
    const MAPS_AT: usize = 7;
    const NAME_AT: usize = 8;
    let mut maps = [0u32; MOST_MAPS];
    let mut info = [0u64; 10];
    // The second word there: the processors of these kernels are little-endian.
    info[COUNT_AT] = (MOST_MAPS as u64) << 32;
    info[MAPS_AT] = maps.as_mut_ptr().expose_provenance() as u64;
    // The kernel writes as many map numbers as fit.
    object_info(program, &mut info)?;
    let [_, count] = words(info[COUNT_AT]);
    let maps = maps.into_iter().take(count as usize).collect();
    Ok(ProgramInfo { name: name_at(&info, NAME_AT), maps })
}

/// The name of a map (`struct bpf_map_info`), by its number.
pub(crate) fn map_name(map: u32) -> io::Result<String> {
    const NAME_AT: usize = 3;
    let mut info = [0u64; 5];
    object_info(open_number(MAP_FD_BY_ID, map)?.as_fd(), &mut info)?;
    Ok(name_at(&info, NAME_AT))
}

/// The sixteen bytes at an index, up to a zero.
fn name_at(info: &[u64], index: usize) -> String {
    let bytes = info.iter().skip(index).take(2).flat_map(|word| word.to_ne_bytes());
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The part of `union bpf_attr` for object numbers.
#[repr(C)]
struct Number {
    number: u32,
    next: u32,
    flags: u32,
}

fn open_number(command: libc::c_long, object: u32) -> io::Result<OwnedFd> {
    let wanted = Number { number: object, next: 0, flags: 0 };
    // SAFETY: the attributes are alive, and of the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &wanted, size_of::<Number>()) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A program, by its number.
pub(crate) fn open_program(program: u32) -> io::Result<OwnedFd> {
    open_number(PROGRAM_FD_BY_ID, program)
}

/// A link, by its number.
pub(crate) fn open_link(link: u32) -> io::Result<OwnedFd> {
    open_number(LINK_FD_BY_ID, link)
}

/// The numbers of all links.
pub(crate) fn link_numbers() -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut last = Number { number: 0, next: 0, flags: 0 };
    loop {
        // SAFETY: the attributes are alive, and of the size that is passed; the kernel writes the next number there.
        let result = unsafe { libc::syscall(libc::SYS_bpf, LINK_NEXT_ID, &raw mut last, size_of::<Number>()) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ENOENT) { Ok(numbers) } else { Err(error) };
        }
        numbers.push(last.next);
        last.number = last.next;
    }
}

/// The kernel's number of a program, a map or a link. The information on each starts with its type and its number.
pub(crate) fn object_number(object: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = [0u32; 2];
    let length = size_of_val(&info) as u32;
    let about = About { object: number(object), length, info: info.as_mut_ptr().expose_provenance() as u64 };
    // SAFETY: the attributes are alive, and of the size that is passed; the kernel writes no more than `length`.
    let result = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_INFO, &about, size_of::<About>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info[1]) }
}

/// `struct bpf_btf_info`, include/uapi/linux/bpf.h, up to the name's length.
#[repr(C)]
#[derive(Default)]
struct TypesInfo {
    types: u64,
    size: u32,
    number: u32,
    name: u64,
    name_length: u32,
    is_the_kernels: u32,
}

/// The kernel's own type information, in one read: the sysfs file returns one page per read, some thousand reads. Of
/// all loaded BTF objects it is the first that belongs to the kernel, before those of modules.
pub(crate) fn kernel_types() -> io::Result<Vec<u8>> {
    let mut number = 0u32;
    loop {
        // The argument comes first, and the answer behind it.
        let mut next = [number, 0, 0];
        // SAFETY: the attributes are alive, and of the size that is passed.
        let result = unsafe { libc::syscall(libc::SYS_bpf, TYPES_NEXT_ID, &raw mut next, size_of_val(&next)) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        number = next[1];
        let types = open_types(number)?;
        let mut name = [0u8; 16];
        let mut info = types_info(types.as_fd(), &mut name, &mut [])?;
        if info.is_the_kernels != 0 && name.starts_with(b"vmlinux\0") {
            let mut bytes = vec![0; info.size as usize];
            info = types_info(types.as_fd(), &mut name, &mut bytes)?;
            return if info.size as usize == bytes.len() { Ok(bytes) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
    }
}

fn open_types(number: u32) -> io::Result<OwnedFd> {
    let wanted = [number, 0, 0];
    // SAFETY: the attributes are alive, and of the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, TYPES_FD_BY_ID, &raw const wanted, size_of_val(&wanted)) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn types_info(types: BorrowedFd<'_>, name: &mut [u8], bytes: &mut [u8]) -> io::Result<TypesInfo> {
    let mut info = TypesInfo {
        types: bytes.as_mut_ptr().expose_provenance() as u64,
        size: bytes.len() as u32,
        name: name.as_mut_ptr().expose_provenance() as u64,
        name_length: name.len() as u32,
        ..TypesInfo::default()
    };
    let length = size_of::<TypesInfo>() as u32;
    let about = About { object: number(types), length, info: (&raw mut info).expose_provenance() as u64 };
    // SAFETY: the attributes are alive, and of the size that is passed; the kernel writes no more than the lengths that
    // stand beside the pointers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_INFO, &about, size_of::<About>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}

/// The device of a file as the kernel itself writes it (include/linux/kdev_t.h, `MKDEV`).
pub(crate) fn kernel_device(device: u64) -> u32 {
    libc::major(device) << 20 | libc::minor(device)
}

/// Whether a file or directory is on a BPF filesystem.
pub(crate) fn is_on_bpf_filesystem(file: BorrowedFd<'_>) -> io::Result<bool> {
    /// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
    const BPF_FILESYSTEM: libc::c_long = 0xcafe_4a11;
    let mut about = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `about` is where the answer goes, and has room for it.
    if unsafe { libc::fstatfs(file.as_raw_fd(), about.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled it, since it said so.
    Ok(unsafe { about.assume_init() }.f_type == BPF_FILESYSTEM)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

/// Freezes a map: user space cannot write it any more.
pub(crate) fn freeze(map: &MapData) -> io::Result<()> {
    bpf(MAP_FREEZE, &Element { map: number(map.fd().as_fd()), ..Element::default() })
}

/// Whether a map is frozen, as the kernel reports for its descriptor (kernel/bpf/syscall.c, `bpf_map_show_fdinfo`).
pub(crate) fn is_frozen(map: &MapData) -> io::Result<bool> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd()))?;
    Ok(about.lines().any(|line| line.split_once(':').is_some_and(|(name, is)| name == "frozen" && is.trim() == "1")))
}

/// Copies bytes to the start of an array map that can be mapped.
pub(crate) fn fill(map: &MapData, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let info = map.info().map_err(io::Error::other)?;
    // An array rounds its values up to eight bytes. `mmap` refuses every other map.
    let room = u64::from(info.value_size()) * u64::from(info.max_entries());
    if info.value_size() % 8 != 0 || room != bytes.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the section and its map differ in size"));
    }
    let fd = map.fd().as_fd().as_raw_fd();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, where the kernel chooses.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), bytes.len(), protection, libc::MAP_SHARED, fd, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is as long as the bytes, writable, new, and nothing else points into it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), bytes.len()) };
    // SAFETY: the mapping that was made above; nothing points into it any more.
    if unsafe { libc::munmap(place, bytes.len()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The part of `union bpf_attr` for batches of map elements.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

/// Inserts keys into a hash map, each with the value 1.
pub(crate) fn insert_all<const SIZE: usize>(map: &MapData, keys: &[[u8; SIZE]]) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    let count = u32::try_from(keys.len()).map_err(io::Error::other)?;
    if sizes != (SIZE, size_of::<u64>()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the keys and their map differ in size"));
    }
    if keys.is_empty() {
        return Ok(());
    }
    let values = vec![1u64; keys.len()];
    let batch = Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map: map.fd().as_fd().as_raw_fd() as u32,
        ..Batch::default()
    };
    // SAFETY: the attributes are alive and of the size that is passed; there are as many keys and values as it says, of
    // the sizes that the map has.
    let result = unsafe { libc::syscall(libc::SYS_bpf, MAP_UPDATE_BATCH, &batch, size_of::<Batch>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The first value of an array, at most `limit` bytes.
pub(crate) fn first_element(map: &MapData, limit: usize) -> io::Result<Vec<u8>> {
    let info = map.info().map_err(io::Error::other)?;
    let size = info.value_size() as usize;
    if info.key_size() as usize != size_of::<u32>() || size > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an array, or too large"));
    }
    let key = 0u32;
    // The kernel rounds values up to eight bytes (kernel/bpf/arraymap.c), but copies no more than their size.
    let mut value = vec![0u8; size];
    let attributes = Element {
        map: number(map.fd().as_fd()),
        key: (&raw const key).expose_provenance() as u64,
        value: value.as_mut_ptr().expose_provenance() as u64,
        ..Element::default()
    };
    bpf(MAP_LOOKUP_ELEM, &attributes)?;
    Ok(value)
}

/// The part of `union bpf_attr` for new maps.
#[repr(C)]
struct NewMap {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// A frozen array with one value.
pub(crate) fn frozen_array(value: &[u8], flags: u32) -> io::Result<OwnedFd> {
    let value_size = u32::try_from(value.len()).map_err(io::Error::other)?;
    let new = NewMap { kind: ARRAY, key_size: 4, value_size, entries: 1, flags };
    // SAFETY: the attributes are alive, and of the size that is passed.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, &new, size_of::<NewMap>()) };
    let map = match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(io::Error::last_os_error()),
    };
    let key = 0u32;
    let element = Element {
        map: number(map.as_fd()),
        key: (&raw const key).expose_provenance() as u64,
        value: value.as_ptr().expose_provenance() as u64,
        ..Element::default()
    };
    bpf(MAP_UPDATE_ELEM, &element)?;
    bpf(MAP_FREEZE, &Element { map: number(map.as_fd()), ..Element::default() })?;
    Ok(map)
}

/// `struct fsverity_digest` with room for the longest digest, include/uapi/linux/fsverity.h.
#[repr(C)]
struct VerityDigest {
    algorithm: u16,
    size: u16,
    digest: [u8; 64],
}

/// `FS_IOC_MEASURE_VERITY`
const MEASURE_VERITY: libc::c_ulong = 0xc004_6686;
/// `FS_VERITY_HASH_ALG_SHA256`
const SHA256: u16 = 1;

/// The fs-verity digest of a file. `None` if it does not use SHA-256.
pub(crate) fn measure_verity(file: BorrowedFd<'_>) -> io::Result<Option<[u8; 32]>> {
    let mut found = VerityDigest { algorithm: 0, size: 64, digest: [0; 64] };
    // SAFETY: the kernel writes as many bytes of a digest as `size` says there is room for.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE_VERITY, &raw mut found) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let digest = found.digest.first_chunk().copied();
    Ok(digest.filter(|_| found.algorithm == SHA256 && found.size == 32))
}

/// A pidfd of this process.
pub(crate) fn own_pidfd() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    match i32::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The element of a task storage for the task behind a pidfd. `None` if the task has none.
pub(crate) fn task_element<const SIZE: usize>(map: &MapData, task: &OwnedFd) -> io::Result<Option<[u8; SIZE]>> {
    check_sizes(map, SIZE)?;
    let key = task.as_raw_fd();
    let mut value = [0u8; SIZE];
    let attributes = Element {
        map: number(map.fd().as_fd()),
        key: (&raw const key).expose_provenance() as u64,
        value: value.as_mut_ptr().expose_provenance() as u64,
        ..Element::default()
    };
    match bpf(MAP_LOOKUP_ELEM, &attributes) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets or removes the element of a task storage.
pub(crate) fn set_task_element<const SIZE: usize>(
    map: &MapData,
    task: &OwnedFd,
    value: Option<&[u8; SIZE]>,
) -> io::Result<()> {
    check_sizes(map, SIZE)?;
    let key = task.as_raw_fd();
    let attributes = Element {
        map: number(map.fd().as_fd()),
        key: (&raw const key).expose_provenance() as u64,
        value: value.map_or(0, |value| value.as_ptr().expose_provenance() as u64),
        ..Element::default()
    };
    bpf(if value.is_some() { MAP_UPDATE_ELEM } else { MAP_DELETE_ELEM }, &attributes)
}

fn check_sizes(map: &MapData, value: usize) -> io::Result<()> {
    let info = map.info().map_err(io::Error::other)?;
    if info.key_size() as usize == size_of::<i32>() && info.value_size() as usize == value {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the labels in the kernel have another layout"))
}

/// The most bytes of a list of attribute names, and of an attribute's value (include/uapi/linux/limits.h).
const ATTRIBUTE_BYTES: usize = 1 << 16;

/// The names of a file's extended attributes. None if its filesystem has no such attributes.
pub(crate) fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut list = vec![0u8; ATTRIBUTE_BYTES];
    // SAFETY: the kernel writes at most as many bytes as the list has.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), list.as_mut_ptr().cast(), list.len()) };
    match usize::try_from(length) {
        Ok(length) => list.truncate(length),
        Err(_) => {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(Vec::new()) } else { Err(error) };
        }
    }
    // Each name ends with a zero.
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| Ok(CString::new(name)?)).collect()
}

/// The value of an extended attribute.
pub(crate) fn attribute(file: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; ATTRIBUTE_BYTES];
    let (to, room) = (value.as_mut_ptr().cast(), value.len());
    // SAFETY: the name ends with a zero, and the kernel writes at most as many bytes as the value has.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), to, room) };
    value.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

/// Sets an extended attribute, or removes it.
pub(crate) fn set_attribute(file: BorrowedFd<'_>, name: &CStr, value: Option<&[u8]>) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let result = match value {
        // SAFETY: the name ends with a zero, and the value is as long as the kernel is told.
        Some(value) => unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) },
        // SAFETY: the name ends with a zero.
        None => unsafe { libc::fremovexattr(fd, name.as_ptr()) },
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
