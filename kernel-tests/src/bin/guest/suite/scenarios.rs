//! What a table cannot express: when a process started, where its file came from, what became of the enforcer. Every
//! scenario but those of [`pinned`], [`libraries`], [`lockdown`], [`names`], [`parts`], [`units`] and [`clients`] works on
//! one policy,
//! fixtures/accept/signer-kms (the demo's): only /usr/bin/signer reaches the KMS, and it reaches nothing else.
//!
//! What enters: the folder with the bundles. What leaves: one check for each scenario. A scenario begins with
//! `host.enforced()` or `host.unenforced()`, so each one also runs alone.

mod addresses;
mod apply;
mod bundle;
mod clients;
mod events;
pub(crate) mod host;
mod hosts;
mod identity;
mod lacking;
mod libraries;
mod lifetime;
mod lockdown;
mod names;
mod parts;
mod pinned;
mod units;

use std::path::Path;

use crate::enforcer;
use crate::report::Report;
use crate::sample::Sample;
use host::Host;

/// A sentence that the kernel must make true, and the function that tests it.
type Scenario = (&'static str, fn(&Host) -> Result<(), String>);

fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        identity::SCENARIOS,
        addresses::SCENARIOS,
        lifetime::SCENARIOS,
        bundle::SCENARIOS,
        hosts::SCENARIOS,
        apply::SCENARIOS,
        lacking::SCENARIOS,
        pinned::SCENARIOS,
        libraries::SCENARIOS,
        events::SCENARIOS,
        lockdown::SCENARIOS,
        names::SCENARIOS,
        parts::SCENARIOS,
        units::SCENARIOS,
        clients::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| *name)
}

/// Those of a sample whose names the report wants.
pub(crate) fn run(sample: Sample, bundles: &Path, report: &mut Report) {
    let sampled = all().enumerate().filter(|(place, _)| sample.has(0, *place)).map(|(_, scenario)| scenario);
    run_these(sampled.filter(|(name, _)| report.wants(name)).collect(), bundles, report);
}

/// The scenarios of a kernel that does not call BPF programs.
pub(crate) fn run_without_bpf(bundles: &Path, report: &mut Report) {
    run_these(lacking::WITHOUT_BPF.iter().collect(), bundles, report);
}

/// The scenarios of a kernel that may not find the label of a process.
pub(crate) fn run_preempted(bundles: &Path, report: &mut Report) {
    run_these(lacking::PREEMPTED.iter().collect(), bundles, report);
}

fn run_these(wanted: Vec<&Scenario>, bundles: &Path, report: &mut Report) {
    if wanted.is_empty() {
        return;
    }
    let host = match Host::prepare(&bundles.join("signer-kms").join("policy.bfpb")) {
        Ok(host) => host,
        Err(complaint) => return report.check("scenarios: prepared", Err(complaint)),
    };
    for (name, scenario) in wanted {
        report.check(name, scenario(&host));
    }
    if host.is_enforced() {
        report.check("scenarios: remove", enforcer::remove());
    }
}
