//! From a request to a verdict, by the tables alone, and what is counted and reported of it.

/// Verdicts, by the tables.
pub mod verdict;

/// Which sockets can be judged by their sends.
pub mod socket_kind;

/// From a socket call to the requests that it makes, and their verdicts.
pub mod socket;

/// What is counted.
pub mod counters;

/// A limit on what is reported.
pub mod flood;

/// What is reported of a denial.
pub mod events;
