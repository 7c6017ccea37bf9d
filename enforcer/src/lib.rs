//! The enforcer: a signed bundle enters, and the kernel enforces it.
//!
//! In reading order: what the host offers ([`host`]), the layout of its kernel ([`btf`], [`offsets`]),
//! what it reads from outside ([`input`]): whom it trusts ([`trust`]), what it is called ([`labels`]); what it
//! remembers on disk ([`state`]), what is left where that is damaged ([`remains`]) and what it knows altogether
//! ([`memory`]), and whether a bundle may follow that ([`admission`]); the kernel functions that the programs call
//! ([`kfunc`]), what executables may contain ([`content`]), the host's folders ([`folders`]) and the further names that
//! its symbolic links give to programs ([`links`]), the programs and their tables ([`load`]), which file one is
//! ([`learn`]), what of a policy does not hold here ([`lack`]), whether the kernel asks at all ([`canary`]), what stays in
//! force ([`pins`], [`about`]) and who may end it ([`lockdown`]), all of it in order ([`apply`]), unless nothing would
//! change ([`unchanged`]); what it says, and how it shows what a file says ([`shown`])
//! ([`status`], for which [`health`] looks whether all is as it was applied, [`events`], [`doctor`]), and what it waits
//! for: the symbolic links that it followed ([`followed`], [`watch`]).
//!
//! **Invariant:** nothing here takes bytes that [`bfp_bundle::verify`] has not passed, and the programs
//! for the kernel come as an argument, so that this library builds without them.

/// System calls that neither std nor aya offers: the only file with unsafe code.
mod syscall;

pub mod host;

pub mod btf;

pub mod offsets;

pub mod input;

pub mod trust;

pub mod labels;

pub mod admission;

mod fields;

pub mod state;

pub mod remains;

pub mod memory;

mod kfunc;

pub mod lack;

pub mod content;

pub mod folders;

pub mod links;

pub mod load;

pub mod learn;

pub mod canary;

pub mod pins;

pub mod lockdown;

pub mod about;

pub mod followed;

pub mod unchanged;

pub mod watch;

pub mod apply;

pub mod json;

pub mod health;

pub mod status;

pub mod shown;

pub mod events;

pub mod doctor;
