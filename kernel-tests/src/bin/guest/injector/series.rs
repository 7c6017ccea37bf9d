//! The series under an enforcing kernel: the enforcer is killed, or one of its calls fails, at one point after the
//! other, while the probers try without a pause. What always holds: each series begins and ends with one policy
//! enforced, or with none, and says which.

use std::process::Command;

use bfp_kernel_tests::objects::Inventory;

use crate::call::Call;
use crate::hardship;
use crate::host::{Host, apply, enforced, remove, succeeds};
use crate::points::{self, Pick, Point};
use crate::report::{Report, Series};
use crate::trace::{self, Plan, Traced};
use crate::verdict;
use crate::watch::Watch;
use crate::watched::{Watched, Whole};

/// How many points each series has.
pub(crate) struct Extent {
    pub(crate) again: Pick,
    pub(crate) next: Pick,
    pub(crate) failing: Pick,
    pub(crate) short: Pick,
    pub(crate) first: Pick,
    pub(crate) remove: Pick,
}

/// Runs the selected series. Returns the totals.
pub(crate) fn run(
    host: &Host,
    extent: &Extent,
    wants: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Result<(usize, u64), String> {
    let nothing = Inventory::at_rest()?;
    succeeds(apply(1))?;
    let all = Whole { objects: Inventory::at_rest()?, state: host.remembered()?, host };
    let watch = host.watch()?;
    let watched = Watched { watch: &watch, all: &all, revision: std::cell::Cell::new(1) };
    if wants("again") {
        watched.killed("apply, the same release again", extent.again, |revision| revision, report)?;
    }
    if wants("next") {
        watched.killed("apply, the next revision", extent.next, |revision| revision + 1, report)?;
    }
    if wants("failing") {
        watched.failing(extent.failing, report)?;
    }
    if wants("at-once") {
        hardship::at_once(&watched, report)?;
    }
    if wants("short") {
        hardship::short(&watched, extent.short, report)?;
    }
    let (windows, attempts) = (watch.windows(), watch.attempts());
    for window in &windows {
        println!("     WINDOW {window}");
    }
    control(&watch, &nothing, report)?;
    drop(watch);

    if wants("first") {
        first(&nothing, &all, extent.first, report)?;
    }
    if wants("remove") {
        removed(&nothing, &all, extent.remove, report)?;
    }
    Ok((windows.len(), attempts))
}

impl Watched<'_> {
    /// An undisturbed `apply` over an enforced policy that stops on both sides of every call with an effect until each
    /// prober has tried everything. Returns the calls.
    fn every_moment(&self, next: fn(u64) -> u64) -> Result<(Vec<Call>, usize), String> {
        let revision = next(self.revision.get());
        let (mut calls, mut stuck) = (Vec::new(), None);
        let mut tell = |side, call: &Call| {
            if side == trace::Side::Before {
                calls.push(call.clone());
            }
            self.watch.moment(&format!("{side} {call}"));
            if let Err(complaint) = self.watch.hold() {
                stuck.get_or_insert(complaint);
            }
        };
        let traced = run_traced(&mut apply(revision), Call::has_effect, Plan::Watch(&mut tell))?;
        stuck.map_or(Ok(()), Err)?;
        if traced.end != trace::End::Exit(0) {
            return Err(format!("apply under the eyes of the probers: {:?}: {}", traced.end, traced.stderr));
        }
        self.revision.set(revision);
        self.all.is_all()?;
        Ok((calls, traced.calls))
    }

    fn killed(&self, name: &str, pick: Pick, next: fn(u64) -> u64, report: &mut Report) -> Result<(), String> {
        let before = self.watch.windows().len();
        let (calls, of) = self.every_moment(next)?;
        let effects = calls.len();
        let counted = match pick {
            Pick::EverySide => calls_of(&mut apply(next(self.revision.get())), pick.counts())?,
            _ => calls,
        };
        let points = points::kills(&counted, pick);
        let mut series = Series::of(name, points.len());
        for point in points {
            if series.is_hopeless() {
                break;
            }
            match self.kill(point, pick, next(self.revision.get()))? {
                Some(outcome) => series.tried(outcome),
                None => series.not_reached(),
            }
        }
        let windows = self.watch.windows().len() - before;
        let note = format!("{of} system calls, {effects} with an effect; windows found: {windows}");
        report.end(&series, &note);
        Ok(())
    }

    /// Kills one `apply`. `None` if it ended before.
    fn kill(&self, point: Point, pick: Pick, revision: u64) -> Result<Option<Result<(), String>>, String> {
        self.watch.moment(&format!("in an apply that is killed at point {point:?}"));
        let traced = run_traced(&mut apply(revision), pick.counts(), point.plan())?;
        let Some(call) = &traced.hit else {
            self.revision.set(revision);
            return Ok(None);
        };
        let place = format!("{} {call}", point.side());
        self.watch.moment(&format!("after a kill {place}"));
        self.watch.hold()?;
        let old = self.revision.get();
        let outcome = match enforced()? {
            Some(now) if now == old || now == revision => Ok(()),
            other => Err(format!("killed {place}: revision {old} or {revision} expected, {other:?} seen")),
        };
        let remembered = self.all.host.remembered().map_err(|cut| format!("killed {place}: {cut}"));
        let outcome = outcome.and(remembered.map(drop));
        self.watch.moment(&format!("in the apply after a kill {place}"));
        // If this fails, the series cannot continue.
        succeeds(apply(revision)).map_err(|error| format!("the apply after a kill {place}: {error}"))?;
        self.revision.set(revision);
        let outcome = outcome.and_then(|()| self.all.is_all().map_err(|left| format!("killed {place}: {left}")));
        Ok(Some(outcome))
    }

    fn failing(&self, pick: Pick, report: &mut Report) -> Result<(), String> {
        let before = self.watch.windows().len();
        let (calls, mut aborts, mut tolerated, mut late) =
            (calls_of(&mut apply(self.revision.get()), points::can_fail)?, 0, 0, 0);
        let points = points::failures(&calls, pick);
        let mut series = Series::of("apply, a failing call", points.len());
        for (number, errno) in points {
            if series.is_hopeless() {
                break;
            }
            self.watch.moment(&format!("in an apply whose call {number} fails with {errno:?}"));
            let plan = Plan::Fail(number, errno);
            let traced = run_traced(&mut apply(self.revision.get()), points::can_fail, plan)?;
            let Some(call) = &traced.hit else {
                series.not_reached();
                continue;
            };
            match traced.end {
                trace::End::Exit(0) => tolerated += 1,
                trace::End::Signal(_) => aborts += 1,
                trace::End::Exit(_) | trace::End::TooLate => {}
            }
            let place = format!("{call} fails with {:?}", call.fitting(errno));
            self.watch.moment(&format!("after {place}"));
            self.watch.hold()?;
            let mut outcome = verdict::judge(&traced).map_err(|other| format!("{place}: {other}"));
            // An apply that reports that the new policy is in force, and one that could not report anything, leave the
            // rest to the next.
            let leaves = verdict::says_it_is_enforced(&traced) || !matches!(traced.end, trace::End::Exit(_));
            late += usize::from(verdict::says_it_is_enforced(&traced));
            if !leaves {
                let left = self.all.is_all();
                outcome = outcome.and(left.map_err(|left| format!("{place}: {left}: {}", traced.stderr)));
            }
            if leaves || outcome.is_err() {
                succeeds(apply(self.revision.get())).map_err(|error| format!("the apply after {place}: {error}"))?;
                outcome = outcome.and(self.all.is_all().map_err(|left| format!("the apply after {place}: {left}")));
            }
            series.tried(outcome);
        }
        let windows = self.watch.windows().len() - before;
        let note = format!(
            "{} calls; {tolerated} times done all the same, {late} times told late, {aborts} times out of memory; \
             windows found: {windows}",
            calls.len()
        );
        report.end(&series, &note);
        Ok(())
    }
}

