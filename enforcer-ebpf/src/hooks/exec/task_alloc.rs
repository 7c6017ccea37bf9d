//! `task_alloc`: a fork, a vfork or a new thread inherits its parent's label, and what was seen of its exec.
//!
//! A parent without a label (it ran before the first policy) gets one here, so that no task starts without a label once
//! this program is attached.

use aya_ebpf::{bindings::task_struct, macros::lsm, programs::LsmContext};

use crate::identity::labels;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;

const ENOMEM: i32 = 12;

#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    arguments!(ctx, child: *mut task_struct, _clone_flags: u64);
    let parent = labels::current();
    let mut label = labels::of(parent, Missing::Leave);
    // SAFETY: the first argument is `struct task_struct *`; labels and records are the maps' memory when not null.
    unsafe {
        if label.is_null() {
            label = labels::of(parent, Missing::Create);
            match label.as_mut() {
                Some(label) => drop(labels::note_running(label, parent, labels::current_number())),
                None => return -ENOMEM,
            }
        }
        // A child without a label could not be distinguished from an unlisted program.
        let Some(label) = label.as_ref() else { return -ENOMEM };
        let Some(copy) = labels::of(child, Missing::Create).as_mut() else { return -ENOMEM };
        *copy = *label;
        if let Some(seen) = labels::executed(parent, Missing::Leave).as_ref() {
            let Some(copy) = labels::executed(child, Missing::Create).as_mut() else { return -ENOMEM };
            *copy = *seen;
        }
    }
    0
}
