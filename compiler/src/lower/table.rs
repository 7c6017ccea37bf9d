//! The bucketed tables that a decision reads: programs, and pairs of a cell and a program.

use std::collections::HashMap;

use bfp_bundle::buckets::place;
use bfp_bundle::image;
use bfp_bundle::label::ProgramId;
use bfp_bundle::names::Match;
use bfp_bundle::record::{BUCKET, NO_RULE, PairBucket, ProgramBucket, pair_key};

use super::cells::Cells;

/// The table of programs, and the position of each program in it.
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
            let audited = if held.audit_rule == NO_RULE { cells.governed_by(*program) } else { held.audit_rule };
            put(&mut bucket.audit_rules, slot, audited);
            if let Some(number) = numbers.get_mut(*program) {
                *number = (index * BUCKET + slot + 1) as u32;
            }
        }
        buckets.push(bucket);
    }
    (buckets, numbers)
}

/// Marks the programs that are protected, governed, or limited to listed libraries.
pub(super) fn mark(programs: &mut [ProgramBucket], matches: &[Match]) {
    let flags: HashMap<ProgramId, u32> =
        matches.iter().map(|record| (record.program, image::program_flags(record.flags))).collect();
    for bucket in programs {
        for (id, marked) in bucket.ids.iter().zip(&mut bucket.flags) {
            *marked |= flags.get(id).copied().unwrap_or(0);
        }
    }
}

/// The table of pairs of a cell and a program.
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
