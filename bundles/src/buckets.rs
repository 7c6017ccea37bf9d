//! Bucketed tables: each entry is in one of its two buckets, and moves to the other to make room (cuckoo hashing with
//! four-entry buckets, which fills such a table to well over 90 %).

use alloc::vec::Vec;

use crate::record::{BUCKET, bucket_hashes};

/// Distributes distinct keys over as few buckets as possible. The result holds their indexes. The number of buckets is
/// a power of two.
pub fn place(keys: &[u64]) -> Vec<Vec<usize>> {
    // At most 80 % full at first, so that few entries have to move.
    let mut count = (keys.len() * 5).div_ceil(BUCKET * 4).next_power_of_two();
    loop {
        if let Some(table) = try_place(keys, count) {
            return table;
        }
        count *= 2;
    }
}

fn try_place(keys: &[u64], count: usize) -> Option<Vec<Vec<usize>>> {
    let homes = |key: u64| {
        let (first, second) = bucket_hashes(key);
        (first as usize & (count - 1), second as usize & (count - 1))
    };
    let mut table: Vec<Vec<usize>> = alloc::vec![Vec::new(); count];
    for entry in 0..keys.len() {
        let mut moving = entry;
        let mut at = homes(*keys.get(moving)?).0;
        let mut moves = 0;
        loop {
            let (first, second) = homes(*keys.get(moving)?);
            let other = if at == first { second } else { first };
            let lengths = (table.get(at)?.len(), table.get(other)?.len());
            if lengths.0 < BUCKET || lengths.1 < BUCKET {
                let target = if lengths.0 <= lengths.1 { at } else { other };
                table.get_mut(target)?.push(moving);
                break;
            }
            moves += 1;
            if moves > 500 {
                return None;
            }
            // The oldest entry of the bucket moves to its other bucket.
            let bucket = table.get_mut(at)?;
            let evicted = bucket.remove(0);
            bucket.push(moving);
            moving = evicted;
            let (first, second) = homes(*keys.get(moving)?);
            at = if at == first { second } else { first };
        }
    }
    Some(table)
}
