//! The identity of processes, socket users and files.

/// The inode of a file.
pub mod files;

/// The name of a file, from the host's root.
pub mod names;

/// The unit of systemd in which a task runs.
pub mod units;

/// Open files that send without asking.
pub mod descriptors;

/// Whether a file has a pinned content.
pub mod content;

/// Labels in task storage.
pub mod labels;

/// Labels in socket storage: the users of sockets.
pub mod owners;

/// The enforcer's own processes.
pub mod enforcers;

/// Protected programs, and programs with pinned libraries.
pub mod guard;

/// What lockdown guards.
pub mod locked;
