//! Untrusted text as shown to an operator: even a bundle that a trusted key signed can contain a name that clears the
//! screen or continues on a line of its own.

/// On one line, without terminal control characters.
pub fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_line() {
        assert_eq!(
            shown("pay\u{1b}[2J\u{7}\nlockdown  yes\u{9b}é"),
            "pay\u{fffd}[2J\u{fffd}\u{fffd}lockdown  yes\u{fffd}é"
        );
    }
}
