//! From a request to a verdict, by the tables alone, and what is counted and reported of it.

/// Verdicts, by the tables.
pub mod verdict;

/// Which sockets can be judged by the requests that they send.
pub mod socket_kind;

/// From a socket call to its requests and their verdicts.
pub mod socket;

/// Counters.
pub mod counters;

/// The rate limit of events.
pub mod flood;

/// Events: the reports of denials.
pub mod events;
