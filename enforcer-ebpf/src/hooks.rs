//! The programs that the kernel calls, one file for each of the kernel's objects.
//!
//! All deciding hooks have the same form: honour an earlier denial, build a request from what the kernel holds (never
//! from user memory), decide, count.

/// The identity of a process, noted at exec.
mod exec;

/// What a process may do with sockets, and which task uses a socket.
mod socket;

/// The real destinations of packets.
mod packet;

/// Protection of these programs and of protected programs from circumvention.
mod protect;

/// Lockdown; and the query for the identity of files while a policy is applied.
mod lockdown;
