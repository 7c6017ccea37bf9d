//! The words of the language: which there are, and which of them a misspelt word may have meant.

/// The words that begin a statement.
pub(crate) const STATEMENT_WORDS: &[&str] =
    &["policy", "program", "host", "only", "deny", "allow", "audit", "default", "include", "test", "accept"];

/// The words that have a meaning inside a statement and can therefore not be declared either.
const INNER_WORDS: &[&str] = &["except", "with", "verity", "ranges", "allowed", "denied"];

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
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| {
            let bearable = if candidate.len() < 5 { 1 } else { 2 };
            (1..=bearable).contains(distance)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters to insert, remove, replace or swap with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_letter = None;
    for (row, letter) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(letter != *other))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = column
                .checked_sub(1)
                .filter(|before| right.get(*before) == Some(&letter) && previous_letter == Some(*other));
            if let Some(before) = swapped {
                best = best.min(at(&before_last, before) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_letter = Some(letter);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_swapped_letters_are_one_slip() {
        assert_eq!(distance("onyl", "only"), 1);
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
