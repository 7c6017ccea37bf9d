//! The words of the language, and suggestions for misspelt ones.

/// The words that begin a statement.
pub(crate) const STATEMENT_WORDS: &[&str] = &[
    "policy", "program", "host", "ports", "param", "ranges", "shared", "only", "also", "deny", "allow", "audit",
    "default", "include", "test", "accept",
];

/// Those that can be declared too: what follows shows that a statement begins.
const ALSO_NAMES: &[&str] = &["ports", "param", "shared", "also"];

/// The words that have a meaning within a statement, and so cannot be declared either.
const INNER_WORDS: &[&str] = &["except", "with", "verity", "libraries", "allowed", "denied"];

/// Whether a word begins a statement, and can be nothing else.
pub(crate) fn begins_statement(word: &str) -> bool {
    STATEMENT_WORDS.contains(&word) && !ALSO_NAMES.contains(&word)
}

/// Whether a word belongs to the language, so that it cannot be declared.
pub(crate) fn is_reserved(word: &str) -> bool {
    begins_statement(word) || INNER_WORDS.contains(&word)
}

/// The candidate that `word` is most likely a misspelling of.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Longer words are not misspellings of ours, and the work grows with the square of the length.
    if word.len() > 12 {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| {
            let bearable = if candidate.len() < 5 { 1 } else { 2 };
            (1..=bearable).contains(distance)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_swapped_letters_are_one_slip() {
        assert_eq!(nearest("onyl", STATEMENT_WORDS), Some("only"));
        assert_eq!(nearest("prgram", STATEMENT_WORDS), Some("program"));
    }

    #[test]
    fn a_word_of_its_own_suggests_nothing() {
        assert_eq!(nearest("signer", STATEMENT_WORDS), None);
        assert_eq!(nearest("", STATEMENT_WORDS), None);
        assert_eq!(nearest("only", &["only"]), None, "the word itself is no slip");
    }
}
