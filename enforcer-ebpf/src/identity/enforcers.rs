//! The enforcer's own processes: under lockdown, those that execute the very file that applied the policy.
//!
//! A mark is kept beside the labels and not in them, because it outlives a policy: its value is the file, so that each
//! generation of programs recognises its own enforcer, and none removes the mark of another. A mark is made only at
//! exec. A running process could point its `exe_file` at the enforcer (`PR_SET_MM_EXE_FILE`, kernel/sys.c); the one
//! running process that is trusted marks itself, before lockdown begins. Children and threads do not inherit a mark.

use aya_ebpf::{
    bindings::{BPF_F_RDONLY_PROG, task_struct},
    btf_maps::Array,
    macros::btf_map,
};
use bfp_bundle::{identity::Inode, label::Proof};

use crate::identity::files;
use crate::identity::labels;
use crate::kernel::Pointer;
use crate::kernel::storage::{Missing, TaskStorage};

/// The enforcer's file; zeros without lockdown. Written by the enforcer and frozen.
#[btf_map]
static ENFORCER: Array<Inode, 1, { BPF_F_RDONLY_PROG as usize }> = Array::new();

/// The file that an enforcer's task executes. One map for all successive policies under lockdown.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static ENFORCERS: TaskStorage<Inode> = TaskStorage::new();

/// The enforcer's file, under lockdown.
#[inline(always)]
fn own() -> Option<&'static Inode> {
    ENFORCER.get(0).filter(|own| own.inode != 0)
}

/// Whether a task is the enforcer's.
#[inline(always)]
pub fn is_enforcer(task: *mut task_struct) -> bool {
    let Some(own) = own() else { return false };
    // SAFETY: the map's memory where it is not null.
    let Some(mark) = (unsafe { ENFORCERS.get(task, Missing::Leave).as_ref() }) else { return false };
    files::is_same(mark, own)
}

/// Whether the current task is the enforcer's.
#[inline(always)]
pub fn is_current() -> bool {
    is_enforcer(labels::current())
}

/// Whether `file` is the enforcer's.
///
/// # Safety
/// `file` is a `struct file *` to the verifier.
#[inline(always)]
pub unsafe fn is_file(file: Pointer) -> bool {
    let Some(own) = own() else { return false };
    // SAFETY: the caller's obligation.
    unsafe { files::inode_of(file) }.is_some_and(|inode| files::is_same(&inode, own))
}

/// Notes that the current task executes `file`.
///
/// # Safety
/// `file` is a `struct file *` and `task` a `struct task_struct *` to the verifier.
#[inline(always)]
pub unsafe fn note_executed(task: *mut task_struct, file: Pointer) {
    let Some(own) = own() else { return };
    // SAFETY: the caller's obligation; the mark is the map's memory where it is not null.
    unsafe {
        if is_file(file) && labels::proof(task.cast_const().cast()) == Proof::Proven {
            if let Some(mark) = ENFORCERS.get(task, Missing::Create).as_mut() {
                *mark = *own;
            }
        } else if let Some(mark) = ENFORCERS.get(task, Missing::Leave).as_mut() {
            *mark = Inode { inode: 0, device: 0, generation: 0 };
        }
    }
}
