//! DNS names, and the lock file with their addresses.
//!
//! Enters: the names of a policy, and answers of resolvers or a lock file. Leaves: addresses, and how each was found.
//! Only [`dns`] touches sockets; a build reads the lock file and queries no resolver.

pub mod dns_name;

pub mod lock;

pub mod dns;
