//! The probers, and what they have seen. What enters: which program tries what. What leaves: a message for each program
//! that got through. What always holds: a prober that hangs is an error, not silence.

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

/// A prober to start.
pub(crate) struct Wanted<'a> {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// The program that it runs as.
    pub(crate) program: &'a str,
    /// The program that starts it, and exits at once.
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

/// The running probers.
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

    /// Sets the current moment.
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
            // The current round began before now; the next one did not.
            let late = before.iter().enumerate().find(|(slot, rounds)| self.board.rounds(*slot) < *rounds + 2);
            let Some((slot, _)) = late else { return Ok(()) };
            if started.elapsed() > LIMIT {
                let name = self.probers.get(slot).map_or("?", |prober| prober.name);
                return Err(format!("the prober `{name}` stands still"));
            }
            sleep(PAUSE);
        }
    }

    /// Forbidden attempts that got through.
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

    /// How many attempts were denied or let through.
    pub(crate) fn attempts(&self) -> u64 {
        (0..self.probers.len()).map(|slot| self.board.attempts(slot)).sum()
    }

    /// Sets whether attempts are meant to get through from now on.
    pub(crate) fn control(&self, is_control: bool) {
        self.board.set_control(is_control);
    }

    /// Checks that each prober saw each of its attempts get through while they were meant to.
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
            // One that another program started is not a child of this process, and ends by itself.
            let _ended = prober.child.wait();
        }
        let _gone = std::fs::remove_file(&self.path);
    }
}
