//! Open files that send without asking: once such a file is open, the kernel calls no hook for what leaves by it. A
//! write to a TUN or TAP device is a packet (drivers/net/tun.c, `tun_chr_write_iter`), and a poll of an AF_XDP socket
//! sends what is in its ring (net/xdp/xsk.c, `xsk_poll`). So they are judged when a task comes by one.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use bfp_bundle::socket_kind::AF_XDP;

use crate::kernel::{self, half_word, place, word};

// include/uapi/linux/stat.h
const S_IFMT: u64 = 0o170_000;
const S_IFSOCK: u64 = 0o140_000;
const S_IFCHR: u64 = 0o020_000;

/// The device number of /dev/net/tun: major 10, minor 200 (include/linux/miscdevice.h, include/linux/kdev_t.h).
const TUN: u64 = 10 << 20 | 200;

/// Whether an open file, given by its address, sends without asking. Nothing if it cannot be read.
#[inline(always)]
pub fn sends_unasked(file: u64) -> Option<bool> {
    let path = place(file, &kernel::file__f_path);
    let dentry = word(place(path, &kernel::path__dentry))?;
    let inode = word(place(dentry, &kernel::dentry__d_inode))?;
    match word(place(inode, &kernel::inode__i_mode))? & S_IFMT {
        S_IFCHR => Some(word(place(inode, &kernel::inode__i_rdev))? & 0xffff_ffff == TUN),
        S_IFSOCK => {
            // None if it only names a file (O_PATH), and none once the socket is closed.
            let socket = word(place(file, &kernel::file__private_data))?;
            if socket == 0 {
                return Some(false);
            }
            let sk = word(place(socket, &kernel::socket__sk))?;
            if sk == 0 {
                return Some(false);
            }
            Some(word(place(sk, &kernel::sock_common__skc_family))? & 0xffff == AF_XDP as u64)
        }
        _ => Some(false),
    }
}

/// The state of a search through a table of descriptors. It has addresses, which the verifier does not know: with a
/// slot's number, which it can count, it would follow every turn of the loop from 6.7 on.
struct Search {
    /// The first slot, the next one to look at, and the end. A slot has the address of a file, or zero.
    first: u64,
    next: u64,
    end: u64,
    /// A bit for each slot: whether it is in use.
    in_use: u64,
    is_found: bool,
}

/// Looks at the next slot, or passes 64 that are not in use. A callback of `bpf_loop`: 1 ends the loop.
extern "C" fn look(_: u32, search: *mut Search) -> i64 {
    // SAFETY: the search lies on the stack of the caller, for as long as the loop lasts.
    let search = unsafe { &mut *search };
    let next = search.next;
    if next >= search.end {
        return 1;
    }
    let number = next.wrapping_sub(search.first) / 8;
    if number & 63 == 0 && word(search.in_use.wrapping_add(number / 8)) == Some(0) {
        search.next = next.wrapping_add(64 * 8);
        return 0;
    }
    search.next = next.wrapping_add(8);
    let sends = match word(next) {
        Some(0) => Some(false),
        Some(file) => sends_unasked(file),
        None => None,
    };
    if sends == Some(false) {
        return 0;
    }
    search.is_found = true;
    1
}

/// Whether a task has such a file open, or it cannot be known. The task is given by its address, and nobody else may
/// use its table: at the end of an exec the kernel has made sure of that (fs/exec.c, `unshare_files`).
#[inline(always)]
pub fn has_one_that_sends_unasked(task: u64) -> bool {
    let Some((mut search, slots)) = table_of(task) else { return true };
    // SAFETY: the callback takes what it is given here; a table of more slots than the kernel's bound on a loop is
    // reported as an error.
    let steps = unsafe { bpf_loop(slots, look as *mut c_void, (&raw mut search).cast(), 0) };
    // An error has 32 bits where the kernel inlines the helper (kernel/bpf/verifier.c, `inline_bpf_loop`).
    (steps as i32) < 0 || search.is_found
}

/// The table of a task's descriptors, and how many slots it has.
#[inline(always)]
fn table_of(task: u64) -> Option<(Search, u32)> {
    let files = word(place(task, &kernel::task_struct__files))?;
    let table = word(place(files, &kernel::files_struct__fdt))?;
    // Not a word of which half is used: beside it is a gap with anything in it, and the inlined helper compares 64
    // bits.
    let slots = half_word(place(table, &kernel::fdtable__max_fds))?;
    let first = word(place(table, &kernel::fdtable__fd))?;
    let end = first.wrapping_add(u64::from(slots) * 8);
    let in_use = word(place(table, &kernel::fdtable__open_fds))?;
    Some((Search { first, next: first, end, in_use, is_found: false }, slots))
}
