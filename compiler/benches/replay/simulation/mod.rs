//! The simulation: a seed → for each history and each strategy, how many minutes went wrong.
//!
//! Always: the same seed gives the same counts. All strategies see the same history, and the clients of all of them ask
//! at the same times.

mod clients;
mod learned;
mod ours;
mod picture;
mod random;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use ours::{Ours, Way};
use world::{History, Moment};

pub(crate) use picture::picture;

/// The seed of the page.
pub(crate) const SEED: u64 = 1;

/// The picture, in the folder of the pages.
pub(crate) const PICTURE: &str = "names-replay.svg";

/// How long a history is.
const DAYS: u32 = 30;
const DAY: Moment = 24 * 60;

/// What a strategy gets wrong, in minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// The program could reach an address that was not the service's.
    pub(crate) wrong_allows: u32,
    /// A client could not reach the service, and would have reached it without a policy. Two clients: two for a minute.
    pub(crate) wrong_denials: u32,
    /// Another program could reach an address that the service answered from.
    pub(crate) left_open: u32,
}

/// The counts of one history.
pub(crate) struct Row {
    pub(crate) history: &'static str,
    /// In the order of [`STRATEGIES`].
    pub(crate) counts: [Count; 3],
    /// Days on which a person had to look at something, for ours.
    pub(crate) reviews: u32,
}

/// The strategies, in the order of the columns.
pub(crate) const STRATEGIES: [&str; 3] = ["refresher", "learned", "ours"];

/// What a strategy enforces at a moment, for the name of the history.
pub(crate) trait Strategy {
    /// A minute begins.
    fn tick(&mut self, history: &History, now: Moment);
    /// A client of the host asks for the name: what it is told, first things first.
    fn ask(&mut self, history: &History, now: Moment, client: u64) -> Vec<Ipv4Addr>;
    /// Whether the program may reach an address.
    fn allows(&mut self, address: Ipv4Addr) -> bool;
    /// Whether every other program may.
    fn allows_others(&mut self, address: Ipv4Addr) -> bool;
}

/// Every history, by every strategy.
pub(crate) fn run(seed: u64) -> Vec<Row> {
    History::all(seed).iter().map(row).collect()
}

fn row(history: &History) -> Row {
    let mut ours = Ours::new(history, &Way::USUAL);
    let counts = play(history, [&mut learned::Refresher::new(), &mut learned::Learned::new(), &mut ours]);
    Row { history: history.name, counts, reviews: ours.reviews() }
}

/// Ours in another way than the usual, where that makes a difference.
pub(crate) struct Variant {
    pub(crate) what: &'static str,
    pub(crate) history: &'static str,
    pub(crate) usual: Count,
    pub(crate) count: Count,
}

/// Ours in other ways, each with the history that shows what it costs or gains.
pub(crate) fn variants(seed: u64) -> Vec<Variant> {
    let all = History::all(seed);
    let usual = || Way { ..Way::USUAL };
    let ways = [
        ("`--keep 7d`", "blue-green", Way { keep: Duration::from_hours(7 * 24), ..usual() }),
        ("a refresh every 5 min, enforced 1 min later", "failover", Way { every: 5, roll_out: 1, ..usual() }),
        ("the name `may change`, and the resolver alone is asked", "a poisoned", Way { may_change: true, ..usual() }),
        ("without the hosts file", "blue-green", Way { has_hosts: false, ..usual() }),
    ];
    let variant = |(what, begin, way): (_, &str, Way)| {
        let history = all.iter().find(|history| history.name.starts_with(begin))?;
        let [usual] = play(history, [&mut Ours::new(history, &Way::USUAL)]);
        let [count] = play(history, [&mut Ours::new(history, &way)]);
        Some(Variant { what, history: history.name, usual, count })
    };
    ways.into_iter().filter_map(variant).collect()
}

/// One history, by several strategies.
fn play<const N: usize>(history: &History, mut strategies: [&mut dyn Strategy; N]) -> [Count; N] {
    let mut counts = [Count::default(); N];
    let mut clients = [(); N].map(|()| clients::all());
    for now in 0..DAYS * DAY {
        let (serving, answering) = (history.serving(now), history.answering(now));
        for ((strategy, count), clients) in strategies.iter_mut().zip(&mut counts).zip(&mut clients) {
            strategy.tick(history, now);
            let mut tried: BTreeSet<Ipv4Addr> = history.attempts(now).into_iter().collect();
            for client in clients {
                let plain = client.without_policy(now, |number| history.answer(now, client_query(now, number)));
                let told = client.with_policy(now, |number| strategy.ask(history, now, number));
                tried.extend(&told);
                let reaches = told.iter().any(|address| serving.contains(address) && strategy.allows(*address));
                let would_reach = plain.iter().any(|address| serving.contains(address));
                count.wrong_denials += u32::from(would_reach && !reaches);
            }
            let is_wrong = |address: &Ipv4Addr| !history.is_owned(now, *address) && strategy.allows(*address);
            count.wrong_allows += u32::from(tried.iter().any(is_wrong));
            count.left_open += u32::from(answering.iter().any(|address| strategy.allows_others(*address)));
        }
    }
    counts
}

/// The number of a client's query: the same answer for the same query, whatever the strategy.
fn client_query(now: Moment, client: u64) -> u64 {
    u64::from(now) << 8 | client
}

/// The counts as tables of a page.
pub(crate) fn tables(rows: &[Row], variants: &[Variant]) -> String {
    let mut text = String::from("| history | | wrong allows | wrong denials | left open |\n|---|---|---|---|---|\n");
    let cells = |count: &Count| format!("{} | {} | {}", count.wrong_allows, count.wrong_denials, count.left_open);
    for row in rows {
        let mut history = row.history;
        for (strategy, count) in STRATEGIES.iter().zip(&row.counts) {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "| {} | {strategy} | {} |", std::mem::take(&mut history), cells(count));
        }
    }
    let mut all = "**all**";
    for (strategy, at) in STRATEGIES.iter().zip(0..) {
        let mut sum = Count::default();
        for count in rows.iter().filter_map(|row| row.counts.get(at)) {
            sum.wrong_allows += count.wrong_allows;
            sum.wrong_denials += count.wrong_denials;
            sum.left_open += count.left_open;
        }
        let _ = writeln!(text, "| {} | {strategy} | {} |", std::mem::take(&mut all), cells(&sum));
    }
    let reviews: u32 = rows.iter().map(|row| row.reviews).sum();
    let _ = writeln!(text, "\nIn ours, a person had to look on {reviews} days of {}.", DAYS * rows.len() as u32);
    text.push_str("\n| ours, but | history | wrong allows | wrong denials | left open |\n|---|---|---|---|---|\n");
    for Variant { what, history, usual, count } in variants {
        let cell = |number: fn(&Count) -> u32| match (number(usual), number(count)) {
            (before, now) if before == now => now.to_string(),
            (before, now) => format!("{before} → {now}"),
        };
        let cells =
            [cell(|count| count.wrong_allows), cell(|count| count.wrong_denials), cell(|count| count.left_open)];
        let _ = writeln!(text, "| {what} | {history} | {} |", cells.join(" | "));
    }
    text
}
