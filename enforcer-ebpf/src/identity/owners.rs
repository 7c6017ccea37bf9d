//! The user of a socket: the label of the task that created it, or that sent by it last.
//!
//! The egress filter in [`crate::hooks::packet::egress`] has a packet and its socket, but no task: packets leave in
//! interrupts and timers too.
//!
//! Kernel threads are not users. They send for a process that gave them a socket (a network block device, a mount), so
//! their packets are judged as the socket's user's, and the user stays the same.

use core::mem::offset_of;

use aya_ebpf::bindings::task_struct;
use bfp_bundle::label::Label;

use crate::identity::labels;
use crate::kernel::storage::{Missing, SocketStorage};
use crate::kernel::{self, Pointer, asm, member};

/// The labels of sockets. Pinned like those of tasks: sockets outlive a policy.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static SOCKETS: SocketStorage<Label> = SocketStorage::new();

/// `PF_KTHREAD`, include/linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Notes that a task with this label uses a socket; false if there is no memory for it.
#[inline(always)]
pub fn note(sk: Pointer, label: &Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    let Some(owner) = (unsafe { SOCKETS.get(sk, Missing::Create).as_mut() }) else { return false };
    owner.program = label.program;
    owner.restricted_by = label.restricted_by;
    owner.inherits_from = label.inherits_from;
    // A taint that another processor sets meanwhile must not be lost, so the word with the flags comes last, and only if
    // it is what it was. If another task's label came in between, this one replaces it. Whether the socket was accepted
    // is the socket's own, and stays.
    let word = flags_word(owner);
    let by = u64::from(label.depth) << 32 | u64::from(label.flags);
    // SAFETY: two aligned members of a label in the map's memory.
    unsafe {
        let was = word.read_volatile();
        if was & TAINTED == 0 {
            let found = asm::replace(word, was, by | was & ACCEPTED);
            if found != was && found & TAINTED == 0 {
                asm::replace(word, found, by | found & ACCEPTED);
            }
        }
    }
    true
}

const TAINTED: u64 = Label::TAINTED as u64;
const ACCEPTED: u64 = Label::ACCEPTED as u64;

/// Marks a socket that the kernel made for a peer that connected to a listening socket. It has a label if the listening
/// socket has one, of which it is a copy; without one it is not marked, so its answers are judged as requests.
#[inline(always)]
pub fn mark_accepted(sk: Pointer) {
    // SAFETY: a label in a map's memory where it is not null.
    if let Some(owner) = unsafe { SOCKETS.get(sk, Missing::Leave).as_mut() } {
        // SAFETY: as in `note`.
        unsafe { asm::set(flags_word(owner), ACCEPTED) };
    }
}

/// Takes the mark of an accepted socket away. Nothing gives it back: only the kernel's new sockets get it.
#[inline(always)]
pub fn forget_accepted(sk: Pointer) {
    // SAFETY: a label in a map's memory where it is not null.
    if let Some(owner) = unsafe { SOCKETS.get(sk, Missing::Leave).as_mut() }
        && owner.flags & Label::ACCEPTED != 0
    {
        // SAFETY: as in `note`.
        unsafe { asm::keep(flags_word(owner), !ACCEPTED) };
    }
}

/// Whether the kernel made the socket with this label for a peer that connected, and it still has that peer.
#[inline(always)]
pub fn is_accepted(label: *const Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    unsafe { label.as_ref() }.is_some_and(|owner| owner.flags & Label::ACCEPTED != 0)
}

/// The flags and the depth of a label, which are beside each other, as one number with the flags below.
#[inline(always)]
fn flags_word(label: &mut Label) -> *mut u64 {
    const { assert!(offset_of!(Label, flags) % 8 == 0 && offset_of!(Label, depth) == offset_of!(Label, flags) + 4) };
    // SAFETY: within the label.
    unsafe { (&raw mut *label).byte_add(offset_of!(Label, flags)).cast() }
}

/// Makes the egress filter drop all that a socket sends, whatever task uses it from now on.
#[inline(always)]
pub fn taint(sk: Pointer) {
    // SAFETY: a label in a map's memory where it is not null.
    if let Some(owner) = unsafe { SOCKETS.get(sk, Missing::Create).as_mut() } {
        // SAFETY: as in `note`.
        unsafe { asm::set(flags_word(owner), u64::from(Label::OVERFLOW | Label::TAINTED)) };
    }
}

/// As [`note`], for a socket without a label.
#[inline(always)]
pub fn note_first(sk: Pointer, label: &Label) {
    if SOCKETS.get(sk, Missing::Leave).is_null() {
        note(sk, label);
    }
}

/// The label of a socket's user; null for the kernel's own sockets.
#[inline(always)]
pub fn of(sk: Pointer) -> *const Label {
    SOCKETS.get(sk, Missing::Leave)
}

/// The label by which the current task's use of a socket is judged; null if the kernel finds none.
#[inline(always)]
pub fn user_of(sk: Pointer) -> *const Label {
    let task = labels::current();
    if is_kernel_thread(task) {
        let owner = of(sk);
        if !owner.is_null() {
            return owner;
        }
    }
    labels::of(task, Missing::Leave)
}

/// Whether a task is a kernel thread.
#[inline(always)]
pub fn is_kernel_thread(task: *mut task_struct) -> bool {
    // SAFETY: a task to the verifier, whose member is what its name says.
    let flags: u32 = unsafe { member(task.cast_const().cast(), &kernel::task_struct__flags) };
    flags & KERNEL_THREAD != 0
}
