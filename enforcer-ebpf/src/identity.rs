//! Who a process is, whose a socket is, and which file is meant.

/// Which file it is.
pub mod files;

/// The name of a file, from the host's root.
pub mod names;

/// Whether a file has a pinned content.
pub mod content;

/// Labels in task storage.
pub mod labels;

/// Labels in socket storage: who uses a socket.
pub mod owners;

/// Which processes are the enforcer's own.
pub mod enforcers;

/// Who must not be reached into, and who executes nothing that is not pinned.
pub mod guard;

/// What a locked policy guards.
pub mod locked;
