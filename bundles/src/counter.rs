//! What the kernel programs count, by its index in their map `VERDICTS`.
//!
//! The first counters are requests, each at the number of its [`Reason`](crate::decide::Reason); the constants below
//! count other things.

/// Requests that are allowed, and that an audited rule would deny. Counted at their reason too.
pub const AUDITED: u32 = 8;

/// Packets that the egress filter dropped.
pub const DROPPED: u32 = 9;

/// Events for which the ring buffer had no room.
pub const LOST: u32 = 10;

/// Events that were held back, because there were many of their kind.
pub const HELD: u32 = 11;

/// The number of counters.
pub const COUNTERS: u32 = 12;
