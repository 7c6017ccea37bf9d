//! The attack catalogue on the real kernel. What enters: the entries of fixtures/attacks/ and their policy. What
//! leaves: a check for each technique, attacker, user and target, before the policy, during, and after; for some, also
//! while a revision with lockdown is enforced. Before and after, the attack must succeed, which proves that it is one;
//! during, it must fail with the errno of its entry, and no packet may be on its way to the forbidden address.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bfp_kernel_tests::attack::{self, Attacker, Entry, Expectation, Meanwhile, Shows, Target, read_entries, series_of};
use bfp_kernel_tests::entries::User;
use bfp_kernel_tests::network;

use crate::destination::Destination;
use crate::enforcer;
use crate::listeners::Listeners;
use crate::programs::{Programs, become_user};
use crate::report::Report;
use crate::sniffer::{Carrying, Sniffer};

const ATTACKER: &str = "/bin/attacker";
/// The same, dynamically linked.
const DYNAMIC_ATTACKER: &str = "/bin/attacker-dynamic";
/// Confined by the policy.
const APP: &str = "/usr/bin/app";
/// An unlisted program.
const STRANGER: &str = "/usr/bin/stranger";
/// Holds the exclusive grant to the KMS.
const SIGNER: &str = "/usr/bin/signer";
/// Named only by every other revision of the policy.
const SECOND: &str = "/usr/bin/second";
const MEETING: &str = "/tmp/bfp-meeting";
const SECRET: &str = "/etc/bfp-secret";
/// A folder where every user may create files, on the filesystem that has the signer.
const WORKSHOP: &str = "/var/bfp-workshop";
/// Which users may take samples.
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
/// Runs as root for every user.
const SET_UID: &str = "/var/bfp-workshop/set-uid";
/// Another cgroup to go to.
const OTHER_CGROUP: &str = "/sys/fs/cgroup/bfp-other";

const PORT: u16 = 443;
/// The destination of the signer alone.
const KMS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 51, 100, 10), Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10));
/// The destination that the app may reach.
const GRANTED: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(192, 0, 2, 20), Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 0x20));
/// A destination that no rule names.
const OUTSIDE: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 66), Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0x66));

/// How often an attack that nothing forbids is tried until it succeeds.
const CONTROLS: u32 = 3;

/// How long to wait for a packet that nothing forbids.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(2);

/// Loopback mostly delivers within the send itself.
const SILENCE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    During,
    /// While a revision with lockdown is enforced.
    Locked,
    After,
}

/// Where the harness puts the entries and their bundle.
pub(crate) const ATTACKS: &str = "/attacks";

/// One cell of the matrix.
struct Attempt<'a> {
    entry: &'a Entry,
    attacker: Attacker,
    user: User,
    target: Target,
}

/// Which cells are tried: all, or a sample, of which two guests with different kernels take a share each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    All,
    First,
    Second,
}

impl Share {
    /// Whether a cell of the entry at this place in the catalogue is tried. Each share has one cell of every entry, not
    /// the same one; an entry with a single cell is in one share, unless its outcome depends on the kernel.
    fn has(self, place: usize, entry: &Entry, cells: usize, cell: usize) -> bool {
        let (first, second) = (place % cells, (place + cells / 2) % cells);
        match self {
            Share::All => true,
            _ if entry.depends_on_the_kernel() => cell == first || cell == second,
            Share::First => cell == first && (cells > 1 || place.is_multiple_of(2)),
            Share::Second => cell == second && (cells > 1 || !place.is_multiple_of(2)),
        }
    }

    fn of<'a>(self, entries: &'a [Entry], series: &'a str) -> impl Iterator<Item = Attempt<'a>> {
        entries.iter().enumerate().flat_map(move |(place, entry)| {
            let cells: Vec<_> = attempts(entry, series).collect();
            let number = cells.len();
            let numbered = cells.into_iter().enumerate();
            numbered.filter(move |(cell, _)| self.has(place, entry, number, *cell)).map(|(_, attempt)| attempt)
        })
    }
}

pub(crate) fn run(share: Share, report: &mut Report) {
    run_with(share, report, || Ok(()));
}

