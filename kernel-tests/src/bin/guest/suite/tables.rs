//! The verdict tables on the real kernel: every row before the policy, during, and after. What enters: a folder with
//! policy.bfpb and verdicts.txt. What leaves: a check for each row and phase. A request that is denied during must get
//! through before and after, which proves that the policy caused the denial.
//!
//! A folder with impostors.txt has a policy that pins contents which the guest does not have: that table replaces the
//! other one, with a digest mismatch in every pinned program.

use std::fs;
use std::path::{Path, PathBuf};

use crate::enforcer;
use crate::listeners::{Expected, Listeners};
use crate::programs::{Programs, answer_of};
use crate::report::Report;
use crate::sample::Sample;
use crate::verdicts::{self, Row, Verdict};

#[derive(Clone, Copy)]
enum Phase {
    Before,
    During,
    After,
}

/// The folders with bundles, in the order of their names.
pub(crate) fn bundles(root: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(root).map_err(|error| format!("{}: {error}", root.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    if folders.is_empty() { Err(format!("{} is empty", root.display())) } else { Ok(folders) }
}

pub(crate) fn name(folder: &Path) -> String {
    format!("table {}", folder.file_name().unwrap_or_default().display())
}

/// Every table, with these of its rows.
pub(crate) fn run_all(folders: &[PathBuf], rows: Sample, report: &mut Report) {
    for (table, folder) in folders.iter().enumerate() {
        run(folder, |row| rows.has(table, row), report);
    }
}

fn run(folder: &Path, wants: impl Fn(usize) -> bool, report: &mut Report) {
    let name = name(folder);
    if !report.wants(&name) {
        return;
    }
    let (rows, listeners, _programs) = match prepare(folder, wants) {
        Ok(prepared) => prepared,
        Err(complaint) => return report.check(&format!("{name}: prepared"), Err(complaint)),
    };
    try_rows(&name, Phase::Before, &rows, &listeners, report);
    let applied = enforcer::apply(&folder.join("policy.bfpb"));
    let enforced = applied.is_ok();
    report.check(&format!("{name}: apply"), applied);
    if enforced {
        try_rows(&name, Phase::During, &rows, &listeners, report);
        report.check(&format!("{name}: remove"), enforcer::remove());
        try_rows(&name, Phase::After, &rows, &listeners, report);
    }
}

fn prepare(folder: &Path, wants: impl Fn(usize) -> bool) -> Result<(Vec<Row>, Listeners, Programs), String> {
    let read = |name: &str| {
        let file = folder.join(name);
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let table = if folder.join("impostors.txt").exists() { "impostors.txt" } else { "verdicts.txt" };
    let rows = verdicts::parse(&read(table)?)?.into_iter().enumerate();
    let rows: Vec<Row> = rows.filter(|(place, _)| wants(*place)).map(|(_, row)| row).collect();
    let listeners = Listeners::open(rows.iter().map(|row| row.destination))?;
    let named = read("programs.txt")?;
    let programs = Programs::install(rows.iter().flat_map(Row::programs).chain(named.lines()))?;
    Ok((rows, listeners, programs))
}

fn try_rows(name: &str, phase: Phase, rows: &[Row], listeners: &Listeners, report: &mut Report) {
    for row in rows {
        let (phase_word, verdict) = match (phase, row.verdict) {
            // A request that is allowed during shows nothing before and after.
            (Phase::Before | Phase::After, Verdict::Allowed | Verdict::Audited) => continue,
            (Phase::Before, Verdict::Denied) => ("before", Verdict::Allowed),
            (Phase::During, verdict) => ("during", verdict),
            (Phase::After, Verdict::Denied) => ("after", Verdict::Allowed),
        };
        let verdict_word = match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Audited => "audited",
            Verdict::Denied => "denied",
        };
        let all = row.destination.ways();
        // Without a policy one way represents all.
        let ways = if let Phase::During = phase { all } else { all.get(..1).unwrap_or(all) };
        let check = format!("{name}: {phase_word} {} {} {verdict_word}", row.program, row.destination);
        report.check(&check, try_row(row, verdict, ways, listeners));
    }
}

/// One verdict covers every way to send to the destination.
fn try_row(row: &Row, verdict: Verdict, ways: &[&str], listeners: &Listeners) -> Result<(), String> {
    let (address, port) = (row.destination.address.to_string(), row.destination.port.to_string());
    for &way in ways {
        let expected = match verdict {
            Verdict::Allowed | Verdict::Audited => Expected::Reaches(row.destination),
            Verdict::Denied => Expected::Refused,
        };
        listeners.clear();
        let audited = if verdict == Verdict::Audited { enforcer::audited()? } else { 0 };
        let mut programs = row.programs();
        let first = programs.next().unwrap_or_default();
        let words: Vec<&str> = programs.flat_map(|program| ["spawn", program]).chain([way, &address, &port]).collect();
        answer_of(first, &words)
            .and_then(|answer| listeners.judge(&answer, expected))
            .map_err(|difference| format!("by {way}: {difference}"))?;
        if verdict == Verdict::Audited && enforcer::audited()? == audited {
            return Err(format!("by {way}: `status` counts no audited request"));
        }
    }
    Ok(())
}
