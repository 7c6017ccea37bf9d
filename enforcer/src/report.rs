//! Reports for operators. No verdict depends on them.

pub mod json;

pub mod notes;

pub mod shown;

pub mod status;

pub mod events;

pub mod doctor;

pub mod watch;

pub mod hosts;