/// Under a kernel that is not preemptible when the policy is applied, and fully preemptible while it is enforced: root
/// can switch that at any time.
pub(crate) fn run_preempted(report: &mut Report) {
    const DEBUGGED: &str = "/sys/kernel/debug";
    if !Path::new(DEBUGGED).join("sched").exists()
        && let Err(complaint) = mount("debugfs", DEBUGGED)
    {
        return report.check("attacks: the kernel's preemption can be switched", Err(complaint));
    }
    let switch = |to: &str| {
        let file = Path::new(DEBUGGED).join("sched/preempt");
        fs::write(&file, to).map_err(|error| format!("{}: {error}", file.display()))
    };
    // Kernels since 6.18 have no such mode, and find every label.
    let _unknown = switch("voluntary");
    run_with(Share::All, report, || switch("full"));
}

/// `then` comes before the attacks that the policy must stop.
fn run_with(share: Share, report: &mut Report, then: impl FnOnce() -> Result<(), String>) {
    let folder = Path::new(ATTACKS);
    if !folder.exists() {
        return;
    }
    let entries = match read_entries(folder) {
        Ok(entries) => entries,
        Err(complaint) => return report.check("attacks: entries", Err(complaint)),
    };
    let series = match series() {
        Ok(series) => series,
        Err(complaint) => return report.check("attacks: the kernel's release", Err(complaint)),
    };
    let shared = share.of(&entries, &series);
    let wanted: Vec<Attempt<'_>> = shared.filter(|attempt| report.wants(&attempt.name())).collect();
    if wanted.is_empty() {
        return;
    }
    let stage = match Stage::prepare(series.clone()) {
        Ok(stage) => stage,
        Err(complaint) => return report.check("attacks: prepared", Err(complaint)),
    };
    stage.try_all(&wanted, Phase::Before, report);
    let applied = enforcer::apply(&folder.join("policy.bfpb")).and_then(|()| then());
    let enforced = applied.is_ok();
    report.check("attacks: apply", applied);
    if enforced {
        stage.try_all(&wanted, Phase::During, report);
        under_lock(&stage, &wanted, report);
        report.check("attacks: remove", enforcer::remove());
        stage.try_all(&wanted, Phase::After, report);
    }
}

/// Puts the policy under lockdown, repeats the attacks that this affects, and ends lockdown by another signed revision.
fn under_lock(stage: &Stage, all: &[Attempt<'_>], report: &mut Report) {
    let wanted: Vec<&Attempt<'_>> = all.iter().filter(|attempt| attempt.under_lock(&stage.series).is_some()).collect();
    if wanted.is_empty() {
        return;
    }
    let folder = Path::new(ATTACKS);
    let locked = enforcer::apply(&folder.join("locked.bfpb"));
    let is_locked = locked.is_ok();
    report.check("attacks: lock", locked);
    if is_locked {
        stage.try_all(wanted, Phase::Locked, report);
        report.check("attacks: open", enforcer::apply_under_lock(&folder.join("open.bfpb")));
    }
}

pub(crate) fn names() -> Result<Vec<String>, String> {
    let folder = Path::new(ATTACKS);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let series = series()?;
    let entries = read_entries(folder)?;
    Ok(entries.iter().flat_map(|entry| attempts(entry, &series)).map(|attempt| attempt.name()).collect())
}

pub(crate) fn series() -> Result<String, String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    Ok(series_of(&release))
}

fn attempts<'a>(entry: &'a Entry, series: &str) -> impl Iterator<Item = Attempt<'a>> {
    entry.cells(series).map(move |(attacker, user, target)| Attempt { entry, attacker, user, target })
}

impl Attempt<'_> {
    fn name(&self) -> String {
        format!("attack {} by {} as {} at {}", self.entry.name, self.attacker, self.user, self.target)
    }

    fn under_lock(&self, series: &str) -> Option<&str> {
        self.entry.under_lock(self.attacker, self.user, series)
    }

    /// The destination that the message must not reach.
    fn forbidden(&self) -> SocketAddr {
        self.pick(if self.attacker == Attacker::App { OUTSIDE } else { KMS })
    }

    fn granted(&self) -> SocketAddr {
        self.pick(GRANTED)
    }

    fn pick(&self, (v4, v6): (Ipv4Addr, Ipv6Addr)) -> SocketAddr {
        let address: IpAddr = if self.target.is_v6() { v6.into() } else { v4.into() };
        SocketAddr::new(address, PORT)
    }
}

