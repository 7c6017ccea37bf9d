//! Where the tables themselves change: search trees → the ranges between all their ends.
//!
//! Always: from one end of a range to the other, a search takes the same way. Only so does what is
//! asked at both ends of a class hold in the midst of it: a tree may be wrong where the policy has no
//! edge.

use bfp_bundle::decide::{ADDRESS_LEVELS, PORT_LEVELS};
use bfp_bundle::image::Image;
use bfp_bundle::record::{FANOUT, Step};
use bfp_bundle::request::LAST_PORT_KEY;

use super::sweep::Class;

/// Where the search for an IPv4 address ends: a step by port, or `None` where it leads nowhere.
pub(super) fn v4(image: &Image) -> Vec<Class<Option<Step>>> {
    let root = Step(image.policy.root_v4);
    walk(root, ADDRESS_LEVELS, Step::ADDRESS_DONE, u32::MAX.into(), &|step| node32(image, step))
}

/// Where the search for an IPv6 address ends.
pub(super) fn v6(image: &Image) -> Vec<Class<Option<Step>>> {
    let root = Step(image.policy.root_v6);
    walk(root, ADDRESS_LEVELS, Step::ADDRESS_DONE, u128::MAX, &|step| {
        let node = image.nodes128.get(step.index() as usize)?;
        let ends =
            node.ends_high.iter().zip(&node.ends_low).map(|(high, low)| u128::from(*high) << 64 | u128::from(*low));
        Some(ends.zip(node.next).collect())
    })
}

/// Where the search for a port goes on from a decided address: to a cell.
pub(super) fn ports(image: &Image, from: Option<Step>) -> Vec<Class<Option<u32>>> {
    let nowhere = Class { last: LAST_PORT_KEY.into(), value: None };
    let Some(root) = from else { return vec![nowhere] };
    let found = walk(root, PORT_LEVELS, Step::PORT_DONE, LAST_PORT_KEY.into(), &|step| node32(image, step));
    found.into_iter().map(|class| Class { last: class.last, value: class.value.map(Step::index) }).collect()
}

fn node32(image: &Image, step: Step) -> Option<Vec<(u128, u32)>> {
    let node = image.nodes32.get(step.index() as usize)?;
    Some(node.ends.iter().map(|end| u128::from(*end)).zip(node.next).collect())
}

fn walk(
    root: Step,
    levels: u32,
    done: u32,
    maximum: u128,
    node: &dyn Fn(Step) -> Option<Vec<(u128, u32)>>,
) -> Vec<Class<Option<Step>>> {
    let mut found: Vec<Class<Option<Step>>> = Vec::new();
    // What is still to be gone through, the lowest range on top: (step, last key, levels left).
    let mut waiting = vec![(root, maximum, levels)];
    let mut first = 0;
    while let Some((step, last, levels)) = waiting.pop() {
        let children = if step.0 & done != 0 || levels == 0 { None } else { node(step) };
        let Some(children) = children else {
            let value = (step.0 & done != 0).then_some(step);
            match found.last_mut() {
                Some(class) if class.value == value => class.last = last,
                _ => found.push(Class { last, value }),
            }
            match last.checked_add(1) {
                Some(next) => first = next,
                None => break,
            }
            continue;
        };
        // A search takes the child of which the number is how many ends are less than the key.
        let mut ends: Vec<u128> = children.iter().map(|(end, _)| *end).collect();
        ends.sort_unstable();
        ends.push(maximum);
        let mut below = Vec::with_capacity(FANOUT);
        let mut start = first;
        for (number, end) in ends.into_iter().enumerate() {
            let end = end.min(last);
            if start > end {
                continue;
            }
            let next = children.get(number % FANOUT).map_or(0, |(_, next)| *next);
            below.push((Step(next), end, levels - 1));
            match end.checked_add(1) {
                Some(next) => start = next,
                None => break,
            }
        }
        waiting.extend(below.into_iter().rev());
    }
    found
}
