//! What the compiler, the enforcer and the kernel programs agree on.
//!
//! In reading order: what is asked ([`request`]), who asks ([`label`], [`identity`]), what a locked policy
//! guards ([`lockdown`]), the tables that a policy
//! becomes ([`record`]), the one function that answers ([`decide`]), which program a file is ([`names`]), and
//! what the kernel tells ([`event`]). These are `no_std` without a dependency, an allocation or a panic, and the kernel programs
//! use them as they are.
//! The feature `bundle` adds the file that carries the tables to a host: `image`, `manifest`, `key`,
//! `envelope`, `verify`; and `unverified`, which only shows it. The feature `sign` adds how such files are
//! made, which no host needs: `secret_key`, `seal`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "bundle", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod request;

pub mod label;

pub mod identity;

pub mod lockdown;

pub mod record;

pub mod decide;

pub mod names;

pub mod event;

#[cfg(feature = "bundle")]
pub mod buckets;

#[cfg(feature = "bundle")]
mod bounded;

#[cfg(feature = "bundle")]
pub mod image;

#[cfg(feature = "bundle")]
pub mod manifest;

#[cfg(feature = "bundle")]
pub mod key;

#[cfg(feature = "bundle")]
pub mod envelope;

#[cfg(feature = "bundle")]
pub mod verify;

#[cfg(feature = "bundle")]
pub mod unverified;

#[cfg(feature = "bundle")]
pub mod debug;

#[cfg(feature = "sign")]
pub mod secret_key;

#[cfg(feature = "sign")]
pub mod seal;
