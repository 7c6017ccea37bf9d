//! Nobody reaches into a program that holds an exclusive grant: its grant would be theirs.

use aya_ebpf::{bindings::BPF_F_RDONLY_PROG, btf_maps::HashMap, macros::btf_map};
use bfp_bundle::label::{Label, ProgramId};

/// The programs that hold an exclusive grant, filled by the enforcer and frozen.
#[btf_map]
static GUARDED: HashMap<ProgramId, u64, 1, { BPF_F_RDONLY_PROG as usize }> = HashMap::new();

/// Whether a task with this label holds an exclusive grant, of its own or by inheritance.
#[inline(always)]
pub fn is_guarded(label: *const Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    let Some(label) = (unsafe { label.as_ref() }) else { return false };
    let mut guarded = label.flags & Label::PROVEN != 0 && is_listed(label.program);
    for program in &label.heir_of {
        guarded |= *program != 0 && is_listed(*program);
    }
    guarded
}

#[inline(always)]
fn is_listed(program: ProgramId) -> bool {
    // SAFETY: the map is frozen, so its values do not change.
    unsafe { GUARDED.get(&program) }.is_some()
}
