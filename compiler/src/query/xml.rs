//! Text → text that is safe in XML, between tags or in an attribute in double quotes.

/// Escapes the characters that XML reserves, and replaces those that XML cannot contain.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_xml_reserves_or_cannot_hold_is_replaced() {
        assert_eq!(escaped("a<b & \"c\">\u{1b}[0m"), "a&lt;b &amp; &quot;c&quot;&gt;\u{fffd}[0m");
    }
}