/// Shows that the probers can see a window: while the policy is removed, each must see each of its attempts get
/// through, and none before the first call with an effect.
fn control(watch: &Watch, nothing: &Inventory, report: &mut Report) -> Result<(), String> {
    let mut series = Series::begin("the probers notice that the policy is removed");
    watch.control(true);
    let mut stuck = None;
    let mut tell = |side, call: &Call| {
        watch.moment(&format!("{side} {call} of remove"));
        if let Err(complaint) = watch.hold() {
            stuck.get_or_insert(complaint);
        }
    };
    let traced = run_traced(&mut remove(), Call::has_effect, Plan::Watch(&mut tell))?;
    stuck.map_or(Ok(()), Err)?;
    if traced.end != trace::End::Exit(0) {
        return Err(format!("remove: {:?}: {}", traced.end, traced.stderr));
    }
    watch.hold()?;
    series.tried(watch.could_see().and_then(|()| nothing.is_all()));
    report.end(&series, &format!("{} moments", 2 * traced.counted));
    Ok(())
}

/// The first apply on a host where nothing is enforced, killed; then another one, and `remove`.
fn first(nothing: &Inventory, all: &Whole<'_>, pick: Pick, report: &mut Report) -> Result<(), String> {
    let revision = all.host.last_revision();
    let calls = calls_of(&mut apply(revision), pick.counts())?;
    succeeds(remove())?;
    let points = points::kills(&calls, pick);
    let mut series = Series::of("the first apply", points.len());
    for point in points {
        if series.is_hopeless() {
            break;
        }
        let traced = run_traced(&mut apply(revision), pick.counts(), point.plan())?;
        let Some(call) = &traced.hit else {
            series.not_reached();
            succeeds(remove())?;
            continue;
        };
        let place = format!("killed {} {call}", point.side());
        let whole = all.host.remembered().map(drop);
        succeeds(apply(revision)).map_err(|error| format!("{place}: {error}"))?;
        let outcome = whole.and_then(|()| all.is_all());
        succeeds(remove()).map_err(|error| format!("{place}: {error}"))?;
        series.tried(outcome.and_then(|()| nothing.is_all()).map_err(|left| format!("{place}: {left}")));
    }
    report.end(&series, &format!("{} calls counted", calls.len()));
    Ok(())
}

