//! The checks that run inside the guest, as root, on a kernel without a network card. The harness installs
//! /bin/bfp-enforcer, /bin/probe, /trust, and for every fixture /bundles/NAME/policy.bfpb with its verdicts.txt.
//!
//! What enters: these files. What leaves: one line per check (`ok  NAME`, `FAIL NAME: …`), then `N passed, N failed`,
//! and exit status 1 if a check failed or none ran. What always holds: a denial is seen twice, as EPERM in the program
//! and as silence at the destination.
//!
//! ```text
//! suite                  # everything
//! suite --only PATTERN   # what has PATTERN in its name; `A|B` is what has A or B
//! suite --part PART      # tables, scenarios, attacks or updates
//! suite --sample PART    # the same, in less time: a third of the rows, half of the scenarios or updates, some cells of
//!                        # each attack (attacks-first, attacks-second: for two kernels)
//! suite --list           # the names
//! suite --demo           # the table of the demo
//! suite --updates        # the table of attacks on updates
//! suite --without-bpf    # what holds under a kernel that is booted without BPF among its security modules
//! suite --preempted      # what holds under a kernel that is booted to be preempted anywhere
//! suite --ordinary [--only PATTERN]   # ordinary things on a whole Debian system
//! suite --soak SECONDS   # mixed traffic for a time, there too
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its report on stdout is what this program is for")]

mod attacks;
mod demo;
mod descriptors;
mod destination;
mod enforcer;
mod listeners;
mod ordinary;
mod programs;
mod report;
mod sample;
mod scenarios;
mod sniffer;
mod soak;
mod tables;
mod updates;
mod verdicts;

use std::path::Path;
use std::process::ExitCode;

use attacks::Share;
use bfp_kernel_tests::network;
use report::Report;
use sample::Sample;

const BUNDLES: &str = "/bundles";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (only, part, sampled) = match words.as_slice() {
        [] => (None, None, false),
        ["--only", pattern] => (Some((*pattern).to_owned()), None, false),
        ["--part", part @ ("tables" | "scenarios" | "attacks" | "updates")] => (None, Some(*part), false),
        ["--sample", part @ ("tables" | "scenarios" | "attacks-first" | "attacks-second" | "updates")] => {
            (None, Some(*part), true)
        }
        ["--list"] => return list(),
        ["--demo"] => return demonstrate(),
        ["--without-bpf"] => return run_without_bpf(),
        ["--preempted"] => return run_preempted(),
        ["--updates"] => return show_updates(),
        ["--ordinary"] => return ordinary_things(None),
        ["--ordinary", "--only", pattern] => return ordinary_things(Some((*pattern).to_owned())),
        ["--soak", seconds] if seconds.parse::<u64>().is_ok() => return soak::run(seconds.parse().unwrap_or_default()),
        _ => {
            eprintln!(
                "usage: suite [--only PATTERN | --part tables|scenarios|attacks|updates | --sample tables|scenarios|attacks-first|attacks-second|updates | --list | --demo | --updates | --without-bpf | --preempted | --ordinary [--only PATTERN] | --soak SECONDS]"
            );
            return ExitCode::from(2);
        }
    };

    let mut report = Report::new(only);
    if let Err(complaint) = network::make_every_address_local() {
        report.check("every address is local", Err(complaint));
        return report.close();
    }
    let wants = |name| part.is_none_or(|part| part == name);
    let one_in = |number| if sampled { Sample::OneIn(number) } else { Sample::All };
    if wants("tables") {
        match tables::bundles(Path::new(BUNDLES)) {
            Ok(bundles) => tables::run_all(&bundles, one_in(3), &mut report),
            Err(complaint) => report.check("bundles can be read", Err(complaint)),
        }
    }
    if wants("scenarios") {
        scenarios::run(one_in(2), Path::new(BUNDLES), &mut report);
    }
    let share = match part {
        None | Some("attacks") => Some(Share::All),
        Some("attacks-first") => Some(Share::First),
        Some("attacks-second") => Some(Share::Second),
        Some(_) => None,
    };
    if let Some(share) = share {
        attacks::run(share, &mut report);
    }
    if wants("updates") {
        updates::run(one_in(2), &mut report);
    }
    report.close()
}

fn run_without_bpf() -> ExitCode {
    let mut report = Report::new(None);
    match network::make_every_address_local() {
        Ok(()) => scenarios::run_without_bpf(Path::new(BUNDLES), &mut report),
        Err(complaint) => report.check("every address is local", Err(complaint)),
    }
    report.close()
}

fn run_preempted() -> ExitCode {
    let mut report = Report::new(Some("attack storm".to_owned()));
    let ready = network::make_every_address_local().and_then(|()| attacks::series());
    match ready {
        Ok(series) => {
            if series == "6.1" {
                scenarios::run_preempted(Path::new(BUNDLES), &mut report);
            }
            attacks::run_preempted(&mut report);
        }
        Err(complaint) => report.check("every address is local", Err(complaint)),
    }
    report.close()
}

fn ordinary_things(only: Option<String>) -> ExitCode {
    let mut report = Report::new(only);
    ordinary::run(&mut report);
    report.close()
}

fn demonstrate() -> ExitCode {
    let bundle = Path::new(BUNDLES).join("demo").join("policy.bfpb");
    match network::make_every_address_local().and_then(|()| demo::run(&bundle)) {
        Ok(true) => {
            println!("\nevery row as expected");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("\nat least one row differs");
            ExitCode::FAILURE
        }
        Err(complaint) => {
            eprintln!("demo: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn show_updates() -> ExitCode {
    match updates::print_table() {
        Ok(true) => {
            println!("\nall refused, and what is meant to work worked");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("\nat least one row differs");
            ExitCode::FAILURE
        }
        Err(complaint) => {
            eprintln!("suite: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> ExitCode {
    let bundles = tables::bundles(Path::new(BUNDLES));
    for bundle in bundles.iter().flatten() {
        println!("{}", tables::name(bundle));
    }
    scenarios::names().for_each(|name| println!("{name}"));
    let attacks = attacks::names().and_then(|mut names| {
        names.extend(updates::names()?);
        Ok(names)
    });
    attacks.iter().flatten().for_each(|name| println!("{name}"));
    match bundles.and(attacks) {
        Ok(_) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("suite: {complaint}");
            ExitCode::FAILURE
        }
    }
}
