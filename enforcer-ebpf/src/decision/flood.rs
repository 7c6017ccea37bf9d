//! A limit on events: whoever repeats what is refused must not fill the ring, or nobody reads what others were refused
//! meanwhile.
//!
//! Two streams are limited, each for a second at a time: the events of one program about one destination, which a
//! client in a loop makes, and those of one process, which a scan makes. What is held back is refused and counted all
//! the same, and the next event of the stream that is told says how many there were.

use aya_ebpf::{
    bindings::BPF_NOEXIST, btf_maps::LruHashMap, helpers::generated::bpf_ktime_get_boot_ns, macros::btf_map,
};
use bfp_bundle::label::ProgramId;

use crate::decision::counters::count_held;
use crate::kernel::asm;

/// A second, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;

/// How many events of a program about one destination are told in a period. The port is not part of it: a scan of
/// ports is one stream.
const DESTINATION_MAX: u64 = 8;

/// How many events of a process are told in a period.
const PROCESS_MAX: u64 = 256;

/// As `kind`, where a stream is that of a process. No kind of event has the number.
const OF_PROCESS: u64 = u64::MAX;

/// In place of a number of events: this one is held back.
pub const HOLD: u64 = u64::MAX;

/// What is limited together.
#[repr(C)]
struct Stream {
    /// The program, or the process.
    of: u64,
    high: u64,
    low: u64,
    kind: u64,
}

/// What was told of it.
#[repr(C)]
struct Told {
    /// When the period began.
    since: u64,
    /// In this period.
    told: u64,
    /// How many were held back since the last one that was told.
    held: u64,
}

/// Some half a megabyte. Where there are more streams than it has room for, those that are silent longest are forgotten,
/// and what was held back of them is in `status` alone.
#[btf_map]
static STREAMS: LruHashMap<Stream, Told, 4096> = LruHashMap::new();

/// Whether to tell of what a program was refused: how many events before this one were held back, or [`HOLD`] to hold
/// this one back as well. `kind` is a [`Kind`](bfp_bundle::event::Kind) by number; `process` is 0 where none is known.
///
/// A function of its own, as those in [`crate::decision::verdict`] are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn admit(program: ProgramId, high: u64, low: u64, kind: u64, process: u64) -> u64 {
    let to_destination = limit(&Stream { of: program, high, low, kind }, DESTINATION_MAX, 0);
    if to_destination == HOLD || process == 0 {
        return to_destination;
    }
    let of_process = limit(&Stream { of: process, high: 0, low: 0, kind: OF_PROCESS }, PROCESS_MAX, to_destination);
    if of_process == HOLD { HOLD } else { to_destination + of_process }
}

/// How many were held back of a stream, or [`HOLD`]. Where this event is held back, the stream has `besides` to tell
/// too: what was held back of another one, which this event would have told.
///
/// Processors that count at the same time may tell a few more than the limit. No sum is told twice.
#[inline(always)]
fn limit(stream: &Stream, max: u64, besides: u64) -> u64 {
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(told) = STREAMS.get_ptr_mut(stream) else {
        // Where it cannot be kept, it is told.
        let _ = STREAMS.insert(stream, Told { since: now, told: 1, held: 0 }, BPF_NOEXIST.into());
        return 0;
    };
    // SAFETY: the map's own memory.
    unsafe {
        if now.wrapping_sub((*told).since) >= PERIOD {
            (*told).since = now;
            (*told).told = 0;
        }
        if (*told).told >= max {
            asm::add(&raw mut (*told).held, 1 + besides);
            count_held();
            return HOLD;
        }
        (*told).told += 1;
        asm::take(&raw mut (*told).held)
    }
}
