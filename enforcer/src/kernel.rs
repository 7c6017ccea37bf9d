//! Programs, maps, links and pins.
//!
//! **Invariant:** a generation that has a name in the BPF filesystem is complete, and its tables are frozen before a
//! program is attached.

pub mod object;

pub mod load;

pub mod content;

pub mod learn;

pub mod links;

pub mod lack;

pub mod canary;

pub mod pins;

pub mod about;

pub mod lockdown;

pub mod enforced_bundle;

pub mod health;
