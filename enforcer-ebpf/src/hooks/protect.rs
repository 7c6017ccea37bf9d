//! Protected programs and the switches of the kernel.

mod libraries;
mod ptrace;
mod sysctl;
