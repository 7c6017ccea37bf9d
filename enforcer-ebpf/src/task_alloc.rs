//! `task_alloc`: a fork, a vfork or a new thread carries its parent's label.
//!
//! A parent without a label (it ran before the first policy) gets one here, so that no unlabelled task
//! ever comes into being once this program is attached.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{labels, storage::Missing};

const ENOMEM: i32 = 12;

#[lsm(hook = "task_alloc")]
pub fn task_alloc(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    if earlier != 0 {
        return earlier;
    }
    let parent = labels::current();
    let mut label = labels::of(parent, Missing::Leave);
    // SAFETY: the first argument is `struct task_struct *`; labels are the map's memory when not null.
    unsafe {
        if label.is_null() {
            label = labels::of(parent, Missing::Create);
            match label.as_mut() {
                Some(label) => labels::note_running(label, parent.cast_const().cast()),
                None => return 0,
            }
        }
        let Some(label) = label.as_ref() else { return 0 };
        match labels::of(ctx.arg(0), Missing::Create).as_mut() {
            Some(child) => {
                *child = *label;
                0
            }
            // A child that would lose its restrictions must not come into being.
            None if label.is_governed() => -ENOMEM,
            None => 0,
        }
    }
}
