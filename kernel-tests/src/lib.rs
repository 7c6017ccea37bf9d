//! Runs commands as root under stock Debian kernels, in QEMU without a network card.
//!
//! In: a kernel that `setup.sh` fetched ([`Kernel::find`]), host files and a command ([`Guest`]).
//! Out: the command's exact output and exit status ([`Outcome`]), or why there is none ([`Failure`]).
//! Always: nothing on the host is changed, no guest outlives its runner, and a guest that breaks is a
//! [`Failure`] with the kernel's console, never an outcome.
//!
//! ```no_run
//! # use bfp_kernel_tests::{Guest, Kernel, Failure};
//! # fn main() -> Result<(), Failure> {
//! let kernel = Kernel::find("6.12")?;
//! let outcome = Guest::new(&kernel).file("/usr/bin/openssl", "/bin/openssl").run("openssl version")?;
//! assert_eq!(outcome.status, 0);
//! # Ok(())
//! # }
//! ```

pub mod attack;
pub mod command;
mod cpio;
mod debian;
mod disk;
pub mod entries;
mod failure;
pub mod guest;
mod kernel;
mod machine;
mod module;
pub mod network;
pub mod objects;
pub mod ordinary;
pub mod progress;
pub mod rules;
mod vmlinux;
mod workshop;

pub use debian::Debian;
pub use failure::Failure;
pub use guest::{Guest, Outcome};
pub use kernel::Kernel;
