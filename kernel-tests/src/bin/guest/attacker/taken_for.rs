//! Posing as the signer, by its name, its file, its place or its memory.
#![expect(unsafe_code, reason = "prctl, execveat and memory that is moved under the program's feet")]

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chroot};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::named;
use crate::other::{
    SIGNER, attack_by, become_program, bind_mount, copy_self, enter_mount_namespace, enter_user_namespace, own_place,
    path, run, wait_for_the_suite,
};
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("copy-of-the-signer", copy),
    ("hard-link-to-the-signer", hard_link),
    ("signer-from-memory", from_memory),
    ("old-build-by-descriptor", old_build),
    ("rename-over-the-signer", rename_over),
    ("reused-inode", reused_inode),
    ("mount-over-the-signer", mount_over),
    ("mount-of-the-signer", mount_of),
    ("chroot-with-a-signer", in_chroot),
    ("signer-in-a-user-namespace", in_user_namespace),
    ("loader-runs-the-signer", by_loader),
    ("script-of-the-signer", script),
    ("binfmt-for-the-signer", binfmt),
    ("exe-file-by-map", exe_file_by_map),
    ("exe-file", exe_file),
    ("exe-file-by-a-child", exe_file_by_child),
    ("exec-that-fails-late", failed_exec),
    // What the kernel passes to an interpreter in the place of a technique.
    (SIGNER, named::connect),
    ("./connect", named::connect),
];

/// What the suite writes into the header of the signer's file, where the kernel does not look.
const SIGNERS_MARK: &[u8] = b"signer!";

fn copy(aim: &Aim) -> Result<(), Refused> {
    let place = own_place("signer");
    fs::copy(SIGNER, &place).map_err(Refused::io("open"))?;
    become_program(attack_by(place, aim))
}

fn hard_link(aim: &Aim) -> Result<(), Refused> {
    let place = own_place("link");
    fs::hard_link(SIGNER, &place).map_err(Refused::io("link"))?;
    let outcome = run(attack_by(&place, aim));
    fs::remove_file(place).map_err(Refused::io("unlink"))?;
    outcome
}

fn from_memory(aim: &Aim) -> Result<(), Refused> {
    // SAFETY: the name ends with a zero; the descriptor is new.
    let memory = unsafe {
        let fd = sys::check("memfd_create", libc::memfd_create(c"signer".as_ptr(), 0).into())?;
        <fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd as i32)
    };
    let mut signer = fs::File::open(SIGNER).map_err(Refused::io("open"))?;
    io::copy(&mut signer, &mut &memory).map_err(Refused::io("write"))?;
    execute(&memory, ["signer".to_owned(), "connect".to_owned()].into_iter().chain(aim.words()))
}

/// Keeps the signer's file open until another one has replaced it.
fn old_build(aim: &Aim) -> Result<(), Refused> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(SIGNER);
    let file = file.map_err(Refused::io("open"))?;
    wait_for_the_suite();
    if fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok_and(|name| name == Path::new(SIGNER)) {
        return Err(Refused::new("the upgrade", libc::ENOENT));
    }
    execute(&file, ["signer".to_owned(), "connect".to_owned()].into_iter().chain(aim.words()))
}

/// Executes an open file, whatever its name is now. Returns only if that failed.
fn execute(file: &fs::File, words: impl Iterator<Item = String>) -> Result<(), Refused> {
    let words: Vec<_> = words.map(path).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let (fd, nothing) = (file.as_raw_fd(), [std::ptr::null::<libc::c_char>()]);
    // SAFETY: the words end with zeros, and both lists with a null.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), pointers.as_ptr(), nothing.as_ptr(), libc::AT_EMPTY_PATH)
    };
    Err(Refused::last("execveat"))
}

