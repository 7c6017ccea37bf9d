//! The label: what the kernel noted about a task when it executed its program.
//!
//! A label is written at exec, copied at fork, and never read again from the process, which could misreport its
//! executable by then. Labels outlive a policy: they hold stable ids, not indexes.

pub use crate::identity::ProgramId;
use crate::names::Match;
use crate::record::record;

/// How many restricted programs that led to a process a label can hold. With a ninth, every request is denied
/// ([`Label::OVERFLOW`]).
pub const RESTRICTED_BY_MAX: usize = 8;

/// How many programs `with children` that led to a process a label can hold. A fifth is dropped: its grants are lost,
/// which is the safe side.
pub const INHERITS_FROM_MAX: usize = 4;

record! {
    /// What is known about a task.
    #[derive(Default)]
    Label: 112 {
        /// The program that it executes, by name. 0 if the policy does not name it.
        program: ProgramId,
        /// A set of the constants below.
        flags: u32,
        /// How many entries of `restricted_by` are valid.
        depth: u32,
        /// The restricted programs: its own, and those that started it.
        restricted_by: [ProgramId; RESTRICTED_BY_MAX],
        /// The programs `with children` whose grants it inherits. 0 ends the list.
        inherits_from: [ProgramId; INHERITS_FROM_MAX],
    }
}

impl Label {
    /// `program` counts for grants too. Without this flag only the name is known: restrictions hold, grants do not.
    pub const PROVEN: u32 = 1;
    /// `restricted_by` was full when another restricted program was to be added.
    pub const OVERFLOW: u32 = 2;
    /// This task is an enforcer that queries the kernel for the identity of files.
    pub const LEARNER: u32 = 4;
    /// Of a socket: it took data from a process that may not send by it. Set with [`Label::OVERFLOW`], so that the
    /// egress filter drops all that the socket sends, and no task becomes its user again.
    pub const TAINTED: u32 = 8;

    /// Of a socket: the kernel made it for a peer that connected to a listening socket. It is lost with the first
    /// `connect` on the socket, which is how a program gives it another peer.
    pub const ACCEPTED: u32 = 16;

    /// The label of an unlisted program.
    pub const UNLISTED: Label = Label {
        program: 0,
        flags: 0,
        depth: 0,
        restricted_by: [0; RESTRICTED_BY_MAX],
        inherits_from: [0; INHERITS_FROM_MAX],
    };

    /// The label of a task whose label cannot be read. It holds no grants, and every judged request is denied.
    pub const UNKNOWN: Label = Label {
        program: 0,
        flags: Label::OVERFLOW,
        depth: 0,
        restricted_by: [0; RESTRICTED_BY_MAX],
        inherits_from: [0; INHERITS_FROM_MAX],
    };

    /// Whether every restriction of this task also holds for `other`, so that it gains nothing by what `other` does for
    /// it. If a label lacks restrictions ([`Label::OVERFLOW`]), every program counts as one of them.
    ///
    /// `counts` returns 1 for a program with an enforced restriction, and 0 for one with audited restrictions only.
    ///
    /// `same` returns its argument, and `sign_bit` the highest bit of its argument. The kernel programs pass functions
    /// that the compiler cannot see through: it would unroll the loop, which takes more stack than they have, and
    /// compare by branches, of which sixty-four are more states than the verifier of 6.1 should follow.
    #[inline(always)]
    pub fn is_at_most_as_restricted_as(
        &self,
        other: &Label,
        counts: impl Fn(ProgramId) -> u64,
        same: impl Fn(u32) -> u32,
        sign_bit: impl Fn(u64) -> u64,
    ) -> bool {
        if other.flags & Label::OVERFLOW != 0 {
            return true;
        }
        let mut is_free = u64::from(self.flags & Label::OVERFLOW);
        let mut index = 0;
        while let Some(program) = self.restricted_by.get(index as usize).filter(|_| index < self.depth) {
            let mut differs = counts(*program);
            for (place, held) in other.restricted_by.iter().enumerate() {
                let difference = *held ^ *program;
                let is_past_the_depth = sign_bit(u64::from(other.depth).wrapping_sub(place as u64 + 1));
                differs &= sign_bit(difference | difference.wrapping_neg()) | is_past_the_depth;
            }
            is_free |= differs;
            index = same(index + 1);
        }
        is_free == 0
    }

    /// Labels the task for an exec, of a named executable or another one. The task keeps its restrictions, and the
    /// grants that it inherited.
    #[inline(always)]
    pub fn execute(&mut self, executable: Option<&Match>, proof: Proof) {
        self.execute_by(executable, proof, Label::confine);
    }

    /// As [`Label::execute`]. `confine` is [`Label::confine`], or a function with the same effect that the kernel's
    /// verifier checks once.
    #[inline(always)]
    pub fn execute_by(&mut self, executable: Option<&Match>, proof: Proof, confine: impl FnOnce(&mut Label, &Match)) {
        self.flags &= Label::OVERFLOW;
        if let Proof::Proven = proof {
            self.flags |= Label::PROVEN;
        }
        let Some(executable) = executable else {
            self.program = 0;
            return;
        };
        self.program = executable.program;
        confine(self, executable);
        if executable.flags & Match::WITH_CHILDREN != 0 && self.flags & Label::PROVEN != 0 {
            self.inherit(executable.program);
        }
    }

    /// Adds the restrictions of an executable to those of this task.
    #[inline(always)]
    pub fn confine(&mut self, executable: &Match) {
        for (index, program) in executable.restricted.iter().enumerate() {
            if index as u32 >= executable.count {
                break;
            }
            self.restrict(*program);
        }
    }

