//! JSON strings: the only part of JSON that needs care.

use std::fmt::Write;

/// Appends `value` in quotes.
pub fn quote(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            control if control < ' ' => {
                let _ = write!(text, "\\u{:04x}", control as u32);
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_controls_are_escaped() {
        let mut text = String::new();
        quote(&mut text, "a\"\\\n\u{1f}é");
        assert_eq!(text, "\"a\\\"\\\\\\u000a\\u001fé\"");
    }
}
