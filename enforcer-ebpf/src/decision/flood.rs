//! The rate limit of events: a process that repeats denied requests must not fill the ring buffer, or the denials of
//! other processes are lost meanwhile.
//!
//! Two streams are limited, each for a second at a time: the events of one program about one destination, as a client
//! in a loop makes them, and those of one process, as a scan makes them. A suppressed event is still a denial and is
//! counted, and the next reported event of its stream says how many there were.

use aya_ebpf::{
    bindings::BPF_NOEXIST, btf_maps::LruHashMap, helpers::generated::bpf_ktime_get_boot_ns, macros::btf_map,
};
use bfp_bundle::label::ProgramId;

use crate::decision::counters::count_held;
use crate::kernel::asm;

/// A second, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;

/// How many events of a program about one destination are reported in a period. The port does not matter: a scan of
/// ports is one stream.
const DESTINATION_MAX: u64 = 8;

/// How many events of a process are reported in a period.
const PROCESS_MAX: u64 = 256;

/// The `kind` of a process's stream. No kind of event has this number.
const OF_PROCESS: u64 = u64::MAX;

/// In place of a number of events: suppress this one.
pub const HOLD: u64 = u64::MAX;

/// The key of a stream.
#[repr(C)]
struct Stream {
    /// The program, or the process.
    of: u64,
    high: u64,
    low: u64,
    kind: u64,
}

/// The state of a stream.
#[repr(C)]
struct Told {
    /// When the period began, in nanoseconds since boot.
    since: u64,
    /// How many events were reported in this period.
    told: u64,
    /// How many were suppressed since the last reported one.
    held: u64,
}

/// About half a megabyte. If there are more streams than fit, the least recently used ones are evicted, and their
/// suppressed events appear in `status` alone.
#[btf_map]
static STREAMS: LruHashMap<Stream, Told, 4096> = LruHashMap::new();

/// Whether to report an event of a program: the number of suppressed events before it, or [`HOLD`] to suppress it too.
/// `kind` is a [`Kind`](bfp_bundle::event::Kind) by number; `process` is 0 if unknown.
///
/// A separate function, as in [`crate::decision::verdict`].
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

/// How many events of a stream were suppressed, or [`HOLD`]. If this event is suppressed, `besides` is added to the
/// stream's count: the suppressed events of another stream, which this event would have reported.
///
/// Processors that count at the same time may report a few more than the limit. No count is reported twice.
#[inline(always)]
fn limit(stream: &Stream, max: u64, besides: u64) -> u64 {
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(told) = STREAMS.get_ptr_mut(stream) else {
        // If the stream cannot be stored, the event is reported.
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
