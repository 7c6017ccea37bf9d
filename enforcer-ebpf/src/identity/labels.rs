//! Labels: kept with each task, decided when the kernel commits an exec, copied at fork.
//!
//! `mm->exe_file` is not read at the time of a connection: an unprivileged process in a user namespace can point it at
//! any file that it can open (`PR_SET_MM_MAP`, kernel/sys.c, `prctl_set_mm_map`). It is read when a policy is applied,
//! and compared with what was seen at the exec of the process.

use aya_ebpf::{
    Global,
    bindings::task_struct,
    helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf},
};
use bfp_bundle::{
    identity::{Executed, Inode, Part},
    label::{Label, ProgramId, Proof},
    names::Match,
};

use crate::identity::content;
use crate::identity::files;
use crate::identity::names::{self, Identity};
use crate::kernel::asm;
use crate::kernel::storage::{Missing, TaskStorage};
use crate::kernel::{self, Pointer, member};

/// The labels. One map for all successive policies: it is pinned, and outlives the programs.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static LABELS: TaskStorage<Label> = TaskStorage::new();

/// The current task.
#[inline(always)]
pub fn current() -> *mut task_struct {
    // SAFETY: takes nothing, and always returns a task.
    unsafe { bpf_get_current_task_btf() }
}

/// The label of a task; null where there is none, or no memory for one.
#[inline(always)]
pub fn of(task: *mut task_struct, missing: Missing) -> *mut Label {
    LABELS.get(task, missing)
}

/// The label of the current task. Every task has one. If the kernel does not find it, that is a fault, and every judged
/// request of the task is denied (before 6.2, `bpf_task_storage_get` finds nothing while a task that it preempted on
/// this processor is in it: kernel/bpf/bpf_task_storage.c, `bpf_task_storage_trylock`).
///
/// A reference, not a copy: a label is too large for the stack of a program that calls another.
#[inline(always)]
pub fn current_label() -> &'static Label {
    static UNKNOWN: Label = Label::UNKNOWN;
    // SAFETY: where it is not null, it points to a label in the map's memory, which outlives the program's
    // run; only the task itself changes it, at exec and not within a hook that reads it.
    unsafe { of(current(), Missing::Leave).as_ref() }.unwrap_or(&UNKNOWN)
}

/// What was seen when each task executed its program. Pinned, like the labels.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static EXECUTED: TaskStorage<Executed> = TaskStorage::new();

/// What was seen when a task executed its program; null if nothing was, or there is no memory for it.
#[inline(always)]
pub fn executed(task: *mut task_struct, missing: Missing) -> *mut Executed {
    EXECUTED.get(task, missing)
}

/// Notes that the current task executes the file of `bprm`, a `struct linux_binprm`; false if it cannot be noted.
///
/// # Safety
/// `file` is the trusted `struct file *` of `bprm` to the verifier, and `task` the task that runs now.
#[inline(always)]
pub unsafe fn note_executed(bprm: u64, task: *mut task_struct, file: Pointer) -> bool {
    let label = of(task, Missing::Create);
    let seen = executed(task, Missing::Create);
    // SAFETY: the caller's obligation; label and record are the maps' memory where they are not null.
    unsafe {
        let (Some(label), Some(seen)) = (label.as_mut(), seen.as_mut()) else { return false };
        let place = names::number_at(bprm, &kernel::linux_binprm__file).and_then(names::place_of);
        let Some((mount, dentry)) = place else { return false };
        let found = names::identify(mount, dentry, current_number());
        let is_secure = is_secure_exec(bprm);
        let mut flags = Executed::SEEN | if is_secure { Executed::SECURE } else { 0 };
        seen.dentry = dentry;
        seen.file = files::inode_of(file).unwrap_or(Inode { inode: 0, device: 0, generation: 0 });
        let is_in_place = found.is_some_and(|found| found.is_in_place);
        if is_in_place && names::has_hosts_root(current_number()) && proof(task.cast_const().cast()) == Proof::Proven {
            flags |= Executed::UNDOUBTED;
        }
        seen.flags = flags;
        let Some(found) = found else {
            label.flags |= Label::OVERFLOW;
            return true;
        };
        let measured = |program| {
            content::is_bound(file, program, Part::Program) || content::is_pinned(task, file, program, Part::Program)
        };
        apply(label, &found, flags, measured);
    }
    true
}

/// The byte of `struct linux_binprm` with the bit for secure-exec mode.
#[unsafe(no_mangle)]
static SECURE_EXEC_BYTE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
static SECURE_EXEC_BIT: Global<u32> = Global::new(0);

#[inline(always)]
fn is_secure_exec(bprm: u64) -> bool {
    let byte = bprm.wrapping_add(u64::from(SECURE_EXEC_BYTE.load()));
    kernel::word(byte).is_some_and(|bits| bits >> (SECURE_EXEC_BIT.load() & 7) & 1 != 0)
}

/// Updates a label from what was seen of an exec and from the file's identity under the policy.
#[inline(always)]
fn apply(label: &mut Label, found: &Identity, seen: u32, measured: impl FnOnce(ProgramId) -> bool) {
    label.execute_by(found.own, proof_of(found.own, seen, measured), confine);
    // Not a loop: the verifier of 6.1 requires one to end in a jump, and the compiler does not guarantee that.
    let [first, second, third] = found.also;
    if let Some(also) = first {
        confine(label, also);
    }
    if let Some(also) = second {
        confine(label, also);
    }
    if let Some(also) = third {
        confine(label, also);
    }
}

