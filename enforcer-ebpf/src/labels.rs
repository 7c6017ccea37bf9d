//! Labels: kept with each task, decided when the kernel commits an exec, copied at fork.
//!
//! `mm->exe_file` is not asked at the time of a connection: an unprivileged process in a user namespace
//! can point it at any file that it can open (`PR_SET_MM_MAP`, kernel/sys.c, `prctl_set_mm_map`). It is
//! read once, for processes that already run when the first policy is applied.

use aya_ebpf::{bindings::task_struct, helpers::generated::bpf_get_current_task_btf};
use bfp_bundle::{
    identity::{Executable, Part},
    label::{Label, ProgramId, Proof},
};

use crate::{
    asm, content, files,
    kernel::{self, Pointer, member},
    storage::{Missing, TaskStorage},
};

/// The labels. One map for all policies that follow each other: it is pinned, and outlives the programs.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static LABELS: TaskStorage<Label> = TaskStorage::new();

/// The task that runs now.
#[inline(always)]
pub fn current() -> *mut task_struct {
    // SAFETY: takes nothing, and always answers.
    unsafe { bpf_get_current_task_btf() }
}

/// The label of a task; null where there is none, or no memory for one.
#[inline(always)]
pub fn of(task: *mut task_struct, missing: Missing) -> *mut Label {
    LABELS.get(task, missing)
}

/// The label of the task that runs now. Every task has one: where the kernel finds none, that is a fault, and the
/// task is refused all that is judged (before 6.2, `bpf_task_storage_get` finds nothing while a task that it
/// preempted on this processor is in it: kernel/bpf/bpf_task_storage.c, `bpf_task_storage_trylock`).
///
/// A reference, not a copy: a label is too large for the stack of a program that calls another.
#[inline(always)]
pub fn current_label() -> &'static Label {
    static UNKNOWN: Label = Label::UNKNOWN;
    // SAFETY: where it is not null, it points to a label in the map's memory, which outlives the program's
    // run; only the task itself changes it, at exec and not within a hook that reads it.
    unsafe { of(current(), Missing::Leave).as_ref() }.unwrap_or(&UNKNOWN)
}

/// Notes that the task which runs now executes `file`.
///
/// # Safety
/// `file` is a trusted `struct file *` and `task` a `struct task_struct *` to the verifier.
#[inline(always)]
pub unsafe fn note_executed(label: &mut Label, task: *mut task_struct, file: Pointer) {
    // SAFETY: the caller's obligation.
    unsafe {
        let found = files::executable(file);
        let measured = |program| {
            content::is_bound(file, program, Part::Program) || content::is_pinned(task, file, program, Part::Program)
        };
        let proof = proof_of(found.as_ref(), task.cast_const().cast(), measured);
        label.execute(found.as_ref(), proof);
    }
}

/// What is known of a task's program: of one whose content is pinned, the content too.
#[inline(always)]
unsafe fn proof_of(found: Option<&Executable>, task: Pointer, measured: impl FnOnce(ProgramId) -> bool) -> Proof {
    if let Some(executable) = found
        && executable.flags & Executable::PINNED != 0
        && !measured(executable.program)
    {
        return Proof::NameOnly;
    }
    // SAFETY: the callers' obligation.
    unsafe { proof(task) }
}

/// Labels a task that was not seen executing its program, from what its memory map says it executes.
///
/// # Safety
/// `task` is a `struct task_struct *` to the verifier.
#[inline(always)]
pub unsafe fn note_running(label: &mut Label, task: Pointer) {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let mm: Pointer = member(task, &kernel::task_struct__mm);
        if mm.is_null() {
            return; // A kernel thread: it executes no file.
        }
        let file: Pointer = member(mm, &kernel::mm_struct__exe_file);
        if file.is_null() {
            return;
        }
        let found = files::executable(file);
        let proof = proof_of(found.as_ref(), task, |program| content::is_bound(file, program, Part::Program));
        label.execute(found.as_ref(), proof);
    }
}

/// Whether what a task executes can be told by its file.
///
/// Not while a tracer drives it, or a supervisor answers its system calls. Not in a user namespace: there,
/// whoever made it can mount libraries of their own in the loader's way, and (for a process that was already
/// running) forge `exe_file`.
///
/// # Safety
/// `task` is a `struct task_struct *` to the verifier.
#[inline(always)]
pub unsafe fn proof(task: Pointer) -> Proof {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let traced: u32 = member(task, &kernel::task_struct__ptrace);
        let cred: Pointer = member(task, &kernel::task_struct__cred);
        if cred.is_null() {
            return Proof::NameOnly;
        }
        let namespace: Pointer = member(cred, &kernel::cred__user_ns);
        if namespace.is_null() {
            return Proof::NameOnly;
        }
        let level: i32 = member(namespace, &kernel::user_namespace__level);
        if traced == 0 && level == 0 && !is_supervised(task) { Proof::Proven } else { Proof::NameOnly }
    }
}

/// More seccomp filters than a service has.
const FILTERS_MAX: u32 = 32;

/// Whether one of a task's seccomp filters leaves system calls to a supervisor, who can have the loader open
/// another library (kernel/seccomp.c, `seccomp_do_user_notification`). Anyone may be that of what they start.
///
/// # Safety
/// `task` is a `struct task_struct *` to the verifier.
#[inline(always)]
unsafe fn is_supervised(task: Pointer) -> bool {
    // SAFETY: the caller's obligation, and the members are what their names say.
    unsafe {
        let seccomp = kernel::member_address(task, &kernel::task_struct__seccomp);
        let mut filter: Pointer = member(seccomp, &kernel::seccomp__filter);
        let mut left = FILTERS_MAX;
        while left != 0 {
            if filter.is_null() {
                return false;
            }
            let supervisor: Pointer = member(filter, &kernel::seccomp_filter__notif);
            if !supervisor.is_null() {
                return true;
            }
            filter = member(filter, &kernel::seccomp_filter__prev);
            left = asm::opaque(left - 1);
        }
    }
    true
}
