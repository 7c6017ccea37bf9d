//! The verdict tables on the real kernel: every row before the policy, during, and after. What
//! enters: a folder with policy.bfpb and verdicts.txt. What leaves: a check for each row and
//! phase. What is refused during must get through before and after, which proves that the refusal is the
//! policy's doing.
//!
//! A folder with unmet.txt holds a policy that no host can enforce yet: it must be refused with that
//! sentence, and nothing of it may be enforced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::enforcer::{self, VERIFICATION_REFUSED};
use crate::listeners::{Expected, Listeners};
use crate::programs::{Programs, answer_of};
use crate::report::Report;
use crate::verdicts::{self, Row, Verdict};

#[derive(Clone, Copy)]
enum Phase {
    Before,
    During,
    After,
    /// After a policy was refused: it must have left nothing behind.
    Refused,
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

pub(crate) fn run(folder: &Path, report: &mut Report) {
    let name = name(folder);
    if !report.wants(&name) {
        return;
    }
    let (rows, listeners, _programs) = match prepare(folder) {
        Ok(prepared) => prepared,
        Err(complaint) => return report.check(&format!("{name}: prepared"), Err(complaint)),
    };
    try_rows(&name, Phase::Before, &rows, &listeners, report);
    let unmet = folder.join("unmet.txt");
    if unmet.exists() {
        report.check(&format!("{name}: apply is refused"), expect_refusal(folder, &unmet));
        try_rows(&name, Phase::Refused, &rows, &listeners, report);
        return;
    }
    let applied = enforcer::apply(&folder.join("policy.bfpb"));
    let enforced = applied.is_ok();
    report.check(&format!("{name}: apply"), applied);
    if enforced {
        try_rows(&name, Phase::During, &rows, &listeners, report);
        report.check(&format!("{name}: remove"), enforcer::remove());
        try_rows(&name, Phase::After, &rows, &listeners, report);
    }
}

/// The sentence in `unmet` is what the enforcer says, and its status that of a bundle it refuses.
fn expect_refusal(folder: &Path, unmet: &Path) -> Result<(), String> {
    let text = fs::read_to_string(unmet).map_err(|error| format!("{}: {error}", unmet.display()))?;
    let sentence = text.trim();
    if sentence.is_empty() {
        return Err(format!("{} is empty", unmet.display()));
    }
    let ended = enforcer::try_apply(&folder.join("policy.bfpb"))?;
    if let Err(difference) = ended.expect_code(VERIFICATION_REFUSED) {
        // What was applied against expectation must not judge the tables that follow.
        return match enforcer::remove() {
            Ok(()) => Err(difference),
            Err(second) => Err(format!("{difference}; and it stays: {second}")),
        };
    }
    if ended.stderr.contains(sentence) {
        Ok(())
    } else {
        Err(format!("expected `{sentence}`, seen `{}`", ended.stderr))
    }
}

fn prepare(folder: &Path) -> Result<(Vec<Row>, Listeners, Programs), String> {
    let file = folder.join("verdicts.txt");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let rows = verdicts::parse(&text)?;
    let listeners = Listeners::open(rows.iter().map(|row| row.destination))?;
    let programs = Programs::install(rows.iter().flat_map(Row::programs))?;
    Ok((rows, listeners, programs))
}

fn try_rows(name: &str, phase: Phase, rows: &[Row], listeners: &Listeners, report: &mut Report) {
    for row in rows {
        let (phase_word, verdict) = match (phase, row.verdict) {
            // What is allowed during says nothing before and after.
            (Phase::Before | Phase::After | Phase::Refused, Verdict::Allowed | Verdict::Audited) => continue,
            (Phase::Before, Verdict::Denied) => ("before", Verdict::Allowed),
            (Phase::During, verdict) => ("during", verdict),
            (Phase::After, Verdict::Denied) => ("after", Verdict::Allowed),
            (Phase::Refused, Verdict::Denied) => ("refused", Verdict::Allowed),
        };
        let verdict_word = match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Audited => "audited",
            Verdict::Denied => "denied",
        };
        let all = row.destination.ways();
        // Without a policy one way stands for all.
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
