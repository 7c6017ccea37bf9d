//! What the compiler, the enforcer and the kernel programs share.
//!
//! In reading order: the request ([`request`]), the process that makes it ([`label`], [`identity`]), what lockdown
//! guards ([`lockdown`]), the tables of a policy ([`record`]), the function that decides ([`decide`]), the program that
//! a file is ([`names`]), what is requested by a socket, an address and a packet ([`socket_kind`], [`sockaddr`],
//! [`packet`]), and the events that the kernel reports ([`event`]). These are `no_std`, without a dependency, an
//! allocation or a panic, and the kernel programs use them unchanged.
//!
//! The feature `bundle` adds the file that carries the tables to a host: `image`, `manifest`, `key`, `envelope`,
//! `verify`; and `unverified`, for display only. The feature `sign` adds what makes such files, which no host needs:
//! `secret_key`, `seal`.
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

pub mod socket_kind;

pub mod sockaddr;

pub mod packet;

pub mod event;

pub mod counter;

mod kernel_member;

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
