//! What is forbidden about a program from within and from without, so that its grants stay its own.

use bfp_bundle::{
    decide::Whole,
    label::{Label, ProgramId},
    record::ProgramBucket,
};

use crate::tables;

/// Whether a task with this label holds an exclusive grant, of its own or by inheritance: nobody reaches
/// into it, for its grant would be theirs.
#[inline(always)]
pub fn is_guarded(label: *const Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    let Some(label) = (unsafe { label.as_ref() }) else { return false };
    let mut guarded = label.flags & Label::PROVEN != 0 && has(label.program, ProgramBucket::GUARDED);
    for program in &label.heir_of {
        guarded |= *program != 0 && has(*program, ProgramBucket::GUARDED);
    }
    guarded
}

/// Whether a task with this label maps nothing for execution but what is pinned for its program. One that
/// merely bears the program's name holds none of its grants, and is as free as any other.
#[inline(always)]
pub fn keeps_to_libraries(label: &Label) -> bool {
    label.flags & Label::PROVEN != 0 && has(label.program, ProgramBucket::LIBRARIES)
}

/// Whether a program's restrictions are more than a trial: 1 or 0.
#[inline(always)]
pub fn is_restriction_enforced(program: ProgramId) -> u64 {
    has(program, ProgramBucket::GOVERNING).into()
}

#[inline(always)]
fn has(program: ProgramId, flag: u32) -> bool {
    // What cannot be read counts as having all.
    Whole::from_bits(tables::whole(program)).is_none_or(|whole| whole.flags & flag != 0)
}