/// The listeners, the programs and the sniffer of all attacks.
struct Stage {
    listeners: Listeners,
    sniffer: Sniffer,
    /// The series of the kernel.
    series: String,
    /// The enforced revision: even ones name [`SECOND`] too.
    revision: Cell<u32>,
    _programs: [Programs; 2],
}

impl Stage {
    fn prepare(series: String) -> Result<Stage, String> {
        fs::write(SECRET, "bfp-secret").map_err(|error| format!("{SECRET}: {error}"))?;
        // Otherwise only root may take samples of a process.
        fs::write(PARANOID, "1").map_err(|error| format!("{PARANOID}: {error}"))?;
        make_workshop()?;
        network::own([KMS, GRANTED, OUTSIDE])?;
        let addresses = [KMS, GRANTED, OUTSIDE].into_iter().flat_map(|(v4, v6)| [IpAddr::from(v4), IpAddr::from(v6)]);
        let both = addresses.flat_map(|at| [Destination::tcp(at, PORT), Destination::udp(at, PORT)]);
        let programs = Programs::install_copies_of(ATTACKER, [APP, STRANGER, SIGNER])?;
        let second = Programs::install_copies_of(DYNAMIC_ATTACKER, [SECOND])?;
        replace_signer(ATTACKER)?;
        let (listeners, sniffer) = (Listeners::open(both)?, Sniffer::open()?);
        Ok(Stage { listeners, sniffer, series, revision: Cell::new(1), _programs: [programs, second] })
    }

    /// Restores what the policy depends on: attacks may unmount it.
    fn settle(&self) -> Result<(), String> {
        for (kind, place) in [("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup")] {
            let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
            if !mounts.lines().any(|line| line.split(' ').nth(1) == Some(place)) {
                mount(kind, place)?;
            }
        }
        Ok(())
    }