/// Moves the signer away while `then` runs.
fn without_the_signer(then: impl FnOnce() -> Result<(), Refused>) -> Result<(), Refused> {
    let aside = Path::new("/usr/bin/.signer.aside");
    fs::rename(SIGNER, aside).map_err(Refused::io("rename"))?;
    let outcome = then();
    fs::rename(aside, SIGNER).map_err(Refused::io("rename"))?;
    outcome
}

fn rename_over(aim: &Aim) -> Result<(), Refused> {
    without_the_signer(|| {
        let own = own_place("upgrade");
        copy_self(&own)?;
        fs::rename(own, SIGNER).map_err(Refused::io("rename"))?;
        run(attack_by(SIGNER, aim))
    })
}

/// Removes the signer, and creates files until one has its inode number.
fn reused_inode(aim: &Aim) -> Result<(), Refused> {
    let aside = own_place("aside");
    fs::copy(SIGNER, &aside).map_err(Refused::io("open"))?;
    let number = fs::metadata(SIGNER).map_err(Refused::io("stat"))?.ino();
    fs::remove_file(SIGNER).map_err(Refused::io("unlink"))?;
    let mut files = Vec::new();
    let mut outcome = Err(Refused::new("inode", libc::ENOENT));
    for index in 0..256 {
        let file = PathBuf::from(format!("/usr/bin/.reused-{index}"));
        fs::write(&file, b"").map_err(Refused::io("open"))?;
        files.push(file.clone());
        if fs::metadata(&file).map_err(Refused::io("stat"))?.ino() == number {
            outcome = copy_self(&file).and_then(|()| run(attack_by(&file, aim)));
            break;
        }
    }
    for file in files {
        fs::remove_file(file).map_err(Refused::io("unlink"))?;
    }
    let back = fs::rename(&aside, SIGNER).map_err(Refused::io("rename"));
    back.and(outcome)
}

fn mount_over(aim: &Aim) -> Result<(), Refused> {
    let own = own_place("over");
    copy_self(&own)?;
    enter_mount_namespace()?;
    bind_mount(own, SIGNER)?;
    become_program(attack_by(SIGNER, aim))
}

fn mount_of(aim: &Aim) -> Result<(), Refused> {
    let place = own_place("elsewhere");
    fs::write(&place, b"").map_err(Refused::io("open"))?;
    enter_mount_namespace()?;
    bind_mount(SIGNER, &place)?;
    become_program(attack_by(place, aim))
}

fn in_chroot(aim: &Aim) -> Result<(), Refused> {
    let root = own_place("root");
    fs::create_dir_all(root.join("usr/bin")).map_err(Refused::io("mkdir"))?;
    copy_self(&root.join("usr/bin/signer"))?;
    // Only root may change its root, and every user is root in its own namespace.
    enter_mount_namespace()?;
    chroot(root).map_err(Refused::io("chroot"))?;
    std::env::set_current_dir("/").map_err(Refused::io("chdir"))?;
    become_program(attack_by(SIGNER, aim))
}

/// The signer itself, in a namespace whose creator can put any library in its path.
fn in_user_namespace(aim: &Aim) -> Result<(), Refused> {
    enter_user_namespace(libc::CLONE_NEWNS)?;
    become_program(attack_by(SIGNER, aim))
}

pub(crate) const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn by_loader(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new(LOADER);
    command.arg(SIGNER).arg("connect").args(aim.words());
    become_program(command)
}

