//! Numbers that look random and are a function of a seed and of what they are for: no order of calls changes them.

/// The next step of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `end`, for these purposes.
pub(super) fn below(end: u64, purposes: &[u64]) -> u64 {
    purposes.iter().fold(0, |state, purpose| mix(state ^ purpose)) % end
}
