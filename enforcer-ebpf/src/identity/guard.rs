//! What a program must not do, and what must not be done to it, so that only the program uses its grants.

use bfp_bundle::{
    decide::Whole,
    label::{Label, ProgramId},
    record::ProgramBucket,
};

use crate::tables;

/// Whether a task with this label holds an exclusive grant, its own or an inherited one. No task may access it, or that
/// task could use the grant.
#[inline(always)]
pub fn is_guarded(label: *const Label) -> bool {
    // SAFETY: a label in a map's memory where it is not null.
    let Some(label) = (unsafe { label.as_ref() }) else { return false };
    let mut guarded = label.flags & Label::PROVEN != 0 && has(label.program, ProgramBucket::GUARDED);
    for program in &label.inherits_from {
        guarded |= *program != 0 && has(*program, ProgramBucket::GUARDED);
    }
    guarded
}

/// Whether a task with this label may map for execution only what is pinned for its program. A process that only has
/// the program's name holds none of its grants, and is not limited.
#[inline(always)]
pub fn keeps_to_libraries(label: &Label) -> bool {
    label.flags & Label::PROVEN != 0 && has(label.program, ProgramBucket::LIBRARIES)
}

/// Whether any restriction of a program is enforced, and not only audited: 1 or 0.
#[inline(always)]
pub fn is_restriction_enforced(program: ProgramId) -> u64 {
    has(program, ProgramBucket::GOVERNING).into()
}

#[inline(always)]
fn has(program: ProgramId, flag: u32) -> bool {
    // A record that cannot be read counts as having every flag.
    Whole::from_bits(tables::whole(program)).is_none_or(|whole| whole.flags & flag != 0)
}
