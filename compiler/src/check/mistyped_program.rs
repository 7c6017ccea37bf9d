//! Programs that a test names, and no rule does: such a program is refused whatever is reserved, so that a test of a
//! misspelt path passes, and says nothing of the program that was meant.

use super::concern::Concern;
use crate::diagnostics::nearest;
use crate::policy::ResolvedPolicy;

pub(super) fn concerns(policy: &ResolvedPolicy) -> impl Iterator<Item = Concern> {
    policy.unlisted.iter().filter_map(|program| {
        let named = policy.programs.iter().filter(|program| !program.is_class());
        let near = slip_for(&program.written, named.map(|program| program.written.as_str()))?;
        let (written, near) = (program.written.clone(), near.to_owned());
        Some(Concern::MistypedProgram { written, near, span: program.span })
    })
}

/// The path in which one letter is wrong, missing, too much, or has changed places with its neighbour. Another digit is
/// another version, or another one of several.
fn slip_for<'n>(written: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let own = letters(written);
    nearest::within(1, written, known.filter(|known| letters(known) != own))
}

#[cfg(test)]
mod tests {
    use super::slip_for;

    #[test]
    fn a_letter_is_a_slip_and_a_digit_is_another_program() {
        let is_slip = |written: &str, near: &'static str| slip_for(written, [near].into_iter()).is_some();
        for slip in ["/usr/bin/singer", "/usr/bin/sgner", "/usr/bin/signerr", "/usr/bin/sıgner"] {
            assert!(is_slip(slip, "/usr/bin/signer"), "{slip}");
        }
        for other in ["/usr/bin/signer", "/usr/bin/thief", "/usr/bin/signer2", "/usr/bin/ringer"] {
            assert!(!is_slip(other, "/usr/bin/signer"), "{other}");
        }
        assert!(!is_slip("/usr/bin/python3.11", "/usr/bin/python3.12"));
    }
}
