//! The points at which a command is killed, or a call fails. What enters: the calls of an undisturbed run. What leaves:
//! points, in order.
//!
//! Between two calls with an effect ([`Call::has_effect`]), the world outside the process does not change, and the
//! process's own memory ends with it. So a kill anywhere between them leaves the same world, and only one of these
//! places is tried: alternately after the one call and before the other. Calls that create or move a name are tried on
//! both sides.

use std::collections::BTreeMap;

use nix::errno::Errno;

use crate::call::Call;
use crate::trace::{Plan, Side};

/// How many points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Both sides of every call, and each call failing in all its ways.
    EverySide,
    /// Every state of the world, and each call failing in one way ([`by_turns`]).
    EveryState,
    /// This many, evenly from the first to the last, and both sides of the turning points.
    WithTurns(usize),
    /// This many, evenly from the first to the last.
    Few(usize),
}

impl Pick {
    /// Which calls the number of a kill counts.
    pub(crate) fn counts(self) -> fn(&Call) -> bool {
        if self == Pick::EverySide { |_| true } else { Call::has_effect }
    }
}

/// A kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    number: usize,
    is_after: bool,
}

impl Point {
    pub(crate) fn plan(self) -> Plan<'static> {
        if self.is_after { Plan::KillAfter(self.number) } else { Plan::KillBefore(self.number) }
    }

    pub(crate) fn side(self) -> Side {
        if self.is_after { Side::After } else { Side::Before }
    }
}

/// The kills among calls, of which every one counts.
pub(crate) fn kills(calls: &[Call], pick: Pick) -> Vec<Point> {
    let before = |number| Point { number, is_after: false };
    let after = |number| Point { number, is_after: true };
    if pick == Pick::EverySide {
        let mut points: Vec<Point> = (0..calls.len()).flat_map(|number| [before(number), after(number)]).collect();
        // There is nothing after the call that ends it.
        points.pop();
        return points;
    }
    // State `n` is after call `n - 1` and before call `n`; there is nothing after the last call, which ends the
    // program.
    let mut points: Vec<Point> =
        evenly(calls.len(), pick).map(|state| if state % 2 == 1 { after(state - 1) } else { before(state) }).collect();
    let wants_turns = !matches!(pick, Pick::Few(_));
    let turns = calls.iter().enumerate().filter(|(_, call)| wants_turns && call.is_turning_point());
    points.extend(turns.flat_map(|(number, _)| [before(number), after(number)]));
    points.sort_unstable();
    points.dedup();
    points
}

/// The calls that fail, by their numbers among those for which [`can_fail`] holds, with the error.
pub(crate) fn failures(calls: &[Call], pick: Pick) -> Vec<(usize, Errno)> {
    let all = if pick == Pick::EverySide { in_every_way(calls) } else { by_turns(calls) };
    evenly(all.len(), pick).filter_map(|index| all.get(index).copied()).collect()
}

/// Each call in each of its ways.
fn in_every_way(calls: &[Call]) -> Vec<(usize, Errno)> {
    let ways = |(number, call): (usize, &Call)| call.errors().iter().map(move |errno| (number, *errno));
    calls.iter().enumerate().flat_map(ways).collect()
}

/// Each call in one of its ways: calls that do the same to the same object take turns, and the last of them fails in
/// all the remaining ways.
fn by_turns(calls: &[Call]) -> Vec<(usize, Errno)> {
    let mut alike: BTreeMap<String, Vec<(usize, &Call)>> = BTreeMap::new();
    for (number, call) in calls.iter().enumerate() {
        alike.entry(call.to_string()).or_default().push((number, call));
    }
    let mut points = Vec::new();
    for places in alike.values() {
        let Some((last, call)) = places.last() else { continue };
        let ways = call.errors();
        let numbers = places.iter().map(|(number, _)| *number).chain(std::iter::repeat(*last));
        points.extend(numbers.zip(ways.iter().copied().cycle()).take(places.len().max(ways.len())));
    }
    points.sort_unstable_by_key(|(number, _)| *number);
    points
}

/// Which calls fail: those of the program itself. If it repeats one, as when reading a long file, the first two
/// represent the others.
pub(crate) fn can_fail(call: &Call) -> bool {
    call.is_own && !call.is_repeated && call.can_fail()
}

/// Some indexes of a list.
pub(crate) fn evenly(count: usize, pick: Pick) -> Box<dyn Iterator<Item = usize>> {
    match pick {
        Pick::WithTurns(wanted) | Pick::Few(wanted) if wanted < count => {
            // From the middle of each part, so that the ends are not always left out.
            Box::new((0..wanted).map(move |part| (2 * part + 1) * count / (2 * wanted)))
        }
        _ => Box::new(0..count),
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    fn calls(numbers: &[i64]) -> Vec<Call> {
        // A process that does not exist is not read.
        numbers.iter().map(|number| Call::new(-1, *number, [0; 6])).collect()
    }

    #[test]
    fn every_state_is_tried_once_and_turning_points_on_both_sides() {
        let calls = calls(&[libc::SYS_bpf, libc::SYS_bpf, libc::SYS_rename, libc::SYS_bpf]);
        let told: Vec<_> = kills(&calls, Pick::EveryState).iter().map(|p| (p.number, p.is_after)).collect();
        assert_eq!(told, [(0, false), (0, true), (2, false), (2, true)]);
        assert_eq!(kills(&calls, Pick::EverySide).len(), 7);
    }

    #[test]
    fn fewer_points_are_spread_evenly() {
        let calls = calls(&[libc::SYS_bpf; 100]);
        let told: Vec<_> = kills(&calls, Pick::Few(4)).iter().map(|p| p.number).collect();
        assert_eq!(told, [12, 36, 62, 86]);
        assert_eq!(kills(&calls, Pick::Few(1000)).len(), 100);
    }

    #[test]
    fn a_call_fails_in_every_way_that_makes_sense() {
        let calls = calls(&[libc::SYS_brk, libc::SYS_bpf, libc::SYS_bpf]);
        let bpf = [Errno::ENOMEM, Errno::ENOSPC, Errno::EPERM];
        let each = |number| bpf.map(|errno| (number, errno));
        assert_eq!(failures(&calls, Pick::EverySide), [&[(0, Errno::ENOMEM)][..], &each(1), &each(2)].concat());
    }

    #[test]
    fn a_call_fails_in_a_way_of_its_own() {
        let [random, bpf] = [libc::SYS_getrandom, libc::SYS_bpf].map(|number| Call::new(-1, number, [0; 6]));
        assert_eq!([random.fitting(Errno::ENOSPC), bpf.fitting(Errno::ENOSPC)], [Errno::EPERM, Errno::ENOSPC]);
    }

    #[test]
    fn calls_that_are_alike_take_turns_in_how_they_fail() {
        let told = failures(&calls(&[libc::SYS_bpf, libc::SYS_brk, libc::SYS_bpf]), Pick::EveryState);
        let expected = [(0, Errno::ENOMEM), (1, Errno::ENOMEM), (2, Errno::ENOSPC), (2, Errno::EPERM)];
        assert_eq!(told, expected);
        let told = failures(&calls(&[libc::SYS_bpf; 5]), Pick::EveryState);
        let ways: Vec<_> = told.iter().map(|(_, errno)| *errno).collect();
        assert_eq!(ways, [Errno::ENOMEM, Errno::ENOSPC, Errno::EPERM, Errno::ENOMEM, Errno::ENOSPC]);
    }
}
