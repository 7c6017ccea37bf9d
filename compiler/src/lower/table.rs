//! Bucketed tables: each entry stands in one of its two buckets, and moves to the other one to make room
//! (cuckoo hashing with four-entry buckets, which fills such a table to well over 90 %).

use bfp_bundle::label::ProgramId;
use bfp_bundle::record::{BUCKET, NO_RULE, PairBucket, ProgramBucket, bucket_hashes, pair_key};

use super::cells::Cells;

/// The table of programs, and the number of each program in it.
pub(super) fn programs(ids: &[ProgramId], cells: &Cells<'_>) -> (Vec<ProgramBucket>, Vec<u32>) {
    let table = place(ids);
    let mut numbers = vec![0; ids.len()];
    let mut buckets = Vec::with_capacity(table.len());
    for (index, entries) in table.iter().enumerate() {
        let mut bucket = ProgramBucket {
            ids: [0; BUCKET],
            flags: [0; BUCKET],
            rules: [NO_RULE; BUCKET],
            audit_rules: [NO_RULE; BUCKET],
        };
        for (slot, program) in entries.iter().enumerate() {
            let held = cells.elsewhere(*program);
            put(&mut bucket.ids, slot, ids.get(*program).copied().unwrap_or(0));
            put(&mut bucket.flags, slot, held.flags);
            put(&mut bucket.rules, slot, held.rule);
            put(&mut bucket.audit_rules, slot, held.audit_rule);
            if let Some(number) = numbers.get_mut(*program) {
                *number = (index * BUCKET + slot + 1) as u32;
            }
        }
        buckets.push(bucket);
    }
    (buckets, numbers)
}

/// The table of pairs.
pub(super) fn pairs(numbers: &[u32], cells: &Cells<'_>) -> Vec<PairBucket> {
    let number = |program: usize| numbers.get(program).copied().unwrap_or(0);
    let found: Vec<_> = cells.pairs().map(|(cell, program, pair)| (cell, number(program), pair)).collect();
    let keys: Vec<u64> = found.iter().map(|(cell, program, _)| pair_key(*cell, *program)).collect();
    let bucket = |entries: &Vec<usize>| {
        let mut bucket = PairBucket {
            cells: [0; BUCKET],
            programs: [0; BUCKET],
            flags: [0; BUCKET],
            rules: [NO_RULE; BUCKET],
            audit_rules: [NO_RULE; BUCKET],
        };
        for (slot, (cell, program, pair)) in entries.iter().filter_map(|entry| found.get(*entry)).enumerate() {
            put(&mut bucket.cells, slot, *cell);
            put(&mut bucket.programs, slot, *program);
            put(&mut bucket.flags, slot, pair.flags);
            put(&mut bucket.rules, slot, pair.rule);
            put(&mut bucket.audit_rules, slot, pair.audit_rule);
        }
        bucket
    };
    place(&keys).iter().map(bucket).collect()
}

fn put<W>(entries: &mut [W; BUCKET], slot: usize, value: W) {
    if let Some(entry) = entries.get_mut(slot) {
        *entry = value;
    }
}

/// Distributes keys, which differ, over as few buckets as will do; the result holds their indexes.
fn place(keys: &[u64]) -> Vec<Vec<usize>> {
    // At most 80 % full to begin with, so that few entries have to move.
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
    let mut table: Vec<Vec<usize>> = vec![Vec::new(); count];
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
            // The oldest entry of the bucket moves out, to where it may also stand.
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
