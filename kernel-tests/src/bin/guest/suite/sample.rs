//! Which cases of a part are tried: all, or a sample that is the same in every run.

/// A sample of cases, by their place in a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    All,
    /// One of so many.
    OneIn(usize),
}

impl Sample {
    /// Whether the case at this place is tried. Lists that begin at another `start` are sampled at other places.
    pub(crate) fn has(self, start: usize, place: usize) -> bool {
        match self {
            Sample::All => true,
            Sample::OneIn(number) => (start + place).is_multiple_of(number),
        }
    }
}
