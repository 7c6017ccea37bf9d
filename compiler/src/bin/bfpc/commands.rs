//! One file for each command: arguments and files in, an answer out.

pub(crate) mod build;
pub(crate) mod diff;
pub(crate) mod drift;
pub(crate) mod explain;
pub(crate) mod explain_code;
pub(crate) mod fetch;
pub(crate) mod graph;
pub(crate) mod hosts;
pub(crate) mod inspect;
pub(crate) mod inspect_trust;
pub(crate) mod inspected;
pub(crate) mod key;
pub(crate) mod list_drift;
pub(crate) mod lock;
pub(crate) mod lock_demands;
pub(crate) mod policy;
pub(crate) mod reach;
pub(crate) mod refresh;
pub(crate) mod shell;
pub(crate) mod sign;
pub(crate) mod test;
pub(crate) mod today;
pub(crate) mod token;
pub(crate) mod trust_set;
pub(crate) mod verify;