/// A script whose interpreter is the signer, under the name of a technique: the signer gets this name as its first
/// argument.
fn script(aim: &Aim) -> Result<(), Refused> {
    let folder = own_place("scripts");
    fs::create_dir(&folder).map_err(Refused::io("mkdir"))?;
    let script = folder.join("connect");
    fs::write(&script, format!("#!{SIGNER}\n")).map_err(Refused::io("open"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(Refused::io("chmod"))?;
    std::env::set_current_dir(folder).map_err(Refused::io("chdir"))?;
    let mut command = Command::new("./connect");
    command.args(aim.words());
    become_program(command)
}

/// Makes the kernel start this program when the signer is executed, and executes the signer.
fn binfmt(aim: &Aim) -> Result<(), Refused> {
    let own = own_place("interpreter");
    copy_self(&own)?;
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        enter_user_namespace(libc::CLONE_NEWNS)?;
    }
    let place = own_place("binfmt");
    fs::create_dir(&place).map_err(Refused::io("mkdir"))?;
    let (at, kind) = (path(&place)?, c"binfmt_misc");
    // SAFETY: all of them end with a zero.
    let mounted = unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    sys::check("mount", mounted.into())?;
    let mark: String = SIGNERS_MARK.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let rule = format!(":bfp:M:9:{mark}::{}:", own.display());
    fs::write(place.join("register"), rule).map_err(Refused::io("write"))?;
    // The interpreter gets the signer's path in the place of a technique.
    let mut command = Command::new(SIGNER);
    command.args(aim.words());
    let outcome = run(command);
    let forgotten = fs::write(place.join("bfp"), "-1").map_err(Refused::io("write"));
    crate::other::unmount(&place.to_string_lossy())?;
    forgotten.and(outcome)
}

/// Moves every part of this program that is mapped from its file into memory without a file: only then does the kernel
/// accept another file.
fn leave_own_file() -> Result<(), Refused> {
    let maps = fs::read_to_string("/proc/self/maps").map_err(Refused::io("open"))?;
    let own = std::env::current_exe().map_err(Refused::io("readlink"))?;
    let own = own.to_string_lossy();
    let number = |word: &str| usize::from_str_radix(word, 16).map_err(|_| Refused::new("maps", libc::EINVAL));
    let mut parts = Vec::new();
    for line in maps.lines().filter(|line| line.ends_with(&*own)) {
        let mut words = line.split_whitespace();
        let (from, to) =
            words.next().and_then(|word| word.split_once('-')).ok_or(Refused::new("maps", libc::EINVAL))?;
        let rights = words.next().unwrap_or_default();
        let right = |letter, flag| if rights.contains(letter) { flag } else { 0 };
        let protection = right('r', libc::PROT_READ) | right('w', libc::PROT_WRITE) | right('x', libc::PROT_EXEC);
        parts.push((number(from)?, number(to)?, protection));
    }
    for (from, to, protection) in parts {
        let length = to - from;
        let (none, writable) = (std::ptr::null_mut(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: the copy has the same bytes, length and rights, so that whoever runs or reads there sees no
        // difference; this program has one thread, which writes nothing there between copy and move.
        unsafe {
            let copy = libc::mmap(none, length, writable, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
            if copy == libc::MAP_FAILED {
                return Err(Refused::last("mmap"));
            }
            libc::memcpy(copy, from as *const libc::c_void, length);
            sys::check("mprotect", libc::mprotect(copy, length, protection).into())?;
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            if libc::mremap(copy, length, length, flags, from as *mut libc::c_void) == libc::MAP_FAILED {
                return Err(Refused::last("mremap"));
            }
        }
    }
    Ok(())
}

fn exe_file(aim: &Aim) -> Result<(), Refused> {
    const PR_SET_MM_EXE_FILE: libc::c_ulong = 13;
    let signer = fs::File::open(SIGNER).map_err(Refused::io("open"))?;
    leave_own_file()?;
    // SAFETY: takes numbers.
    let set = unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_EXE_FILE, signer.as_raw_fd() as libc::c_ulong, 0, 0) };
    sys::check("prctl", set.into())?;
    as_the_signers_file(aim)
}

/// `struct prctl_mm_map`, include/uapi/linux/prctl.h.
#[repr(C)]
struct Map {
    /// Code, data, heap, stack, arguments and environment: where each begins and ends.
    places: [u64; 11],
    auxiliary: u64,
    auxiliary_size: u32,
    exe_file: u32,
}

const PR_SET_MM_MAP: libc::c_ulong = 14;

/// This process's memory as it is, with `file` as its executable.
fn map_with(file: &fs::File) -> Result<Map, Refused> {
    // proc(5): the fields of `stat`, from the state on, which is the third.
    let stat = fs::read_to_string("/proc/self/stat").map_err(Refused::io("open"))?;
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    // SAFETY: asks where the heap ends.
    let heap_end = unsafe { libc::sbrk(0) } as u64;
    let places = [
        field(26),
        field(27),
        field(45),
        field(46),
        field(47),
        heap_end,
        field(28),
        field(48),
        field(49),
        field(50),
        field(51),
    ];
    Ok(Map { places, auxiliary: 0, auxiliary_size: 0, exe_file: file.as_raw_fd() as u32 })
}

/// As [`exe_file`], in a user namespace, by the call that needs no privilege outside it.
fn exe_file_by_map(aim: &Aim) -> Result<(), Refused> {
    enter_user_namespace(0)?;
    let signer = fs::File::open(SIGNER).map_err(Refused::io("open"))?;
    let map = map_with(&signer)?;
    leave_own_file()?;
    // SAFETY: the map is alive and as long as is said.
    let set = unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, &raw const map, size_of::<Map>(), 0) };
    sys::check("prctl", set.into())?;
    as_the_signers_file(aim)
}

