//! The words of the language: which there are, and which of them a misspelt word may have meant.

/// The words that begin a statement.
pub(crate) const STATEMENT_WORDS: &[&str] =
    &["policy", "program", "host", "only", "deny", "allow", "audit", "default", "include", "test", "accept"];

/// The words that have a meaning inside a statement and can therefore not be declared either.
const INNER_WORDS: &[&str] = &["except", "with", "verity", "libraries", "ranges", "allowed", "denied"];

/// Whether a word begins a statement.
pub(crate) fn begins_statement(word: &str) -> bool {
    STATEMENT_WORDS.contains(&word)
}

/// Whether a word belongs to the language, so that nothing can be declared under it.
pub(crate) fn is_reserved(word: &str) -> bool {
    begins_statement(word) || INNER_WORDS.contains(&word)
}

/// The candidate that `word` is most likely a slip of the hand for.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // Longer words are no slip for any of ours, and the distance costs the square of the length.
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
