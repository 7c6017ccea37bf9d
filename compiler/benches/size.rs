//! How the time of a build divides among its stages, for policies of growing size.
//!
//! `just bench-compiler` runs 1 000, 10 000 and 100 000 rules over one million addresses, 100 000 rules of one address
//! each, and 10 000 rules over networks of which some seventy cover each address. `just bench-compiler 100000 1000000`
//! runs one policy of the first shape, and `just bench-compiler 10000 10000 overlapping` one of the last.
//!
//! Compare the share of each stage in one run on one machine: the seconds do not carry over to another machine.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench talks to the person who started it"
)]

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bfp_bundle::secret_key::SecretKey;
use bfp_compiler::names::lock::Lock;
use bfp_compiler::pipeline::{self, Release};
use bfp_compiler::resolve::Source;
use bfp_compiler::source::Disk;
use bfp_compiler::source::load::load_text;
use bfp_compiler::{annotate, check, lower, prove, resolve};

fn main() {
    // Cargo passes `--bench`.
    let shape: Element = if std::env::args().any(|argument| argument == "overlapping") { overlapping } else { element };
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if let [rules, addresses] = sizes.as_slice() {
        return run(*rules, *addresses, shape);
    }
    for arguments in SHAPES {
        // Each shape runs as a build does: in a process of its own, in memory that nothing else has used.
        let own = std::env::current_exe().expect("the bench has a path");
        let ended = Command::new(own).args(arguments.split(' ')).status().expect("and starts");
        assert!(ended.success(), "{arguments}");
    }
}

/// Number of rules, number of addresses, and the kind of element where it is not the usual one.
const SHAPES: [&str; 5] =
    ["1000 1000000", "10000 1000000", "100000 1000000", "100000 100000", "10000 10000 overlapping"];

/// The text of an element in a rule of a kind, by the number of the element.
type Element = fn(u32, usize) -> String;

fn run(rules: usize, addresses: usize, element: Element) {
    let text = policy(rules, addresses, element);
    let lock = Lock::default();
    println!("{rules} rules, {addresses} addresses, {} bytes of text", text.len());
    let mut clock = Clock { last: Instant::now(), last_cpu: cpu(), stages: Vec::new() };
    let Ok(loaded) = load_text("size.bfp", "size.bfp", &text, Path::new("."), &Disk) else {
        panic!("a policy made here parses")
    };
    clock.note("parse");
    let source = Source { loaded: &loaded, stem: "size", lock_text: "", lock: &lock };
    let resolved = resolve::resolve(&loaded, "size", &lock).expect("and resolves");
    clock.note("resolve");
    let checked = check::check(resolved).unwrap_or_else(|_| panic!("and does not contradict itself"));
    clock.note("check");
    let image = lower::lower(&checked).expect("and has an image");
    clock.note("lower");
    let proven = prove::prove(&checked, image).expect("which means the same");
    clock.note("prove");
    let key = SecretKey::from_seed(&[1; 32]);
    let debug = annotate::debug(&source, &checked, proven.image());
    let Ok(bundle) = pipeline::sign(&source, &proven, &debug, Release::default(), &[key]) else {
        panic!("and is signed")
    };
    clock.note("sign");
    println!("  {} verdicts proven, a bundle of {} bytes", proven.proof(), bundle.len());
    let total: Duration = clock.stages.iter().map(|(_, took, _)| *took).sum();
    let total_cpu: f64 = clock.stages.iter().map(|(_, _, cpu)| *cpu).sum();
    println!("  {:<8} {:>17} {:>17}", "stage", "elapsed", "processor");
    for (stage, took, cpu) in &clock.stages {
        let (share, share_cpu) = (100.0 * took.as_secs_f64() / total.as_secs_f64(), 100.0 * cpu / total_cpu);
        println!("  {stage:<8} {share:>5.1} % {:>7.2} s {share_cpu:>5.1} % {cpu:>7.2} s", took.as_secs_f64());
    }
    println!("  {:<8}         {:>7.2} s         {total_cpu:>7.2} s", "total", total.as_secs_f64());
}

/// The processor time that this process has used, in seconds. It leaves out other load on the machine.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // utime and stime, in hundredths of a second (proc_pid_stat(5)).
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

struct Clock {
    last: Instant,
    last_cpu: f64,
    stages: Vec<(&'static str, Duration, f64)>,
}

impl Clock {
    fn note(&mut self, stage: &'static str) {
        let (now, now_cpu) = (Instant::now(), cpu());
        self.stages.push((stage, now - self.last, now_cpu - self.last_cpu));
        (self.last, self.last_cpu) = (now, now_cpu);
    }
}

/// A policy with this many rules over this many addresses: every kind of rule, one and several programs, with and
/// without ports; three quarters IPv4, most of it single addresses, the rest networks that overlap with others.
fn policy(rules: usize, addresses: usize, element: Element) -> String {
    let mut text = String::new();
    let each = (addresses / rules.max(1)).max(1);
    // The first would be 0.0.0.0, which is not a destination.
    let mut made = 1_u32;
    for rule in 0..rules {
        let mut elements = Vec::with_capacity(each);
        for _ in 0..each {
            elements.push(element(made, rule % 4));
            made += 1;
        }
        let (set, own) = (elements.join(", "), format!("\"/opt/{rule}/bin/run\""));
        let other = format!("\"/opt/{}/bin/run\"", rule / 2);
        // Writing to a string cannot fail.
        let _ = match rule % 4 {
            0 => writeln!(text, "only {own} -> {{ {set} }}"),
            1 => writeln!(text, "{own} -> only {{ {set} }}"),
            2 => writeln!(text, "deny {{ {own}, {other} }} -> {{ {set} }}"),
            _ => writeln!(text, "allow {{ {own}, {other} }} -> {{ {set} }}"),
        };
    }
    text
}

fn element(number: u32, kind: usize) -> String {
    // An odd factor permutes the numbers: no address repeats, and consecutive numbers give distant addresses.
    let spread = number.wrapping_mul(0x9e37_79b1);
    let ports = match number % 3 {
        0 => "",
        1 => ":443",
        _ => ":{80, 8000-8080}/tcp",
    };
    if number % 4 == 3 {
        let bits = 0x2001_0db8_u128 << 96 | u128::from(spread) << 32 | u128::from(number);
        return format!("[{}]{ports}", Ipv6Addr::from_bits(bits));
    }
    // Rules that are not exclusive may overlap: some of their elements are networks.
    if kind >= 2 && number.is_multiple_of(16) {
        return format!("{}/20{ports}", Ipv4Addr::from_bits(spread & !0xfff));
    }
    format!("{}{ports}", Ipv4Addr::from_bits(spread))
}

/// As [`element`], within `10.0.0.0/8`: an element of a rule that is not exclusive is a network, a sixteenth of it or
/// smaller.
fn overlapping(number: u32, kind: usize) -> String {
    let address = 0x0a00_0000 | number.wrapping_mul(0x9e37_79b1) >> 8;
    if kind < 2 {
        return Ipv4Addr::from_bits(address).to_string();
    }
    let length = 12 + number / 4 % 9;
    format!("{}/{length}", Ipv4Addr::from_bits(address & !(u32::MAX >> length)))
}
