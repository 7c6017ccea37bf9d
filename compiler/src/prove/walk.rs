//! The edges of the tables: search trees → the ranges between all their ends.
//!
//! Always: a search takes the same way for every key of a range. Only for that reason do queries at both ends of a
//! class hold for its middle: a tree may be wrong where the policy has no edge.

use bfp_bundle::decide::{ADDRESS_LEVELS, PORT_LEVELS};
use bfp_bundle::image::Image;
use bfp_bundle::record::{FANOUT, Step};

use super::sweep::{Class, Key};

/// Where the search for an IPv4 address ends: a step by port, or `None` where it leads nowhere.
pub(super) fn v4(image: &Image) -> Vec<Class<u32, Option<Step>>> {
    let (mut walk, mut found) = (Walk::default(), Vec::new());
    let root = Step(image.policy.root_v4);
    walk.leaves(root, ADDRESS_LEVELS, Step::ADDRESS_DONE, u32::MAX, |step| node32(image, step), &mut found);
    found
}

/// Where the search for an IPv6 address ends.
pub(super) fn v6(image: &Image) -> Vec<Class<u128, Option<Step>>> {
    let (mut walk, mut found) = (Walk::default(), Vec::new());
    let node = |step: Step| {
        let node = image.nodes128.get(step.index() as usize)?;
        let mut ends = [0; FANOUT];
        for ((end, high), low) in ends.iter_mut().zip(node.ends_high).zip(node.ends_low) {
            *end = u128::from(high) << 64 | u128::from(low);
        }
        Some((ends, node.next))
    };
    let root = Step(image.policy.root_v6);
    walk.leaves(root, ADDRESS_LEVELS, Step::ADDRESS_DONE, u128::MAX, node, &mut found);
    found
}

/// Where the search for a port, up to the last key, continues from a decided address: at a cell.
pub(super) fn ports(
    image: &Image,
    (from, last): (Option<Step>, u32),
    walk: &mut Walk<u32>,
    found: &mut Vec<Class<u32, Option<Step>>>,
) {
    found.clear();
    match from {
        Some(root) => {
            walk.leaves(root, PORT_LEVELS, Step::PORT_DONE, last, |step| node32(image, step), found);
        }
        None => found.push(Class { last, value: None }),
    }
}

fn node32(image: &Image, step: Step) -> Option<([u32; FANOUT], [u32; FANOUT])> {
    image.nodes32.get(step.index() as usize).map(|node| (node.ends, node.next))
}

/// The subtrees that remain to be visited, the lowest range on top: (step, last key, levels left).
pub(super) struct Walk<K> {
    waiting: Vec<(Step, K, u32)>,
}

impl<K> Default for Walk<K> {
    fn default() -> Walk<K> {
        Walk { waiting: Vec::new() }
    }
}

impl<K: Key> Walk<K> {
    fn leaves(
        &mut self,
        root: Step,
        levels: u32,
        done: u32,
        maximum: K,
        node: impl Fn(Step) -> Option<([K; FANOUT], [u32; FANOUT])>,
        found: &mut Vec<Class<K, Option<Step>>>,
    ) {
        self.waiting.clear();
        self.waiting.push((root, maximum, levels));
        // The first key of the subtree on top; `None` is zero.
        let mut behind: Option<K> = None;
        while let Some((step, last, levels)) = self.waiting.pop() {
            let children = if step.0 & done != 0 || levels == 0 { None } else { node(step) };
            let Some((mut ends, next)) = children else {
                let value = (step.0 & done != 0).then_some(step);
                match found.last_mut() {
                    Some(class) if class.value == value => class.last = last,
                    _ => found.push(Class { last, value }),
                }
                behind = Some(last);
                continue;
            };
            // A search takes the child whose index is the number of ends below the key.
            ends.sort_unstable();
            let below = self.waiting.len();
            let mut taken = behind;
            for (number, end) in ends.into_iter().chain([maximum]).enumerate() {
                let end = end.min(last);
                if taken.is_some_and(|taken| taken >= end) {
                    continue;
                }
                let next = next.get(number % FANOUT).copied().unwrap_or(0);
                self.waiting.push((Step(next), end, levels - 1));
                taken = Some(end);
            }
            if let Some(below) = self.waiting.get_mut(below..) {
                below.reverse();
            }
        }
    }
}
