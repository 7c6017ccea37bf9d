//! DNS names and the lock file that says what each resolved to.
//!
//! Enters: names of a policy, and the answers of resolvers or of a lock file. Leaves: addresses, each with how it was
//! found. Sockets are touched in [`dns`] alone; a build reads the lock file and asks no resolver.

pub mod dns_name;

pub mod lock;

pub mod dns;
