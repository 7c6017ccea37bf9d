//! The page of numbers that the probers and their watcher share. A prober writes how many rounds it has completed and
//! what got through; the watcher writes the current moment, and whether attempts are meant to get through.
//!
//! **Invariant:** every number is written by one side alone, and a prober never waits.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

/// The most probers.
pub(crate) const PROBERS: usize = 8;

const WORDS: usize = 16 + PROBERS * SLOT;
const SLOT: usize = 16;

/// What the watcher writes.
const STOP: usize = 0;
const MOMENT: usize = 1;
const CONTROL: usize = 2;

/// What a prober writes, in its slot.
const ROUNDS: usize = 0;
const ATTEMPTS: usize = 1;
const THROUGH: usize = 2;
const FIRST_MOMENT: usize = 3;
const FIRST_ATTEMPT: usize = 4;
const FIRST_ANSWER: usize = 5;
const CONTROLLED: usize = 6;

/// The page.
#[derive(Clone, Copy)]
pub(crate) struct Board {
    words: &'static [AtomicU64],
}

/// Forbidden attempts of a prober that got through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// How many there were.
    pub(crate) times: u64,
    /// The moment of the first.
    pub(crate) moment: u64,
    /// The attempt that it was.
    pub(crate) attempt: u64,
    /// The errno of its answer; 0 if the kernel accepted it.
    pub(crate) answer: u64,
}

impl Board {
    /// Creates a page of zeros.
    pub(crate) fn make(path: &Path) -> io::Result<Board> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len((WORDS * size_of::<u64>()) as u64)?;
        Board::map(&file)
    }

    /// Opens the page that the watcher created.
    pub(crate) fn open(path: &Path) -> io::Result<Board> {
        Board::map(&File::options().read(true).write(true).open(path)?)
    }

    fn map(file: &File) -> io::Result<Board> {
        let bytes = WORDS * size_of::<u64>();
        if file.metadata()?.len() != bytes as u64 {
            return Err(io::Error::other("no board"));
        }
        let length = NonZero::new(bytes).ok_or_else(|| io::Error::other("no words"))?;
        // SAFETY: a new shared mapping of a file of this length, which lasts until the process ends; all who map it
        // treat every word of it as atomic.
        #[expect(unsafe_code, reason = "processes share memory by mmap(2) alone")]
        let words = unsafe {
            let place =
                mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, file, 0)?;
            std::slice::from_raw_parts(place.cast::<AtomicU64>().as_ptr(), WORDS)
        };
        Ok(Board { words })
    }

    fn read(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    fn write(&self, word: usize, value: u64) {
        if let Some(word) = self.words.get(word) {
            word.store(value, Ordering::SeqCst);
        }
    }

    /// Sets the current moment.
    pub(crate) fn set_moment(&self, moment: u64) {
        self.write(MOMENT, moment);
    }

    /// Sets whether attempts are meant to get through from now on.
    pub(crate) fn set_control(&self, is_control: bool) {
        self.write(CONTROL, is_control.into());
    }

    pub(crate) fn is_control(&self) -> bool {
        self.read(CONTROL) != 0
    }

    /// Ends the probers.
    pub(crate) fn stop(&self) {
        self.write(STOP, 1);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.read(STOP) != 0
    }

    pub(crate) fn rounds(&self, prober: usize) -> u64 {
        self.read(slot(prober, ROUNDS))
    }

    pub(crate) fn attempts(&self, prober: usize) -> u64 {
        self.read(slot(prober, ATTEMPTS))
    }

    /// Forbidden attempts that got through, if there were any.
    pub(crate) fn window(&self, prober: usize) -> Option<Window> {
        let times = self.read(slot(prober, THROUGH));
        (times > 0).then(|| Window {
            times,
            moment: self.read(slot(prober, FIRST_MOMENT)),
            attempt: self.read(slot(prober, FIRST_ATTEMPT)),
            answer: self.read(slot(prober, FIRST_ANSWER)),
        })
    }

    /// Which attempts got through while they were meant to: one bit for each.
    pub(crate) fn controlled(&self, prober: usize) -> u64 {
        self.read(slot(prober, CONTROLLED))
    }

    /// Records one attempt of a prober: `answer` is its errno, `None` if it was denied.
    pub(crate) fn note(&self, prober: usize, attempt: usize, is_control: bool, answer: Option<u64>) {
        let at = |field| slot(prober, field);
        self.write(at(ATTEMPTS), self.read(at(ATTEMPTS)) + 1);
        let Some(answer) = answer else { return };
        if is_control {
            self.write(at(CONTROLLED), self.read(at(CONTROLLED)) | 1 << attempt);
            return;
        }
        if self.read(at(THROUGH)) == 0 {
            self.write(at(FIRST_MOMENT), self.read(MOMENT));
            self.write(at(FIRST_ATTEMPT), attempt as u64);
            self.write(at(FIRST_ANSWER), answer);
        }
        self.write(at(THROUGH), self.read(at(THROUGH)) + 1);
    }

    /// Records that a prober has tried everything once.
    pub(crate) fn note_round(&self, prober: usize) {
        self.write(slot(prober, ROUNDS), self.rounds(prober) + 1);
    }
}

fn slot(prober: usize, field: usize) -> usize {
    16 + prober * SLOT + field
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_window_is_told_with_the_moment_at_which_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let watcher = Board::make(&path).unwrap();
        let prober = Board::open(&path).unwrap();
        watcher.set_moment(7);
        prober.note(1, 3, false, None);
        assert_eq!((watcher.attempts(1), watcher.window(1)), (1, None));
        prober.note(1, 3, false, Some(111));
        watcher.set_moment(8);
        prober.note(1, 4, false, Some(0));
        assert_eq!(watcher.window(1), Some(Window { times: 2, moment: 7, attempt: 3, answer: 111 }));
        assert_eq!(watcher.window(0), None);
    }

    #[test]
    fn what_is_meant_to_be_let_through_is_no_window() {
        let folder = tempfile::tempdir().unwrap();
        let board = Board::make(&folder.path().join("board")).unwrap();
        board.note(0, 2, true, Some(0));
        board.note(0, 5, true, None);
        assert_eq!((board.window(0), board.controlled(0)), (None, 1 << 2));
    }
}
