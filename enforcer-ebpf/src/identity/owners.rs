//! Who uses a socket: the label of the task that created it, or that sent by it last.
//!
//! The backstop in [`crate::hooks::packet::egress`] has a packet and its socket, and no task: packets leave in
//! interrupts and timers too.
//!
//! The kernel's threads are nobody here. They send for those who handed them a socket (a network block device, a
//! mount), so what they send is judged as if the socket's owner sent it, and the socket stays the owner's.

use aya_ebpf::bindings::task_struct;
use bfp_bundle::label::Label;

use crate::identity::labels;
use crate::kernel::storage::{Missing, SocketStorage};
use crate::kernel::{self, Pointer, member};

/// The labels of sockets. Pinned, as those of tasks: sockets outlive a policy.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static SOCKETS: SocketStorage<Label> = SocketStorage::new();

/// `PF_KTHREAD`, include/linux/sched.h.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Notes that a task labelled `label` uses a socket; false where there is no memory for it.
#[inline(always)]
pub fn note(sk: Pointer, label: &Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    let Some(owner) = (unsafe { SOCKETS.get(sk, Missing::Create).as_mut() }) else { return false };
    if owner.flags & Label::TAINTED == 0 {
        *owner = *label;
    }
    true
}

/// Has the backstop refuse all that is sent by a socket, whoever uses it from now on.
#[inline(always)]
pub fn taint(sk: Pointer) {
    // SAFETY: a label in a map's memory where it is not null.
    if let Some(owner) = unsafe { SOCKETS.get(sk, Missing::Create).as_mut() } {
        owner.flags |= Label::OVERFLOW | Label::TAINTED;
    }
}

/// The same of a socket about which nothing is noted yet.
#[inline(always)]
pub fn note_first(sk: Pointer, label: &Label) {
    if SOCKETS.get(sk, Missing::Leave).is_null() {
        note(sk, label);
    }
}

/// The label of who uses a socket; null for the kernel's own.
#[inline(always)]
pub fn of(sk: Pointer) -> *const Label {
    SOCKETS.get(sk, Missing::Leave)
}

/// The label by which a use of a socket by the task that runs now is judged; null where the kernel finds none.
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

/// Whether a task is a thread of the kernel's own.
#[inline(always)]
pub fn is_kernel_thread(task: *mut task_struct) -> bool {
    // SAFETY: a task to the verifier, whose member is what its name says.
    let flags: u32 = unsafe { member(task.cast_const().cast(), &kernel::task_struct__flags) };
    flags & KERNEL_THREAD != 0
}
