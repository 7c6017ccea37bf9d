//! One system call of a traced program: its name, its object, and whether anything outside the process can differ after
//! it.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::libc;

/// A system call that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) number: i64,
    arguments: [u64; 6],
    /// Its object: a path, a command of bpf(2), what a descriptor refers to.
    object: String,
    /// Whether the program makes it, and not the code that starts and ends it: the loader, libc, std.
    pub(crate) is_own: bool,
    /// Whether the two calls before it were the same on the same descriptor.
    pub(crate) is_repeated: bool,
}

impl Call {
    pub(crate) fn new(process: i32, number: i64, arguments: [u64; 6]) -> Call {
        let object = object(process, number, arguments);
        Call { number, arguments, object, is_own: false, is_repeated: false }
    }

    /// Whether it is sigaltstack(2) with a stack, and not a query.
    pub(crate) fn sets_a_stack(&self) -> bool {
        self.arguments[0] != 0
    }

    pub(crate) fn is_same_kind(&self, other: &Call) -> bool {
        (self.number, self.arguments[0]) == (other.number, other.arguments[0])
    }

    /// Whether anything outside the process can differ after it. Unless a call is known to be private, it counts as an
    /// effect. Private are the process's own memory, its own signals, queries about itself and about files, opening a
    /// file without creating one, and reading and closing one. A descriptor of a kernel object (BPF, a pidfd), of a
    /// socket, or of the folder of pins, is not a file in this sense: closing one may detach a program or release a
    /// lock, and reading one may run a program.
    pub(crate) fn has_effect(&self) -> bool {
        match self.number {
            libc::SYS_brk
            | libc::SYS_munmap
            | libc::SYS_mprotect
            | libc::SYS_mremap
            | libc::SYS_rt_sigaction
            | libc::SYS_rt_sigprocmask
            | libc::SYS_sigaltstack
            | libc::SYS_arch_prctl
            | libc::SYS_set_tid_address
            | libc::SYS_set_robust_list
            | libc::SYS_rseq
            | libc::SYS_getpid
            | libc::SYS_gettid
            | libc::SYS_geteuid
            | libc::SYS_getrandom
            | libc::SYS_uname
            | libc::SYS_sched_getaffinity
            | libc::SYS_access
            | libc::SYS_readlink
            | libc::SYS_newfstatat
            | libc::SYS_fstat
            | libc::SYS_statx
            | libc::SYS_getdents64
            | libc::SYS_lseek
            | libc::SYS_execve
            | libc::SYS_poll => false,
            libc::SYS_prlimit64 => self.arguments[2] != 0,
            libc::SYS_fcntl => {
                let private = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
                !private.map(|command| command as u64).contains(&self.arguments[1])
            }
            libc::SYS_openat => {
                let making = libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE & !libc::O_DIRECTORY;
                self.arguments[2] & making as u64 != 0
            }
            libc::SYS_read | libc::SYS_pread64 | libc::SYS_close => !self.is_about_a_file(),
            libc::SYS_mmap => self.arguments[3] & libc::MAP_ANONYMOUS as u64 == 0 && !self.is_about_a_file(),
            _ => true,
        }
    }

    /// Whether it creates, moves or removes a name, or syncs a file: the steps of a transaction.
    pub(crate) fn is_turning_point(&self) -> bool {
        [
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_rmdir,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_fsync,
            libc::SYS_fdatasync,
        ]
        .contains(&self.number)
    }

    /// Whether it requests memory for the process.
    pub(crate) fn is_for_memory(&self) -> bool {
        [libc::SYS_brk, libc::SYS_mmap, libc::SYS_mremap, libc::SYS_munmap, libc::SYS_mprotect].contains(&self.number)
    }

    /// Whether the program can see its failure at all.
    pub(crate) fn can_fail(&self) -> bool {
        self.number != libc::SYS_exit_group
    }