    fn try_all<'a>(&self, attempts: impl IntoIterator<Item = &'a Attempt<'a>>, phase: Phase, report: &mut Report) {
        for attempt in attempts {
            let word = match phase {
                Phase::Before => "before",
                Phase::During => "during",
                Phase::Locked => "locked",
                Phase::After => "after",
            };
            let mut tried = self.try_one(attempt, phase);
            // Without a policy the attack must be shown to work; now and then the sniffer misses a packet.
            for _ in 1..if matches!(phase, Phase::Before | Phase::After) { CONTROLS } else { 1 } {
                if tried.is_err() {
                    tried = self.try_one(attempt, phase);
                }
            }
            if attempt.entry.unsettles {
                tried = tried.and(self.settle());
                if phase == Phase::During {
                    tried = tried.and(enforcer::apply(&revision(self.revision.get())));
                }
            }
            report.check(&format!("{}: {word}", attempt.name()), tried);
        }
    }

    fn try_one(&self, attempt: &Attempt<'_>, phase: Phase) -> Result<(), String> {
        let entry = attempt.entry;
        let _old = fs::remove_file(MEETING);
        if entry.dynamic_signer {
            replace_signer(DYNAMIC_ATTACKER)?;
        }
        let victim = entry.victim.map(|of| Victim::start(of, attempt)).transpose()?;
        self.listeners.clear();
        self.sniffer.clear();
        let answer = self.answer(attempt, victim.as_ref(), phase)?;
        sleep(SILENCE);
        // What an unlisted program begins, it may begin: the attacker adds the message.
        let carrying = match entry {
            Entry { in_the_header: true, .. } => Carrying::Mark,
            Entry { begun_by_a_stranger: true, .. } => Carrying::Data,
            _ => Carrying::Anything,
        };
        let expected = match (phase, attempt.under_lock(&self.series)) {
            (Phase::Locked, Some(errno)) => Expectation::Refused(errno.to_owned()),
            _ => entry.expected(attempt.attacker, attempt.user, &self.series),
        };
        let must_be_refused = matches!((phase, &expected), (Phase::During | Phase::Locked, Expectation::Refused(_)));
        let shown = entry.shows(attempt.attacker, attempt.user, &self.series);
        let mut reached = self.sniffer.saw(attempt.forbidden().ip(), carrying);
        // On a busy machine the kernel passes a packet to its loopback device a moment after the call.
        let begun = Instant::now();
        while !reached && !must_be_refused && matches!(shown, Shows::Packet) && begun.elapsed() < ARRIVAL_LIMIT {
            sleep(SILENCE);
            reached = self.sniffer.saw(attempt.forbidden().ip(), carrying);
        }
        drop(victim);
        sweep_workshop()?;
        // Back to a revision that does not name the second program.
        if self.revision.get().is_multiple_of(2) {
            self.apply_next()?;
        }
        if entry.dynamic_signer {
            replace_signer(ATTACKER)?;
        }
        match &expected {
            Expectation::Refused(refusal) if must_be_refused => {
                let as_expected = refusal == "silence" || answer.rsplit(' ').next() == Some(refusal);
                match (as_expected, reached) {
                    (true, false) => Ok(()),
                    (_, true) => Err(format!("a packet was on its way, and the attacker saw `{answer}`")),
                    (false, false) => Err(format!("expected `{refusal}`, seen `{answer}`")),
                }
            }
            // A limit that no longer exists must no longer be documented.
            _ => shows(&shown, reached, &answer),
        }
    }

    fn apply_next(&self) -> Result<(), String> {
        self.revision.set(self.revision.get() + 1);
        enforcer::apply(&revision(self.revision.get()))
    }

    /// Runs what happens in the middle of an attack.
    fn happen(&self, meanwhile: Meanwhile, phase: Phase) -> Result<(), String> {
        match (meanwhile, phase) {
            (Meanwhile::Upgrade, _) => replace_signer(ATTACKER),
            (Meanwhile::Revision, Phase::During) => self.apply_next(),
            (Meanwhile::Revision, _) => Ok(()),
        }
    }

    fn answer(&self, attempt: &Attempt<'_>, victim: Option<&Victim>, phase: Phase) -> Result<String, String> {
        let attacker = if attempt.attacker == Attacker::App { APP } else { STRANGER };
        let first = if attempt.entry.begun_by_a_stranger { STRANGER } else { attacker };
        let mut command = Command::new(first);
        command.arg(attempt.entry.technique());
        command.args([attempt.target.transport().to_owned(), attempt.forbidden().to_string()]);
        command.arg(attempt.granted().to_string()).env("BFP_ATTACKER", attacker);
        if let Some(Victim { pid, descriptor, .. }) = victim {
            command.env("BFP_VICTIM", pid).env("BFP_DESCRIPTOR", descriptor);
        }
        become_user(&mut command, attempt.user);
        command.stdin(if attempt.entry.meanwhile.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot run {first}: {error}"))?;
        let (line, happened) = match attempt.entry.meanwhile {
            Some(meanwhile) => once_it_waits(&mut child, || self.happen(meanwhile, phase)),
            None => (String::new(), Ok(())),
        };
        let output = child.wait_with_output().map_err(|error| format!("{first}: {error}"))?;
        happened?;
        let line = line + String::from_utf8_lossy(&output.stdout).trim();
        if line.is_empty() {
            return Err(format!(
                "{first} said nothing, {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(line)
    }
}

/// The bundle of a revision: the first, or one of those that follow it.
fn revision(number: u32) -> PathBuf {
    let name = if number == 1 { "policy.bfpb".to_owned() } else { format!("revision-{number}.bfpb") };
    Path::new(ATTACKS).join(name)
}

/// Runs `happen` when an attacker prints `waits`, and lets the attacker continue. Returns what it prints then, or
/// printed instead, if it did not get that far, and the result of `happen`.
fn once_it_waits(child: &mut Child, happen: impl FnOnce() -> Result<(), String>) -> (String, Result<(), String>) {
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { return (String::new(), Ok(())) };
    let mut from = BufReader::new(from);
    let mut line = String::new();
    // Unreadable output is not an answer, and is reported as such.
    let _unread = from.read_line(&mut line);
    if line.trim() != "waits" {
        return (line.trim().to_owned(), Ok(()));
    }
    let happened = happen();
    let _gone = to.write_all(b"\n");
    line.clear();
    let _unread = from.read_line(&mut line);
    (line.trim().to_owned(), happened)
}

/// Whether an attack that nothing forbids worked.
fn shows(shows: &Shows, reached: bool, answer: &str) -> Result<(), String> {
    match shows {
        Shows::Packet if reached => Ok(()),
        Shows::Packet => Err(format!("expected a packet on its way, seen none and `{answer}`")),
        Shows::Answer(expected) if answer.rsplit(' ').next() == Some(expected.as_str()) => Ok(()),
        Shows::Answer(expected) => Err(format!("expected `{expected}`, seen `{answer}`")),
    }
}

/// The part of a program's header that the kernel ignores (`EI_PAD`), by which an attack can recognise the signer's
/// file. The dynamic loader does check it.
const MARK: (u64, &[u8]) = (9, b"signer!");

/// Puts another build in the signer's place, as a package manager does.
fn replace_signer(build: &str) -> Result<(), String> {
    let new = "/usr/bin/.signer.new";
    let replace = || -> std::io::Result<()> {
        fs::copy(build, new)?;
        if build == ATTACKER {
            fs::OpenOptions::new().write(true).open(new)?.write_all_at(MARK.1, MARK.0)?;
        }
        fs::rename(new, SIGNER)
    };
    replace().map_err(|error| format!("{SIGNER}: {error}"))
}

fn mount(kind: &str, place: &str) -> Result<(), String> {
    let mounted = rustix::mount::mount(kind, place, kind, rustix::mount::MountFlags::empty(), None);
    mounted.map_err(|error| format!("{kind} at {place}: {error}"))
}

/// Removes what an attack left in the workshop.
fn sweep_workshop() -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{WORKSHOP}: {error}");
    for entry in fs::read_dir(WORKSHOP).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let gone = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false if path == Path::new(SET_UID) => Ok(()),
            false => fs::remove_file(path),
        };
        gone.map_err(wrong)?;
    }
    Ok(())
}

