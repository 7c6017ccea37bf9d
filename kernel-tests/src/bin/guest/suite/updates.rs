//! Attacks on updates: the known attacks in the literature on signed updates, tried on a host as scripts of
//! `fixtures/updates`. What enters: the folder /updates. What leaves: rows, each with a command, how it ended and its
//! output. A new attack is a new script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use crate::enforcer::PINS;
use crate::programs::copy_probe_to;
use crate::report::Report;
use crate::sample::Sample;
use crate::scenarios::host::SIGNER;

const UPDATES: &str = "/updates";
const WORKSHOP: &str = "/tmp/updates";
/// The traces of a policy on a host, and its administrator's files.
const TRACES: [&str; 3] = ["/var/lib/bfp", "/etc/bfp", WORKSHOP];

/// A command that was tried.
struct Row {
    attack: String,
    /// `ok`, or the fault.
    outcome: String,
    command: String,
    seen: String,
    said: String,
}

/// The checks of the suite, of a sample of the scripts.
pub(crate) fn run(sample: Sample, report: &mut Report) {
    let scripts = match scripts() {
        Ok(scripts) => scripts,
        Err(complaint) => return report.check("updates: the scripts can be read", Err(complaint)),
    };
    for (place, script) in scripts.iter().enumerate() {
        if !sample.has(0, place) || !report.wants(&name(script)) {
            continue;
        }
        match tried(script) {
            Ok(rows) => {
                for row in rows {
                    let outcome = if row.outcome == "ok" { Ok(()) } else { Err(row.outcome) };
                    report.check(&format!("{}: {} ({})", name(script), row.command, row.seen), outcome);
                }
            }
            Err(complaint) => report.check(&name(script), Err(complaint)),
        }
    }
}

/// Prints the table. Returns whether every row is as expected.
pub(crate) fn print_table() -> Result<bool, String> {
    let mut all_held = true;
    for script in scripts()? {
        let rows = match tried(&script) {
            Ok(rows) => rows,
            Err(complaint) => {
                println!("\n! {}: {complaint}", name(&script));
                all_held = false;
                continue;
            }
        };
        println!("\n{}", rows.first().map_or("", |row| row.attack.as_str()));
        for Row { outcome, command, seen, said, .. } in rows {
            let mark = if outcome == "ok" { "  " } else { "! " };
            println!("{mark}{command}\n      {seen}{}{said}", if said.is_empty() { "" } else { ": " });
            if outcome != "ok" {
                println!("      {outcome}");
                all_held = false;
            }
        }
    }
    Ok(all_held)
}

/// The names of the checks.
pub(crate) fn names() -> Result<Vec<String>, String> {
    Ok(scripts()?.iter().map(|script| name(script)).collect())
}

fn name(script: &Path) -> String {
    format!("update: {}", script.file_stem().unwrap_or_default().display())
}

fn scripts() -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(UPDATES).map_err(|error| format!("{UPDATES}: {error}"))?;
    let mut scripts: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
    scripts.sort();
    if scripts.is_empty() { Err(format!("{UPDATES} has no script")) } else { Ok(scripts) }
}

/// Runs a script on a host that has never seen a policy.
fn tried(script: &Path) -> Result<Vec<Row>, String> {
    let (clock, began) = (SystemTime::now(), Instant::now());
    let fresh = || {
        forget()?;
        copy_probe_to(Path::new(SIGNER))?;
        fs::create_dir_all(WORKSHOP).map_err(|error| format!("{WORKSHOP}: {error}"))
    };
    fresh()?;
    let text = fs::read_to_string(script).map_err(|error| format!("{}: {error}", script.display()))?;
    let title = text.lines().find_map(|line| line.strip_prefix("# attack: ")).ok_or("no line `# attack: …`")?;
    let line = format!(". {UPDATES}/prelude; . {}", script.display());
    let ended = Command::new("busybox").args(["sh", "-euc", &line]).current_dir(WORKSHOP).output();
    let ended = ended.map_err(|error| format!("busybox: {error}"));
    // Scripts move the clock: it continues from its earlier time plus the script's run time.
    let since = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + began.elapsed();
    let set = Command::new("busybox").args(["date", "-s", &format!("@{}", since.as_secs())]).output();
    set.map_err(|error| format!("busybox: {error}"))?;
    let forgotten = forget();
    let ended = ended?;
    let output = String::from_utf8_lossy(&ended.stdout);
    // A failing script may leave a policy under lockdown behind: its failure is reported before what it left.
    if !ended.status.success() {
        let left = forgotten.err().map(|left| format!("\nand it leaves {left}")).unwrap_or_default();
        return Err(format!("{}: {output}{}{left}", ended.status, String::from_utf8_lossy(&ended.stderr)));
    }
    forgotten?;
    let rows: Vec<Row> = output.lines().filter_map(|line| row(title, line.strip_prefix('\u{1}')?)).collect();
    if rows.is_empty() { Err("it tried nothing".to_owned()) } else { Ok(rows) }
}

/// As the prelude writes it.
fn row(attack: &str, line: &str) -> Option<Row> {
    let mut fields = line.split('\t').map(str::to_owned);
    let mut field = || fields.next();
    Some(Row { attack: attack.to_owned(), outcome: field()?, command: field()?, seen: field()?, said: field()? })
}

/// Resets the host to one that has never seen a policy. It cannot remove a policy under lockdown, which only a reboot
/// ends, so a script must end by removing what it put under lockdown.
fn forget() -> Result<(), String> {
    let _nothing_enforced = Command::new("/bin/bfp-enforcer").arg("remove").output();
    if Path::new(PINS).exists() {
        remove_tree(Path::new(PINS)).map_err(|error| format!("{PINS}: {error}"))?;
    }
    for trace in TRACES.map(Path::new).into_iter().filter(|trace| trace.exists()) {
        fs::remove_dir_all(trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    }
    Ok(())
}

/// The BPF filesystem allows removing files only one by one.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { remove_tree(&path)? } else { fs::remove_file(&path)? }
    }
    fs::remove_dir(folder)
}
