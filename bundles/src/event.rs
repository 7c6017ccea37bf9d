//! Events: what the kernel programs report of a denial, one record each in a ring buffer of fixed size.
//!
//! **Invariant:** a record has no padding, so that it discloses no kernel memory.

use crate::label::ProgramId;
use crate::record::{Record, record};

record! {
    /// One event.
    #[derive(Default)]
    Event: 80 {
        /// The time since boot in nanoseconds, including suspend.
        since_boot: u64,
        /// The program that made the request, by its id. 0 if the policy does not name it.
        program: ProgramId,
        /// The first half of the address, with IPv4 as IPv6 (`::ffff:a.b.c.d`).
        high: u64,
        /// The second half of the address.
        low: u64,
        /// The process ID, as the host numbers it. 0 for a packet, which cannot be attributed to a process.
        process: u32,
        /// The user ID, as the host numbers it.
        user: u32,
        /// The rule that decided, or [`NO_RULE`](crate::record::NO_RULE).
        rule: u32,
        /// The flags of the task's label.
        label: u32,
        /// A [`Kind`] by number.
        kind: u16,
        /// A [`Reason`](crate::decide::Reason) by number, if the tables decided.
        reason: u16,
        /// The port.
        port: u16,
        /// The protocol, as in an IP header.
        protocol: u16,
        /// The thread's name, padded with zeros.
        thread: [u8; 16],
        /// How many events like this one were suppressed before it by the rate limit.
        held: u64,
    }
}

impl Event {
    /// The size in bytes of what every release writes and reads: the members before `held`. A later release appends.
    pub const PREFIX: usize = 72;

    /// Reads a record that a program of any release wrote. One of an earlier release has no `held`; one of a later
    /// release has more, which is ignored. `None` if it is too short.
    pub fn of_any_release(record: &[u8]) -> Option<Event> {
        match <[u8; Event::PREFIX]>::try_from(record) {
            Ok(prefix) => {
                let mut whole = [0; Event::SIZE];
                *whole.first_chunk_mut()? = prefix;
                Event::read_from(&whole)
            }
            Err(_) => Event::read_from(record),
        }
    }
}

const _: () = assert!(core::mem::offset_of!(Event, held) == Event::PREFIX);

/// What was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A request.
    Request = 1,
    /// Nothing: an audited rule would deny this request.
    Audited = 2,
    /// A raw or packet socket, or a TUN device.
    Raw = 3,
    /// A packet to another destination than the judged one.
    Packet = 4,
    /// A kind of socket or address that cannot be judged.
    Unjudged = 5,
    /// A socket option that puts another destination on the wire.
    Option = 6,
    /// An action that requires a label, but the task has none: there was no memory for one, or the kernel did not find
    /// it.
    NoLabel = 7,
    /// Tracing a protected program or a less restricted one, or accessing its memory or descriptors.
    Access = 8,
    /// Mapping for execution a file that is not pinned for the program.
    Mapping = 9,
    /// Changing a policy under lockdown.
    Locked = 10,
    /// An answer to a client, on an accepted connection.
    Answer = 11,
}

impl Kind {
    /// Every kind, ordered by number.
    pub const ALL: [Kind; 11] = [
        Kind::Request,
        Kind::Audited,
        Kind::Raw,
        Kind::Packet,
        Kind::Unjudged,
        Kind::Option,
        Kind::NoLabel,
        Kind::Access,
        Kind::Mapping,
        Kind::Locked,
        Kind::Answer,
    ];

    /// From its number.
    pub fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}
