//! A word that has no meaning here, and those that have one → which may have been meant.

/// No longer word is a slip of the hand, and the distance costs the product of the lengths.
const LONGEST: usize = 300;

/// What may have been meant by a word.
pub(crate) fn nearest<'n>(word: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    within((word.chars().count() / 3).max(1), word, known)
}

/// As [`nearest`], where no more than this may be wrong.
pub(crate) fn within<'n>(bearable: usize, word: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if word.len() > LONGEST {
        return None;
    }
    // Each letter more is an insertion, so that most need no closer look.
    let distances = known
        .filter(|known| known.len() <= LONGEST && known.chars().count().abs_diff(word.chars().count()) <= bearable)
        .map(|known| (strsim::osa_distance(known, word), known))
        .filter(|(distance, _)| *distance <= bearable);
    distances.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// As [`nearest`], as a question to the author.
pub(crate) fn did_you_mean<'n>(word: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}
