//! The programs that the kernel calls, one object of the kernel's a file.
//!
//! Each of the deciding hooks reads alike: honour an earlier refusal, build a request from what the kernel holds (never
//! from user memory), decide, count.

/// Who a process is: noted when it executes a program.
mod exec;

/// What a process may do with sockets, and whose a socket is.
mod socket;

/// Where packets really go.
mod packet;

/// That nothing gets around these programs.
mod protect;

/// That root cannot take a policy under lockdown apart; and what is asked while a policy is applied.
mod lockdown;
