//! Who uses a socket: the label of the task that created it, or that sent by it last.
//!
//! The backstop in [`crate::egress`] has a packet and its socket, and no task: packets leave in
//! interrupts and timers too.

use bfp_bundle::label::Label;

use crate::{
    kernel::Pointer,
    storage::{Missing, SocketStorage},
};

/// The labels of sockets. Pinned, as those of tasks: sockets outlive a policy.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static SOCKETS: SocketStorage<Label> = SocketStorage::new();

/// Notes that a task labelled `label` uses a socket; false where there is no memory for it.
#[inline(always)]
pub fn note(sk: Pointer, label: *const Label) -> bool {
    let owner = SOCKETS.get(sk, Missing::Create);
    // SAFETY: both are labels in a map's memory where they are not null.
    unsafe {
        match (owner.as_mut(), label.as_ref()) {
            (Some(owner), Some(label)) => *owner = *label,
            (Some(owner), None) => *owner = Label::STRANGER,
            (None, _) => return false,
        }
    }
    true
}

/// The same of a socket about which nothing is noted yet.
#[inline(always)]
pub fn note_first(sk: Pointer, label: *const Label) {
    if SOCKETS.get(sk, Missing::Leave).is_null() {
        note(sk, label);
    }
}

/// The label of who uses a socket; null for the kernel's own.
#[inline(always)]
pub fn of(sk: Pointer) -> *const Label {
    SOCKETS.get(sk, Missing::Leave)
}