    /// The errors that it is made to fail with.
    pub(crate) fn errors(&self) -> &'static [Errno] {
        match self.number {
            _ if self.is_for_memory() => &[Errno::ENOMEM],
            libc::SYS_bpf => &[Errno::ENOMEM, Errno::ENOSPC, Errno::EPERM],
            libc::SYS_read | libc::SYS_pread64 => &[Errno::ENOMEM, Errno::EIO, Errno::EINTR],
            libc::SYS_write => &[Errno::ENOSPC, Errno::EIO, Errno::EINTR],
            // A folder has nothing to write back when it is closed (fs/open.c, `filp_flush`), and std aborts the
            // program if close reports otherwise.
            libc::SYS_close if self.is_about_a_folder() => &[Errno::EINTR],
            libc::SYS_close => &[Errno::EIO, Errno::EINTR],
            // It takes no memory (drivers/char/random.c, `getrandom`).
            libc::SYS_getrandom => &[Errno::EPERM, Errno::EINTR],
            libc::SYS_flock | libc::SYS_connect | libc::SYS_sendto | libc::SYS_poll => &[Errno::ENOMEM, Errno::EINTR],
            libc::SYS_openat
            | libc::SYS_mkdir
            | libc::SYS_rmdir
            | libc::SYS_rename
            | libc::SYS_unlink
            | libc::SYS_fsync
            | libc::SYS_ftruncate => &[Errno::ENOMEM, Errno::ENOSPC, Errno::EPERM, Errno::EIO],
            _ => &[Errno::ENOMEM, Errno::EPERM],
        }
    }

    /// The error, if the call can fail with it; otherwise another one.
    pub(crate) fn fitting(&self, errno: Errno) -> Errno {
        let errors = self.errors();
        if errors.contains(&errno) { errno } else { errors.first().copied().unwrap_or(errno) }
    }

    fn is_about_a_folder(&self) -> bool {
        self.object.ends_with('/')
    }

    fn is_about_a_file(&self) -> bool {
        self.object.starts_with('/') && !self.object.starts_with("/sys/fs/bpf")
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(number, _)| *number == self.number);
        match name {
            Some((_, name)) => write!(f, "{name}({})", self.object),
            None => write!(f, "system call {}", self.number),
        }
    }
}

/// The calls that reports name. Others are reported by their number.
const NAMES: [(i64, &str); 41] = [
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_close, "close"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_poll, "poll"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_mprotect, "mprotect"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_brk, "brk"),
    (libc::SYS_mremap, "mremap"),
    (libc::SYS_rt_sigaction, "rt_sigaction"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_getpid, "getpid"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_uname, "uname"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_readlink, "readlink"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_sigaltstack, "sigaltstack"),
    (libc::SYS_gettid, "gettid"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_exit_group, "exit_group"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_prlimit64, "prlimit64"),
    (libc::SYS_getrandom, "getrandom"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_pidfd_open, "pidfd_open"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_fchmod, "fchmod"),
];

/// `enum bpf_cmd`, include/uapi/linux/bpf.h, as far as the enforcer uses it.
const BPF: [(u64, &str); 18] = [
    (0, "MAP_CREATE"),
    (1, "MAP_LOOKUP_ELEM"),
    (2, "MAP_UPDATE_ELEM"),
    (3, "MAP_DELETE_ELEM"),
    (4, "MAP_GET_NEXT_KEY"),
    (5, "PROG_LOAD"),
    (6, "OBJ_PIN"),
    (7, "OBJ_GET"),
    (8, "PROG_ATTACH"),
    (9, "PROG_DETACH"),
    (10, "PROG_TEST_RUN"),
    (15, "OBJ_GET_INFO_BY_FD"),
    (17, "RAW_TRACEPOINT_OPEN"),
    (18, "BTF_LOAD"),
    (22, "MAP_FREEZE"),
    (28, "LINK_CREATE"),
    (33, "ITER_CREATE"),
    (34, "LINK_DETACH"),
];

