//! Who asks: what the kernel noted about a task when it executed its program.
//!
//! A label is written at exec, copied at fork, and never re-read from the process, which could lie
//! about its executable by then. Labels outlive a policy: they hold stable ids, not indexes.

/// The stable id of a program: derived from its path by the compiler, the same in every policy.
/// 0 is no program.
pub type ProgramId = u64;

/// How many restricted programs a label can remember among those that led to a process. A ninth is
/// answered by refusing everything ([`Label::OVERFLOW`]).
pub const UNDER_MAX: usize = 8;

/// What is known about a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The program it executes, by name; 0 where the policy names none.
    pub program: ProgramId,
    /// A set of the constants below.
    pub flags: u32,
    /// How many entries of `under` count.
    pub depth: u32,
    /// The restricted programs that it is, or was started by.
    pub under: [ProgramId; UNDER_MAX],
}

impl Label {
    /// `program` holds for grants too. Without it, the name alone is known: restrictions hold, grants
    /// do not.
    pub const PROVEN: u32 = 1;
    /// `under` was full when another restricted program was to be added.
    pub const OVERFLOW: u32 = 2;
    /// This task is an enforcer that asks the kernel for the identity of directories.
    pub const LEARNER: u32 = 4;

    /// Its size in the kernel's task storage.
    pub const SIZE: usize = 80;

    /// A process that the policy says nothing about.
    pub const STRANGER: Label = Label { program: 0, flags: 0, depth: 0, under: [0; UNDER_MAX] };

    /// Whether the policy has something to say about this very process: then what cannot be judged is
    /// refused.
    #[inline(always)]
    pub const fn is_governed(&self) -> bool {
        self.program != 0 || self.depth != 0 || self.flags & Label::OVERFLOW != 0
    }

    /// Executes `program` (0: one without a name in the policy), which the policy restricts or not.
    /// What restricted the task so far goes on to restrict it.
    #[inline(always)]
    pub fn execute(&mut self, program: ProgramId, proof: Proof, restriction: Restriction) {
        self.program = program;
        self.flags &= Label::OVERFLOW;
        if let Proof::Proven = proof {
            self.flags |= Label::PROVEN;
        }
        if let Restriction::Restricted = restriction {
            self.restrict(program);
        }
    }

    /// Adds `program` to those that restrict this task.
    #[inline(always)]
    pub fn restrict(&mut self, program: ProgramId) {
        let depth = self.depth;
        let mut at = 0;
        for (index, slot) in self.under.iter_mut().enumerate() {
            if index as u32 >= depth {
                break;
            }
            if *slot == program {
                return;
            }
            at = index as u32 + 1;
        }
        match self.under.get_mut(at as usize) {
            Some(slot) => {
                *slot = program;
                self.depth = at + 1;
            }
            None => self.flags |= Label::OVERFLOW,
        }
    }
}

/// Whether an identity is proven or a mere name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kernel vouches for it.
    Proven,
    /// It could be somebody else under that name: traced, or of doubtful origin.
    NameOnly,
}

/// Whether a policy restricts a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// What it starts is restricted too.
    Restricted,
    /// It holds grants at most.
    Unrestricted,
}

const _: () = assert!(size_of::<Label>() == Label::SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confinement_survives_every_exec() {
        let mut label = Label::STRANGER;
        label.execute(7, Proof::Proven, Restriction::Restricted);
        label.execute(0, Proof::Proven, Restriction::Unrestricted);
        assert_eq!((label.program, label.depth, label.under[0]), (0, 1, 7));
    }

    #[test]
    fn executing_the_same_program_again_takes_no_room() {
        let mut label = Label::STRANGER;
        for _ in 0..100 {
            label.execute(7, Proof::Proven, Restriction::Restricted);
            label.execute(8, Proof::Proven, Restriction::Restricted);
        }
        assert_eq!((label.depth, label.flags), (2, Label::PROVEN));
    }

    #[test]
    fn a_ninth_restriction_overflows_and_stays_so() {
        let mut label = Label::STRANGER;
        for program in 1..=8 {
            label.execute(program, Proof::Proven, Restriction::Restricted);
        }
        assert_eq!((label.depth, label.flags & Label::OVERFLOW), (8, 0));
        label.execute(9, Proof::Proven, Restriction::Restricted);
        label.execute(0, Proof::Proven, Restriction::Unrestricted);
        assert_eq!(label.flags & Label::OVERFLOW, Label::OVERFLOW);
        assert!(label.is_governed());
    }
}
