//! An unknown word and the known ones → the word that was probably meant.

/// Limits the work, which grows with the product of the lengths. No longer word is a typing mistake.
const LONGEST: usize = 300;

/// The known word that `word` is probably a misspelling of.
pub(crate) fn nearest<'n>(word: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    within((word.chars().count() / 3).max(1), word, known)
}

/// As [`nearest`], with at most `bearable` edits.
pub(crate) fn within<'n>(bearable: usize, word: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if word.len() > LONGEST {
        return None;
    }
    // Each additional letter is an insertion, so a difference in length rules out most words cheaply.
    let distances = known
        .filter(|known| known.len() <= LONGEST && known.chars().count().abs_diff(word.chars().count()) <= bearable)
        .map(|known| (strsim::osa_distance(known, word), known))
        .filter(|(distance, _)| *distance <= bearable);
    distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// As [`nearest`], worded as a question to the author.
pub(crate) fn did_you_mean<'n>(word: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}