/// The object of a call, read from the process while it is stopped.
fn object(process: i32, number: i64, arguments: [u64; 6]) -> String {
    match number {
        libc::SYS_bpf => match BPF.iter().find(|(command, _)| *command == arguments[0]) {
            // A pin's path is at the beginning of the attributes.
            Some((6 | 7, name)) => format!("{name} {}", path(process, word(process, arguments[1]))),
            Some((_, name)) => (*name).to_owned(),
            None => arguments[0].to_string(),
        },
        libc::SYS_unlink | libc::SYS_mkdir | libc::SYS_rmdir | libc::SYS_access | libc::SYS_readlink => {
            path(process, arguments[0])
        }
        libc::SYS_rename => format!("{} -> {}", path(process, arguments[0]), path(process, arguments[1])),
        libc::SYS_openat | libc::SYS_unlinkat => path(process, arguments[1]),
        libc::SYS_statx | libc::SYS_newfstatat => match path(process, arguments[1]) {
            empty if empty.is_empty() => descriptor(process, arguments[0]),
            path => path,
        },
        libc::SYS_mmap => descriptor(process, arguments[4]),
        libc::SYS_read
        | libc::SYS_pread64
        | libc::SYS_write
        | libc::SYS_close
        | libc::SYS_fstat
        | libc::SYS_getdents64
        | libc::SYS_flock
        | libc::SYS_fsync
        | libc::SYS_ftruncate => descriptor(process, arguments[0]),
        _ => String::new(),
    }
}

/// What a descriptor refers to: a path, which ends in a slash for a folder, or `anon_inode:bpf-map` and the like.
fn descriptor(process: i32, number: u64) -> String {
    let link = format!("/proc/{process}/fd/{}", number as i32);
    let is_folder = fs::metadata(&link).is_ok_and(|it| it.is_dir());
    let end = if is_folder { "/" } else { "" };
    fs::read_link(link).map(|to| format!("{}{end}", to.display())).unwrap_or_default()
}

fn path(process: i32, at: u64) -> String {
    let mut bytes = [0; 256];
    let read = memory(process, at, &mut bytes);
    let end = bytes.iter().take(read).position(|byte| *byte == 0).unwrap_or(read);
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn word(process: i32, at: u64) -> u64 {
    let mut bytes = [0; 8];
    memory(process, at, &mut bytes);
    u64::from_ne_bytes(bytes)
}

fn memory(process: i32, at: u64, bytes: &mut [u8]) -> usize {
    // The mapping may end before the bytes do.
    fs::File::open(format!("/proc/{process}/mem")).and_then(|file| file.read_at(bytes, at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: i64, arguments: [u64; 6], object: &str) -> Call {
        Call { number, arguments, object: object.to_owned(), is_own: true, is_repeated: false }
    }

    #[test]
    fn reading_a_file_is_private_and_reading_an_iterator_is_not() {
        assert!(!call(libc::SYS_read, [3; 6], "/sys/kernel/btf/vmlinux").has_effect());
        assert!(call(libc::SYS_read, [3; 6], "anon_inode:bpf_iter").has_effect());
        assert!(call(libc::SYS_close, [3; 6], "anon_inode:bpf_link").has_effect());
        assert!(call(libc::SYS_close, [3; 6], "/sys/fs/bpf/bfp").has_effect());
    }

    #[test]
    fn making_a_file_is_an_effect_and_opening_one_is_not() {
        let open = |flags: i32| call(libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0], "/x").has_effect();
        assert!(!open(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY));
        assert!(open(libc::O_WRONLY | libc::O_CREAT));
        assert!(open(libc::O_WRONLY | libc::O_TRUNC));
    }

    #[test]
    fn what_is_not_known_is_an_effect() {
        assert!(call(9999, [0; 6], "").has_effect());
        assert!(call(libc::SYS_prlimit64, [0, 0, 1, 0, 0, 0], "").has_effect());
    }
}