#[inline(always)]
fn confine(label: &mut Label, executable: &Match) {
    confine_label(label, executable);
}

/// See [`Label::confine`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn confine_label(label: *mut Label, executable: *const Match) -> u32 {
    // SAFETY: memory of maps where they are not null, as the verifier checks at every call.
    let (label, executable) = unsafe { (label.as_mut(), executable.as_ref()) };
    if let Some(label) = label {
        match executable {
            Some(executable) => label.confine(executable),
            None => label.flags |= Label::OVERFLOW,
        }
    }
    0
}

/// Whether a process holds the grants of its program: its identity is not in doubt, the libraries of a protected
/// program were not chosen by its starter, and its content is pinned if the policy pins one.
#[inline(always)]
fn proof_of(found: Option<&Match>, seen: u32, measured: impl FnOnce(ProgramId) -> bool) -> Proof {
    if seen & Executed::UNDOUBTED == 0 {
        return Proof::NameOnly;
    }
    if let Some(found) = found {
        if found.flags & Match::GUARDED != 0 && seen & Executed::SECURE == 0 {
            return Proof::NameOnly;
        }
        if found.flags & Match::PINNED != 0 && !measured(found.program) {
            return Proof::NameOnly;
        }
    }
    Proof::Proven
}

/// The result of labelling a running process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It holds the grants of its program, or no grant is in question.
    Settled,
    /// It holds none of the grants of its program until it is restarted.
    Withheld,
}

/// Labels a running task by the file in its memory map.
///
/// That file is trusted if it is the one that was seen at exec, because any process can point `exe_file` at another
/// (`PR_SET_MM_MAP`, kernel/sys.c, `prctl_set_mm_map`, by a thread in a user namespace). For a task whose exec was not
/// seen, the name counts for restrictions alone.
///
/// # Safety
/// `task` is a `struct task_struct *` to the verifier, and `number` its address.
#[inline(always)]
pub unsafe fn note_running(label: &mut Label, task: *mut task_struct, number: u64) -> Running {
    let mm = names::number_at(number, &kernel::task_struct__mm).unwrap_or(0);
    if mm == 0 {
        return Running::Settled; // A kernel thread: it executes no file.
    }
    let file = names::number_at(mm, &kernel::mm_struct__exe_file).unwrap_or(0);
    if file == 0 {
        return Running::Settled;
    }
    let Some((mount, dentry)) = names::place_of(file) else {
        label.flags |= Label::OVERFLOW;
        return Running::Settled;
    };
    let Some(found) = names::identify(mount, dentry, number) else {
        label.flags |= Label::OVERFLOW;
        return Running::Settled;
    };
    // Not an `Option` on the stack: the verifier of 6.1 rejects a read of the part that is not written then.
    let read = files::inode_at(dentry);
    let is_read = read.is_some();
    let inode = read.unwrap_or(Inode { inode: 0, device: 0, generation: 0 });
    // SAFETY: the map's memory where it is not null.
    let seen = unsafe { executed(task, Missing::Leave).as_ref() }.filter(|seen| seen.flags & Executed::SEEN != 0);
    let mut flags = 0;
    if let Some(seen) = seen {
        if seen.dentry != dentry || !(is_read && files::is_same(&inode, &seen.file)) {
            // A process that hides its program is treated as any program that the policy restricts.
            label.flags |= Label::OVERFLOW;
            return Running::Settled;
        }
        flags = seen.flags;
    } else if label.program != 0 && label.flags & Label::PROVEN != 0 {
        // It was labelled at exec by a release that kept no record.
        flags = Executed::UNDOUBTED | Executed::SECURE;
        if found.own.is_none_or(|own| own.program != label.program) {
            flags = 0;
        }
    } else if ADOPTING.load() != 0 {
        flags = Executed::UNDOUBTED | Executed::SECURE;
    }
    let measured = |program| is_read && content::is_bound_inode(&inode, program, Part::Program);
    apply(label, &found, flags, measured);
    let holds = label.flags & Label::PROVEN != 0;
    match found.own {
        Some(own) if own.flags & Match::GUARDED != 0 && !holds => Running::Withheld,
        _ => Running::Settled,
    }
}

/// Whether the memory map of a running process is trusted for grants too: by the operator's choice, if nothing was
/// enforced before.
#[unsafe(no_mangle)]
static ADOPTING: Global<u32> = Global::new(0);

/// The current task, as a number.
#[inline(always)]
pub fn current_number() -> u64 {
    // SAFETY: takes nothing, and always returns a task.
    unsafe { bpf_get_current_task() }
}

/// Whether a task's file identifies what it executes.
///
/// Not while a tracer controls it, or a supervisor answers its system calls. Not in a user namespace: its creator can
/// mount other libraries in the loader's path, and (for a process that was already running) forge `exe_file`.
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

/// A bound on seccomp filters, above what services have.
const FILTERS_MAX: u32 = 32;

/// Whether one of a task's seccomp filters leaves system calls to a supervisor, which can make the loader open another
/// library (kernel/seccomp.c, `seccomp_do_user_notification`). Any process can supervise what it starts.
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
