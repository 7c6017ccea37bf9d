//! A text for people → the same one, of which the runner of a job obeys nothing: whoever proposes a policy chooses the
//! paths and names in it, and what is printed in a job is read for commands (of GitHub Actions `::error::` at the begin
//! of a line, whatever blanks stand before it, and `##[error]` anywhere).
//!
//! Always: what holds no such thing stays as it is, and every letter keeps its column where blanks stand before it.

/// Stands before what would be a command; reports begin the further lines of a title with it too.
const MARK: &str = "│ ";

pub(super) fn inert(text: String) -> String {
    if !text.contains("::") && !text.contains("##[") {
        return text;
    }
    // A carriage return ends a line too.
    text.split_inclusive(['\n', '\r']).map(line).collect::<String>().replace("##[", "#?[")
}

fn line(line: &str) -> String {
    let words = line.trim_start();
    if !words.starts_with("::") {
        return line.to_owned();
    }
    let blanks = line.strip_suffix(words).unwrap_or_default();
    // The mark takes the place of two of the blanks.
    let kept = blanks.chars().count().saturating_sub(MARK.chars().count());
    blanks.chars().take(kept).chain(MARK.chars()).chain(words.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::inert;

    #[test]
    fn no_line_is_a_command() {
        for (text, shown) in [
            ("a::b\n  resolve::x\n# [\n", "a::b\n  resolve::x\n# [\n"),
            ("::error::x\n", "│ ::error::x\n"),
            (" ::error::x", "│ ::error::x"),
            ("  help: a\n        ::error::x\n", "  help: a\n      │ ::error::x\n"),
            ("x\r\u{a0}\u{3000}\t::stop-commands::x\r\n", "x\r\u{a0}│ ::stop-commands::x\r\n"),
            ("1 │ \"/a##[error]\" ###[x]", "1 │ \"/a#?[error]\" ##?[x]"),
        ] {
            assert_eq!(inert(text.to_owned()), shown);
        }
    }
}