/// A folder for every user's files, with a program in it that runs as root for every user.
fn make_workshop() -> Result<(), String> {
    let made = || -> std::io::Result<()> {
        // Otherwise only its owner may link to a file.
        fs::write("/proc/sys/fs/protected_hardlinks", "0")?;
        fs::create_dir_all(WORKSHOP)?;
        fs::set_permissions(WORKSHOP, fs::Permissions::from_mode(0o1777))?;
        fs::copy(ATTACKER, SET_UID)?;
        fs::set_permissions(SET_UID, fs::Permissions::from_mode(0o4755))?;
        fs::create_dir_all(OTHER_CGROUP)
    };
    made().map_err(|error| format!("{WORKSHOP}: {error}"))
}

/// A process that holds a connection to a destination that is forbidden to the attacker.
struct Victim {
    child: Child,
    pid: String,
    descriptor: String,
}

impl Victim {
    fn start(of: attack::Victim, attempt: &Attempt<'_>) -> Result<Victim, String> {
        let program = if of == attack::Victim::Signer { SIGNER } else { STRANGER };
        let mut command = Command::new(program);
        command.arg("hold-a-connection").args([attempt.target.transport().to_owned(), attempt.forbidden().to_string()]);
        command.arg(attempt.granted().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A folder that its user may write to, and a value that no other process may read.
        command.current_dir(WORKSHOP).env("BFP_HELD", "held-by-it-alone");
        become_user(&mut command, attempt.user);
        let mut child = command.spawn().map_err(|error| format!("cannot run {program}: {error}"))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        match line.trim().split_once(' ') {
            Some((pid, descriptor)) if pid == child.id().to_string() => {
                Ok(Victim { pid: pid.to_owned(), descriptor: descriptor.to_owned(), child })
            }
            _ => Err(format!("{program} holds no connection: `{}`", line.trim())),
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Also one that a tracer stopped.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}
