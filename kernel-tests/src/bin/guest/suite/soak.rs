//! Mixed traffic for a time, under ten thousand rules. What enters: /bfp/rules.bfpb, /bfp/verdicts.txt, a number of
//! seconds. What leaves: a summary and the exit status. What always holds: the answer of every attempt is compared with
//! its row; no listener sees more than was allowed; the kernel's objects at the end equal those after the first minute.

mod listeners;
mod resources;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bfp_kernel_tests::{network, rules};

use crate::destination::Protocol;
use crate::enforcer;
use crate::programs::{Running, answer_of};
use crate::verdicts::{self, Row, Verdict};
use listeners::Sinks;
use resources::Resources;

const BUNDLE: &str = "/bfp/rules.bfpb";
const TABLE: &str = "/bfp/verdicts.txt";
const PROBE: &str = "/bin/probe";

/// How many attempts run side by side: more than there are processors.
const WORKERS: u64 = 6;
/// How many connections stay open the whole time.
const HELD: usize = 8;
/// How often the policy is applied again, which replaces the programs and tables under the traffic.
const ANEW: Duration = Duration::from_secs(30);
/// Time to fill caches and pools before anything is compared.
const WARM_UP: Duration = Duration::from_secs(75);
/// How many wrong verdicts are reported in full.
const TOLD: usize = 20;

/// The counts of all threads.
#[derive(Default)]
struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Attempts that may arrive, by protocol.
    tcp: AtomicU64,
    udp: AtomicU64,
    held: AtomicU64,
    applied: AtomicU64,
    by_way: Mutex<BTreeMap<String, u64>>,
    /// What must not happen at all, by its name in `status`.
    odd: Mutex<BTreeMap<String, u64>>,
    wrong: Mutex<Vec<String>>,
}

pub(crate) fn run(seconds: u64) -> ExitCode {
    match soak(Duration::from_secs(seconds)) {
        Ok(complaints) if complaints.is_empty() => {
            println!("soak: every verdict was right, and nothing leaked");
            ExitCode::SUCCESS
        }
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| println!("FAIL soak: {complaint}"));
            ExitCode::FAILURE
        }
        Err(complaint) => {
            println!("FAIL soak: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn soak(duration: Duration) -> Result<Vec<String>, String> {
    let table = fs::read_to_string(TABLE).map_err(|error| format!("{TABLE}: {error}"))?;
    let rows = verdicts::parse(&table)?;
    network::make_every_address_local()?;
    install_programs()?;
    let sinks = Sinks::open([rules::PORT, rules::OTHER_PORT])?;
    enforcer::apply(Path::new(BUNDLE))?;
    let tally = Tally::default();
    traffic(WARM_UP, &rows, &tally)?;
    let before = Resources::measure()?;
    println!("after {} s of traffic: {before}", WARM_UP.as_secs());
    let began = Instant::now();
    traffic(duration, &rows, &tally)?;
    let after = Resources::measure()?;
    println!("after {} s more: {after}", began.elapsed().as_secs());
    let mut complaints = before.leaks(&after);
    complaints.extend(summarise(&tally, &rows, &sinks)?);
    Ok(complaints)
}

/// The programs of the rules, each with its own name and all with the same content.
fn install_programs() -> Result<(), String> {
    let first = Path::new(rules::STRANGER);
    let put = || -> std::io::Result<()> {
        fs::remove_file(first)?;
        fs::copy(PROBE, first)?;
        for path in rules::programs() {
            fs::remove_file(&path)?;
            fs::hard_link(first, &path)?;
        }
        Ok(())
    };
    put().map_err(|error| format!("cannot install the programs of the rules: {error}"))
}

/// Attempts by several workers, connections that stay open, and a policy that is applied again meanwhile.
fn traffic(duration: Duration, rows: &[Row], tally: &Tally) -> Result<(), String> {
    let until = Instant::now() + duration;
    let outcome: Vec<Result<(), String>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for worker in 0..WORKERS {
            threads.push(scope.spawn(move || {
                work(worker, until, rows, tally);
                Ok(())
            }));
        }
        threads.push(scope.spawn(|| hold(until, rows, tally)));
        threads.push(scope.spawn(|| apply_anew(until, tally)));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_panic| Err("a thread died".to_owned())))
            .collect()
    });
    outcome.into_iter().collect()
}

