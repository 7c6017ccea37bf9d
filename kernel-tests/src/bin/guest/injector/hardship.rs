//! Faults without a kill: several `apply` commands at the same time, and a host that lacks resources. What always
//! holds: an `apply` ends with its policy in force or with an error message, the old policy stays until then, and the
//! next `apply` restores exactly the same state.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use nix::libc;

use crate::host::{apply, enforced, succeeds};
use crate::points::{self, Pick};
use crate::report::{Report, Series};
use crate::verdict;
use crate::watched::Watched;

const AT_ONCE: u64 = 10;
const VERIFICATION_REFUSED: i32 = 3;

/// Ten at the same time, each with its own revision: each has its turn, or reports that a higher revision came first.
pub(crate) fn at_once(watched: &Watched<'_>, report: &mut Report) -> Result<(), String> {
    let mut series = Series::begin("ten applies at once");
    let before = watched.watch.windows().len();
    let first = watched.revision.get() + 1;
    let last = first + AT_ONCE - 1;
    watched.watch.moment("while ten apply at once");
    let start = |revision| {
        let command = &mut apply(revision);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    // The highest is started third from last, so that some come too late.
    let order: Vec<u64> = (first..=last).filter(|r| *r != last).collect();
    let (early, late) = order.split_at(order.len() - 2);
    let order = early.iter().chain([&last]).chain(late);
    let running = order.map(|revision| start(*revision).map(|child| (*revision, child)));
    let running = running.collect::<Result<Vec<_>, _>>().map_err(|error| format!("cannot start: {error}"))?;
    let mut refused = 0;
    for (revision, child) in running {
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        refused += usize::from(output.status.code() == Some(VERIFICATION_REFUSED));
        let said = String::from_utf8_lossy(&output.stderr);
        series.tried(match output.status.code() {
            Some(0) => Ok(()),
            Some(VERIFICATION_REFUSED) if revision < last && said.contains("is lower than revision") => Ok(()),
            other => Err(format!("revision {revision}: {other:?}: {said}")),
        });
    }
    watched.watch.hold()?;
    let now = enforced()?;
    series.tried(if now == Some(last) { Ok(()) } else { Err(format!("revision {last} expected, {now:?} enforced")) });
    watched.revision.set(last);
    series.tried(watched.all.is_all());
    let windows = watched.watch.windows().len() - before;
    report.end(&series, &format!("{refused} of {AT_ONCE} were refused for a higher one; windows found: {windows}"));
    Ok(())
}

const CGROUP: &str = "/sys/fs/cgroup/bfp-short";
const MIB: u64 = 1 << 20;

/// A host that has too few descriptors, too little memory, or no BPF filesystem.
pub(crate) fn short(watched: &Watched<'_>, pick: Pick, report: &mut Report) -> Result<(), String> {
    let mut series = Series::begin("apply, short of something");
    let before = watched.watch.windows().len();
    let write = |file: &str, value: &str| fs::write(file, value).map_err(|error| format!("{file}: {error}"));
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")?;
    fs::create_dir_all(CGROUP).map_err(|error| format!("{CGROUP}: {error}"))?;

    let mut ways: Vec<(String, String)> = Vec::new();
    // All descriptors are in use, except for this many.
    for descriptors in [4, 8, 20, 40] {
        ways.push((format!("{descriptors} descriptors"), format!("ulimit -n {descriptors}")));
    }
    // The program itself takes more than two: with less, the kernel kills it while it is executed, before it runs
    // (fs/binfmt_elf.c, `load_elf_binary`).
    for mib in [4, 6, 10, 16] {
        ways.push((format!("{mib} MiB of addresses"), format!("ulimit -v {}", mib * 1024)));
    }
    for mib in [1, 2, 4, 6, 8, 10] {
        let limit = format!("echo {} > {CGROUP}/memory.max; echo $$ > {CGROUP}/cgroup.procs", mib * MIB);
        ways.push((format!("a memory cgroup of {mib} MiB"), limit));
    }
    ways.push(("no BPF filesystem".to_owned(), "umount -l /sys/fs/bpf".to_owned()));
    ways.push(("another filesystem over it".to_owned(), "mount -t tmpfs none /sys/fs/bpf".to_owned()));
    let mut failed = 0;
    for (what, line) in points::evenly(ways.len(), pick).filter_map(|index| ways.get(index)) {
        watched.watch.moment(&format!("in an apply that has {what}"));
        let output = apply_where(line, watched.revision.get())?;
        watched.watch.hold()?;
        failed += usize::from(!output.status.success());
        let old = watched.revision.get();
        let stays = match enforced()? {
            Some(now) if now == old => Ok(()),
            other => Err(format!("{what}: revision {old} expected, {other:?} enforced")),
        };
        watched.watch.moment(&format!("in the apply after one that had {what}"));
        succeeds(apply(old)).map_err(|error| format!("the apply after one that had {what}: {error}"))?;
        let outcome = ends_well(&output).and(stays).and_then(|()| watched.all.is_all());
        series.tried(outcome.map_err(|fault| format!("{what}: {fault}")));
    }
    fs::remove_dir(CGROUP).map_err(|error| format!("{CGROUP}: {error}"))?;
    write("/sys/fs/cgroup/cgroup.subtree_control", "-memory")?;
    series.tried(if failed > 0 { Ok(()) } else { Err("nothing was short".to_owned()) });
    let windows = watched.watch.windows().len() - before;
    report.end(&series, &format!("{failed} applies failed; windows found: {windows}"));
    Ok(())
}

/// Runs `apply` in its own mount namespace, after a shell command.
fn apply_where(line: &str, revision: u64) -> Result<Output, String> {
    let apply = apply(revision);
    let words: Vec<String> =
        [apply.get_program()].into_iter().chain(apply.get_args()).map(|word| word.display().to_string()).collect();
    let mut command = Command::new("busybox");
    command.args(["unshare", "-m", "sh", "-ec", &format!("{line}\nexec {}", words.join(" "))]);
    command.output().map_err(|error| format!("cannot run {command:?}: {error}"))
}

fn ends_well(output: &Output) -> Result<(), String> {
    let said = String::from_utf8_lossy(&output.stderr);
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(1..=4), _) if verdict::is_a_sentence(&said) => Ok(()),
        // The kernel reclaims memory by killing; Rust aborts a program that gets none, and prints so.
        (_, Some(libc::SIGKILL)) => Ok(()),
        (_, Some(libc::SIGABRT)) if said.starts_with("memory allocation of ") => Ok(()),
        (code, signal) => Err(format!("expected a sentence, seen exit {code:?}, signal {signal:?}: {said}")),
    }
}
