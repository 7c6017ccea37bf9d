//! The probers, and what they have seen. What enters: which program tries what. What leaves: a sentence for each
//! that something was let through to. What always holds: a prober that stands still is an error, not silence.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::board::{Board, PROBERS};
use crate::prober;

/// A round takes milliseconds, and on a busy machine some hundred.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_micros(200);

/// A prober that is to be started.
pub(crate) struct Wanted<'a> {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// The program that it is,
    pub(crate) program: &'a str,
    /// and the one that starts it, and ends at once.
    pub(crate) by: Option<&'a str>,
    pub(crate) aims: Vec<SocketAddr>,
    pub(crate) connections: Vec<RawFd>,
}

struct Prober {
    name: &'static str,
    aims: Vec<SocketAddr>,
    connections: usize,
    child: Child,
}

/// Everybody who tries.
pub(crate) struct Watch {
    board: Board,
    path: PathBuf,
    probers: Vec<Prober>,
    moments: RefCell<Vec<String>>,
}

impl Watch {
    /// Starts the probers, and waits until each has tried everything.
    pub(crate) fn start(path: &Path, wanted: Vec<Wanted<'_>>) -> Result<Watch, String> {
        let board = Board::make(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut watch = Watch { board, path: path.to_owned(), probers: Vec::new(), moments: RefCell::default() };
        if wanted.len() > PROBERS {
            return Err(format!("the board has room for {PROBERS} probers"));
        }
        watch.moment("at the start");
        for (slot, one) in wanted.into_iter().enumerate() {
            let child = prober::start(one.program, one.by, path, slot, &one.aims, &one.connections)?;
            let connections = one.connections.len();
            watch.probers.push(Prober { name: one.name, aims: one.aims, connections, child });
        }
        watch.hold()?;
        Ok(watch)
    }

    /// Says what happens from now on.
    pub(crate) fn moment(&self, text: &str) {
        let mut moments = self.moments.borrow_mut();
        self.board.set_moment(moments.len() as u64);
        moments.push(text.to_owned());
    }

    /// Waits until every prober has begun and ended a round since now.
    pub(crate) fn hold(&self) -> Result<(), String> {
        let started = Instant::now();
        let before: Vec<u64> = (0..self.probers.len()).map(|slot| self.board.rounds(slot)).collect();
        loop {
            // The round that is under way began before now; the one behind it did not.
            let late = before.iter().enumerate().find(|(slot, rounds)| self.board.rounds(*slot) < *rounds + 2);
            let Some((slot, _)) = late else { return Ok(()) };
            if started.elapsed() > LIMIT {
                let name = self.probers.get(slot).map_or("?", |prober| prober.name);
                return Err(format!("the prober `{name}` stands still"));
            }
            sleep(PAUSE);
        }
    }

    /// What was let through that was to be refused.
    pub(crate) fn windows(&self) -> Vec<String> {
        let moments = self.moments.borrow();
        let seen = self.probers.iter().enumerate().filter_map(|(slot, prober)| {
            let window = self.board.window(slot)?;
            let moment = moments.get(window.moment as usize).map_or("?", String::as_str);
            let attempt = prober::describe(&prober.aims, prober.connections, window.attempt);
            let answer = std::io::Error::from_raw_os_error(window.answer as i32);
            let answer = if window.answer == 0 { "it was sent".to_owned() } else { answer.to_string() };
            let (name, times) = (prober.name, window.times);
            Some(format!("{name} was let through {times} times, first {moment}: {attempt}: {answer}"))
        });
        seen.collect()
    }

    /// How often somebody was refused or let through.
    pub(crate) fn attempts(&self) -> u64 {
        (0..self.probers.len()).map(|slot| self.board.attempts(slot)).sum()
    }

    /// From now on it is, or is no longer, meant that things are let through.
    pub(crate) fn control(&self, is_control: bool) {
        self.board.set_control(is_control);
    }

    /// Whether each prober saw each of its attempts let through while that was meant to be.
    pub(crate) fn could_see(&self) -> Result<(), String> {
        for (slot, prober) in self.probers.iter().enumerate() {
            let wanted = 2 * prober.aims.len() + prober.connections;
            let seen = self.board.controlled(slot);
            if let Some(blind) = (0..wanted as u64).find(|attempt| seen & 1 << attempt == 0) {
                let attempt = prober::describe(&prober.aims, prober.connections, blind);
                return Err(format!("{} did not notice that nothing was enforced: {attempt}", prober.name));
            }
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.stop();
        for prober in &mut self.probers {
            // One that another program started is nobody's child here, and ends by itself.
            let _ended = prober.child.wait();
        }
        let _gone = std::fs::remove_file(&self.path);
    }
}