/// Attempts of randomly chosen rows, in randomly chosen ways and surroundings.
fn work(worker: u64, until: Instant, rows: &[Row], tally: &Tally) {
    let mut dice = Dice::new(worker + 1 + tally.allowed.load(Ordering::Relaxed));
    while Instant::now() < until {
        let Some(row) = dice.pick(rows) else { return };
        let ways = row.destination.ways();
        let Some(way) = dice.pick(ways) else { return };
        let (address, port) = (row.destination.address.to_string(), row.destination.port.to_string());
        let mut programs = row.programs();
        let first = programs.next().unwrap_or_default();
        // A thread and a fork have the label of their creator.
        let within = dice.pick(&["", "thread", "fork"]).copied().filter(|word| !word.is_empty());
        let words: Vec<&str> =
            programs.flat_map(|program| ["spawn", program]).chain(within).chain([*way, &address, &port]).collect();
        let answer = answer_of(first, &words).unwrap_or_else(|complaint| complaint);
        let (expected, count) = match row.verdict {
            Verdict::Denied => ("EPERM", &tally.denied),
            Verdict::Allowed | Verdict::Audited => ("ok", &tally.allowed),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if expected == "ok" {
            may_arrive(row, tally);
        }
        add(&tally.by_way, way);
        if answer != expected {
            let complaint =
                format!("{} {} by {way}: expected `{expected}`, seen `{answer}`", row.program, row.destination);
            tell(&tally.wrong, complaint);
        }
    }
}

fn may_arrive(row: &Row, tally: &Tally) {
    let count = match row.destination.protocol {
        Protocol::Tcp => &tally.tcp,
        Protocol::Udp => &tally.udp,
        // The kernel answers a ping itself, and a raw socket is not used.
        Protocol::Icmp | Protocol::Raw => return,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Connections that are open the whole time and send now and then: applying the policy again does not affect them.
fn hold(until: Instant, rows: &[Row], tally: &Tally) -> Result<(), String> {
    let is_plain = |row: &&Row| row.verdict == Verdict::Allowed && row.destination.protocol == Protocol::Tcp;
    let step = rows.len() / HELD;
    let chosen = rows.iter().filter(is_plain).filter(|row| row.programs().count() == 1).step_by(step.max(1) / 4 + 1);
    let mut held = Vec::new();
    for row in chosen.take(HELD) {
        let (address, port) = (row.destination.address.to_string(), row.destination.port.to_string());
        may_arrive(row, tally);
        let running = Running::start_until(&row.program, &["hold-tcp", &address, &port], "ok");
        held.push((row, running.map_err(|complaint| format!("{} {}: {complaint}", row.program, row.destination))?));
    }
    while Instant::now() < until {
        for (row, running) in &mut held {
            let answer = running.go_on()?;
            tally.held.fetch_add(1, Ordering::Relaxed);
            if answer != "ok" {
                tell(
                    &tally.wrong,
                    format!("{} {}, held: expected `ok`, seen `{answer}`", row.program, row.destination),
                );
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn apply_anew(until: Instant, tally: &Tally) -> Result<(), String> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // The end does not cut off any of it.
        if left < ANEW {
            thread::sleep(left);
            return Ok(());
        }
        thread::sleep(ANEW);
        // The counters start again with the policy.
        count_odd(tally)?;
        enforcer::apply(Path::new(BUNDLE))?;
        tally.applied.fetch_add(1, Ordering::Relaxed);
    }
}

/// A denial here is a verdict, before a packet leaves.
const ODD: [&str; 3] = ["fault", "overflow", "dropped"];

fn count_odd(tally: &Tally) -> Result<(), String> {
    for name in ODD {
        let count = enforcer::counted(name)?;
        *tally.odd.lock().map_err(|_poisoned| "a thread died")?.entry(name.to_owned()).or_default() += count;
    }
    Ok(())
}

fn summarise(tally: &Tally, rows: &[Row], sinks: &Sinks) -> Result<Vec<String>, String> {
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (allowed, denied) = (count(&tally.allowed), count(&tally.denied));
    println!("attempts: {allowed} to be allowed, {denied} to be refused, of {} rows", rows.len());
    let ways = tally.by_way.lock().map_err(|_poisoned| "a thread died")?;
    let ways: Vec<String> = ways.iter().map(|(way, count)| format!("{way} {count}")).collect();
    println!("ways: {}", ways.join(", "));
    println!(
        "held connections: {HELD} a phase, {} sends; the policy was applied anew {} times",
        count(&tally.held),
        count(&tally.applied)
    );
    let (tcp, udp) = sinks.arrived();
    println!(
        "arrived: {tcp} connections of {} that may, {udp} datagrams of {} that may",
        count(&tally.tcp),
        count(&tally.udp)
    );
    count_odd(tally)?;
    let odd = tally.odd.lock().map_err(|_poisoned| "a thread died")?;
    println!("odd: {odd:?}");

    let wrong = tally.wrong.lock().map_err(|_poisoned| "a thread died")?;
    println!("wrong verdicts: {}", wrong.len());
    let mut complaints: Vec<String> = wrong.iter().take(TOLD).cloned().collect();
    if tcp > count(&tally.tcp) || udp > count(&tally.udp) {
        complaints.push("more arrived than what was allowed".to_owned());
    }
    if allowed == 0 || denied == 0 || udp == 0 || tcp == 0 {
        complaints.push("nothing was tried of one kind".to_owned());
    }
    let counted = odd.iter().filter(|(_, count)| **count != 0);
    complaints.extend(counted.map(|(name, count)| format!("`status` counted {count} that are `{name}`")));
    Ok(complaints)
}

fn add(counts: &Mutex<BTreeMap<String, u64>>, word: &str) {
    if let Ok(mut counts) = counts.lock() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
}

fn tell(complaints: &Mutex<Vec<String>>, complaint: String) {
    if let Ok(mut complaints) = complaints.lock() {
        if complaints.len() < TOLD {
            println!("wrong: {complaint}");
        }
        complaints.push(complaint);
    }
}

/// Pseudo-random numbers, the same in every run of a worker: xorshift64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let index = usize::try_from(self.0 >> 8).unwrap_or_default().checked_rem(from.len())?;
        from.get(index)
    }
}