/// Makes the kernel take the memory that it shares with its parent for the signer's.
extern "C" fn set_shared_map(map: *mut libc::c_void) -> i32 {
    // SAFETY: the parent waits, and keeps the map alive, which is as long as is said.
    unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, map, size_of::<Map>(), 0) }
}

/// As [`exe_file_by_map`], but this process does not enter a user namespace itself: a child that shares its memory
/// does. Then it waits for a policy that labels running processes.
fn exe_file_by_child(aim: &Aim) -> Result<(), Refused> {
    const STACK: usize = 1 << 16;
    let signer = fs::File::open(SIGNER).map_err(Refused::io("open"))?;
    let mut map = map_with(&signer)?;
    leave_own_file()?;
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_NEWUSER | libc::SIGCHLD;
    // SAFETY: the child runs one call on a stack of its own, which is alive until it has ended, as the map is.
    unsafe {
        let end = stack.as_mut_ptr_range().end.cast::<libc::c_void>();
        let child = sys::check("clone", libc::clone(set_shared_map, end, flags, (&raw mut map).cast()).into())?;
        let mut status = 0;
        sys::check("waitpid", libc::waitpid(child as i32, &raw mut status, 0).into())?;
        if status != 0 {
            return Err(Refused::new("prctl in a child", libc::EINVAL));
        }
    }
    match std::env::current_exe() {
        Ok(file) if file == Path::new(SIGNER) => {}
        _ => return Err(Refused::new("readlink", libc::EINVAL)),
    }
    wait_for_the_suite();
    named::connect(aim)
}

/// Now the kernel shows the signer's file for this process.
fn as_the_signers_file(aim: &Aim) -> Result<(), Refused> {
    match std::env::current_exe() {
        Ok(file) if file == Path::new(SIGNER) => named::connect(aim),
        _ => Err(Refused::new("readlink", libc::EINVAL)),
    }
}

/// The signer cannot be executed, because its loader is missing, and the kernel notices after it has called every
/// module.
fn failed_exec(aim: &Aim) -> Result<(), Refused> {
    let empty = own_place("empty");
    fs::create_dir(&empty).map_err(Refused::io("mkdir"))?;
    enter_mount_namespace()?;
    bind_mount(empty, Path::new(LOADER).parent().unwrap_or(Path::new("/")))?;
    match become_program(attack_by(SIGNER, aim)) {
        Err(refused) if refused.to_string() == "execve ENOENT" => named::connect(aim),
        _ => Err(Refused::new("execve", libc::EINVAL)),
    }
}
