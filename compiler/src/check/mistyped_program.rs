//! Programs that a test names, and no rule does: such a program is refused whatever is reserved, so that a test of a
//! misspelt path passes, and says nothing of the program that was meant.

use super::concern::Concern;
use crate::policy::ResolvedPolicy;

pub(super) fn concerns(policy: &ResolvedPolicy) -> impl Iterator<Item = Concern> {
    policy.strangers.iter().filter_map(|stranger| {
        let named = policy.programs.iter().filter(|program| !program.is_class());
        let near = named.map(|program| &program.written).find(|near| is_slip(&stranger.written, near))?;
        let (written, near) = (stranger.written.clone(), near.clone());
        Some(Concern::MistypedProgram { written, near, span: stranger.span })
    })
}

/// Whether one letter is wrong, missing, too much, or has changed places with its neighbour. Another digit is another
/// version, or another one of several.
fn is_slip(written: &str, near: &str) -> bool {
    let without_digits = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
    let is_near = written.len().abs_diff(near.len()) <= 4 && strsim::osa_distance(written, near) == 1;
    is_near && without_digits(written) != without_digits(near)
}

#[cfg(test)]
mod tests {
    use super::is_slip;

    #[test]
    fn a_letter_is_a_slip_and_a_digit_is_another_program() {
        for slip in ["/usr/bin/singer", "/usr/bin/sgner", "/usr/bin/signerr", "/usr/bin/sıgner"] {
            assert!(is_slip(slip, "/usr/bin/signer"), "{slip}");
        }
        for other in ["/usr/bin/signer", "/usr/bin/thief", "/usr/bin/signer2", "/usr/bin/ringer"] {
            assert!(!is_slip(other, "/usr/bin/signer"), "{other}");
        }
        assert!(!is_slip("/usr/bin/python3.11", "/usr/bin/python3.12"));
    }
}