    /// Adds `program` to those whose grants this task and its children hold.
    #[inline(always)]
    fn inherit(&mut self, program: ProgramId) {
        for slot in &mut self.inherits_from {
            if *slot == program {
                return;
            }
            if *slot == 0 {
                *slot = program;
                return;
            }
        }
    }

    /// Adds `program` to those that restrict this task.
    #[inline(always)]
    pub fn restrict(&mut self, program: ProgramId) {
        let depth = self.depth;
        let mut at = 0;
        for (index, slot) in self.restricted_by.iter_mut().enumerate() {
            if index as u32 >= depth {
                break;
            }
            if *slot == program {
                return;
            }
            at = index as u32 + 1;
        }
        match self.restricted_by.get_mut(at as usize) {
            Some(slot) => {
                *slot = program;
                self.depth = at + 1;
            }
            None => self.flags |= Label::OVERFLOW,
        }
    }
}

/// Whether an identity is proven or only a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kernel vouches for it.
    Proven,
    /// Another program could run under that name: it is traced, or of doubtful origin.
    NameOnly,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executable(program: ProgramId, flags: u32) -> Match {
        let mut restricted = [0; RESTRICTED_BY_MAX];
        restricted[0] = program;
        Match { program, flags, count: u32::from(flags & Match::RESTRICTED != 0), restricted }
    }

    #[test]
    fn a_confinement_survives_every_exec() {
        let mut label = Label::UNLISTED;
        label.execute(Some(&executable(7, Match::RESTRICTED)), Proof::Proven);
        label.execute(None, Proof::Proven);
        assert_eq!((label.program, label.depth, label.restricted_by[0]), (0, 1, 7));
    }

    #[test]
    fn executing_the_same_program_again_takes_no_room() {
        let mut label = Label::UNLISTED;
        for _ in 0..100 {
            label.execute(Some(&executable(7, Match::RESTRICTED | Match::WITH_CHILDREN)), Proof::Proven);
            label.execute(Some(&executable(8, Match::RESTRICTED)), Proof::Proven);
        }
        assert_eq!((label.depth, label.flags, label.inherits_from), (2, Label::PROVEN, [7, 0, 0, 0]));
    }

    #[test]
    fn a_ninth_restriction_overflows_and_stays_so() {
        let mut label = Label::UNLISTED;
        for program in 1..=8 {
            label.execute(Some(&executable(program, Match::RESTRICTED)), Proof::Proven);
        }
        assert_eq!((label.depth, label.flags & Label::OVERFLOW), (8, 0));
        label.execute(Some(&executable(9, Match::RESTRICTED)), Proof::Proven);
        label.execute(None, Proof::Proven);
        assert_eq!(label.flags & Label::OVERFLOW, Label::OVERFLOW);
    }

    fn restricted_by(programs: &[ProgramId]) -> Label {
        let mut label = Label::UNLISTED;
        for program in programs {
            label.restrict(*program);
        }
        label
    }

    fn may_reach(from: &Label, into: &Label) -> bool {
        from.is_at_most_as_restricted_as(into, |_| 1, |number| number, |word| word >> 63)
    }

    #[test]
    fn a_restriction_under_trial_keeps_nobody_out() {
        let is_enforced = |program| u64::from(program != 7);
        let may_reach = |from: &Label, into: &Label| {
            from.is_at_most_as_restricted_as(into, is_enforced, |number| number, |word| word >> 63)
        };
        assert!(may_reach(&restricted_by(&[7]), &restricted_by(&[])));
        assert!(!may_reach(&restricted_by(&[7, 8]), &restricted_by(&[7])));
    }

    #[test]
    fn a_task_is_at_most_as_restricted_as_those_under_all_of_its_programs() {
        let cases: [(&[ProgramId], &[ProgramId], bool); 9] = [
            (&[], &[], true),
            (&[], &[7], true),
            (&[7], &[], false),
            (&[7], &[7], true),
            (&[7], &[8], false),
            (&[7], &[9, 8, 7], true),
            (&[7, 8], &[7], false),
            (&[8, 7], &[7, 8], true),
            (&[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 9], false),
        ];
        for (own, others, expected) in cases {
            assert_eq!(may_reach(&restricted_by(own), &restricted_by(others)), expected, "{own:?} and {others:?}");
        }
    }

    #[test]
    fn a_full_label_counts_as_restricted_by_every_program() {
        let full = restricted_by(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(!may_reach(&full, &restricted_by(&[1, 2, 3, 4, 5, 6, 7, 8])));
        assert!(may_reach(&restricted_by(&[10]), &full));
        assert!(may_reach(&full, &full));
        assert!(!may_reach(&Label::UNKNOWN, &Label::UNLISTED));
    }

    #[test]
    fn what_lies_past_the_depth_of_a_label_does_not_count() {
        let (mut own, mut other) = (restricted_by(&[7]), restricted_by(&[7]));
        other.depth = 0;
        assert!(!may_reach(&own, &other));
        own.depth = 0;
        assert!(may_reach(&own, &Label::UNLISTED));
    }

    #[test]
    fn grants_are_inherited_from_proven_programs_with_children_alone() {
        let mut label = Label::UNLISTED;
        label.execute(Some(&executable(7, 0)), Proof::Proven);
        label.execute(Some(&executable(8, Match::WITH_CHILDREN)), Proof::NameOnly);
        label.execute(Some(&executable(9, Match::WITH_CHILDREN)), Proof::Proven);
        label.execute(None, Proof::Proven);
        assert_eq!(label.inherits_from, [9, 0, 0, 0]);
    }

    #[test]
    fn a_fifth_heritage_is_lost() {
        let mut label = Label::UNLISTED;
        for program in 1..=5 {
            label.execute(Some(&executable(program, Match::WITH_CHILDREN)), Proof::Proven);
        }
        assert_eq!(label.inherits_from, [1, 2, 3, 4]);
    }
}
