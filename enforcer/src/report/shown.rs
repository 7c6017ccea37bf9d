//! Text from a file as a person is shown it: a bundle that a trusted key signed can still hold a name that clears the
//! screen, or that goes on in a line of its own.

/// In one line, without what a terminal takes for more than text.
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
