//! What enters: a destination, and a pause. What leaves: lines `FIRST LAST COUNT ANSWER`, one for each series of equal
//! answers, with the times of its first and last try in milliseconds since boot. What always holds: a series is printed
//! when its answer changes, or after a quarter of a second, so that a killed process has printed nearly all; the first
//! of another answer is printed at once.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::command::{println_now, word_for};
use crate::traffic::{self, How, Journey};

/// How long a series lasts at most, in milliseconds.
const SERIES: i64 = 250;

struct Series {
    first: i64,
    last: i64,
    count: u64,
    answer: &'static str,
}

impl Series {
    fn tell(&self) {
        println_now(&format!("{} {} {} {}", self.first, self.last, self.count, self.answer));
    }
}

/// Tries alternately over TCP and UDP, until it is killed.
pub(crate) fn run(pause: Duration, to: SocketAddr) -> ExitCode {
    let mut series: Option<Series> = None;
    let mut before = "";
    for how in [How::Tcp, How::Sendto].into_iter().cycle() {
        let now = milliseconds();
        let answer = word_for(traffic::send(how, &Journey { to, bind: None, via: None }));
        match &mut series {
            Some(series) if series.answer == answer => {
                series.last = now;
                series.count += 1;
            }
            _ => {
                series.take().iter().for_each(Series::tell);
                series = Some(Series { first: now, last: now, count: 1, answer });
            }
        }
        let over = series.take_if(|series| answer != before || series.last - series.first >= SERIES);
        over.iter().for_each(Series::tell);
        before = answer;
        std::thread::sleep(pause);
    }
    ExitCode::SUCCESS
}

fn milliseconds() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