/// `remove`, killed; then alternately `remove` again, or an apply.
fn removed(nothing: &Inventory, all: &Whole<'_>, pick: Pick, report: &mut Report) -> Result<(), String> {
    let revision = all.host.last_revision();
    succeeds(apply(revision))?;
    let calls = calls_of(&mut remove(), pick.counts())?;
    succeeds(apply(revision))?;
    let points = points::kills(&calls, pick);
    let mut series = Series::of("remove", points.len());
    for (turn, point) in points.into_iter().enumerate() {
        if series.is_hopeless() {
            break;
        }
        let traced = run_traced(&mut remove(), pick.counts(), point.plan())?;
        let Some(call) = &traced.hit else {
            series.not_reached();
            succeeds(apply(revision))?;
            continue;
        };
        let place = format!("killed {} {call}", point.side());
        let mut outcome = all.host.remembered().map(drop);
        if turn % 2 == 0 {
            succeeds(remove()).map_err(|error| format!("{place}: {error}"))?;
            outcome = outcome.and_then(|()| nothing.is_all());
        }
        succeeds(apply(revision)).map_err(|error| format!("{place}: {error}"))?;
        series.tried(outcome.and_then(|()| all.is_all()).map_err(|left| format!("{place}: {left}")));
    }
    succeeds(remove())?;
    nothing.is_all()?;
    report.end(&series, &format!("{} calls counted", calls.len()));
    Ok(())
}

/// The calls of an undisturbed command, which must succeed.
pub(crate) fn calls_of(command: &mut Command, counts: fn(&Call) -> bool) -> Result<Vec<Call>, String> {
    calls_of_ending(command, counts, trace::End::Exit(0))
}

/// The calls of an undisturbed command, which must end in this way.
pub(crate) fn calls_of_ending(
    command: &mut Command,
    counts: fn(&Call) -> bool,
    end: trace::End,
) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let mut tell = |side, call: &Call| {
        if side == trace::Side::Before {
            calls.push(call.clone());
        }
    };
    let traced = run_traced(command, counts, Plan::Watch(&mut tell))?;
    if traced.end != end {
        return Err(format!("{command:?}: {:?}: {}", traced.end, traced.stderr));
    }
    Ok(calls)
}

pub(crate) fn run_traced(command: &mut Command, counts: fn(&Call) -> bool, plan: Plan<'_>) -> Result<Traced, String> {
    let traced = trace::run(command, counts, plan).map_err(|error| format!("cannot trace {command:?}: {error}"))?;
    match traced {
        Traced { end: trace::End::TooLate, hit: None, .. } => Err(format!("{command:?} does not end: {traced:?}")),
        _ => Ok(traced),
    }
}
