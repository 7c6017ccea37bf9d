//! What enters: the output of a guest, in pieces as it comes. What leaves: its complete lines on standard error at
//! once, each with the name of its kernel, so that guests can run side by side; and at the end the slowest lines, and
//! the total time by first words, since `ok  table …` and `ok  attack …` are many short lines.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::command::say;

/// How many of the slowest lines are kept.
const SLOWEST: usize = 12;

/// How long all lines with one first word must take to be reported.
const LONG: Duration = Duration::from_secs(30);

/// The lines of one guest.
pub struct Progress {
    kernel: String,
    tells: fn(&str) -> bool,
    begun: Instant,
    last: Instant,
    rest: Vec<u8>,
    slowest: Vec<(Duration, String)>,
    by_word: BTreeMap<String, Duration>,
}

impl Progress {
    /// The progress of a guest of this kernel; `tells` selects the lines that are printed.
    #[must_use]
    pub fn new(kernel: &str, tells: fn(&str) -> bool) -> Self {
        let now = Instant::now();
        Self {
            kernel: kernel.to_owned(),
            tells,
            begun: now,
            last: now,
            rest: Vec::new(),
            slowest: Vec::new(),
            by_word: BTreeMap::new(),
        }
    }

    /// Prints how long the guest took, and its slowest lines.
    pub fn close(&self) {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let mut words: Vec<_> = self.by_word.iter().filter(|(_, time)| **time >= LONG).collect();
        words.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let words: Vec<String> = words.into_iter().map(|(word, time)| format!("{word} {}", seconds(*time))).collect();
        let all = seconds(self.begun.elapsed());
        let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
        say(&format!("{:>5}  {all} in all{words}; the slowest:", self.kernel));
        for (time, line) in &self.slowest {
            say(&format!("{:>5}  {:>8}  {line}", self.kernel, seconds(*time)));
        }
    }

    fn line(&mut self, line: &str) {
        if (self.tells)(line) {
            say(&format!("{:>5}  {line}", self.kernel));
        }
        let now = Instant::now();
        let word = line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':');
        *self.by_word.entry(word.to_owned()).or_default() += now - self.last;
        self.slowest.push((now - self.last, line.chars().take(100).collect()));
        self.slowest.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        self.slowest.truncate(SLOWEST);
        self.last = now;
    }
}

impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
