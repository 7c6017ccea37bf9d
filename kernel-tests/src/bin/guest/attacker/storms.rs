//! So many calls that they collide within the kernel: one success in a thousand is enough.
#![expect(unsafe_code, reason = "fork, and tracing")]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::Technique;
use crate::aim::{Aim, Transport};
use crate::named;
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] =
    &[("storm-of-sends", of_sends), ("storm-of-forks", of_forks), ("storm-and-trace", and_trace)];

/// How long a storm lasts. On the kernels where one succeeds, it did so within the first second.
const LASTS: Duration = Duration::from_secs(2);
const THREADS: u32 = 8;

/// One attempt, by a new socket. A failure is not waited for.
fn attempt(aim: &Aim) -> Result<(), Refused> {
    match aim.transport {
        Transport::Tcp => named::connect(aim),
        Transport::Udp => {
            let socket: OwnedFd = sys::open(aim)?;
            let name = Name::of(aim.forbidden);
            (0..50).map(|_| sys::sendto(&socket, sys::MESSAGE, 0, &name)).fold(Err(refused()), Result::or)
        }
    }
}

fn refused() -> Refused {
    Refused::new("every call", libc::EPERM)
}

/// Repeats attempts in threads while `then` runs, which gets the number of successful ones.
fn amid_attempts<T>(aim: &Aim, then: impl FnOnce(&AtomicU32) -> T) -> T {
    let (ends, through) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // One success is proof enough; more would only keep the sniffer busy.
                while !ends.load(Ordering::Relaxed) && through.load(Ordering::Relaxed) == 0 {
                    through.fetch_add(attempt(aim).is_ok().into(), Ordering::Relaxed);
                }
            });
        }
        let done = then(&through);
        ends.store(true, Ordering::Relaxed);
        done
    })
}

fn of_sends(aim: &Aim) -> Result<(), Refused> {
    let end = Instant::now() + LASTS;
    amid_attempts(aim, |through| {
        while Instant::now() < end && through.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        if through.load(Ordering::Relaxed) == 0 { Err(refused()) } else { Ok(()) }
    })
}

/// Children that are created in the storm: one without a label would have no restrictions.
fn of_forks(aim: &Aim) -> Result<(), Refused> {
    let end = Instant::now() + LASTS;
    let noise = || {
        while Instant::now() < end {
            let _refused = attempt(aim);
        }
        false
    };
    // If there is no memory for its label, a child is not created, and the storm continues.
    let noise: Vec<i32> = std::iter::repeat_with(|| in_child(noise).ok())
        .take_while(|_| Instant::now() < end)
        .flatten()
        .take(6)
        .collect();
    let mut outcome = Err(refused());
    let mut unborn = None;
    let mut has_borne = false;
    while Instant::now() < end && outcome.is_err() {
        let child = match in_child(|| (0..20).all(|_| attempt(aim).is_ok())) {
            Ok(child) => child,
            Err(error) => {
                unborn = Some(error);
                continue;
            }
        };
        has_borne = true;
        if ended_well(child) {
            outcome = Ok(());
        }
    }
    noise.into_iter().for_each(|child| {
        ended_well(child);
    });
    match unborn {
        Some(error) if !has_borne => Err(error),
        _ => outcome,
    }
}

/// Runs a closure in a child, whose status reports the outcome.
fn in_child(what: impl FnOnce() -> bool) -> Result<i32, Refused> {
    // SAFETY: this program has one thread here.
    match sys::check("fork", unsafe { libc::fork() }.into())? {
        0 => std::process::exit(if what() { 0 } else { 1 }),
        child => Ok(child as i32),
    }
}

fn ended_well(child: i32) -> bool {
    let mut status = 1;
    // SAFETY: a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, 0) == child && status == 0 }
}

/// Requests to trace the victim, again and again.
fn and_trace(aim: &Aim) -> Result<(), Refused> {
    let victim: i32 = std::env::var("BFP_VICTIM")
        .ok()
        .and_then(|value| value.parse().ok())
        .ok_or(Refused::new("environment", libc::ENOENT))?;
    let end = Instant::now() + LASTS;
    amid_attempts(aim, |_| {
        loop {
            let nothing = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: takes numbers and null pointers.
            let attached = sys::check("ptrace", unsafe { libc::ptrace(libc::PTRACE_ATTACH, victim, nothing, nothing) });
            match attached {
                Err(refused) if refused.is(libc::EPERM) && Instant::now() < end => {}
                other => return other.map(drop),
            }
        }
    })
}
