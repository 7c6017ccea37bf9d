//! Which processes are the enforcer's own: those that execute the very file that applied the policy, where it
//! is locked.
//!
//! A mark is kept beside the labels and not in them, for it holds for longer than one policy: the value is the
//! file, so that each generation of programs knows its own enforcer, and none takes away what another one gave.
//! A mark is made at exec alone. Who is running already could point its `exe_file` at the enforcer
//! (`PR_SET_MM_EXE_FILE`, kernel/sys.c); the one process that is running and trusted marks itself, before the
//! policy is locked. Children and threads inherit nothing.

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

/// The enforcer's file; zeros where the policy is not locked. Written by the enforcer and frozen.
#[btf_map]
static ENFORCER: Array<Inode, 1, { BPF_F_RDONLY_PROG as usize }> = Array::new();

/// The file that a task of an enforcer executes. One map for all locked policies that follow each other.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static ENFORCERS: TaskStorage<Inode> = TaskStorage::new();

/// The file, where the policy is locked.
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

/// Whether the task that runs now is the enforcer's.
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

/// Notes that the task which runs now executes `file`.
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
