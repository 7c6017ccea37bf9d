//! Search trees: sorted ranges → nodes, children before their parents.

use bfp_bundle::decide::{ADDRESS_LEVELS, PORT_LEVELS};
use bfp_bundle::record::{FANOUT, Node32, Node128, Step};

use super::LowerError;

/// Appends a range, or extends the last one if it leads to the same step.
pub(super) fn push<K, V: PartialEq>(ranges: &mut Vec<(K, V)>, last: K, value: V) {
    match ranges.last_mut() {
        Some((end, same)) if *same == value => *end = last,
        _ => ranges.push((last, value)),
    }
}

/// The nodes of all trees.
#[derive(Default)]
pub(super) struct Trees {
    pub(super) nodes32: Vec<Node32>,
    pub(super) nodes128: Vec<Node128>,
}

impl Trees {
    /// The step that decides a port; `ranges` is (last port key, cell).
    pub(super) fn ports(&mut self, ranges: &[(u32, u32)]) -> Result<Step, LowerError> {
        let steps: Vec<(u32, u32)> =
            ranges.iter().map(|(last, cell)| (*last, Step::ADDRESS_DONE | Step::PORT_DONE | cell)).collect();
        let root = build(steps, PORT_LEVELS, "ports of one address", |children| self.node32(children))?;
        // Marks the node as one of ports, which follows a decided address.
        Ok(Step(root | Step::ADDRESS_DONE))
    }

    /// The root over IPv4 addresses; `ranges` is (last address, step that decides the port).
    pub(super) fn addresses_v4(&mut self, ranges: &[(u32, Step)]) -> Result<Step, LowerError> {
        let steps = ranges.iter().map(|(last, step)| (*last, step.0)).collect();
        build(steps, ADDRESS_LEVELS, "IPv4 addresses", |children| self.node32(children)).map(Step)
    }

    /// The root over IPv6 addresses.
    pub(super) fn addresses_v6(&mut self, ranges: &[(u128, Step)]) -> Result<Step, LowerError> {
        let steps = ranges.iter().map(|(last, step)| (*last, step.0)).collect();
        build(steps, ADDRESS_LEVELS, "IPv6 addresses", |children| self.node128(children)).map(Step)
    }

    fn node32(&mut self, children: &[(u32, u32)]) -> usize {
        let last = children.last().map_or(0, |(_, step)| *step);
        let mut node = Node32 { ends: [u32::MAX; FANOUT], next: [last; FANOUT] };
        for ((end, next), child) in node.ends.iter_mut().zip(&mut node.next).zip(children) {
            (*end, *next) = *child;
        }
        finish(&mut node.ends, children.len(), u32::MAX);
        self.nodes32.push(node);
        self.nodes32.len() - 1
    }

    fn node128(&mut self, children: &[(u128, u32)]) -> usize {
        let last = children.last().map_or(0, |(_, step)| *step);
        let mut ends = [u128::MAX; FANOUT];
        let mut next = [last; FANOUT];
        for ((end, next), child) in ends.iter_mut().zip(&mut next).zip(children) {
            (*end, *next) = *child;
        }
        finish(&mut ends, children.len(), u128::MAX);
        self.nodes128.push(Node128 {
            ends_high: ends.map(|end| (end >> 64) as u64),
            ends_low: ends.map(|end| end as u64),
            next,
        });
        self.nodes128.len() - 1
    }
}

/// The last child also takes all keys above its end; no search asks for one of them.
fn finish<K: Copy>(ends: &mut [K; FANOUT], children: usize, maximum: K) {
    if let Some(end) = children.checked_sub(1).and_then(|last| ends.get_mut(last)) {
        *end = maximum;
    }
}

/// Builds one level above the other until a single step is left.
fn build<K: Copy>(
    mut level: Vec<(K, u32)>,
    levels: u32,
    what: &'static str,
    mut node: impl FnMut(&[(K, u32)]) -> usize,
) -> Result<u32, LowerError> {
    let limit = FANOUT.pow(levels);
    if level.len() > limit {
        return Err(LowerError::Capacity { what, found: level.len(), limit });
    }
    loop {
        match level.as_slice() {
            [] => return Ok(0),
            [(_, step)] => return Ok(*step),
            _ => {}
        }
        let mut above = Vec::with_capacity(level.len().div_ceil(FANOUT));
        for children in level.chunks(FANOUT) {
            let (Some((end, _)), index) = (children.last(), node(children)) else { continue };
            if index > Step::INDEX_MAX as usize {
                return Err(LowerError::Capacity { what: "nodes", found: index, limit: Step::INDEX_MAX as usize });
            }
            above.push((*end, index as u32));
        }
        level = above;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn more_ranges_than_the_levels_can_search_are_refused_with_both_numbers() {
        let ranges = |count: u32| (0..count).map(|key| (key, Step::PORT_DONE | key)).collect::<Vec<_>>();
        let full = build(ranges(16), 1, "keys", |children| children.len());
        assert!(full.is_ok());
        let error = build(ranges(17), 1, "keys", |_| 0).expect_err("one level holds sixteen ranges");
        assert_eq!(error.to_string(), "the policy is too large: its keys would need 17 entries, and 16 is the limit");
    }

    #[test]
    fn a_node_that_cannot_be_numbered_is_refused() {
        let ranges = vec![(0_u32, 0), (1, 1)];
        let error = build(ranges, 1, "keys", |_| Step::INDEX_MAX as usize + 1).expect_err("it has no number");
        assert!(matches!(error, LowerError::Capacity { what: "nodes", .. }));
    }
}
